"""The Docker engine is killed in the middle of everything: a clear end, and a way back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

import aiodocker
import aiohttp
import pytest

from actors import messages as m
from actors.sandbox.base import LogSink
from actors.sandbox.builder import Builder
from actors.sandbox.container import SERVICE_LABEL, service_id
from actors.sandbox.docker import DockerRuntime
from actors.sandbox.doors import DoorConnector, door_directory
from actors.sandbox.output import OutputLog
from actors.sandbox.runtime import Obtained
from actors.sandbox.workspace import Workspace
from actors.settings import Settings
from gateway.doors import Doors
from tests.support.agent import WAIT_SECONDS, World
from tests.support.docker import DockerEngine

SERVER = """
const { createServer } = require('http');
createServer((request, response) => response.end('hello'))
  .listen(Number(process.env.PORT), process.env.HOST);
"""
WAITING = "console.log('now'); setInterval(() => 0, 1000);\n"
GOOD = {"server.js": SERVER, "package.json": json.dumps({"scripts": {"start": "node server.js"}})}


def waiting_in(script: str) -> dict[str, str]:
    """An app of which this script of package.json does not come to its end."""
    scripts = {"start": "node server.js", script: "node wait.js"}
    return {**GOOD, "package.json": json.dumps({"scripts": scripts}), "wait.js": WAITING}


#: What is done when the engine dies -> the app that is being built then.
STEPS_OF_A_RUN: dict[str, dict[str, str]] = {
    "obtain": GOOD,
    "unpack": GOOD,
    "install": waiting_in("preinstall"),
    "check": waiting_in("typecheck"),
    "serve": waiting_in("start"),
}


class DoomedEngine:
    """The engine; it dies when a certain call is made, or when the app says `now`."""

    def __init__(self, engine: DockerEngine, world: World) -> None:
        self.engine = engine
        self._world = world
        self.doom = ""
        self.is_dead = False

    def sandbox(self, on_log: LogSink) -> Workspace:
        def see(stream: str, line: str) -> None:
            if line == "now":
                self.kill()
            on_log(stream, line)

        settings = self._world.settings
        runtime = DoomedRuntime(self, self._world.project_id, settings)
        builder = Builder(settings, lambda other_id, theirs: DoomedRuntime(self, other_id, theirs))
        return Workspace(self._world.project_id, settings, runtime, OutputLog(see), builder)

    def meet(self, call: str) -> None:
        if call == self.doom:
            self.kill()

    def kill(self) -> None:
        self.doom = ""
        self.is_dead = True
        self.engine.kill()

    async def returns(self) -> None:
        assert self.is_dead
        await asyncio.to_thread(self.engine.start)
        self.is_dead = False


class DoomedRuntime(DockerRuntime):
    """A runtime whose engine may die just before a call reaches it."""

    def __init__(self, engine: DoomedEngine, project_id: str, settings: Settings) -> None:
        super().__init__(project_id, settings, lambda line: None)
        self._doomed = engine

    async def obtain(self) -> Obtained:
        self._doomed.meet("obtain")
        return await super().obtain()

    async def unpack(self, archive: bytes) -> None:
        self._doomed.meet("unpack")
        await super().unpack(archive)

    async def stop(self) -> None:
        self._doomed.meet("stop")
        await super().stop()

    async def remove(self) -> None:
        self._doomed.meet("remove")
        await super().remove()


@pytest.fixture
async def engine(
    world: World, docker_engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[DoomedEngine]:
    """The engine of the world's sandbox; at the end it runs, and has nothing of the project."""
    monkeypatch.setenv("DOCKER_HOST", docker_engine.url)
    monkeypatch.setattr("actors.generation.pipeline.SANDBOX_RETRY_SECONDS", (0.0, 0.1, 0.1))
    monkeypatch.setattr("actors.vigil.FIRST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr("actors.sandbox.workspace.ANSWER_SECONDS", 0.5)
    monkeypatch.setattr("actors.sandbox.workspace.ASK_AGAIN_SECONDS", 0.1)
    world.settings = replace(world.settings, sandbox_image=docker_engine.image)
    engine = DoomedEngine(docker_engine, world)
    world.make_sandbox = engine.sandbox
    yield engine
    if engine.is_dead:
        await engine.returns()
    if not world.desk.left.is_set():
        assert isinstance(await world.request(m.RemoveProject), m.Done)
    assert await left_over(world.settings) == []
    assert not door_directory(world.project_id, world.settings).exists()


async def left_over(settings: Settings) -> Sequence[str]:
    """What the engine has of this service."""
    filters = {"label": [f"{SERVICE_LABEL}={service_id(settings)}"]}
    async with aiodocker.Docker() as docker:
        containers = await docker.containers.list(all=True, filters=json.dumps(filters))
        volumes = await docker.volumes.list(filters=filters)  # type: ignore[no-untyped-call]  # aiodocker's
    return [container.id for container in containers] + [
        volume["Name"] for volume in volumes["Volumes"] or []
    ]


async def built(world: World, files: Mapping[str, str] = GOOD) -> None:
    world.model.add_phase("Base", dict(files), last=True)
    await world.live()
    await world.generate("first")


async def opened(world: World) -> str | None:
    answer = await world.request(m.OpenPreview)
    assert isinstance(answer, m.PreviewOpened)
    return answer.url


async def answers(world: World) -> None:
    """Check that the app says hello to who is sent to it."""
    url = await opened(world)
    assert url is not None
    doors = Doors(world.settings)
    async with (
        asyncio.timeout(WAIT_SECONDS),
        aiohttp.ClientSession(connector=DoorConnector(doors.find)) as session,
        session.get(url, headers={"Host": "p1.localhost"}) as response,
    ):
        assert await response.text() == "hello"
    doors.close()


@pytest.mark.parametrize("step", STEPS_OF_A_RUN)
async def test_a_run_whose_engine_dies_ends_with_its_reason_and_the_next_one_works(
    world: World, engine: DoomedEngine, step: str
) -> None:
    engine.doom = step
    await built(world, STEPS_OF_A_RUN[step])
    error = await world.sink.expect("error")
    assert error["data"]["code"] == "sandbox_unavailable"
    assert error["data"]["message"].startswith("No Docker engine answers (")
    assert error["data"]["message"].endswith("start Docker, or set CODEGEN_SANDBOX=static.")
    await world.sink.until(lambda f: f["data"].get("state") == "error")
    assert engine.is_dead
    await engine.returns()
    world.model.add_phase("Mended", GOOD, last=True)
    await world.generate("again")
    await world.sink.expect("generation_complete")
    await answers(world)


async def test_an_app_outlives_its_engine_and_is_started_again_when_that_ends_it(
    world: World, engine: DoomedEngine
) -> None:
    await built(world)
    await world.sink.expect("generation_complete")
    engine.kill()
    await answers(world)  # nobody needs an engine for that
    assert "server_stopped" not in world.sink.types()
    await engine.returns()  # and ends what its former life had started
    stopped = await world.sink.expect("server_stopped")
    assert stopped["data"]["message"].startswith("The app's sandbox was stopped or has gone.")
    await world.sink.expect("server_started", 2)
    await answers(world)


async def test_a_project_whose_engine_dies_as_it_falls_asleep_sleeps_and_wakes_up(
    world: World, engine: DoomedEngine
) -> None:
    await built(world)
    await world.sink.expect("generation_complete")
    engine.doom = "stop"
    world.desk.post(m.PassivateProject(request_id="p", project_id="p1"))
    await world.has_left()
    assert world.sink.types()[-1] == "hibernated"
    await world.live()
    assert await opened(world) is None
    await engine.returns()
    async with asyncio.timeout(WAIT_SECONDS):
        while isinstance(await world.request(m.OpenPreview), m.Failed):
            pass
    await world.sink.expect("server_started", 2)
    await world.request(m.ReviveProject)
    await answers(world)


async def test_a_removal_whose_engine_dies_is_refused_and_can_be_repeated(
    world: World, engine: DoomedEngine
) -> None:
    await built(world)
    await world.sink.expect("generation_complete")
    engine.doom = "remove"
    refused = await world.request(m.RemoveProject)
    assert isinstance(refused, m.Failed)
    assert refused.code == "sandbox_unavailable"
    assert set(await world.files()) == set(GOOD)
    await engine.returns()
    assert isinstance(await world.request(m.RemoveProject), m.Done)
    await world.has_left()
