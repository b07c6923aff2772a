"""Bubblewrap as a runtime: each command in namespaces of its own, with node from this machine.

Nothing runs between commands: the sandbox is a folder (`project_folder.py`), and what runs in it
belongs to the process that has started it. So an actor that ends takes its dev server along, and
its next life starts another one in the same folder. A small command takes 24 ms, ending one 2 ms.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
import resource
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import BinaryIO

from actors.errors import SandboxError, SandboxUnavailable
from actors.sandbox.doors import door_directory, make_door_directory, remove_door_directory
from actors.sandbox.enclosed import EnclosedTask, in_memory, run_short
from actors.sandbox.host_tools import HostTools, ToolMissing, find_tools
from actors.sandbox.namespace import (
    HOST_PATH,
    UNPACK_SCRIPT,
    Enclosure,
    become,
    limits_of,
    script_command,
    task_command,
    user_of,
)
from actors.sandbox.project_folder import ProjectFolder
from actors.sandbox.runtime import Obtained, Seen
from actors.sandbox.system_calls import system_call_filter
from actors.settings import Settings

log = logging.getLogger(__name__)

UNPACK_SECONDS = 120.0  # of a prepared install
OWN_PROCESSES = 64  # above the app's limit: for a few small commands of ours at a time
STALLED_SECONDS = 30.0  # without a part of an archive

#: Variables of ours that say how the network is reached.
REGISTRY, PROXY, CERTIFICATES = "NPM_CONFIG_REGISTRY", "HTTPS_PROXY", "NODE_EXTRA_CA_CERTS"


class BubblewrapRuntime:
    """A project's folder and the commands that we run in it; used by one object at a time."""

    kind = "bubblewrap"
    has_network = False

    def __init__(self, project_id: str, settings: Settings) -> None:
        self._settings = settings
        self._user_id = user_of(project_id, settings) if os.getuid() == 0 else None
        self._folder = ProjectFolder(project_id, settings, self._user_id)
        self._doors = door_directory(project_id, settings)
        self._tools: HostTools | None = None
        self._tasks: list[EnclosedTask] = []

    async def obtain(self) -> Obtained:
        """Make the folder, or take the one that exists, and its directory of doors."""
        try:
            self._tools = await find_tools()
        except ToolMissing as error:
            raise SandboxUnavailable(f"No sandbox can be started: {error}.") from error
        was_held = self._folder.is_held
        if make_door_directory(self._doors) or not was_held:
            await self._end_tasks()  # it has other doors, which are gone, or was an earlier owner's
        is_new = await self._folder.hold()
        return Obtained(container_id=None, is_new=is_new)

    async def look(self) -> Seen:
        """Say what we hold: without us nothing runs."""
        if self._folder.is_held:
            return Seen(health="running")
        return Seen(health="stopped" if self._folder.exists else "absent")

    async def check_running(self, *, was_killed: bool) -> None:
        """Raise SandboxUnavailable if the folder is gone, or was let go."""
        self._enclosure()

    async def environment(self) -> Mapping[str, str]:
        """Return what our own variables say of a registry and a proxy to be used."""
        return _own_variables(REGISTRY, PROXY)

    async def platform(self) -> str:
        """Name node and npm, by what they are now, and the machine's processor."""
        if self._tools is None:
            raise SandboxUnavailable("The sandbox is not running; generate again.")
        return f"bubblewrap {self._tools.version} {platform.machine()}"

    async def pack(self, path: str) -> AsyncIterator[bytes]:
        """Have a command inside pack it, as fast as the parts are taken."""
        directory, _, name = path.rpartition("/")
        command = script_command(directory, 'exec tar -c -f - -- "$1"', [name])
        task = self._own_task(command)
        try:
            await task.start()
            while (part := await _read_in_time(task)) is not None:
                if part[0] == "stdout":
                    yield part[1]
        finally:
            await task.close()

    async def unpack_file(self, directory: str, archive: BinaryIO) -> None:
        """Have a command inside unpack it, which reads the file."""
        task = self._own_task(script_command(directory, "exec tar -x -f -"))
        try:
            async with asyncio.timeout(UNPACK_SECONDS):
                await task.start(archive.fileno())
                while await task.read() is not None:
                    pass
                code = await task.exit_code()
        except TimeoutError as error:
            raise SandboxUnavailable("The sandbox is too slow; generate again.") from error
        finally:
            await task.close()
        if code != 0:
            raise SandboxError(f"A prepared install cannot be unpacked (exit code {code}).")

    async def unpack(self, archive: bytes) -> None:
        """Unpack it by a command inside, where no link leads anywhere."""
        command = ["sh", "-c", UNPACK_SCRIPT]
        with in_memory({"archive": archive}) as files:
            task = self._own_task(command)
            code, _ = await run_short(task, files["archive"])
        if code != 0:
            self._enclosure()
            raise SandboxError(f"Files of the sandbox cannot be written (exit code {code}).")

    async def run_short(self, directory: str, script: str, *arguments: str) -> tuple[int, bytes]:
        """Run a small shell script; SandboxUnavailable where that takes too long."""
        command = script_command(directory, script, arguments)
        return await run_short(self._own_task(command))

    def task(
        self,
        directory: str,
        mark: str,
        command: Sequence[str],
        environment: Mapping[str, str],
    ) -> EnclosedTask:
        words = task_command(directory, mark, command)
        own = _own_registry() if mark == "install" else {}
        variables = {**own, **environment}
        task = EnclosedTask(self._enclosure, words, variables)
        self._tasks = [*(task for task in self._tasks if task.is_running), task]
        return task

    async def end_all(self) -> None:
        """End what runs of the project; what an earlier owner had started ended with it."""
        await self._end_tasks()
        self._enclosure()

    async def stop(self) -> None:
        await self._end_tasks()
        self._folder.release()

    async def remove(self) -> None:
        await self._end_tasks()
        await self._folder.remove()
        remove_door_directory(self._doors)

    async def close(self) -> None:
        """Let go of the folder, unless something runs in it: that goes on for as long as we do."""
        if not any(task.is_running for task in self._tasks):
            self._folder.release()

    async def _end_tasks(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            await task.end()
        if self._user_id is not None:
            await _end_all_of(self._user_id)

    def _own_task(self, command: Sequence[str]) -> EnclosedTask:
        """Return a command of ours, which has room where the app has filled its own."""
        return EnclosedTask(self._own_enclosure, command, {})

    def _own_enclosure(self) -> Enclosure:
        enclosure = self._enclosure()
        processes = min(enclosure.limits.processes + OWN_PROCESSES, _most(resource.RLIMIT_NPROC))
        return replace(enclosure, limits=replace(enclosure.limits, processes=processes))

    def _enclosure(self) -> Enclosure:
        if self._tools is None or not self._folder.is_held:
            raise SandboxUnavailable("The sandbox is not running; generate again.")
        return Enclosure(
            bwrap=self._tools.bwrap,
            home=str(self._folder.home),
            doors=str(self._doors),
            user_id=self._user_id,
            tools=self._tools.binds,
            limits=limits_of(
                self._settings,
                most_processes=_most(resource.RLIMIT_NPROC),
                most_open_files=_most(resource.RLIMIT_NOFILE),
                most_core_bytes=_most(resource.RLIMIT_CORE),
            ),
            extra_certificates=_extra_certificates(),
            system_calls=system_call_filter(platform.machine()),
        )


async def _read_in_time(task: EnclosedTask) -> tuple[str, bytes] | None:
    try:
        async with asyncio.timeout(STALLED_SECONDS):
            return await task.read()
    except TimeoutError as error:
        raise SandboxUnavailable("The sandbox is too slow; generate again.") from error


def _own_variables(*names: str) -> dict[str, str]:
    """Return those of our variables that are set, in either spelling."""
    found = {name: os.environ.get(name) or os.environ.get(name.lower()) for name in names}
    return {name: value for name, value in found.items() if value}


def _own_registry() -> dict[str, str]:
    """Return the variable that names our registry, without what is said there to log in.

    The app could read that, and so could everybody on this machine from our command line.
    """
    variables = _own_variables(REGISTRY)
    if REGISTRY not in variables:
        return {}
    scheme, _, rest = variables[REGISTRY].partition("://")
    authority, slash, path = rest.partition("/")
    _, at, place = authority.rpartition("@")
    if at:
        log.warning("apps are not told the login that %s has for %s", REGISTRY, place)
    return {REGISTRY: f"{scheme}://{place}{slash}{path}"}


async def _end_all_of(user_id: int) -> None:
    """Kill all processes of a project's user, as that user, in all namespaces."""
    with contextlib.suppress(FileNotFoundError):  # without setpriv none has ever been started
        process = await asyncio.create_subprocess_exec(
            *(*become(user_id), "--", "sh", "-c", "kill -KILL -1"),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,  # there is none, mostly
            env={"PATH": HOST_PATH},
        )
        await process.wait()


def _extra_certificates() -> str | None:
    path = os.environ.get(CERTIFICATES, "")
    return os.path.abspath(path) if os.path.isfile(path) else None


def _most(limit: int) -> int:
    """Return the highest value of a limit that we may set."""
    _, highest = resource.getrlimit(limit)
    return sys.maxsize if highest == resource.RLIM_INFINITY else highest
