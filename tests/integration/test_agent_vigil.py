"""An app that stops is started again: beside runs, visits and sleep, never against them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from actors import messages as m
from actors.store import Store
from tests.support.agent import MORE, SITE, WAIT_SECONDS, World
from tests.support.sandbox import URL, Hold, MemoryEngine

APP = {**SITE, "package.json": '{"name": "app"}\n'}


@pytest.fixture
async def engine(world: World) -> AsyncIterator[MemoryEngine]:
    """The world's sandbox is one in memory that can fail."""
    world.engine = MemoryEngine()
    yield world.engine
    world.engine.problem = None


async def built(world: World) -> None:
    """Have a run write the files and come to its end."""
    world.model.add_phase("Base", APP, last=True)
    await world.live()
    await world.generate("first")
    await world.sink.expect("generation_complete")


async def opened(world: World) -> str | None:
    answer = await world.request(m.OpenPreview)
    assert isinstance(answer, m.PreviewOpened)
    return answer.url


async def reached(hold: Hold) -> None:
    await asyncio.wait_for(hold.reached.wait(), WAIT_SECONDS)


def is_opening(world: World) -> bool:
    assert world.desk.agent is not None
    return world.desk.agent._preview.is_opening


@pytest.fixture
def quick_vigil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.vigil.FIRST_PAUSE_SECONDS", 0.01)


def stops(world: World) -> list[str]:
    """The messages of the stops that viewers were told of."""
    frames = [frame for frame in world.sink.frames if frame["type"] == "server_stopped"]
    return [frame["data"]["message"] for frame in frames]


@pytest.mark.usefixtures("quick_vigil")
async def test_a_server_that_ends_is_told_to_viewers_and_started_again_by_nobodys_wish(
    world: World, engine: MemoryEngine
) -> None:
    await built(world)
    await world.request(m.ReviveProject)
    idle_before = world.desk.times_told(m.ProjectIdle)
    engine.end_server(1, "", "oh no")
    stopped = await world.sink.expect("server_stopped")
    assert stopped["data"] == {
        "reason": "exited",
        "message": "The app's server ended with exit code 1. It is started again in 0.01 s.\noh no",
    }
    await world.sink.expect("server_started", 2)
    assert world.desk.times_told(m.ProjectIdle) == idle_before  # the idle time goes on
    assert await opened(world) == URL
    assert engine.servers_started == 2


@pytest.mark.usefixtures("quick_vigil")
async def test_an_app_whose_container_has_gone_is_made_anew_by_the_same_code_that_a_visit_uses(
    world: World, engine: MemoryEngine
) -> None:
    await built(world)
    engine.end_server()
    engine.lose_container()
    await world.sink.expect("server_started", 2)
    assert len(stops(world)) == 1
    assert engine.container is not None
    assert engine.container.files == APP
    assert (await world.sink.expect("sandbox_started", 2))["data"]["containerId"] == "container-2"


@pytest.mark.usefixtures("quick_vigil")
async def test_while_the_model_writes_the_app_is_started_as_it_was(
    world: World, engine: MemoryEngine
) -> None:
    world.model.add_phase("Base", SITE)
    world.model.add_phase("More", {"more.css": "h1 {}\n", "last.css": "p {}\n"}, last=True)
    await world.live()
    gate = world.model.hold("p {}")
    await world.generate("first")
    await gate.reached.happened()
    await world.sink.until(lambda f: f["type"] == "file_end" and f["data"]["path"] == "more.css")
    engine.end_server()
    await world.sink.expect("server_started", 2)
    assert engine.container is not None
    assert engine.container.files == SITE  # not half of the second phase
    gate.release()
    await world.sink.expect("generation_complete")
    assert engine.servers_started == 2


@pytest.mark.parametrize("message", [m.PassivateProject, m.RemoveProject, m.SaveAndStop])
@pytest.mark.usefixtures("quick_vigil")
async def test_whoever_leaves_ends_a_restart_that_is_under_way(
    world: World, engine: MemoryEngine, message: type[m.Message]
) -> None:
    await built(world)
    hold = engine.hold("start_dev_server")
    engine.end_server()
    await reached(hold)
    if message is m.SaveAndStop:
        world.desk.post(m.SaveAndStop())
    elif message is m.RemoveProject:
        await world.request(m.RemoveProject)
    else:
        world.desk.post(m.PassivateProject(request_id="p", project_id="p1"))
    await world.has_left()
    hold.release()
    for _ in range(20):
        await asyncio.sleep(0)  # what still goes on gets on
    assert engine.servers_started == 1
    assert world.sink.types().count("server_started") == 1
    assert len(stops(world)) == 1
    assert engine.container is None or not engine.container.is_running


@pytest.mark.usefixtures("quick_vigil")
async def test_a_run_that_is_granted_leaves_a_restart_alone(
    world: World, engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await built(world)
    monkeypatch.setattr("actors.vigil.FIRST_PAUSE_SECONDS", 0.2)
    engine.end_server()
    await world.sink.expect("server_stopped")
    gate = world.model.hold("isLastPhase", purpose="plan", phase=2)
    world.model.add_phase("More", MORE, last=True)
    await world.generate("second")
    await gate.reached.happened()
    await world.sink.expect("server_started", 2)
    gate.release()
    await world.sink.expect("generation_complete", 2)
    assert engine.container is not None
    assert engine.container.files == APP | MORE
    assert engine.container.is_serving


@pytest.mark.usefixtures("quick_vigil")
async def test_an_app_whose_container_is_lost_while_the_model_writes_comes_back_as_it_was(
    world: World, engine: MemoryEngine
) -> None:
    await built(world)
    gate = world.model.hold("isLastPhase", purpose="plan", phase=2)
    world.model.add_phase("More", MORE, last=True)
    await world.generate("second")
    await gate.reached.happened()
    assert engine.container is not None
    engine.end_server()
    engine.container.is_running = False
    await world.sink.expect("server_started", 2)
    assert engine.container.files == APP
    gate.release()
    await world.sink.expect("generation_complete", 2)
    assert engine.container.files == APP | MORE


@pytest.mark.usefixtures("quick_vigil")
async def test_who_opens_an_app_that_is_just_being_started_again_has_it_started_once(
    world: World, engine: MemoryEngine
) -> None:
    await built(world)
    hold = engine.hold("start_dev_server")
    engine.end_server()
    await reached(hold)
    assert await opened(world) is None
    assert is_opening(world)
    hold.release()
    await world.desk.until_told(m.ProjectIdle(project_id="p1", idle=True))
    assert await opened(world) == URL
    assert engine.servers_started == 2


async def test_a_server_that_ended_between_two_phases_is_started_by_the_second(
    world: World, engine: MemoryEngine
) -> None:
    world.model.add_phase("Base", SITE)
    world.model.add_phase("More", MORE, last=True)
    await world.live()
    gate = world.model.hold("color")
    await world.generate("first")
    await gate.reached.happened()
    assert engine.container is not None
    engine.container.is_serving = False  # nobody has noticed yet
    gate.release()
    await world.sink.expect("generation_complete")
    assert engine.servers_started == 2


@pytest.mark.usefixtures("quick_vigil")
async def test_an_owner_that_was_replaced_leaves_a_server_that_ends_to_its_successor(
    world: World, engine: MemoryEngine
) -> None:
    await built(world)
    successor = Store(world.settings.database_url)
    try:
        await successor.claim("p1")
    finally:
        await successor.close()
    engine.end_server()
    await world.has_left()
    assert stops(world) == []
    assert engine.servers_started == 1
