"""Preparing installs for other projects: in the background, in a sandbox that no project has.

A project's own `node_modules` is not to be shared: its code ran beside it. So a sandbox is made
that holds a recipe and nothing else; what it installs is packed and kept, and the sandbox is
removed. There is one at a time in a service, by a lock on a file; who does not get it leaves it at
that. Its id is none that a project can have, so one whose maker was killed is found by whoever is
next, or removed as nobody's at the next start. It has a small part of a sandbox's processor time.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import replace

from actors.errors import InstallFailed, SandboxError, StateDirUnusable
from actors.sandbox.archive import files_archive
from actors.sandbox.cache import Cache, open_cache
from actors.sandbox.installer import Installer
from actors.sandbox.layout import APP
from actors.sandbox.manifest import MODULES
from actors.sandbox.output import OutputLog
from actors.sandbox.recipe import Recipe, are_self_contained
from actors.sandbox.runtime import Runtime
from actors.sandbox.templates import Templates
from actors.settings import Settings

log = logging.getLogger(__name__)

BUILDER_ID = ".builder"  # a project's id has no dot
CPU_SHARE = 0.25  # of what a project's sandbox may take

#: Prints the names of the installed packages that have install scripts.
_PACKAGES_WITH_SCRIPTS = r"""
node -e '
const packages = JSON.parse(fs.readFileSync("node_modules/.package-lock.json")).packages;
for (const [path, package] of Object.entries(packages))
  if (package.hasInstallScript) console.log(package.name || path.split("node_modules/").pop());'
"""

#: Makes the runtime of a sandbox with this id.
MakeRuntime = Callable[[str, Settings], Runtime]


class Builder:
    """Prepares one install at a time, for as long as its owner lives."""

    def __init__(self, settings: Settings, make_runtime: MakeRuntime) -> None:
        self._settings = replace(settings, sandbox_cpus=settings.sandbox_cpus * CPU_SHARE)
        self._make_runtime = make_runtime
        self._cache = open_cache(settings)
        self._task: asyncio.Task[None] | None = None

    def begin(self, recipe: Recipe) -> None:
        """Prepare an install, unless one is being prepared; never waits for it, never raises."""
        if self._cache is not None and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._prepare(self._cache, recipe), name="builder")

    async def close(self) -> None:
        """Give up what is being prepared; its sandbox is gone then."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _prepare(self, cache: Cache, recipe: Recipe) -> None:
        try:
            with _lock(cache) as is_ours:
                if is_ours:
                    await self._prepare_alone(cache, recipe)
        except (SandboxError, OSError, StateDirUnusable) as error:
            log.warning("an install could not be prepared: %s", error)
        except Exception:
            log.exception("an install could not be prepared")

    async def _prepare_alone(self, cache: Cache, recipe: Recipe) -> None:
        runtime = self._make_runtime(BUILDER_ID, self._settings)
        try:
            await runtime.remove()  # one whose maker was killed
            try:
                await _obtain(runtime)
                await self._build(runtime, Templates(cache), recipe)
            finally:
                await runtime.remove()
        finally:
            await runtime.close()
        await asyncio.to_thread(cache.prune)

    async def _build(self, runtime: Runtime, templates: Templates, recipe: Recipe) -> None:
        key = recipe.key(await runtime.platform())
        if templates.is_settled(key):
            return
        is_kept = False
        try:
            await runtime.unpack(files_archive(APP, recipe.files))
            quiet = OutputLog(lambda stream, line: None)
            installer = Installer(BUILDER_ID, APP, self._settings, runtime, quiet, self._cache)
            await installer.install_alone()
            code, names = await runtime.run_short(APP.directory, _PACKAGES_WITH_SCRIPTS)
            if code == 0 and are_self_contained(names.decode(errors="replace")):
                is_kept = await templates.keep(key, runtime.pack(f"{APP.directory}/{MODULES}"))
        except InstallFailed as error:
            log.info("an install cannot be prepared: %s", error)
        if not is_kept:
            templates.refuse(key)


async def _obtain(runtime: Runtime) -> None:
    """Obtain the sandbox; cancelled, wait for it still: what is half made cannot be removed."""
    obtaining = asyncio.create_task(runtime.obtain(), name="builder's sandbox")
    try:
        await asyncio.shield(obtaining)
    except asyncio.CancelledError:
        await asyncio.wait([obtaining])
        obtaining.exception()  # of no interest any more, but must be seen
        raise


@contextlib.contextmanager
def _lock(cache: Cache) -> Iterator[bool]:
    """Hold the lock on what prepares installs, if nobody else does; says which."""
    handle = os.open(cache.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)
