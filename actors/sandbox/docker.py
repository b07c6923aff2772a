"""The Docker sandbox: one container per project, through aiodocker.

The container's volume keeps the project while it is stopped; it is found again by its name and
labels. Errors are `SandboxError` and its children: an engine that went away is
`SandboxUnavailable` in every call. A cancelled install or server start is dead inside the container
within 50 ms (16 ms measured); `task.py` tells how.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import aiodocker
from aiodocker.containers import DockerContainer

from actors.errors import (
    BuildFailed,
    InstallFailed,
    SandboxError,
    SandboxUnavailable,
    ServerFailed,
)
from actors.registries import read_registries, upstream_proxy, with_configured
from actors.sandbox import engine
from actors.sandbox.archive import check_paths, files_archive, home_archive
from actors.sandbox.base import LogSink, SandboxStatus, StartedSandbox
from actors.sandbox.container import NOTE_FILE, image_environment, network_name
from actors.sandbox.dev_server import DevServer, is_answering
from actors.sandbox.doors import PROBE_DOOR, Door, app_url, door_directory
from actors.sandbox.egress import PROXIED, egress
from actors.sandbox.engine import ClientFactory, engine_errors
from actors.sandbox.manifest import (
    SURVEY_SCRIPT,
    Survey,
    command_label,
    dev_command,
    install_command,
    parse_survey,
    reloads_files,
)
from actors.sandbox.output import CommandOutput, OutputLog
from actors.sandbox.project_container import ProjectContainer, unpack
from actors.sandbox.relay import PORT
from actors.sandbox.task import Task, end_all, run_short
from actors.settings import Settings

PATHS_PER_CALL = 400  # of at most 255 characters; a command line holds 2 MiB
NO_NOTE = 1  # how `cat` says that there is no such file
KILLED = 137  # 128 + SIGKILL
SECOND_LOOK_SECONDS = 0.5

_QUIET = {
    "NO_COLOR": "1",
    "NPM_CONFIG_AUDIT": "false",
    "NPM_CONFIG_FUND": "false",
    "NPM_CONFIG_UPDATE_NOTIFIER": "false",
}
_SERVING = {
    **_QUIET,
    "HOST": "0.0.0.0",  # noqa: S104  # inside the container
    "PORT": str(PORT),
    "BROWSER": "none",
}


class DockerSandbox:
    """A project's container, used by one object at a time; its calls follow one another."""

    kind = "docker"
    reloads_files = True

    def __init__(
        self,
        project_id: str,
        settings: Settings,
        on_log: LogSink,
        connect: ClientFactory = engine.connect,
    ) -> None:
        self._settings = settings
        self._log = OutputLog(on_log)
        self._container = ProjectContainer(project_id, settings, connect, self._log_progress)
        self._url = app_url(project_id)
        self._doors = door_directory(project_id, settings)
        self._door = Door(self._doors, PROBE_DOOR)
        self._dev_server: DevServer | None = None

    async def start(self) -> StartedSandbox:
        """Create the container, or adopt and start the one that exists; pulls the image if needed.

        A container that was made with other settings is replaced by a fresh one. Cancelling leaves
        at most a container that the next start adopts.
        """
        with engine_errors():
            container, is_created = await self._container.obtain()
            note = b""
            if not is_created:
                code, note = await run_short(container, 'cat -- "$1"', NOTE_FILE)
                if code not in (0, NO_NOTE):  # the app has closed its own directory, say
                    await unpack(container, home_archive())
        return StartedSandbox(container_id=container.id, note=note.decode(errors="replace"))

    async def write_files(self, files: Mapping[str, str], note: str = "") -> None:
        """Write files as one archive; an unsafe path is refused before any is written.

        A directory or a link that stands where a file belongs is replaced.
        """
        archive = files_archive(files, note)
        with engine_errors():
            container = await self._container.get()
            await unpack(container, archive)

    async def delete_files(self, paths: Sequence[str]) -> None:
        """Delete files; one that does not exist is no error."""
        check_paths(paths)
        with engine_errors():
            container = await self._container.get()
            for first in range(0, len(paths), PATHS_PER_CALL):
                batch = paths[first : first + PATHS_PER_CALL]
                code, output = await run_short(container, 'rm -f -- "$@" 2>&1', NOTE_FILE, *batch)
                if code != 0:
                    reason = output.decode(errors="replace").strip()[:300]
                    raise SandboxError(f"Files of the sandbox cannot be deleted ({reason}).")

    async def install_dependencies(self) -> None:
        """Install what package.json asks for; the output is logged live.

        Cancelling, the deadline and our own death all kill the install.
        """
        with engine_errors():
            container = await self._container.get()
            command = install_command(await _survey(container, f"rm -f {NOTE_FILE}\n"))
        if command is not None:
            async with self._way_out(container) as environment:
                await self._run_to_end(
                    Task(container, "install", command, _QUIET | environment),
                    command_label(command),
                    self._settings.install_seconds,
                    InstallFailed,
                    "ask for fewer dependencies or raise CODEGEN_INSTALL_SECONDS",
                )

    async def run_check(self, script: str) -> None:
        """Run a script of package.json to its end; the output is logged live.

        Cancelling, the deadline and our own death all kill it.
        """
        with engine_errors():
            await self._end_dev_server(await self._container.get())
            container = await self._container.get()
        command = ("npm", "run", script)
        await self._run_to_end(
            Task(container, "check", command, _QUIET),
            command_label(command),
            self._settings.build_seconds,
            BuildFailed,
            "it must end by itself; if it does, raise CODEGEN_BUILD_SECONDS",
        )

    async def start_dev_server(self) -> str:
        """End the previous dev server, start this one, and return its URL once it has answered.

        Cancelling kills it; once it has answered it goes on without us.
        """
        with engine_errors():
            container = await self._container.get()
            _check_runs(container)  # ending what ran in it would start it
            await self._end_dev_server(container)  # first: it may hold all processes there can be
            container = await self._container.get()
            survey = await _survey(container)
            command = dev_command(survey)
            self.reloads_files = reloads_files(survey)
            self._log_progress(f"$ {command_label(command)}")
            task = Task(container, "dev-server", command, _SERVING)
            await task.start()
        server = self._dev_server = DevServer(task, self._log)
        try:
            await self._await_answer(server)
            with engine_errors():
                await server.detach()
        except BaseException:
            await server.close()
            raise
        return self._url

    async def status(self) -> SandboxStatus:
        """Ask the engine and the dev server; nothing is started."""
        with engine_errors():
            container = await self._container.find()
        if container is None:
            return SandboxStatus(kind=self.kind, health="absent")
        name = container["Name"].lstrip("/")
        note = "" if name == self._container.usual_name else f"The container's name is {name}."
        if not container["State"]["Running"]:
            return SandboxStatus(
                kind=self.kind, health="stopped", container_id=container.id, note=note
            )
        is_followed = self._dev_server is not None and self._dev_server.is_serving
        return SandboxStatus(
            kind=self.kind,
            health="serving" if is_followed or await is_answering(self._door) else "running",
            container_id=container.id,
            preview_url=self._url,
            note=note,
        )

    async def logs(self, limit: int) -> list[tuple[str, str]]:
        """Return the newest lines that this object has seen."""
        return self._log.newest(limit)

    async def stop(self) -> None:
        """Stop the container; its files and dependencies stay."""
        with engine_errors():
            await self._container.stop()
        await self._forget_dev_server()

    async def remove(self) -> None:
        """Remove the container and all it holds."""
        with engine_errors():
            await self._container.remove()
        await self._forget_dev_server()

    async def close(self) -> None:
        """Close the connections; the container and its dev server go on."""
        await self._forget_dev_server()
        self._door.close()
        await self._container.close()

    @asynccontextmanager
    async def _way_out(self, container: DockerContainer) -> AsyncIterator[dict[str, str]]:
        """Let the container reach the registries; yields the variables that show the way."""
        if network_name(self._settings) is not None:
            yield {}
            return
        environment = image_environment(container._container)
        registries = read_registries(self._settings.sandbox_registries)
        async with egress(
            self._doors,
            with_configured(registries, environment),
            upstream_proxy(environment),
            lambda line: self._log.add("stderr", line),
        ):
            yield PROXIED

    async def _run_to_end(
        self,
        task: Task,
        label: str,
        seconds: float,
        failure: type[InstallFailed | BuildFailed],
        advice: str,
    ) -> None:
        """Run a command, logging its output; raise `failure` unless it succeeds in time."""
        output = CommandOutput(self._log)
        self._log_progress(f"$ {label}")
        try:
            async with asyncio.timeout(seconds):
                with engine_errors():
                    code = await _run(task, output)
        except TimeoutError as error:
            raise failure(
                f"`{label}` did not finish within {seconds:g} s; {advice}.",
                output=output.last_lines,
            ) from error
        if code != 0:
            await self._check_running(was_killed=code == KILLED)
            raise failure(
                f"`{label}` failed with exit code {code}{self._memory_hint(code)}; "
                "its last lines say why:",
                output=output.last_lines,
            )

    async def _end_dev_server(self, container: DockerContainer) -> None:
        """End what an earlier call or owner of the container started, and all that this started."""
        await self._forget_dev_server()
        try:
            is_ended = await end_all(container)
        except (TimeoutError, aiodocker.DockerError):
            is_ended = False
        if not is_ended:  # nothing can be started in it any more: too many processes, say
            await container.restart(t=0)

    async def _forget_dev_server(self) -> None:
        server, self._dev_server = self._dev_server, None
        if server is not None:
            await server.close()

    async def _await_answer(self, server: DevServer) -> None:
        seconds = self._settings.server_seconds
        try:
            async with asyncio.timeout(seconds):
                if await server.wait_until_serving(self._door):
                    return
        except TimeoutError as error:
            raise ServerFailed(
                f"The dev server did not answer within {seconds:g} s; it must listen on the "
                "address in HOST and the port in PORT. Its last lines:",
                output=server.last_lines,
            ) from error
        await self._check_running(was_killed=server.exit_code == KILLED)
        raise ServerFailed(
            "The dev server ended before it answered; its last lines say why:",
            output=server.last_lines,
        )

    async def _check_running(self, *, was_killed: bool) -> None:
        """Tell a command that failed from a container, or an engine, that went away under it.

        A container that is being stopped has killed its commands some moments before the engine
        says so, hence the second look.
        """
        for is_last in (False, True) if was_killed else (True,):
            with engine_errors():
                container = await self._container.get()
            if not container["State"]["Running"]:
                raise SandboxUnavailable("The sandbox's container was stopped; generate again.")
            if not is_last:
                await asyncio.sleep(SECOND_LOOK_SECONDS)

    def _memory_hint(self, code: int) -> str:
        limit = self._settings.sandbox_memory_mib
        return f" (killed; the memory limit is {limit} MiB)" if code == KILLED else ""

    def _log_progress(self, line: str) -> None:
        self._log.add("progress", line)


async def _run(task: Task, output: CommandOutput) -> int:
    """Run a command to its end, feeding its output, and return its exit code."""
    try:
        await task.start()
        while (part := await task.read()) is not None:
            output.feed(*part)
        return await task.exit_code()
    finally:
        await task.close()
        output.finish()


async def _survey(container: DockerContainer, preparation: str = "") -> Survey:
    code, output = await run_short(container, preparation + SURVEY_SCRIPT)
    if code != 0:  # too many processes, say: what it did not see is not what is not there
        raise SandboxUnavailable("The sandbox cannot run commands; generate again.")
    return parse_survey(output)


def _check_runs(container: DockerContainer) -> None:
    if not container["State"]["Running"]:
        raise SandboxUnavailable("The sandbox's container is not running; generate again.")
