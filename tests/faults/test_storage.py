"""PostgreSQL killed, stopped, full: the project waits, everybody is told, nothing is skipped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import aiohttp
import psutil

from tests.support.openrouter import ScriptedOpenRouter
from tests.support.service import Service, ServiceFactory, Viewer

FILES = {f"{name}.txt": f"first {name}\nlast {name}\n" for name in ("a", "b", "c", "d", "e")}


def postgres_of(service: Service) -> list[psutil.Process]:
    """The embedded server and its children, the server first."""
    data = service.state_dir / "postgres" / "data"
    server = psutil.Process(int((data / "postmaster.pid").read_text().split("\n")[0]))
    return [server, *server.children()]


def backend_of(service: Service, project_actor: int) -> psutil.Process:
    raise NotImplementedError


def send(number: signal.Signals, processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


async def call(service: Service, method: str, path: str, **body: Any) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, service.url + path, json=body or None) as answer,
    ):
        text = await answer.text()
        import json
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text


async def test_explore(services: ServiceFactory, openrouter: ScriptedOpenRouter) -> None:
    import time
    service = await services.start(**openrouter.environment)
    openrouter.add_phase("Base", FILES, last=True)
    gates = {name: openrouter.hold(f"first {name}") for name in "abcde"}
    viewer = Viewer(service, "p1")
    t0 = time.monotonic()
    def say(*a):
        print(f"{time.monotonic()-t0:6.2f}", *a, flush=True)
    async with viewer.connected():
        await viewer.send({"type": "generate", "description": "an app"})
        await gates["a"].reached.happened()
        await viewer.expect("file_start")
        say("kill postmaster")
        postgres_of(service)[0].kill()
        gates["a"].release()
        await viewer.expect("file_end")
        say("on", viewer.types()[-6:])
        await gates["b"].reached.happened()
        backends = [p for p in postgres_of(service)[1:] if "postgres: postgres postgres" in " ".join(p.cmdline())]
        say(backends)
        backends[0].kill()
        gates["b"].release()
        await viewer.expect("file_end")
        say("on", viewer.types()[-6:])
        await gates["c"].reached.happened()
        stopped = postgres_of(service)
        say("stop all")
        send(signal.SIGSTOP, stopped)
        gates["c"].release()
        await viewer.expect("storage_unavailable")
        say(viewer.frames[-1])
        async def timed(*a, **k):
            t = time.monotonic()
            r = await call(*a, **k)
            say(a[1:], r[0], str(r[1])[:150], f"{time.monotonic()-t:.2f}")
        paths = ["/healthz", "/readyz", "/api/status", "/api/projects", "/api/projects/p1", "/api/projects/p1/files", "/api/projects/p1/files/a.txt", "/api/projects/p1/archive", "/api/projects/p1/events", "/preview/p1/a.txt"]
        posts = [("POST","/api/projects"),("POST","/api/projects/p1/generate"),("POST","/api/projects/new/generate"),("POST","/api/projects/p1/cancel"),("DELETE","/api/projects/p1")]
        await asyncio.gather(*(timed(service, "GET", p) for p in paths), *(timed(service, m, p, description="x") for m, p in posts))
        await viewer.send({"type": "generate", "description": "no", "id": "no1"})
        await viewer.send({"type": "cancel", "id": "no2"})
        say(await viewer.expect("error"))
        say(await viewer.expect("error"))
        late = Viewer(service, "p1")
        other = Viewer(service, "other")
        async with late.connected(), other.connected():
            await other.send({"type": "generate", "description": "no", "id": "no3"})
            await late.send({"type": "cancel", "id": "no2"})
            say("late", await late.expect("storage_unavailable"))
            say("late", await late.expect("error"))
            say("other", await other.expect("error"), other.types())
            say("cont")
            send(signal.SIGCONT, stopped)
            await viewer.expect("storage_restored")
            say("restored")
            await late.expect("storage_restored")
            await other.expect("storage_restored")
            say("late", late.types(), other.types())
        await viewer.expect("file_end")
        await gates["d"].reached.happened()
        stopped = postgres_of(service)
        say("stop all")
        send(signal.SIGSTOP, stopped)
        gates["d"].release()
        await viewer.expect("storage_unavailable")
        say(viewer.frames[-1])
        say("kill postmaster alone")
        stopped[0].kill()
        await viewer.expect("storage_restored")
        say("restored")
        await gates["e"].reached.happened()
        stopped = postgres_of(service)
        say("stop all")
        send(signal.SIGSTOP, stopped)
        gates["e"].release()
        await viewer.expect("storage_unavailable")
        say("stop service")
        await service.stop()
        say("stopped")
        await service.wait_until_gone()
        say(viewer.types())
    again = await services.start(service.state_dir, **openrouter.environment)
    viewer = Viewer(again, "p1")
    async with viewer.connected():
        await viewer.expect("generation_complete")
        say("complete")
    assert await again.stop() == 0
    print(again.log)
