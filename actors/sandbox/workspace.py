"""A sandbox that runs commands: files, installs, checks and a dev server, over any `Runtime`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from actors.errors import SandboxError, ServerFailed
from actors.sandbox.archive import home_archive
from actors.sandbox.base import SandboxStatus, ServerReport, StartedSandbox
from actors.sandbox.builder import Builder
from actors.sandbox.command import KILLED
from actors.sandbox.dev_server import SERVER_ERROR, DevServer, is_answering, is_well
from actors.sandbox.doors import PROBE_DOOR, Door, app_url, door_directory
from actors.sandbox.draft import Draft
from actors.sandbox.exhaustion import exhausted_limit
from actors.sandbox.folder import Folder
from actors.sandbox.installer import QUIET
from actors.sandbox.layout import APP, DRAFT, STARTED_FILE, UNDO_FILE
from actors.sandbox.manifest import command_label, dev_command, reloads_files
from actors.sandbox.output import OutputLog
from actors.sandbox.relay import PORT
from actors.sandbox.runtime import Runtime
from actors.settings import Settings

log = logging.getLogger(__name__)

NO_NOTE = 1  # how `cat` says that there is no such file
UNFINISHED = 3
_READ = f'[ -s "$1" ] && exit {UNFINISHED}\n[ -f "$2" ] || exit {NO_NOTE}\nexec cat -- "$2"'
PROBE_SECONDS = 1.0
ASK_AGAIN_SECONDS = 2.0
ANSWER_SECONDS = 10.0  # for a dev server of which nothing but its answers can be known

_SERVING = {
    **QUIET,
    "HOST": "0.0.0.0",  # noqa: S104  # inside the sandbox
    "PORT": str(PORT),
    "BROWSER": "none",
}


class Workspace:
    """A project's sandbox, used by one object at a time; its calls follow one another."""

    def __init__(
        self,
        project_id: str,
        settings: Settings,
        runtime: Runtime,
        log: OutputLog,
        builder: Builder,
    ) -> None:
        self.reloads_files = True
        self._settings = settings
        self._runtime = runtime
        self._log = log
        self._url = app_url(project_id)
        self._door = Door(door_directory(project_id, settings), PROBE_DOOR)
        self._builder = builder
        self._dev_server: DevServer | None = None
        self._app = Folder(project_id, APP, settings, runtime, log)
        self.draft = Draft(project_id, DRAFT, settings, runtime, log)

    @property
    def kind(self) -> str:
        return self._runtime.kind

    async def start(self) -> StartedSandbox:
        """Create the sandbox, or adopt and start the one that exists.

        Cancelling leaves at most a sandbox that the next start adopts.
        """
        obtained = await self._runtime.obtain()
        note = "" if obtained.is_new else await self._read_note()
        return StartedSandbox(container_id=obtained.container_id, note=note)

    async def _read_note(self) -> str:
        """Read the app's note, once what a former life has left unfinished is undone."""
        for _ in range(2):
            code, note = await self._runtime.run_short(APP.directory, _READ, UNDO_FILE, APP.note)
            if code != UNFINISHED:
                break
            try:
                await self.draft.undo()
            except SandboxError as error:
                log.warning("what the app's folder holds is not known: %s", error)
                await self._app.write_files({})  # that voids what tells of it
        if code not in (0, NO_NOTE):  # the app has closed its own directory, say
            await self._runtime.unpack(home_archive())
        return note.decode(errors="replace") if code == 0 else ""

    async def write_files(self, files: Mapping[str, str], note: str = "") -> None:
        await self._app.write_files(files, note)

    async def delete_files(self, paths: Sequence[str]) -> None:
        await self._app.delete_files(paths)

    async def install_dependencies(self, files: Mapping[str, str]) -> None:
        await self._app.install_dependencies(files)

    async def run_check(self, script: str) -> None:
        await self.end_dev_server()
        await self._app.run_check(script)

    async def start_dev_server(self) -> str:
        """End the previous dev server, start this one, and return its URL once it has answered.

        Cancelling kills it; once it has answered it goes on without us, where the runtime can.
        """
        await self.end_dev_server()  # first: it may hold all processes there can be
        survey = await self._app.survey(f"touch {STARTED_FILE}\n")
        command = dev_command(survey)
        self.reloads_files = reloads_files(survey)
        self._log_progress(f"$ {command_label(command)}")
        task = self._app.task("dev-server", command, _SERVING)
        await task.start()
        server = self._dev_server = DevServer(task, self._log)
        try:
            await self._await_answer(server)
            await server.detach()
        except BaseException:
            await server.close()
            raise
        self._prepare_install()
        return self._url

    def _prepare_install(self) -> None:
        """Have the last install prepared for other projects, now that nobody waits for this one."""
        recipe = self.draft.take_recipe() or self._app.take_recipe()
        if recipe is not None:
            self._builder.begin(recipe)

    async def is_well(self, seconds: float) -> bool:
        """Say whether the app answers, with a status below 500, within so many seconds."""
        return await is_well(self._door, seconds)

    async def end_dev_server(self) -> None:
        """End the dev server and whatever else the app has started, of an earlier owner as well."""
        await self._forget_dev_server()
        await self._runtime.end_all()

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
        await self._builder.close()
        await self._runtime.stop()
        await self._forget_dev_server()

    async def remove(self) -> None:
        """Remove the sandbox and all it holds."""
        await self._builder.close()
        await self._runtime.remove()
        await self._forget_dev_server()

    async def close(self) -> None:
        """Close the connections; the sandbox and its dev server go on, where the runtime can."""
        await self._builder.close()
        await self._forget_dev_server()
        self._door.close()
        await self._runtime.close()

    async def _is_serving(self) -> bool:
        is_followed = self._dev_server is not None and self._dev_server.is_serving
        return is_followed or await self.is_answering(PROBE_SECONDS)

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
