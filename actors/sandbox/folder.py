"""One folder of a sandbox that has the project's files: they are written, installed, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from actors.errors import BuildFailed, SandboxError
from actors.sandbox.archive import check_paths, files_archive
from actors.sandbox.cache import open_cache
from actors.sandbox.command import Command, run_to_end
from actors.sandbox.installer import QUIET, Installer, survey
from actors.sandbox.layout import Place
from actors.sandbox.manifest import Survey, command_label
from actors.sandbox.output import OutputLog
from actors.sandbox.recipe import Recipe
from actors.sandbox.runtime import RunningTask, Runtime
from actors.settings import Settings

PATHS_PER_CALL = 400  # of at most 255 characters; a command line holds 2 MiB


class Folder:
    """Commands run in it to their end; cancelling, the deadline and our own death all kill them."""

    def __init__(
        self, project_id: str, place: Place, settings: Settings, runtime: Runtime, log: OutputLog
    ) -> None:
        self._place = place
        self._settings = settings
        self._runtime = runtime
        self._log = log
        self._installer = Installer(
            project_id, place, settings, runtime, log, open_cache(settings), self.prepared
        )
        self._recipe: Recipe | None = None

    def take_recipe(self) -> Recipe | None:
        """Return, once, the recipe of which the last install could be prepared for others."""
        recipe, self._recipe = self._recipe, None
        return recipe

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
            code, output = await self._runtime.run_short(
                self._place.directory, 'rm -f -- "$@" 2>&1', *self._place.told, *batch
            )
            if code != 0:
                reason = output.decode(errors="replace").strip()[:300]
                raise SandboxError(f"Files of the sandbox cannot be deleted ({reason}).")

    async def install_dependencies(self, files: Mapping[str, str]) -> None:
        """Install what the project's package.json asks for; the output is logged live."""
        self._recipe = None
        self._recipe = await self._installer.install(files)

    def prepared(self, command: Sequence[str]) -> Sequence[str]:
        """Return the command that installs, with whatever must come before it."""
        return command

    async def run_check(self, script: str) -> None:
        """Run a script of package.json to its end; the output is logged live."""
        command = ("npm", "run", script)
        await run_to_end(
            self._runtime,
            self._log,
            self.task("check", command, QUIET),
            Command(
                label=command_label(command),
                seconds=self._settings.build_seconds,
                failure=BuildFailed,
                advice="it must end by itself; if it does, raise CODEGEN_BUILD_SECONDS",
                settings=self._settings,
            ),
        )

    async def survey(self, preparation: str = "") -> Survey:
        """Look what the files ask for, after a script of ours has run there."""
        return await survey(self._runtime, self._place, preparation)

    def task(
        self, mark: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> RunningTask:
        """Return a command that is yet to be started in the folder."""
        return self._runtime.task(self._place.directory, mark, command, environment)
