"""A sandbox that runs commands: files, installs, checks and a dev server, over any `Runtime`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from actors.errors import BuildFailed, InstallFailed, SandboxError, SandboxUnavailable, ServerFailed
from actors.registries import read_registries, upstream_proxy, with_configured
from actors.sandbox.archive import check_paths, files_archive, home_archive
from actors.sandbox.base import SandboxStatus, ServerReport, StartedSandbox
from actors.sandbox.dev_server import SERVER_ERROR, DevServer, is_answering
from actors.sandbox.doors import PROBE_DOOR, Door, app_url, door_directory
from actors.sandbox.egress import PROXIED, egress
from actors.sandbox.exhaustion import exhausted_limit
from actors.sandbox.layout import APP_DIR, NOTE_FILE
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
from actors.sandbox.relay import PORT
from actors.sandbox.runtime import RunningTask, Runtime
from actors.settings import Settings

PATHS_PER_CALL = 400  # of at most 255 characters; a command line holds 2 MiB
NO_NOTE = 1  # how `cat` says that there is no such file
KILLED = 137  # 128 + SIGKILL
ANSWER_SECONDS = 10.0  # for a dev server of which nothing but its answers can be known
ASK_AGAIN_SECONDS = 2.0

_QUIET = {
    "NO_COLOR": "1",
    "NPM_CONFIG_AUDIT": "false",
    "NPM_CONFIG_FUND": "false",
    "NPM_CONFIG_UPDATE_NOTIFIER": "false",
}
_SERVING = {
    **_QUIET,
    "HOST": "0.0.0.0",  # noqa: S104  # inside the sandbox
    "PORT": str(PORT),
    "BROWSER": "none",
}


class Workspace:
    """A project's sandbox, used by one object at a time; its calls follow one another."""

    def __init__(
        self, project_id: str, settings: Settings, runtime: Runtime, log: OutputLog
    ) -> None:
        self.reloads_files = True
        self._settings = settings
        self._runtime = runtime
        self._log = log
        self._url = app_url(project_id)
        self._doors = door_directory(project_id, settings)
        self._door = Door(self._doors, PROBE_DOOR)
        self._dev_server: DevServer | None = None

    @property
    def kind(self) -> str:
        return self._runtime.kind

    async def start(self) -> StartedSandbox:
        """Create the sandbox, or adopt and start the one that exists.

        Cancelling leaves at most a sandbox that the next start adopts.
        """
        obtained = await self._runtime.obtain()
        note = b""
        if not obtained.is_new:
            code, note = await self._runtime.run_short(APP_DIR, 'cat -- "$1"', NOTE_FILE)
            if code not in (0, NO_NOTE):  # the app has closed its own directory, say
                await self._runtime.unpack(home_archive())
        return StartedSandbox(
            container_id=obtained.container_id, note=note.decode(errors="replace")
        )

    async def write_files(self, files: Mapping[str, str], note: str = "") -> None:
        """Write files as one archive; an unsafe path is refused before any is written.

        A directory or a link that stands where a file belongs is replaced.
        """
        await self._runtime.unpack(files_archive(files, note))

    async def delete_files(self, paths: Sequence[str]) -> None:
        """Delete files; one that does not exist is no error."""
        check_paths(paths)
        for first in range(0, len(paths), PATHS_PER_CALL):
            batch = paths[first : first + PATHS_PER_CALL]
            code, output = await self._runtime.run_short(
                APP_DIR, 'rm -f -- "$@" 2>&1', NOTE_FILE, *batch
            )
            if code != 0:
                reason = output.decode(errors="replace").strip()[:300]
                raise SandboxError(f"Files of the sandbox cannot be deleted ({reason}).")

    async def install_dependencies(self) -> None:
        """Install what package.json asks for; the output is logged live.

        Cancelling, the deadline and our own death all kill the install.
        """
        command = install_command(await self._survey(f"rm -f {NOTE_FILE}\n"))
        if command is not None:
            async with self._way_out() as environment:
                await self._run_to_end(
                    self._runtime.task(APP_DIR, "install", command, _QUIET | environment),
                    command_label(command),
                    self._settings.install_seconds,
                    InstallFailed,
                    "ask for fewer dependencies or raise CODEGEN_INSTALL_SECONDS",
                )

    async def run_check(self, script: str) -> None:
        """Run a script of package.json to its end; the output is logged live.

        Cancelling, the deadline and our own death all kill it.
        """
        await self._end_dev_server()
        command = ("npm", "run", script)
        await self._run_to_end(
            self._runtime.task(APP_DIR, "check", command, _QUIET),
            command_label(command),
            self._settings.build_seconds,
            BuildFailed,
            "it must end by itself; if it does, raise CODEGEN_BUILD_SECONDS",
        )

    async def start_dev_server(self) -> str:
        """End the previous dev server, start this one, and return its URL once it has answered.

        Cancelling kills it; once it has answered it goes on without us, where the runtime can.
        """
        await self._end_dev_server()  # first: it may hold all processes there can be
        survey = await self._survey()
        command = dev_command(survey)
        self.reloads_files = reloads_files(survey)
        self._log_progress(f"$ {command_label(command)}")
        task = self._runtime.task(APP_DIR, "dev-server", command, _SERVING)
        await task.start()
        server = self._dev_server = DevServer(task, self._log)
        try:
            await self._await_answer(server)
            await server.detach()
        except BaseException:
            await server.close()
            raise
        return self._url

    async def wait_until_ended(self) -> bool:
        """Wait for the end of the dev server; return whether it came by itself.

        Where the engine can no longer tell, a server that answers goes on.
        """
        server = self._dev_server
        if server is None:
            return False
        await server.wait_until_ended()
        while server is self._dev_server and server.exit_code is None:
            if not await is_answering(self._door, ANSWER_SECONDS):
                break
            await asyncio.sleep(ASK_AGAIN_SECONDS)
        return server is self._dev_server

    async def is_answering(self, seconds: float) -> bool:
        """Ask the app over the door for probes."""
        return await is_answering(self._door, seconds)

    def server_report(self) -> ServerReport:
        """Tell of the dev server as far as its output could be followed."""
        server = self._dev_server
        if server is None:
            return ServerReport()
        limit = exhausted_limit(server.exit_code, server.recent_lines, self._settings)
        return ServerReport(exit_code=server.exit_code, limit=limit, output=server.last_lines)

    async def status(self) -> SandboxStatus:
        """Ask the runtime and the dev server; nothing is started."""
        seen = await self._runtime.look()
        health = seen.health
        if health == "running" and await self._is_serving():
            health = "serving"
        return SandboxStatus(
            kind=self.kind,
            health=health,
            container_id=seen.container_id,
            preview_url=self._url if health in ("running", "serving") else None,
            note=seen.note,
        )

    async def logs(self, limit: int) -> list[tuple[str, str]]:
        """Return the newest lines that this object has seen."""
        return self._log.newest(limit)

    async def stop(self) -> None:
        """Stop the sandbox; its files and dependencies stay."""
        await self._runtime.stop()
        await self._forget_dev_server()

    async def remove(self) -> None:
        """Remove the sandbox and all it holds."""
        await self._runtime.remove()
        await self._forget_dev_server()

    async def close(self) -> None:
        """Close the connections; the sandbox and its dev server go on, where the runtime can."""
        await self._forget_dev_server()
        self._door.close()
        await self._runtime.close()

    async def _survey(self, preparation: str = "") -> Survey:
        code, output = await self._runtime.run_short(APP_DIR, preparation + SURVEY_SCRIPT)
        if code != 0:  # too many processes, say: what it did not see is not what is not there
            raise SandboxUnavailable("The sandbox cannot run commands; generate again.")
        return parse_survey(output)

    @asynccontextmanager
    async def _way_out(self) -> AsyncIterator[dict[str, str]]:
        """Let the sandbox reach the registries; yields the variables that show the way."""
        if self._runtime.has_network:
            yield {}
            return
        environment = await self._runtime.environment()
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
        task: RunningTask,
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
                code = await _run(task, output)
        except TimeoutError as error:
            raise failure(
                f"`{label}` did not finish within {seconds:g} s; {advice}.",
                output=output.last_lines,
            ) from error
        if code != 0:
            await self._runtime.check_running(was_killed=code == KILLED)
            limit = exhausted_limit(code, output.recent_lines, self._settings)
            raise failure(
                _joined(f"`{label}` failed with exit code {code}.", limit, "Its last lines:"),
                output=output.last_lines,
            )

    async def _is_serving(self) -> bool:
        is_followed = self._dev_server is not None and self._dev_server.is_serving
        return is_followed or await is_answering(self._door)

    async def _end_dev_server(self) -> None:
        await self._forget_dev_server()
        await self._runtime.end_all()

    async def _forget_dev_server(self) -> None:
        server, self._dev_server = self._dev_server, None
        if server is not None:
            await server.close()

    async def _await_answer(self, server: DevServer) -> None:
        seconds = self._settings.server_seconds
        try:
            async with asyncio.timeout(seconds):
                status = await server.wait_until_serving(self._door)
        except TimeoutError as error:
            raise ServerFailed(
                _joined(
                    f"The dev server did not answer within {seconds:g} s; it must listen on the "
                    "address in HOST and the port in PORT.",
                    self.server_report().limit,
                    "Its last lines:",
                ),
                output=server.last_lines,
            ) from error
        if status is not None:
            if status >= SERVER_ERROR:
                raise ServerFailed(
                    f"The app answers with status {status}; its last lines say why:",
                    output=server.last_lines,
                )
            return
        await self._runtime.check_running(was_killed=server.exit_code == KILLED)
        raise ServerFailed(
            _joined(
                f"The dev server ended before it answered{_with(server.exit_code)}.",
                self.server_report().limit,
                "Its last lines:",
            ),
            output=server.last_lines,
        )

    def _log_progress(self, line: str) -> None:
        self._log.add("progress", line)


def _joined(*sentences: str) -> str:
    return " ".join(sentence for sentence in sentences if sentence)


def _with(exit_code: int | None) -> str:
    return "" if exit_code is None else f", with exit code {exit_code}"


async def _run(task: RunningTask, output: CommandOutput) -> int:
    """Run a command to its end, feeding its output, and return its exit code."""
    try:
        await task.start()
        while (part := await task.read()) is not None:
            output.feed(*part)
        return await task.exit_code()
    finally:
        await task.close()
        output.finish()
