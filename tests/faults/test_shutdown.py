"""The service is told to stop: in order with many actors, and at once when told twice."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import psutil

from tests.support.openrouter import Gate, ScriptedOpenRouter
from tests.support.service import Service, ServiceFactory, Viewer

ORPHANED_SECONDS = 10.0  # the contract: by then no process is left without its service
LIVE = 100
GENERATING = 10
SITE = {"index.html": "<h1>Hello</h1>\n", "app.js": "console.log(1);\n"}


async def wake(service: Service, count: int) -> None:
    """Have this many idle actors; a command that is refused wakes its project, too."""
    async with aiohttp.ClientSession() as session:

        async def wake_one(number: int) -> None:
            await session.post(f"{service.url}/api/projects", json={"id": f"idle{number}"})
            url = f"{service.url}/api/projects/idle{number}/cancel"
            async with session.post(url) as refused:
                assert refused.status == 409

        await asyncio.gather(*(wake_one(number) for number in range(count)))


async def status(service: Service) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session, session.get(f"{service.url}/api/status") as got:
        answer: dict[str, Any] = await got.json()
        return answer


async def generating(viewer: Viewer, model: ScriptedOpenRouter) -> Gate:
    """Hold a run in the middle of its second file."""
    gate = model.hold("console", project=f"an app for {viewer.project_id}.")
    await viewer.send({"type": "generate", "description": f"an app for {viewer.project_id}."})
    await viewer.until(lambda f: f["type"] == "file_start" and f["data"]["path"] == "app.js")
    return gate


async def test_a_hundred_actors_are_saved_within_the_deadline_and_their_runs_go_on(
    services: ServiceFactory, openrouter: ScriptedOpenRouter
) -> None:
    openrouter.add_phase("Base", SITE, last=True)
    service = await services.start(**openrouter.environment)
    gates = []
    async with AsyncExitStack() as stack:
        for number in range(GENERATING):
            viewer = Viewer(service, f"p{number}")
            await stack.enter_async_context(viewer.connected())
            gates.append(await generating(viewer, openrouter))
        await wake(service, LIVE - GENERATING)
        assert (await status(service))["liveActors"] == LIVE
        assert await service.stop() == 0
    assert f"stopped: {LIVE} projects saved, 0 abandoned" in service.log
    await service.wait_until_gone()
    for gate in gates:
        gate.release()
    again = await services.start(service.state_dir, **openrouter.environment)
    async with AsyncExitStack() as stack:
        for number in range(GENERATING):
            viewer = Viewer(again, f"p{number}")
            await stack.enter_async_context(viewer.connected(since=1))
            await viewer.expect("generation_complete")
    assert len(openrouter.received("plan")) == GENERATING


async def test_a_second_signal_ends_at_once_and_loses_nothing_that_was_finished(
    services: ServiceFactory, openrouter: ScriptedOpenRouter
) -> None:
    openrouter.add_phase("Base", SITE, last=True)
    service = await services.start(**openrouter.environment)
    viewer = Viewer(service, "p1")
    async with viewer.connected():
        gate = await generating(viewer, openrouter)
        actor = psutil.Process((await status(service))["pids"]["p1"])
        actor.suspend()  # so that the graceful stop has to wait for it
        os.kill(service.pid, signal.SIGTERM)
        await service.logs("gateway.service: stopping")
        os.kill(service.pid, signal.SIGTERM)
        assert await service.exit_status() == 130
        await service.wait_until_gone(ORPHANED_SECONDS)
    gate.release()
    again = await services.start(service.state_dir, **openrouter.environment)
    viewer = Viewer(again, "p1")
    async with viewer.connected(since=1):
        await viewer.expect("generation_complete")
    assert len(openrouter.received("plan")) == 1
    assert openrouter.received("implement")[-1].brief.paths_to_write == ("app.js",)
