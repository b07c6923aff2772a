"""sandbox: how long a person waits for an app in a container, with an engine of our own.

A Vite app is brought up as a run does it, through the same `Deployment`, until its dev server has
answered. The packages come from the registry, so *cold* depends on the network, too. *Wake* is what
a visitor of a sleeping project waits for: another life of its actor, the same container.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from actors.generation.deployment import Deployment
from actors.sandbox.base import Sandbox
from actors.sandbox.choose import make_sandbox
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


async def measure(options: Options) -> list[Figure]:
    with _settings() as settings:
        deployment = _deployment("first", settings)
        cold = await _seconds(deployment, APP)
        changed = await _seconds(deployment, APP | {"main.js": "// other\n"})
        await deployment.stop()
        later = _deployment("first", settings)
        woken = await _seconds(later, APP | {"main.js": "// other\n"})
        others = [_deployment(f"other-{n}", settings) for n in range(options.sandboxes)]
        began = time.perf_counter()
        await asyncio.gather(*(_seconds(other, APP) for other in others))
        together = time.perf_counter() - began
        for used in (later, *others):
            await used.remove()
    at_once = f"{options.sandboxes} at once, until the last one answers"
    return [
        Figure("sandbox", "create, install and serve, cold", cold, "s"),
        Figure("sandbox", "write a changed file", changed * 1000, "ms"),
        Figure("sandbox", "wake: start and serve again", woken, "s"),
        Figure("sandbox", at_once, together, "s"),
    ]


@contextmanager
def _settings() -> Iterator[Settings]:
    """Have an engine, and settings that put the sandboxes there."""
    with (
        running_engine() as engine,
        tempfile.TemporaryDirectory(prefix="codegen-bench-") as directory,
    ):
        os.environ.update(engine.environment)  # DOCKER_HOST among them, which aiodocker reads
        try:
            yield Settings.read(os.environ, state_dir=directory, sandbox="docker")
        finally:
            for name in engine.environment:
                del os.environ[name]


def _deployment(project_id: str, settings: Settings) -> Deployment:
    def make() -> Sandbox:
        return make_sandbox("docker", project_id, settings, lambda stream, line: None, "")

    return Deployment(make, "")


async def _seconds(deployment: Deployment, files: dict[str, str]) -> float:
    """Bring the sandbox up to these files and return how long that took."""
    began = time.perf_counter()
    await deployment.ready()
    await deployment.write(files)
    if deployment.needs_install(files):
        await deployment.install(files)
    if not deployment.is_serving:
        await deployment.serve()
    if not deployment.is_serving:
        raise BenchmarkFailed("the app does not answer")
    return time.perf_counter() - began
