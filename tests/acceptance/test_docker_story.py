"""The whole story in real containers: install, dev server, preview, sleep, follow-up, restart."""

from __future__ import annotations

import json

import aiohttp

from tests.support.docker import DockerEngine
from tests.support.openrouter import ScriptedOpenRouter
from tests.support.service import Frame, Service, ServiceFactory, Viewer

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
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == 200
        return await response.text()


def environment(engine: DockerEngine, model: ScriptedOpenRouter) -> dict[str, str]:
    return {
        **model.environment,
        **engine.environment,
        "CODEGEN_IDLE_SECONDS": "0.5",
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
    settings = environment(docker_engine, openrouter)
    service = await services.start(**settings)
    viewer = Viewer(service, "shop")
    async with viewer.connected():
        await viewer.expect("snapshot")
        await viewer.send({"type": "generate", "description": "a shop"})
        await viewer.expect("deps_installed")
        url = (await viewer.expect("server_started"))["data"]["url"]
        assert url.startswith("http://127.0.0.1:")
        assert await text_of(url) == "hello true"
        await viewer.expect("generation_complete")
        assert await text_of(url) == "hello again true"
        await viewer.expect("hibernated")
        await viewer.send({"type": "generate", "description": "say goodbye"})
        url = (await viewer.expect("server_started"))["data"]["url"]
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
    assert await service.stop() == 0


async def test_a_failing_install_ends_the_run_with_its_last_lines_and_a_new_wish_mends_it(
    services: ServiceFactory, openrouter: ScriptedOpenRouter, docker_engine: DockerEngine
) -> None:
    broken = PACKAGE.replace('"is-number": "7.0.0"', '"is-number": "999.0.0"')
    openrouter.add_phase("Broken", {**BASE, "package.json": broken}, last=True)
    openrouter.add_phase("Mended", {"package.json": PACKAGE}, last=True)
    service = await services.start(**environment(docker_engine, openrouter))
    viewer = Viewer(service, "shop")
    async with viewer.connected():
        await viewer.expect("snapshot")
        await viewer.send({"type": "generate", "description": "a shop"})
        error = await viewer.expect("error")
        assert error["data"]["code"] == "install_failed"
        assert "999.0.0" in error["data"]["message"]
        await viewer.expect("state_change", state="error")
        await viewer.send({"type": "generate", "description": "mend it"})
        url = (await viewer.expect("server_started"))["data"]["url"]
        await viewer.expect("generation_complete")
        assert await text_of(url) == "hello true"
    assert await service.stop() == 0
