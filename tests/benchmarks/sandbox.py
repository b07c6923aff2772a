"""sandbox: how long a person waits for an app, in a container of our own engine and in bubblewrap.

A Vite app is brought up as a run does it, through the same `Deployment`, until its dev server has
answered. The packages come from the registry, so *cold* depends on the network, too. *Wake* is what
a visitor of a sleeping project waits for: another life of its actor, the same container
or folder.
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
from actors.sandbox.base import Sandbox, SandboxKind
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
    with _engine(), tempfile.TemporaryDirectory(prefix="codegen-bench-") as directory:
        return [
            *await _measure("docker", Settings.read(os.environ, state_dir=directory), options),
            *await _measure("bubblewrap", Settings.read({}, state_dir=directory), options),
        ]


async def _measure(kind: SandboxKind, settings: Settings, options: Options) -> list[Figure]:
    deployment = _deployment(kind, "first", settings)
    cold = await _seconds(deployment, APP)
    changed = await _seconds(deployment, APP | {"main.js": "// other\n"})
    await deployment.stop()
    later = _deployment(kind, "first", settings)
    woken = await _seconds(later, APP | {"main.js": "// other\n"})
    others = [_deployment(kind, f"other-{n}", settings) for n in range(options.sandboxes)]
    began = time.perf_counter()
    await asyncio.gather(*(_seconds(other, APP) for other in others))
    together = time.perf_counter() - began
    for used in (later, *others):
        await used.remove()
    at_once = f"{kind}: {options.sandboxes} at once, until the last one answers"
    return [
        Figure("sandbox", f"{kind}: create, install and serve, cold", cold, "s"),
        Figure("sandbox", f"{kind}: write a changed file", changed * 1000, "ms"),
        Figure("sandbox", f"{kind}: wake: start and serve again", woken, "s"),
        Figure("sandbox", at_once, together, "s"),
    ]


@contextmanager
def _engine() -> Iterator[None]:
    """Have an engine, and the variables that put sandboxes there."""
    with running_engine() as engine:
        os.environ.update(engine.environment)  # DOCKER_HOST among them, which aiodocker reads
        try:
            yield
        finally:
            for name in engine.environment:
                del os.environ[name]


def _deployment(kind: SandboxKind, project_id: str, settings: Settings) -> Deployment:
    def make() -> Sandbox:
        return make_sandbox(kind, project_id, settings, lambda stream, line: None, "")

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
