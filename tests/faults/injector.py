"""Carries out the faults of a round, one after the other, and writes down what it did to whom.

Three crashes of one project's actor within a minute end its run, by design. So of the projects
that are alive only those are met that have not had their two since the supervisor, which counts
them, was born.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import psutil

from tests.faults.containers import Containers
from tests.faults.house import POLL_SECONDS, House
from tests.faults.model import StoryModel
from tests.faults.schedule import Fault, Kind, Way
from tests.faults.watcher import Watcher

MAX_CRASHES = 2  # of one project's actor in one supervisor's life
FIND_SECONDS = 8.0  # an actor system that is being replaced is there again by then

T = TypeVar("T")

#: What takes every actor with it, and the supervisor's count of their crashes.
SYSTEM = (Kind.SUPERVISOR, Kind.ADMIN, Kind.GUARD)


class Injector:
    """`done` is how many faults have been carried out; `log` says which, when and to whom."""

    def __init__(
        self,
        house: House,
        model: StoryModel,
        watchers: Sequence[Watcher],
        containers: Containers | None,
    ) -> None:
        self._house = house
        self._containers = containers
        self._model = model
        self._watchers = watchers
        self.done = 0
        self.log: list[str] = []
        self._times: list[float] = []
        self._began = time.monotonic()
        self._changed = asyncio.Condition()
        self._crashes: Counter[str] = Counter()
        self._stopped: dict[int, psutil.Process] = {}
        self._aftermath: asyncio.TaskGroup

    async def run(self, faults: Sequence[Fault]) -> None:
        """Carry them all out; afterwards nothing stands still any more.

        Raises Violation where something is left orphaned, or the service does not start again.
        """
        try:
            async with asyncio.TaskGroup() as self._aftermath:
                for fault in faults:
                    await asyncio.sleep(fault.pause_seconds)
                    self._house.check_running()
                    await self._inject(fault)
                    async with self._changed:
                        self.done += 1
                        self._changed.notify_all()
        finally:
            for process in self._stopped.values():
                _resume(process)

    async def after(self, count: int) -> None:
        """Wait until so many faults have been carried out."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.done >= count)

    async def _inject(self, fault: Fault) -> None:
        match fault.kind:
            case Kind.START:
                await self._end_gateway(fault)
            case Kind.GATEWAY if fault.way is not Way.STOP:
                await self._end_gateway(fault)
            case Kind.MODEL:
                await self._meet_model(fault)
            case Kind.VIEWER:
                await self._meet_viewer(fault)
            case Kind.CONTAINER:
                await self._meet_container(fault)
            case _:
                await self._meet_process(fault)

    # --- processes -------------------------------------------------------------------------------

    async def _meet_process(self, fault: Fault) -> None:
        found = await _found(lambda: self._victims(fault))
        if not found:
            await self._meet_viewer(fault, "nobody was there: ")
            return
        name, process = found[fault.pick % len(found)]
        self._count_crashes(fault, name)
        try:
            if fault.way is Way.STOP:
                process.suspend()
            else:
                process.kill()
        except psutil.NoSuchProcess:
            self._note(f"{fault}: {name} {process.pid} had just ended")
            return
        self._note(f"{fault}: {name} {process.pid}")
        if fault.way is Way.STOP:
            self._stopped[process.pid] = process
            self._aftermath.create_task(self._resume_later(process, fault.stop_seconds))
        else:
            self._aftermath.create_task(self._house.none_orphaned(process))

    async def _victims(self, fault: Fault) -> list[tuple[str, psutil.Process]]:
        """Return those that a fault may meet, each with a name, in an order that does not vary."""
        try:
            return await self._living(fault)
        except psutil.NoSuchProcess:  # it ended as it was looked at
            return []

    async def _living(self, fault: Fault) -> list[tuple[str, psutil.Process]]:
        census, gateway_pid = self._house.census, self._house.gateway_pid
        found: list[psutil.Process | None]
        match fault.kind:
            case Kind.ACTOR:
                return await self._actors(is_kill=fault.way is Way.KILL)
            case Kind.SPARE:
                return await self._spares()
            case Kind.LOGGER:
                supervisor = self._supervisor()
                found = list(census.loggers(supervisor)) if supervisor else []
            case Kind.NURSERY:
                supervisor = self._supervisor()
                found = list(census.nurseries(supervisor)) if supervisor else []
            case Kind.SUPERVISOR:
                found = [self._supervisor()]
            case Kind.ADMIN:
                supervisor = self._supervisor()
                found = [supervisor and supervisor.parent()]
            case Kind.GUARD:
                found = [census.guard(gateway_pid) if self._supervisor() else None]
            case Kind.GATEWAY:
                found = [psutil.Process(gateway_pid)]
            case Kind.POSTGRES:
                found = [census.postmaster()]
            case _:
                found = list(census.backends())
        return [("", process) for process in found if process is not None]

    def _supervisor(self) -> psutil.Process | None:
        with contextlib.suppress(OSError, ValueError):
            self._house.note_ports()
            noted_pid = int(self._house.noted["pid"])
            return self._house.census.supervisor(self._house.gateway_pid, noted_pid)
        return None

    async def _actors(self, *, is_kill: bool) -> list[tuple[str, psutil.Process]]:
        found = []
        for project_id, pid in sorted((await self._house.pids()).items()):
            with contextlib.suppress(psutil.NoSuchProcess):
                if not is_kill or self._crashes[project_id] + self._crashes[""] < MAX_CRASHES:
                    found.append((project_id, psutil.Process(pid)))
        return found

    async def _spares(self) -> list[tuple[str, psutil.Process]]:
        """Return the actors that nobody has adopted yet."""
        supervisor = self._supervisor()
        adopted = set((await self._house.pids()).values())
        if supervisor is None or not adopted:
            return []
        nurseries = self._house.census.nurseries(supervisor)
        born = [child for nursery in nurseries for child in nursery.children()]
        return [("", child) for child in born if child.pid not in adopted]

    def _count_crashes(self, fault: Fault, name: str) -> None:
        """Count a crash, or forget all where their counter is about to die.

        A spare, which has no name, may have been given to any project just now.
        """
        if fault.way is Way.KILL and fault.kind in (Kind.ACTOR, Kind.SPARE):
            self._crashes[name] += 1
        elif fault.way is Way.KILL and fault.kind in SYSTEM:
            self._crashes.clear()

    async def _resume_later(self, process: psutil.Process, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._stopped.pop(process.pid, None)
        _resume(process)

    # --- the gateway -----------------------------------------------------------------------------

    async def _end_gateway(self, fault: Fault) -> None:
        """End it and start it again; at once after a kill, while its actors still save."""
        self._note(f"{fault}: {self._house.gateway_pid}")
        self._crashes.clear()
        if fault.way is Way.TERM:
            await self._house.stop()
            await self._house.all_gone()
            self._house.check_nothing_left()
        else:
            self._house.kill()
            await asyncio.sleep(fault.pause_seconds)
        if fault.kind is Kind.START:
            await self._house.start_in_vain(fault.stop_seconds)
        await self._house.start()
        self._note(f"the gateway is up again: {self._house.gateway_pid}")
        self._aftermath.create_task(self._house.none_orphaned())

    # --- connections -----------------------------------------------------------------------------

    async def _meet_model(self, fault: Fault) -> None:
        async def meet() -> object:
            if fault.way is Way.STOP:
                return self._model.hold(fault.pick, fault.stop_seconds)
            return self._model.cut(fault.pick)

        asked = await _found(meet)
        if asked is None:
            await self._meet_viewer(fault, "no model call was under way: ")
        else:
            self._note(f"{fault}: {asked}")

    async def _meet_container(self, fault: Fault) -> None:
        assert self._containers is not None
        projects = await _found(self._containers.running)
        if not projects:
            await self._meet_viewer(fault, "no container was running: ")
            return
        project_id = projects[fault.pick % len(projects)]
        if fault.way is Way.STOP:
            self._aftermath.create_task(self._containers.hold(project_id, fault.stop_seconds))
        else:
            await self._containers.kill(project_id)
        self._note(f"{fault}: {project_id}")

    async def _meet_viewer(self, fault: Fault, why: str = "") -> None:
        watcher = self._watchers[fault.pick % len(self._watchers)]
        if fault.way is Way.STOP:
            watcher.hold(fault.stop_seconds)
        else:
            await watcher.drop()
        self._note(f"{why}{fault.way} viewer: {watcher.name}")

    # --- notes -----------------------------------------------------------------------------------

    def _note(self, text: str) -> None:
        self._times.append(time.monotonic())
        self.log.append(f"{self._times[-1] - self._began:7.3f} {text}")

    def noted(self, since: float, until: float) -> list[str]:
        """Return what the log says of a time, by the monotonic clock."""
        return [
            line for at, line in zip(self._times, self.log, strict=True) if since <= at <= until
        ]


async def _found(look: Callable[[], Awaitable[T]]) -> T:
    """Return what is found, or the last empty answer once there was time enough."""
    deadline = time.monotonic() + FIND_SECONDS
    while True:
        found = await look()
        if found or time.monotonic() > deadline:
            return found
        await asyncio.sleep(POLL_SECONDS)


def _resume(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error):
        process.resume()
