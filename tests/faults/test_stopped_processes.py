"""Processes that stand still, or must all end at once: nobody else waits, nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import aiohttp
import psutil
import pytest

from tests.support.openrouter import ScriptedOpenRouter
from tests.support.service import WAIT_SECONDS, Service, ServiceFactory, Viewer

SITE = {"index.html": "<h1>Hello</h1>\n", "app.js": "console.log(1);\n"}
SHUTDOWN_SECONDS = "4"  # of which the gateway keeps a part for itself
COMMANDS_AT_ONCE = 25
ACTOR, NURSERY, SUPERVISOR = range(3)  # generations, as `hangs_for_good` counts them


async def call(service: Service, method: str, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
    """Return the status and the JSON of an answer."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, service.url + path, json=body or None) as answer,
    ):
        return answer.status, await answer.json()


async def process_of(service: Service, project_id: str) -> psutil.Process:
    _, status = await call(service, "GET", "/api/status")
    return psutil.Process(status["pids"][project_id])


async def generated(service: Service, project_id: str, model: ScriptedOpenRouter) -> None:
    """Bring a project to the end of a run, and so to an actor that is idle."""
    model.add_phase("Base", SITE, last=True)
    viewer = Viewer(service, project_id)
    async with viewer.connected():
        await viewer.send({"type": "generate", "description": "an app"})
        await viewer.expect("generation_complete")


@contextlib.contextmanager
def standing_still(process: psutil.Process) -> Iterator[None]:
    """Let the process do nothing meanwhile."""
    process.suspend()
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


async def shut_down(service: Service) -> int:
    """Run `codegen shutdown`, whose own setting is the deadline; returns its exit status."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "shutdown"),
        env={
            **os.environ,
            "CODEGEN_STATE_DIR": str(service.state_dir),
            "CODEGEN_SHUTDOWN_SECONDS": SHUTDOWN_SECONDS,
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(WAIT_SECONDS):
        return await process.wait()


async def test_an_actor_that_stands_still_holds_up_nobody_else(
    services: ServiceFactory, openrouter: ScriptedOpenRouter
) -> None:
    service = await services.start(**openrouter.environment)
    await generated(service, "p1", openrouter)
    with standing_still(await process_of(service, "p1")):
        cancels = [
            asyncio.create_task(call(service, "POST", "/api/projects/p1/cancel"))
            for _ in range(COMMANDS_AT_ONCE)
        ]
        viewer = Viewer(service, "p2")
        async with viewer.connected():
            await viewer.send({"type": "generate", "description": "another app"})
            await viewer.expect("generation_complete")
        status, answer = await call(service, "GET", "/api/status")
        assert status == 200
        assert answer["liveActors"] == 2
        assert not any(answer["restarts"].values())
        assert not any(cancel.done() for cancel in cancels)
    answers = await asyncio.gather(*cancels)
    assert {(status, answer["error"]["code"]) for status, answer in answers} == {
        (409, "nothing_running")
    }


async def hangs_for_good(service: Service, model: ScriptedOpenRouter, ancestor: int) -> None:
    """Stop the project's actor, or an ancestor of it, during a run; nobody lets it go on."""
    project_id = f"p{ancestor}"
    viewer = Viewer(service, project_id)
    async with viewer.connected():
        gate = model.hold("console", project=project_id)
        await viewer.send({"type": "generate", "description": f"an app for {project_id}"})
        await gate.reached.happened()
        actor = await process_of(service, project_id)
        victim = [actor, *actor.parents()][ancestor]
        victim.suspend()
        await asyncio.to_thread(victim.wait, WAIT_SECONDS)
        gate.release()
        await viewer.expect("run_resumed")
        await viewer.expect("generation_complete")
    assert len([r for r in model.received("plan") if project_id in r.prompt]) == 1
    assert await service.stop() == 0
    await service.wait_until_gone()


async def test_a_process_that_hangs_for_good_is_replaced_and_the_run_goes_on(
    services: ServiceFactory, openrouter: ScriptedOpenRouter
) -> None:
    openrouter.add_phase("Base", SITE, last=True)
    async with asyncio.TaskGroup() as group:  # each waits for the watchdog
        for ancestor in (ACTOR, NURSERY, SUPERVISOR):
            service = await services.start(**openrouter.environment)
            group.create_task(hangs_for_good(service, openrouter, ancestor))


@pytest.mark.parametrize("way", ["SIGTERM", "codegen shutdown"])
async def test_an_actor_that_stands_still_does_not_keep_the_service_from_ending(
    services: ServiceFactory, openrouter: ScriptedOpenRouter, way: str
) -> None:
    service = await services.start(
        CODEGEN_SHUTDOWN_SECONDS=SHUTDOWN_SECONDS, **openrouter.environment
    )
    await generated(service, "p1", openrouter)
    with standing_still(await process_of(service, "p1")):
        if way == "SIGTERM":
            os.kill(service.pid, signal.SIGTERM)
        else:
            assert await shut_down(service) == 0
        assert await service.exit_status() == 0
        await service.wait_until_gone()


async def test_a_sigterm_to_every_process_at_once_saves_everything(
    services: ServiceFactory, openrouter: ScriptedOpenRouter
) -> None:
    service = await services.start(**openrouter.environment)
    openrouter.add_phase("Base", SITE, last=True)
    gate = openrouter.hold("console")
    viewer = Viewer(service, "p1")
    async with viewer.connected():
        await viewer.send({"type": "generate", "description": "an app"})
        await viewer.until(lambda f: f["type"] == "file_start" and f["data"]["path"] == "app.js")
        for process in service.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        assert await service.exit_status() == 0
    await service.wait_until_gone()
    gate.release()
    last = max(frame.get("seq", 0) for frame in viewer.frames)
    again = await services.start(service.state_dir, **openrouter.environment)
    viewer = Viewer(again, "p1")
    async with viewer.connected(since=last):
        await viewer.expect("generation_complete")
    numbers = [f["seq"] for f in viewer.frames if f.get("seq", 0) > last]
    assert numbers == list(range(last + 1, last + 1 + len(numbers)))
    assert "run_resumed" in viewer.types()
    assert len(openrouter.received("plan")) == 1


async def test_an_idle_actor_hibernates_after_a_cancel_that_was_refused(
    services: ServiceFactory, openrouter: ScriptedOpenRouter
) -> None:
    service = await services.start(CODEGEN_IDLE_SECONDS="1", **openrouter.environment)
    openrouter.add_phase("Base", SITE, last=True)
    viewer = Viewer(service, "p1")
    async with viewer.connected():
        await viewer.send({"type": "generate", "description": "an app"})
        await viewer.expect("generation_complete")
        for _ in range(2):  # by the second one the actor has reported that it is idle
            status, answer = await call(service, "POST", "/api/projects/p1/cancel")
            assert (status, answer["error"]["code"]) == (409, "nothing_running")
        await viewer.expect("hibernated")
