"""Installing the dependencies of one sandbox: from a prepared install, or by its package manager.

A package manager is let out to the registries while it runs (`egress.py`); npm asks a registry of
ours (`mirror.py`) where that changes nothing but from where the packages come.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import BinaryIO

from actors.errors import InstallFailed, SandboxError, SandboxUnavailable, StateDirUnusable
from actors.registries import npm_registry, read_registries, upstream_proxy, with_configured
from actors.sandbox.cache import Cache
from actors.sandbox.command import Command, run_to_end
from actors.sandbox.doors import door_directory
from actors.sandbox.egress import PROXIED, egress
from actors.sandbox.layout import HOME_DIR, Place
from actors.sandbox.manifest import (
    MODULES,
    NPM_SETTINGS,
    SURVEY_SCRIPT,
    Survey,
    command_label,
    install_command,
    parse_survey,
)
from actors.sandbox.mirror import MIRRORED, Upstream, mirror
from actors.sandbox.output import OutputLog
from actors.sandbox.package_store import PackageStore
from actors.sandbox.recipe import Recipe, read_recipe
from actors.sandbox.runtime import Runtime
from actors.sandbox.templates import Templates
from actors.settings import Settings

log = logging.getLogger(__name__)

QUIET = {
    "NO_COLOR": "1",
    "NPM_CONFIG_AUDIT": "false",
    "NPM_CONFIG_FUND": "false",
    "NPM_CONFIG_UPDATE_NOTIFIER": "false",
}

#: A prepared install is unpacked beside the project, to appear there as a whole.
_STAGE = f"{HOME_DIR}/.codegen-template"
_CLEAR_STAGE = f"chmod -R u+rwx {_STAGE} 2>/dev/null; rm -rf {_STAGE} && mkdir {_STAGE}\n"
_MOVE_FROM_STAGE = f"mv {_STAGE}/{MODULES} {MODULES} && rm -rf {_STAGE}\n"


def plain(command: Sequence[str]) -> Sequence[str]:
    """Return a command as it is."""
    return command


class Installer:
    """Installs in one folder of a sandbox; its calls follow one another.

    `prepared` makes of a command that installs the one that is run.
    """

    def __init__(
        self,
        project_id: str,
        place: Place,
        settings: Settings,
        runtime: Runtime,
        log: OutputLog,
        cache: Cache | None,
        prepared: Callable[[Sequence[str]], Sequence[str]] = plain,
    ) -> None:
        self._place = place
        self._prepared = prepared
        self._settings = settings
        self._runtime = runtime
        self._log = log
        self._doors = door_directory(project_id, settings)
        self._cache = cache

    async def install(self, files: Mapping[str, str]) -> Recipe | None:
        """Install what the project's files ask for; the output is logged live.

        Returns the recipe that a prepared install could be made of, where none was there for it.
        """
        cache = self._ready_cache()
        recipe = read_recipe(files) if cache is not None else None
        if cache is None or recipe is None:
            await self._install_afresh(cache, await self._survey())
            return None
        key = recipe.key(await self._runtime.platform())
        templates = Templates(cache)
        with self._opened(templates, key) as template:
            if template is None:
                await self._install_afresh(cache, await self._survey())
                return recipe if self._is_wanted(templates, key) else None
            seen = await self._survey(_CLEAR_STAGE)
            if MODULES in seen.files or not await self._unpack(template, key):
                await self._install_afresh(cache, seen)
        return None

    async def install_alone(self) -> None:
        """Install what package.json asks for, whatever is prepared."""
        await self._install_afresh(self._ready_cache(), await self._survey())

    async def _install_afresh(self, cache: Cache | None, seen: Survey) -> None:
        command = install_command(seen)
        if command is None:
            return
        async with self._way_out(command, seen, cache) as environment:
            await run_to_end(
                self._runtime,
                self._log,
                self._runtime.task(
                    self._place.directory,
                    "install",
                    self._prepared(command),
                    QUIET | environment,
                ),
                Command(
                    label=command_label(command),
                    seconds=self._settings.install_seconds,
                    failure=InstallFailed,
                    advice="ask for fewer dependencies or raise CODEGEN_INSTALL_SECONDS",
                    settings=self._settings,
                ),
            )

    async def _survey(self, preparation: str = "") -> Survey:
        return await survey(
            self._runtime, self._place, f"rm -f {' '.join(self._place.told)}\n{preparation}"
        )

    def _ready_cache(self) -> Cache | None:
        """Return the cache; None where it cannot be used, or a sandbox fetches for itself."""
        if self._cache is None or self._runtime.has_network:
            return None
        try:
            self._cache.prepare()
        except (OSError, StateDirUnusable) as error:
            self._say(f"The package cache cannot be used ({error}).")
            return None
        return self._cache

    # --- prepared installs -----------------------------------------------------------------------

    @contextlib.contextmanager
    def _opened(self, templates: Templates, key: str) -> Iterator[BinaryIO | None]:
        with contextlib.ExitStack() as stack:
            template = None
            try:
                template = templates.open(key)
            except OSError as error:
                self._say(f"The prepared install cannot be used ({error.strerror}).")
            if template is not None:
                stack.callback(template.close)
            yield template

    def _is_wanted(self, templates: Templates, key: str) -> bool:
        try:
            return not templates.is_settled(key)
        except OSError:
            return False

    async def _unpack(self, template: BinaryIO, key: str) -> bool:
        """Unpack a prepared install; says whether it is there.

        Where that fails, it stays for other projects: this one may have seen to it.
        """
        began = time.perf_counter()
        try:
            await self._runtime.unpack_file(_STAGE, template)
            code, _ = await self._runtime.run_short(self._place.directory, _MOVE_FROM_STAGE)
            reason = f"exit code {code}" if code != 0 else ""
        except SandboxError as error:
            reason = str(error)
        if reason:
            log.warning("the prepared install %s could not be unpacked: %s", key, reason)
            return False
        seconds = time.perf_counter() - began
        self._say(f"Dependencies unpacked from a prepared install ({seconds:.1f} s)")
        return True

    # --- the ways to the registries --------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _way_out(
        self, command: tuple[str, ...], seen: Survey, cache: Cache | None
    ) -> AsyncIterator[dict[str, str]]:
        """Let the sandbox reach the registries; yields the variables that show the way."""
        if self._runtime.has_network:
            yield {}
            return
        environment = await self._runtime.environment()
        registries = with_configured(
            read_registries(self._settings.sandbox_registries), environment
        )
        proxy = upstream_proxy(environment)
        url = npm_registry(registries, environment)
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(egress(self._doors, registries, proxy, self._warn))
            is_plain = command[0] == "npm" and NPM_SETTINGS not in seen.files
            if cache is None or url is None or not is_plain:
                yield PROXIED
                return
            upstream = Upstream(url=url, registries=registries, proxy=proxy)
            store = PackageStore(cache, url)
            await stack.enter_async_context(mirror(self._doors, upstream, store, self._warn))
            yield PROXIED | MIRRORED

    def _warn(self, line: str) -> None:
        self._log.add("stderr", line)

    def _say(self, line: str) -> None:
        self._log.add("progress", line)


async def survey(runtime: Runtime, place: Place, preparation: str = "") -> Survey:
    """See what there is in a folder of project files, after a script of ours has run there."""
    code, output = await runtime.run_short(place.directory, preparation + SURVEY_SCRIPT)
    if code != 0:  # too many processes, say: what it did not see is not what is not there
        raise SandboxUnavailable("The sandbox cannot run commands; generate again.")
    return parse_survey(output)
