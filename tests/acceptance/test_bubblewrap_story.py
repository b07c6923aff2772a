"""The whole story without Docker: a Vite app in bubblewrap, kills, sleep, restart, removal."""

from __future__ import annotations

import psutil
import pytest

from tests.acceptance.test_docker_story import text_of, woken
from tests.acceptance.test_live_preview import app_of, greeting
from tests.faults.test_kills import status
from tests.support.browsing import browsing
from tests.support.bubblewrap import running, until_gone
from tests.support.openrouter import ScriptedOpenRouter
from tests.support.service import ServiceFactory, Viewer

pytestmark = pytest.mark.usefixtures("unmeasured")


async def test_an_app_survives_the_kill_of_its_actor_and_of_the_gateway(
    services: ServiceFactory,
    openrouter: ScriptedOpenRouter,
    bubblewrap_environment: dict[str, str],
) -> None:
    openrouter.add_phase("Page", app_of("latest"), last=True)
    openrouter.add_phase("Text", {"greeting.js": greeting("goodbye")}, last=True)
    settings = {
        **openrouter.environment,
        **bubblewrap_environment,
        "CODEGEN_SANDBOX_IDLE_SECONDS": "600",
    }
    service = await services.start(**settings)
    told = (await status(service))["sandbox"]
    assert told["kind"] == "bubblewrap"
    assert "memory limit holds for each process" in told["note"]
    viewer = Viewer(service, "shop")
    async with viewer.connected():
        await viewer.expect("snapshot")
        await viewer.send({"type": "generate", "description": "a shop"})
        await viewer.expect("sandbox_started", kind="bubblewrap", containerId=None)
        await viewer.expect("deps_installed")
        url = (await viewer.expect("server_started"))["data"]["url"]
        await viewer.expect("generation_complete")
        assert url == service.app_url("shop")
        assert "/@vite/client" in await text_of(url)
        assert "hello" in await text_of(f"{url}greeting.js")
        psutil.Process((await status(service))["pids"]["shop"]).kill()
        await until_gone("shop", service.state_dir)
        assert await woken(url, viewer)
        assert "hello" in await text_of(f"{url}greeting.js")
        plan = openrouter.hold("isLastPhase", purpose="plan", phase=2)
        await viewer.send({"type": "generate", "description": "say goodbye"})
        await plan.reached.happened()
        assert running("shop", service.state_dir)
    service.kill()
    await service.wait_until_gone()
    await until_gone("shop", service.state_dir)

    plan.release()
    settings["CODEGEN_SANDBOX_IDLE_SECONDS"] = "0.5"
    service = await services.start(service.state_dir, **settings)
    viewer = Viewer(service, "shop")
    async with viewer.connected(since=1):
        await viewer.expect("run_resumed")
        await viewer.expect("generation_complete")
        await viewer.expect("hibernated")
        await until_gone("shop", service.state_dir)
        url = service.app_url("shop")
        assert await woken(url, viewer)
        installs = [f for f in viewer.frames if "npm install" in f["data"].get("line", "")]
        assert len(installs) == 1  # the folder kept what was installed
        assert "goodbye" in await text_of(f"{url}greeting.js")
        api = f"{service.url}/api/projects/shop"
        async with browsing() as session, session.delete(api) as answer:
            assert answer.status == 204
    await until_gone("shop", service.state_dir)
    assert list((service.state_dir / "sandboxes").iterdir()) == []
    assert await service.stop() == 0
    await service.wait_until_gone()
