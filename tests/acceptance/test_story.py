"""What a browser sees, from the first wish to a restart, through a real service and socket."""

from __future__ import annotations

import asyncio

import aiohttp

from tests.support.browsing import browsing
from tests.support.openrouter import ScriptedOpenRouter
from tests.support.service import WAIT_SECONDS, Service, ServiceFactory, Viewer

SITE = {"index.html": "<!doctype html><h1>Hello</h1>\n", "app.js": "console.log(1);\n"}


async def live_actors(service: Service) -> int:
    url = f"{service.url}/api/status"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return int((await response.json())["liveActors"])


async def test_a_static_site_is_built_shown_left_revived_and_found_after_a_restart(
    services: ServiceFactory, openrouter: ScriptedOpenRouter
) -> None:
    openrouter.add_phase("Base", SITE)
    openrouter.add_phase("Style", {"style.css": "h1 { color: red }\n"}, last=True)
    openrouter.add_phase("Follow-up", {"about.html": "<h1>About</h1>\n"}, last=True)
    settings = {**openrouter.environment, "CODEGEN_IDLE_SECONDS": "0.3"}
    service = await services.start(**settings)
    viewer = Viewer(service, "shop")
    async with viewer.connected():
        first = await viewer.expect("state_change")
        assert first["data"] == {"state": "idle"}
        await viewer.expect("snapshot")
        await viewer.send({"type": "generate", "description": "a shop", "id": "g1"})
        accepted = await viewer.expect("accepted")
        assert accepted["data"]["id"] == "g1"
        started = await viewer.expect("server_started")
        await viewer.expect("generation_complete")
        async with browsing() as session, session.get(started["data"]["url"]) as page:
            assert (await page.text()) == SITE["index.html"]
        await viewer.expect("hibernated")
        async with asyncio.timeout(WAIT_SECONDS):
            while await live_actors(service):  # its process is just ending
                pass
        async with Viewer(service, "shop").connected() as late:
            await late.expect("snapshot")
            assert await live_actors(service) == 0  # who only looks wakes nobody
        await viewer.send({"type": "generate", "description": "an about page"})
        complete = await viewer.expect("generation_complete")
        assert complete["data"]["files"] == ["about.html", "app.js", "index.html", "style.css"]
        seqs = [f["seq"] for f in viewer.frames if f["type"] not in ("accepted", "snapshot")]
        assert seqs == sorted(set(seqs))
        last = viewer.frames[-1]["seq"]
    assert await service.stop() == 0
    await service.wait_until_gone()

    service = await services.start(service.state_dir, **settings)
    viewer = Viewer(service, "shop")
    async with viewer.connected():
        snapshot = await viewer.expect("snapshot")
        assert {file["path"] for file in snapshot["data"]["files"]} == {
            *SITE,
            "style.css",
            "about.html",
        }
        assert snapshot["seq"] >= last
    assert await service.stop() == 0
