"""A sandbox in memory: an engine that holds one container, and the adapter that speaks to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from actors.errors import BuildFailed, InstallFailed, SandboxUnavailable, ServerFailed
from actors.sandbox.archive import check_paths
from actors.sandbox.base import SandboxStatus, ServerReport, StartedSandbox, TakeOver

URL = "http://127.0.0.1:3000/"


@dataclass(kw_only=True)
class Container:
    """What a container holds, and whether it runs."""

    id: str
    files: dict[str, str] = field(default_factory=dict)
    draft: dict[str, str] = field(default_factory=dict)
    data: set[str] = field(default_factory=set)  # files that the running app has made
    undo: tuple[dict[str, str], str] | None = None
    note: str = ""
    is_running: bool = True
    is_serving: bool = False

    def undo_take_over(self) -> None:
        """Have the files and the note of before, if there is something to be undone."""
        if self.undo is not None:
            (self.files, self.note), self.undo = self.undo, None


FilesOf = Callable[[Container], dict[str, str]]


def _crashes(container: Container) -> bool:
    return "crash" in container.files.values()


class Hold:
    """A stop in one kind of call, for each call until `release`."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._released = asyncio.Event()

    async def pass_through(self) -> None:
        self.reached.set()
        await self._released.wait()

    def release(self) -> None:
        self._released.set()


class MemoryEngine:
    """Outlives every adapter, as Docker does. `problem` is what each call raises meanwhile."""

    def __init__(self) -> None:
        self.container: Container | None = None
        self.url = URL
        self.problem: Exception | None = None
        self.containers_made = 0
        self.writes: list[set[str]] = []  # the paths of each write that was carried out
        self.deletes: list[set[str]] = []
        self.installs = 0  # that were carried out
        self.checks: list[str] = []  # the scripts that were run
        self.servers_started = 0
        self.drafts = 0  # that were begun
        self.kills: list[str] = []  # calls (install, check) that are killed for too much memory
        self.reloads_files = True
        self.server_failures = 0  # starts of the dev server that fail from now on
        self.server_end: asyncio.Future[bool] | None = None  # whether it comes by itself
        self.report = ServerReport()  # on the one that ended last
        self.losses: list[str] = []  # calls (install, check, serve) that lose the container
        self._holds: dict[str, Hold] = {}

    def hold(self, method: str) -> Hold:
        """Stop every call of this method of the port, which must be one that takes its time."""
        self._holds[method] = Hold()
        return self._holds[method]

    async def pass_through(self, method: str) -> None:
        if method in self._holds:
            await self._holds[method].pass_through()

    def serve(self, port: int) -> None:
        """Have the container's app answer at a port of this machine."""
        self.url = f"http://127.0.0.1:{port}/"

    def lose_container(self) -> None:
        """Do what `docker rm -f` does behind the service's back."""
        self.container = None

    def may_kill(
        self, call: str, container: Container, failure: type[InstallFailed | BuildFailed]
    ) -> None:
        """Kill this call if that is its lot, beside a dev server alone."""
        if call in self.kills and container.is_serving:
            raise failure(f"The {call} was killed.", was_killed=True)

    def end_server(self, exit_code: int = 1, limit: str = "", *output: str) -> None:
        """Have the dev server end by itself."""
        assert self.container is not None
        self.container.is_serving = False
        self.report = ServerReport(exit_code=exit_code, limit=limit, output=output)
        self._end_server(True)

    def lose_server(self) -> None:
        """Have the dev server end without a word on how."""
        self.end_server()
        self.report = ServerReport()

    def replace_server(self) -> None:
        """Have no dev server until the next one is started."""
        if self.container is not None:
            self.container.is_serving = False
        self._end_server(False)

    def _end_server(self, by_itself: bool) -> None:
        if self.server_end is not None and not self.server_end.done():
            self.server_end.set_result(by_itself)

    def hang_server(self) -> None:
        """Have the dev server answer nobody."""
        assert self.container is not None
        self.container.is_serving = False
        self.report = ServerReport()

    def meet(self, call: str) -> None:
        """Lose the container if that is what this call is to meet."""
        if call in self.losses:
            self.losses.remove(call)
            self.lose_container()


class MemoryDraft:
    """The draft of a container in memory, which has no dependencies to speak of."""

    touches_dependencies = False

    def __init__(self, sandbox: MemorySandbox) -> None:
        self._sandbox = sandbox

    async def begin(self) -> None:
        self._sandbox.running().draft = {}
        self._sandbox.engine.drafts += 1

    async def write_files(self, files: Mapping[str, str]) -> None:
        check_paths(files)
        await self._sandbox.engine.pass_through("write_files")
        self._sandbox.running().draft.update(files)

    async def delete_files(self, paths: Sequence[str]) -> None:
        check_paths(paths)
        for path in paths:
            self._sandbox.running().draft.pop(path, None)

    async def install_dependencies(self, files: Mapping[str, str]) -> None:
        await self._sandbox.install(lambda container: container.draft)

    async def run_check(self, script: str) -> None:
        self._sandbox.check(script, lambda container: container.draft)

    async def take_over(self, order: TakeOver) -> None:
        container = self._sandbox.running()
        assert not order.builds or not container.is_serving
        container.note = ""
        former, draft = container.files, container.draft
        chosen = {path: draft[path] for path in order.changed}
        if order.builds:
            made = draft.keys() - set(order.own)
            chosen |= {path: draft[path] for path in made if path not in container.data}
        container.undo = (dict(former), order.note)
        self._sandbox.engine.writes.append({p for p in chosen if chosen[p] != former.get(p)})
        self._sandbox.engine.deletes.extend({path} for path in order.gone)
        container.files = {p: t for p, t in (former | chosen).items() if p not in order.gone}

    async def undo(self) -> None:
        self._sandbox.running().undo_take_over()


class MemorySandbox:
    """An adapter of the sandbox port, with a `MemoryEngine` where Docker would be.

    An app of which one file says "crash" does not start, and ends where it is served already.
    """

    kind = "memory"

    def __init__(self, engine: MemoryEngine) -> None:
        self.engine = self._engine = engine
        self.draft = MemoryDraft(self)

    @property
    def reloads_files(self) -> bool:
        return self._engine.reloads_files

    def _check(self) -> None:
        if self._engine.problem is not None:
            raise self._engine.problem

    def running(self) -> Container:
        self._check()
        container = self._engine.container
        if container is None or not container.is_running:
            raise SandboxUnavailable("The sandbox's container is gone; generate again.")
        return container

    async def start(self) -> StartedSandbox:
        await self._engine.pass_through("start")
        self._check()
        engine = self._engine
        if engine.container is None:
            engine.containers_made += 1
            engine.container = Container(id=f"container-{engine.containers_made}")
        engine.container.is_running = True
        engine.container.undo_take_over()
        return StartedSandbox(container_id=engine.container.id, note=engine.container.note)

    async def write_files(self, files: Mapping[str, str], note: str = "") -> None:
        check_paths(files)
        container = self.running()
        container.note, container.undo = "", None
        await self._engine.pass_through("write_files")
        container.files.update(files)
        container.note = note
        if files:
            self._engine.writes.append(set(files))

    async def delete_files(self, paths: Sequence[str]) -> None:
        check_paths(paths)
        container = self.running()
        container.note = ""
        for path in paths:
            container.files.pop(path, None)
        self._engine.deletes.append(set(paths))

    async def install_dependencies(self, files: Mapping[str, str]) -> None:
        """Install nothing, from a manifest that must at least be JSON."""
        self.running().note = ""
        await self.install(lambda container: container.files)

    async def install(self, files_of: FilesOf) -> None:
        await self._engine.pass_through("install_dependencies")
        self._engine.meet("install")
        container = self.running()
        manifest = files_of(container).get("package.json")
        if manifest is None:
            return
        self._engine.may_kill("install", container, InstallFailed)
        try:
            json.loads(manifest)
        except ValueError as error:
            raise InstallFailed("package.json is not JSON.", output=(str(error),)) from error
        self._engine.installs += 1

    async def run_check(self, script: str) -> None:
        """Carry out `test -f PATH`, the one command that a script here can have."""
        await self.end_dev_server()
        self.check(script, lambda container: container.files)

    def check(self, script: str, files_of: FilesOf) -> None:
        self._engine.meet("check")
        container = self.running()
        self._engine.may_kill("check", container, BuildFailed)
        files = files_of(container)
        command = json.loads(files["package.json"])["scripts"][script]
        path = command.removeprefix("test -f ")
        assert path != command
        self._engine.checks.append(script)
        if path not in files:
            raise BuildFailed(f"`npm run {script}` failed.", output=(f"{path} is missing",))

    async def start_dev_server(self) -> str:
        self._engine.meet("serve")
        container = self.running()
        if not container.files:
            raise ServerFailed("There is nothing to serve.")
        await self._engine.pass_through("start_dev_server")
        if _crashes(container):
            raise ServerFailed("The dev server ended.", output=("crash",))
        if self._engine.server_failures > 0:
            self._engine.server_failures -= 1
            raise ServerFailed("The dev server ended.", output=("no luck",))
        self._engine.servers_started += 1
        self._engine.replace_server()
        self._engine.server_end = asyncio.get_running_loop().create_future()
        container.is_serving = True
        return self._engine.url

    async def end_dev_server(self) -> None:
        self.running()
        self._engine.replace_server()

    async def is_well(self, seconds: float) -> bool:
        container = self.running()
        if container.is_serving and _crashes(container):
            self._engine.end_server()
        return container.is_serving

    async def wait_until_ended(self) -> bool:
        """Wait for what `MemoryEngine.end_server` does."""
        assert self._engine.server_end is not None
        return await asyncio.shield(self._engine.server_end)

    async def is_answering(self, seconds: float) -> bool:
        container = self._engine.container
        return container is not None and container.is_serving

    def server_report(self) -> ServerReport:
        return self._engine.report

    async def status(self) -> SandboxStatus:
        await self._engine.pass_through("status")
        self._check()
        container = self._engine.container
        if container is None:
            return SandboxStatus(kind=self.kind, health="absent")
        if not container.is_running:
            return SandboxStatus(kind=self.kind, health="stopped", container_id=container.id)
        if not container.is_serving:
            return SandboxStatus(kind=self.kind, health="running", container_id=container.id)
        return SandboxStatus(
            kind=self.kind,
            health="serving",
            container_id=container.id,
            preview_url=self._engine.url,
        )

    async def logs(self, limit: int) -> list[tuple[str, str]]:
        """Return nothing: what runs here says nothing."""
        return []

    async def stop(self) -> None:
        self._check()
        if self._engine.container is not None:
            self._engine.container.is_running = False
            self._engine.replace_server()

    async def remove(self) -> None:
        self._check()
        self._engine.replace_server()
        self._engine.container = None

    async def close(self) -> None:
        """Do nothing: there is no connection."""
