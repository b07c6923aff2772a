"""One folder of a sandbox that has the project's files: they are written, installed, checked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from actors.errors import BuildFailed, InstallFailed, SandboxError, SandboxUnavailable
from actors.registries import read_registries, upstream_proxy, with_configured
from actors.sandbox.archive import check_paths, files_archive
from actors.sandbox.egress import PROXIED, egress
from actors.sandbox.layout import Place
from actors.sandbox.manifest import (
    SURVEY_SCRIPT,
    Survey,
    command_label,
    install_command,
    parse_survey,
)
from actors.sandbox.output import CommandOutput, OutputLog
from actors.sandbox.runtime import RunningTask, Runtime
from actors.settings import Settings

PATHS_PER_CALL = 400  # of at most 255 characters; a command line holds 2 MiB
KILLED = 137  # 128 + SIGKILL

QUIET = {
    "NO_COLOR": "1",
    "NPM_CONFIG_AUDIT": "false",
    "NPM_CONFIG_FUND": "false",
    "NPM_CONFIG_UPDATE_NOTIFIER": "false",
}


class Folder:
    """Commands run in it to their end; cancelling, the deadline and our own death all kill them."""

    def __init__(
        self, place: Place, runtime: Runtime, settings: Settings, doors: Path, log: OutputLog
    ) -> None:
        """`doors` is the directory of the project's doors: installs are let out by one."""
        self._place = place
        self._runtime = runtime
        self._settings = settings
        self._doors = doors
        self._log = log

    async def write_files(self, files: Mapping[str, str], note: str = "") -> None:
        """Write files as one archive; an unsafe path is refused before any is written.

        A directory or a link that stands where a file belongs is replaced.
        """
        await self._runtime.unpack(files_archive(self._place, files, note))

    async def delete_files(self, paths: Sequence[str]) -> None:
        """Delete files; one that does not exist is no error."""
        check_paths(paths)
        for first in range(0, len(paths), PATHS_PER_CALL):
            batch = paths[first : first + PATHS_PER_CALL]
            code, output = await self._run_short('rm -f -- "$@" 2>&1', self._place.note, *batch)
            if code != 0:
                reason = output.decode(errors="replace").strip()[:300]
                raise SandboxError(f"Files of the sandbox cannot be deleted ({reason}).")

    async def install_dependencies(self) -> None:
        """Install what package.json asks for; the output is logged live."""
        command = install_command(await self.survey(f"rm -f {self._place.note}\n"))
        if command is not None:
            async with self._way_out() as environment:
                await self._run_to_end(
                    self.task("install", self.prepared(command), QUIET | environment),
                    command_label(command),
                    self._settings.install_seconds,
                    InstallFailed,
                    "ask for fewer dependencies or raise CODEGEN_INSTALL_SECONDS",
                )

    def prepared(self, command: Sequence[str]) -> Sequence[str]:
        """Return the command that installs, with whatever must come before it."""
        return command

    async def run_check(self, script: str) -> None:
        """Run a script of package.json to its end; the output is logged live."""
        command = ("npm", "run", script)
        await self._run_to_end(
            self.task("check", command, QUIET),
            command_label(command),
            self._settings.build_seconds,
            BuildFailed,
            "it must end by itself; if it does, raise CODEGEN_BUILD_SECONDS",
        )

    async def survey(self, preparation: str = "") -> Survey:
        """Look what the files ask for, after a script has prepared it."""
        code, output = await self._run_short(preparation + SURVEY_SCRIPT)
        if code != 0:  # too many processes, say: what it did not see is not what is not there
            raise SandboxUnavailable("The sandbox cannot run commands; generate again.")
        return parse_survey(output)

    def task(
        self, mark: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> RunningTask:
        """Return a command that is yet to be started in the folder."""
        return self._runtime.task(self._place.directory, mark, command, environment)

    async def _run_short(self, script: str, *arguments: str) -> tuple[int, bytes]:
        return await self._runtime.run_short(self._place.directory, script, *arguments)

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
        self._log.add("progress", f"$ {label}")
        try:
            async with asyncio.timeout(seconds):
                code = await _run(task, output)
        except TimeoutError as error:
            raise failure(
                f"`{label}` did not finish within {seconds:g} s; {advice}.",
                output=output.last_lines,
            ) from error
        if code != 0:
            was_killed = code == KILLED
            await self._runtime.check_running(was_killed=was_killed)
            raise failure(
                f"`{label}` failed with exit code {code}{self._memory_hint(code)}; "
                "its last lines say why:",
                output=output.last_lines,
                was_killed=was_killed,
            )

    def _memory_hint(self, code: int) -> str:
        limit = self._settings.sandbox_memory_mib
        return f" (killed; the memory limit is {limit} MiB)" if code == KILLED else ""


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
