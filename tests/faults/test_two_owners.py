"""Two services on one database, by mistake: one owner per project, the stale one writes nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import psutil

from actors.database import connect
from tests.support.openrouter import Gate, ScriptedOpenRouter
from tests.support.service import WAIT_SECONDS, Service, ServiceFactory, Viewer

SITE = {"index.html": "<h1>Hello</h1>\n", "app.js": "console.log(1);\n"}


async def get(service: Service, path: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(service.url + path) as answer:
        assert answer.status == 200
        return await answer.json()


async def actor_of(service: Service, project_id: str) -> psutil.Process:
    return psutil.Process((await get(service, "/api/status"))["pids"][project_id])


async def journal(database_url: str) -> list[tuple[int, str, str]]:
    connection = await connect(database_url)
    try:
        rows = await connection.fetch("SELECT seq, type, data FROM events ORDER BY seq")
        return [tuple(row) for row in rows]
    finally:
        await connection.close()


async def in_the_second_file(
    services: ServiceFactory, openrouter: ScriptedOpenRouter, database_url: str
) -> tuple[Service, Gate]:
    """Start a service, and have its project p1 held in the middle of its second file."""
    openrouter.add_phase("Base", SITE, last=True)
    openrouter.add_phase("More", {"more.html": "x\n"}, last=True)
    gate = openrouter.hold("console")
    service = await services.start(DATABASE_URL=database_url, **openrouter.environment)
    viewer = Viewer(service, "p1")
    async with viewer.connected():
        await viewer.send({"type": "generate", "description": "an app"})
        await viewer.until(lambda f: f["type"] == "file_start" and f["data"]["path"] == "app.js")
    return service, gate


async def finished(service: Service, openrouter: ScriptedOpenRouter) -> None:
    """See the run of p1 to its end; every file is there, and only the open one was asked for."""
    viewer = Viewer(service, "p1")
    async with viewer.connected(since=0):
        await viewer.expect("run_resumed")
        await viewer.expect("generation_complete")
    files = (await get(service, "/api/projects/p1/files"))["files"]
    assert {file["path"]: file["size"] for file in files} == {k: len(v) for k, v in SITE.items()}
    assert len(openrouter.received("plan")) == 1
    assert openrouter.received("implement")[-1].brief.paths_to_write == ("app.js",)


async def test_the_actor_of_a_second_service_takes_over_and_the_first_one_ends(
    services: ServiceFactory, openrouter: ScriptedOpenRouter, database_url: str
) -> None:
    first, gate = await in_the_second_file(services, openrouter, database_url)
    stale = await actor_of(first, "p1")
    second = await services.start(DATABASE_URL=database_url, **openrouter.environment)
    await finished(second, openrouter)
    seen = await journal(database_url)
    # It learns of its successor when it writes: here, at the command.
    viewer = Viewer(first, "p1")
    async with viewer.connected():
        await viewer.send({"type": "generate", "description": "more", "id": "once"})
        await viewer.expect("accepted", id="once")
        await viewer.expect("generation_complete")
    await asyncio.to_thread(stale.wait, WAIT_SECONDS)
    gate.release()
    after = await journal(database_url)
    assert after[: len(seen)] == seen
    assert [type_ for _, type_, _ in after].count("run_started") == 2


async def test_an_actor_that_wakes_after_its_successor_started_writes_nothing_and_ends(
    services: ServiceFactory, openrouter: ScriptedOpenRouter, database_url: str
) -> None:
    first, gate = await in_the_second_file(services, openrouter, database_url)
    stale = await actor_of(first, "p1")
    stale.suspend()
    second = await services.start(DATABASE_URL=database_url, **openrouter.environment)
    await finished(second, openrouter)
    seen = await journal(database_url)
    stale.resume()
    gate.release()
    await asyncio.to_thread(stale.wait, WAIT_SECONDS)
    assert await journal(database_url) == seen
    assert (await get(first, "/api/status"))["liveActors"] == 0
    assert await first.stop() == 0
    assert await journal(database_url) == seen
