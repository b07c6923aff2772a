"""sandbox: how long a person waits for an app, in a container of our own engine and in bubblewrap.

A Vite app is brought up as a run does it, through the same `Deployment`, until its dev server has
answered. With an empty cache (*cold*) the packages come from the registry, so that the network
counts, too; with a *warm cache* they come from ours; a *prepared install* of the same manifest was
made in the background, and is unpacked. *Wake* is what a visitor of a sleeping project waits for:
another life of its actor, the same container or folder.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from actors.generation.deployment import Deployment
from actors.sandbox.base import Sandbox
from actors.sandbox.choose import chosen_kind, make_sandbox
from actors.settings import Settings
from tests.benchmarks.failure import BenchmarkFailed
from tests.benchmarks.figures import Figure
from tests.benchmarks.options import Options
from tests.support.docker import running_engine

PACKAGE = {
    "name": "app",
    "private": True,
    "type": "module",
    "scripts": {"dev": "vite"},
    "devDependencies": {"vite": "^7.0.0"},
}
APP = {
    "package.json": json.dumps(PACKAGE),
    "index.html": '<!doctype html><script type="module" src="/main.js"></script>',
    "main.js": "document.body.textContent = 'here'\n",
}
#: Asks for the same packages, in words for which no install is prepared.
SIMILAR = APP | {"package.json": json.dumps(PACKAGE | {"devDependencies": {"vite": "^7.0"}})}
UNPACKED = "Dependencies unpacked from a prepared install"
PREPARED_SECONDS = 120.0
POLL_SECONDS = 0.1


async def measure(options: Options) -> list[Figure]:
    figures: list[Figure] = []
    for kind in options.sandbox_kinds:
        with (
            _engine_for(kind) as environment,
            tempfile.TemporaryDirectory(prefix="codegen-bench-") as directory,
        ):
            settings = Settings.read(environment, state_dir=directory, sandbox=kind)
            figures += await _measure(settings, options)
    return figures


async def _measure(settings: Settings, options: Options) -> list[Figure]:
    first = _Home("first", settings)
    cold = await first.bring_up(APP)
    changed = await first.bring_up(APP | {"main.js": "// other\n"})
    prepared = await _until_prepared(settings)
    await first.stop()
    woken = await first.bring_up(APP | {"main.js": "// other\n"})
    similar = _Home("similar", settings)
    warm = await similar.bring_up(SIMILAR)
    await similar.stop()  # else its install would be prepared beside what follows
    others = [_Home(f"other-{n}", settings) for n in range(options.sandboxes + 1)]
    alone = await others[0].bring_up(APP)
    together = await _together(others[1:])
    unpacking = [other.unpacking_seconds() for other in others]
    cacheless = replace(settings, cache_mib=0)
    loners = [_Home(f"loner-{n}", cacheless) for n in range(options.cacheless_sandboxes)]
    apart = {_at_once(loners, "without a cache"): await _together(loners)} if loners else {}
    for used in (first, similar, *others, *loners):
        await used.remove()
    seconds = {
        "create, install and serve, cold": cold,
        "create, install and serve, warm cache": warm,
        "create, unpack and serve, prepared install": alone,
        "install of these: cold": first.install_seconds,
        "install of these: warm cache": similar.install_seconds,
        "install of these: prepared": others[0].install_seconds,
        "the longest unpacking of all": max(unpacking),
        "prepare an install in the background": prepared,
        "try a changed file and show it": changed,
        "wake: start and serve again": woken,
        _at_once(others[1:], "prepared install"): together,
        **apart,
    }
    kind = settings.sandbox
    return [Figure("sandbox", f"{kind}: {name}", value, "s") for name, value in seconds.items()]


def _at_once(homes: Sequence[_Home], how: str) -> str:
    return f"{len(homes)} at once, until the last one answers, {how}"


async def _together(homes: Sequence[_Home]) -> float:
    began = time.perf_counter()
    await asyncio.gather(*(home.bring_up(APP) for home in homes))
    return time.perf_counter() - began


async def _until_prepared(settings: Settings) -> float:
    """Wait until an install is prepared; return how long that took."""
    began = time.perf_counter()
    async with asyncio.timeout(PREPARED_SECONDS):
        while not any(settings.path("cache", "templates").glob("*.tar")):  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)
    return time.perf_counter() - began


@contextmanager
def _engine_for(kind: str) -> Iterator[Mapping[str, str]]:
    """Have an engine where this kind needs one, and the variables that put sandboxes there."""
    if kind != "docker":
        yield {}
        return
    with running_engine() as engine:
        os.environ.update(engine.environment)  # DOCKER_HOST among them, which aiodocker reads
        try:
            yield engine.environment
        finally:
            for name in engine.environment:
                del os.environ[name]


class _Home:
    """A project with its sandbox; each `stop` ends a life of its actor."""

    def __init__(self, project_id: str, settings: Settings) -> None:
        self._project_id = project_id
        self._settings = settings
        self._lines: list[str] = []
        self._deployment = self._deploy()
        self.install_seconds = 0.0

    def _deploy(self) -> Deployment:
        def make() -> Sandbox:
            kind = chosen_kind(self._settings)
            return make_sandbox(kind, self._project_id, self._settings, self._note, "")

        return Deployment(make, "")

    def _note(self, _: str, line: str) -> None:
        self._lines.append(line)

    async def bring_up(self, files: dict[str, str]) -> float:
        """Bring the sandbox up to these files and return how long that took."""
        began = time.perf_counter()
        await self._deployment.ready()
        await self._deployment.write(files)
        if self._deployment.needs_install(files):
            install_began = time.perf_counter()
            await self._deployment.install(files)
            self.install_seconds = time.perf_counter() - install_began
        await self._deployment.serve()
        if not self._deployment.is_serving:
            raise BenchmarkFailed("the app does not answer")
        return time.perf_counter() - began

    def unpacking_seconds(self) -> float:
        """Return how long its install took, which must have been a prepared one."""
        if not any(line.startswith(UNPACKED) for line in self._lines):
            raise BenchmarkFailed("the install was not a prepared one")
        return self.install_seconds

    async def stop(self) -> None:
        await self._deployment.stop()
        self._deployment = self._deploy()

    async def remove(self) -> None:
        await self._deployment.remove()
