"""The whole story in real containers: install, dev server, preview, sleep, follow-up, restart."""

from __future__ import annotations

import asyncio
import json

import aiodocker
import aiohttp

from tests.support.browsing import browsing
from tests.support.docker import DockerEngine
from tests.support.openrouter import ScriptedOpenRouter
from tests.support.service import WAIT_SECONDS, Frame, Service, ServiceFactory, Viewer

PACKAGE = json.dumps(
    {
        "name": "shop",
        "private": True,
        "type": "module",
        "scripts": {"dev": "node --watch server.js"},
        "dependencies": {"is-number": "7.0.0"},
    }
)
SERVER = """\
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import isNumber from 'is-number';

createServer((request, response) => {
  const text = readFileSync('greeting.txt', 'utf8');
  response.end(`${text.trim()} ${isNumber(42)}`);
}).listen(process.env.PORT, '0.0.0.0');
"""
BASE = {"package.json": PACKAGE, "server.js": SERVER, "greeting.txt": "hello\n"}


async def text_of(url: str) -> str:
    """Return what a browser shows in the end, however often it waits."""
    async with asyncio.timeout(WAIT_SECONDS), browsing() as session:
        while True:
            async with session.get(url) as response:
                if response.status != 503:
                    assert response.status == 200
                    return await response.text()
                seconds = float(response.headers["Retry-After"])
            await asyncio.sleep(seconds)  # as the page itself does


async def woken(url: str, viewer: Viewer) -> str:
    """Open the app of a sleeping project as a browser does, and return what it shows at last."""
    async with browsing() as session, session.get(url) as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        assert '<meta http-equiv="refresh" content="1">' in await response.text()
    started = await viewer.expect("server_started")
    assert started["data"]["url"] == url
    return await text_of(url)


async def is_running(engine: DockerEngine, project_id: str) -> bool | None:
    """Whether the project's container runs; None where there is none."""
    async with aiodocker.Docker(url=engine.url) as docker:
        try:
            container = await docker.containers.get(f"codegen-sandbox-{project_id}")
        except aiodocker.DockerError as error:
            if error.status != 404:
                raise
            return None
        return bool(container["State"]["Running"])


def environment(engine: DockerEngine, model: ScriptedOpenRouter) -> dict[str, str]:
    return {
        **model.environment,
        **engine.environment,
        "CODEGEN_SANDBOX_IDLE_SECONDS": "0.5",
    }


async def snapshot_of(service: Service, project_id: str) -> Frame:
    viewer = Viewer(service, project_id)
    async with viewer.connected():
        return await viewer.expect("snapshot")


async def test_an_app_is_built_in_a_container_sleeps_is_changed_and_survives_a_restart(
    services: ServiceFactory, openrouter: ScriptedOpenRouter, docker_engine: DockerEngine
) -> None:
    openrouter.add_phase("Server", BASE)
    openrouter.add_phase("Texts", {"greeting.txt": "hello again\n"}, last=True)
    openrouter.add_phase("Follow-up", {"greeting.txt": "goodbye\n"}, last=True)
    second_plan = openrouter.hold("isLastPhase", purpose="plan", phase=2)
    settings = environment(docker_engine, openrouter)
    service = await services.start(**settings)
    viewer = Viewer(service, "shop")
    async with viewer.connected():
        await viewer.expect("snapshot")
        await viewer.send({"type": "generate", "description": "a shop"})
        await viewer.expect("deps_installed")
        url = (await viewer.expect("server_started"))["data"]["url"]
        assert url == service.app_url("shop")
        assert await text_of(url) == "hello true"
        second_plan.release()
        await viewer.expect("generation_complete")
        assert await text_of(url) == "hello again true"
        await viewer.expect("hibernated")
        assert await woken(url, viewer) == "hello again true"
        await viewer.expect("hibernated")
        await viewer.send({"type": "generate", "description": "say goodbye"})
        await viewer.expect("server_started", url=url)
        complete = await viewer.expect("generation_complete")
        assert complete["data"] == {"files": sorted(BASE), "phases": 1}
        assert await text_of(url) == "goodbye true"
        streams = {f["data"]["stream"] for f in viewer.frames if f["type"] == "sandbox_log"}
        assert streams
    assert await service.stop() == 0
    await service.wait_until_gone()

    service = await services.start(service.state_dir, **settings)
    data = (await snapshot_of(service, "shop"))["data"]
    assert [phase["name"] for phase in data["phases"]] == ["Server", "Texts", "Follow-up"]
    assert {file["path"] for file in data["files"]} == set(BASE)
    assert data["state"] == "complete"
    greeting = f"{service.url}/api/projects/shop/files/greeting.txt"
    assert await text_of(greeting) == "goodbye\n"
    assert data["previewUrl"] == service.app_url("shop")  # on the port that it has now
    viewer = Viewer(service, "shop")
    async with viewer.connected():
        await viewer.expect("snapshot")
        assert await woken(data["previewUrl"], viewer) == "goodbye true"
    assert await service.stop() == 0
    assert await is_running(docker_engine, "shop") is False


async def test_a_failing_install_is_repaired_or_ends_the_run_with_its_last_lines(
    services: ServiceFactory, openrouter: ScriptedOpenRouter, docker_engine: DockerEngine
) -> None:
    broken = PACKAGE.replace('"is-number": "7.0.0"', '"is-number": "999.0.0"')
    openrouter.add_phase("Broken", {**BASE, "package.json": broken}, last=True)
    openrouter.add_phase("Broken again", {"package.json": broken + "\n"}, last=True)
    openrouter.add_phase("Still broken", {"package.json": broken + "\n\n"}, last=True)
    openrouter.add_phase("Mended", {"package.json": PACKAGE}, last=True)
    settings = environment(docker_engine, openrouter) | {"CODEGEN_MAX_REPAIRS": "1"}
    service = await services.start(**settings)
    viewer = Viewer(service, "shop")
    async with viewer.connected():
        await viewer.expect("snapshot")
        await viewer.send({"type": "generate", "description": "a shop"})
        failed = await viewer.expect("phase_failed")
        assert "999.0.0" in failed["data"]["message"]
        error = await viewer.expect("error")
        assert error["data"]["code"] == "install_failed"
        assert "999.0.0" in error["data"]["message"]
        await viewer.expect("state_change", state="error")
        await viewer.send({"type": "generate", "description": "mend it"})
        await viewer.expect("phase_failed")
        url = (await viewer.expect("server_started"))["data"]["url"]
        await viewer.expect("generation_complete")
        assert await text_of(url) == "hello true"
    assert await service.stop() == 0


async def test_what_was_killed_with_its_containers_running_stops_or_removes_them_at_last(
    services: ServiceFactory, openrouter: ScriptedOpenRouter, docker_engine: DockerEngine
) -> None:
    openrouter.add_phase("Server", BASE, last=True)
    settings = environment(docker_engine, openrouter)
    service = await services.start(**settings | {"CODEGEN_SANDBOX_IDLE_SECONDS": "600"})
    for project_id in ("kept", "deleted"):
        viewer = Viewer(service, project_id)
        async with viewer.connected():
            await viewer.send({"type": "generate", "description": "a shop"})
            await viewer.expect("generation_complete")
    processes = service.processes()
    for process in processes:
        process.suspend()  # so that none sees another end
    for process in processes:
        process.kill()
    await service.wait_until_gone()
    for project_id in ("kept", "deleted"):
        assert await is_running(docker_engine, project_id)

    service = await services.start(service.state_dir, **settings)
    for project_id in ("kept", "deleted"):
        viewer = Viewer(service, project_id)
        async with viewer.connected(since=1):
            await viewer.expect("hibernated")
        assert await is_running(docker_engine, project_id) is False
    assert await service.stop() == 0
    await service.wait_until_gone()

    service = await services.start(service.state_dir, **settings | {"CODEGEN_SANDBOX": "static"})
    url = f"{service.url}/api/projects/deleted"
    async with aiohttp.ClientSession() as session, session.delete(url) as response:
        assert response.status == 204
    assert await service.stop() == 0
    await service.wait_until_gone()
    assert await is_running(docker_engine, "deleted") is False

    service = await services.start(service.state_dir, **settings)
    assert await is_running(docker_engine, "deleted") is None
    assert await is_running(docker_engine, "kept") is False
    assert await service.stop() == 0
