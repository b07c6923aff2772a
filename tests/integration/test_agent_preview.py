"""A sleeping project's app is started by who asks for it: at once, once, and never beside a run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from actors import messages as m
from actors.errors import SandboxUnavailable
from actors.store import Store
from tests.support.agent import MORE, SITE, WAIT_SECONDS, World
from tests.support.log import log_line
from tests.support.sandbox import URL, Hold, MemoryEngine

APP = {**SITE, "package.json": '{"name": "app"}\n'}
BROKEN = {**SITE, "package.json": "{"}


@pytest.fixture
async def engine(world: World) -> AsyncIterator[MemoryEngine]:
    """The world's sandbox is one in memory that can fail."""
    world.engine = MemoryEngine()
    yield world.engine
    world.engine.problem = None


async def opened(world: World) -> str | None:
    answer = await world.request(m.OpenPreview)
    assert isinstance(answer, m.PreviewOpened)
    return answer.url


async def refused(world: World, type_: type[m.ProjectRequest] = m.OpenPreview) -> m.Failed:
    answer = await world.request(type_)
    assert isinstance(answer, m.Failed)
    return answer


async def built(world: World, files: dict[str, str] = APP) -> None:
    """Have a run write the files and come to its end."""
    world.model.add_phase("Base", files, last=True)
    await world.live()
    await world.generate("first")
    await world.sink.until(lambda f: f["data"].get("state") in ("complete", "error"))


async def asleep(world: World) -> None:
    world.desk.post(m.PassivateProject(request_id="p", project_id="p1"))
    await world.has_left()


async def awake_again(world: World, files: dict[str, str] = APP) -> None:
    """Build the project, let it sleep, and begin another life of its agent."""
    await built(world, files)
    await asleep(world)
    await world.live()


async def reached(hold: Hold) -> None:
    await asyncio.wait_for(hold.reached.wait(), WAIT_SECONDS)


async def opening(world: World, engine: MemoryEngine, step: str) -> Hold:
    """Have the app started, each step of it being needed, and stopped on the way there."""
    assert engine.container is not None
    engine.container.note = ""
    hold = engine.hold(step)
    assert await opened(world) is None
    await reached(hold)
    return hold


async def served(world: World, count: int) -> None:
    """Wait until the app has been started for the `count`-th time, and that has been settled."""
    await world.sink.expect("server_started", count)
    await world.request(m.ReviveProject)


def new_types(world: World) -> list[str]:
    """The types of the events since the project went to sleep."""
    types = world.sink.types()
    return types[types.index("hibernated") + 1 :]


def is_opening(world: World) -> bool:
    assert world.desk.agent is not None
    return world.desk.agent._preview.is_opening


def said_to_be_idle(world: World) -> list[bool]:
    """What the supervisor was told of it, in order."""
    return [told.idle for told in world.desk.told if isinstance(told, m.ProjectIdle)]


# --- waking up -----------------------------------------------------------------------------------


async def test_who_asks_is_answered_at_once_and_told_the_address_as_soon_as_the_app_answers(
    world: World, engine: MemoryEngine
) -> None:
    await awake_again(world)
    assert engine.container is not None
    assert not engine.container.is_running
    server = await opening(world, engine, "start_dev_server")
    assert await opened(world) is None
    server.release()
    await served(world, 2)
    assert await opened(world) == URL
    assert new_types(world) == ["server_started"]  # the container is the one that is known
    assert engine.container.files == APP
    assert engine.servers_started == 2


async def test_what_viewers_are_told_is_the_address_that_stays(
    world: World, engine: MemoryEngine
) -> None:
    await awake_again(world)
    await opened(world)
    await served(world, 2)
    frames = [frame for frame in world.sink.frames if frame["type"] == "server_started"]
    address = f"http://p1.localhost:{world.settings.port}/"
    assert [frame["data"]["url"] for frame in frames] == [address, address]


async def test_asking_twice_at_once_is_one_start(world: World, engine: MemoryEngine) -> None:
    await awake_again(world)
    start = engine.hold("start")
    assert await asyncio.gather(*(opened(world) for _ in range(5))) == [None] * 5
    await reached(start)
    start.release()
    await served(world, 2)
    assert engine.writes == [set(APP)]
    assert engine.installs == 1
    assert await asyncio.gather(*(opened(world) for _ in range(5))) == [URL] * 5
    assert engine.servers_started == 2


async def test_a_container_that_is_gone_is_made_anew_from_the_stored_files(
    world: World, engine: MemoryEngine
) -> None:
    await awake_again(world)
    engine.lose_container()
    await opened(world)
    await served(world, 2)
    assert new_types(world) == ["sandbox_started", "server_started"]
    assert engine.container is not None
    assert engine.container.files == APP
    started = await world.sink.expect("sandbox_started", 2)
    assert started["data"] == {"kind": "memory", "containerId": engine.container.id}


async def test_a_dev_server_that_has_ended_since_is_started_again(
    world: World, engine: MemoryEngine
) -> None:
    await built(world)
    assert await opened(world) == URL
    assert engine.container is not None
    engine.container.is_serving = False
    assert await opened(world) is None
    await served(world, 2)
    assert await opened(world) == URL
    assert (len(engine.writes), engine.installs) == (1, 1)


async def test_a_project_without_files_has_nothing_to_open(
    world: World, engine: MemoryEngine
) -> None:
    await world.live()
    with log_line("actors.preview", "cannot be started") as failed:
        await opened(world)
        await failed.logged()
    assert (await refused(world)).code == "not_found"
    assert engine.containers_made == 0


async def test_an_app_is_started_although_the_database_is_away_for_a_while(
    world: World, engine: MemoryEngine
) -> None:
    await awake_again(world)
    server = await opening(world, engine, "start_dev_server")
    async with world.database_away_for_a_call():
        server.release()
    await served(world, 2)
    assert await opened(world) == URL


# --- failures ------------------------------------------------------------------------------------


async def test_a_start_that_fails_is_told_once_and_tried_again_by_who_asks_again(
    world: World, engine: MemoryEngine
) -> None:
    await awake_again(world, BROKEN)
    for _ in range(2):
        with log_line("actors.preview", "cannot be started") as failed:
            assert await opened(world) is None
            await failed.logged()
        failure = await refused(world)
        assert failure.code == "install_failed"
        assert failure.message.startswith("package.json is not JSON.\nExpecting property name")
    assert "server_started" not in world.sink.types()


async def test_a_failure_is_forgotten_by_the_run_that_mends_it(
    world: World, engine: MemoryEngine
) -> None:
    await awake_again(world, BROKEN)
    with log_line("actors.preview", "cannot be started") as failed:
        await opened(world)
        await failed.logged()
    world.model.add_phase("Mended", APP, last=True)
    await world.generate("mend it")
    await world.sink.expect("generation_complete")
    assert await opened(world) == URL


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (SandboxUnavailable("Docker is gone."), "sandbox_unavailable"),
        (RuntimeError("what nobody foresaw"), "internal_error"),
    ],
)
async def test_whatever_a_start_fails_with_is_told(
    world: World, engine: MemoryEngine, problem: Exception, code: str
) -> None:
    await awake_again(world)
    with log_line("actors.preview", "cannot be started") as failed:
        engine.problem = problem
        await opened(world)
        await failed.logged()
    assert (await refused(world)).code == code
    engine.problem = None
    assert await opened(world) is None
    await served(world, 2)


# --- beside other things -------------------------------------------------------------------------


async def test_while_a_run_is_active_its_own_dev_server_is_all_there_is(
    world: World, engine: MemoryEngine
) -> None:
    world.model.add_phase("Base", SITE)
    world.model.add_phase("More", MORE, last=True)
    gates = [world.model.hold("console"), world.model.hold("color")]
    await world.live()
    await world.generate("first")
    await world.sink.expect("file_end")
    assert await opened(world) is None
    gates[0].release()
    await world.sink.expect("phase_completed")
    await gates[1].reached.happened()
    assert await opened(world) == URL
    gates[1].release()
    await world.sink.expect("generation_complete")
    assert world.sink.types().count("server_started") == 1
    assert engine.servers_started == 1


@pytest.mark.parametrize("step", ["start", "install_dependencies", "start_dev_server"])
async def test_a_run_that_is_granted_ends_the_start_and_has_the_sandbox_for_itself(
    world: World, engine: MemoryEngine, step: str
) -> None:
    await awake_again(world)
    hold = await opening(world, engine, step)
    world.model.add_phase("More", MORE, last=True)
    await world.generate("second")
    await world.sink.expect("phase_designing", 2)
    assert world.desk.agent is not None
    assert world.desk.agent._preview.stage in ("", "starting the app as it was")
    hold.release()
    await world.sink.expect("generation_complete", 2)
    assert world.sink.types().count("server_started") == 2  # the runs' own
    assert engine.container is not None
    assert engine.container.files == APP | MORE


async def test_a_passivation_is_refused_while_the_app_is_being_started(
    world: World, engine: MemoryEngine
) -> None:
    await awake_again(world)
    server = await opening(world, engine, "start_dev_server")
    assert (await refused(world, m.PassivateProject)).code == "project_busy"
    assert world.desk.times_told(m.PassivationRefused) == 1
    assert said_to_be_idle(world)[-1] is False
    server.release()
    await world.desk.until_told(m.ProjectIdle(project_id="p1", idle=True))
    await asleep(world)
    assert engine.container is not None
    assert not engine.container.is_running


async def test_every_request_for_the_app_begins_the_idle_time_anew(
    world: World, engine: MemoryEngine
) -> None:
    await awake_again(world)
    await opened(world)
    await served(world, 2)
    for _ in range(2):
        before = len(said_to_be_idle(world))
        assert await opened(world) == URL
        await world.request(m.ReviveProject)  # carried out when the request before is settled
        assert said_to_be_idle(world)[before] is True


async def test_who_finds_the_app_serving_begins_the_idle_time_anew_and_nobody_else_does(
    world: World, engine: MemoryEngine
) -> None:
    await awake_again(world)
    before = len(said_to_be_idle(world))
    answer = await world.request(m.FindPreview)
    assert answer == m.PreviewOpened(request_id=answer.request_id, url=None)
    assert said_to_be_idle(world)[before:] == []
    assert not is_opening(world)
    await opened(world)
    await served(world, 2)
    before = len(said_to_be_idle(world))
    answer = await world.request(m.FindPreview)
    assert answer == m.PreviewOpened(request_id=answer.request_id, url=URL)
    await world.request(m.ReviveProject)  # carried out when the request before is settled
    assert said_to_be_idle(world)[before] is True


@pytest.mark.parametrize("step", ["start", "install_dependencies", "start_dev_server"])
async def test_a_shutdown_ends_the_start_and_stops_the_sandbox(
    world: World, engine: MemoryEngine, step: str
) -> None:
    await awake_again(world)
    await opening(world, engine, step)
    world.desk.post(m.SaveAndStop())
    await world.has_left()
    assert not is_opening(world)
    assert new_types(world) == []
    assert engine.container is not None
    assert not engine.container.is_running
    assert not engine.container.is_serving


async def test_a_removal_ends_the_start_and_removes_the_sandbox(
    world: World, engine: MemoryEngine
) -> None:
    await awake_again(world)
    await opening(world, engine, "install_dependencies")
    removal = asyncio.ensure_future(world.request(m.RemoveProject))
    await world.has_left()
    assert isinstance(await removal, m.Done)
    assert not is_opening(world)
    assert engine.container is None
    assert await world.files() == {}


async def test_an_owner_that_was_replaced_meanwhile_starts_nothing_more(
    world: World, engine: MemoryEngine
) -> None:
    await awake_again(world)
    server = await opening(world, engine, "start_dev_server")
    successor = Store(world.settings.database_url)
    try:
        await successor.claim("p1")
    finally:
        await successor.close()
    server.release()
    await world.has_left()
    assert new_types(world) == []
    assert world.desk.told[-1] == m.ProjectGone(project_id="p1")


# --- a sandbox that is removed -------------------------------------------------------------------


async def test_a_sandbox_that_has_to_go_is_made_anew_for_who_asks_next(
    world: World, engine: MemoryEngine
) -> None:
    await built(world)
    for _ in range(2):
        done = await world.request(m.RemoveSandbox, message="It took too much.")
        assert isinstance(done, m.Done)
        assert engine.container is None
    assert world.sink.types().count("problem_reported") == 1
    assert await opened(world) is None
    await served(world, 2)
    assert engine.container is not None
    assert engine.container.files == APP


async def test_a_run_whose_sandbox_is_removed_goes_on_in_another(
    world: World, engine: MemoryEngine
) -> None:
    hold = engine.hold("install_dependencies")
    world.model.add_phase("Base", APP, last=True)
    await world.live()
    await world.generate("first")
    await reached(hold)
    assert isinstance(await world.request(m.RemoveSandbox, message="Too much."), m.Done)
    hold.release()
    await world.sink.expect("generation_complete")
    assert engine.containers_made == 2
    assert engine.container is not None
    assert engine.container.files == APP
    assert engine.container.is_serving


# --- the last good state -------------------------------------------------------------------------

UNBUILT = {"package.json": '{"scripts": {"build": "test -f missing.js"}}\n'}


async def test_a_phase_that_fails_leaves_the_last_good_app_up_and_says_so(
    world: World, engine: MemoryEngine
) -> None:
    await built(world)
    for number in range(world.settings.max_repairs + 1):
        files = {"more.css": f"h{number} {{}}\n"} | (UNBUILT if number == 0 else {})
        world.model.add_phase(f"Try {number}", files)
    await world.generate("more")
    await world.sink.until(lambda f: f["data"].get("state") == "error")
    assert engine.container is not None
    assert engine.container.files == APP
    answer = await world.request(m.FindPreview)
    assert isinstance(answer, m.PreviewOpened)
    assert (answer.url, answer.is_behind) == (URL, True)
    assert engine.servers_started == 1


async def test_who_wakes_an_app_that_was_left_broken_sees_its_last_good_state(
    world: World, engine: MemoryEngine
) -> None:
    await test_a_phase_that_fails_leaves_the_last_good_app_up_and_says_so(world, engine)
    await asleep(world)
    await world.live()
    await opened(world)
    await served(world, 2)
    assert await opened(world) == URL
    assert engine.container is not None
    assert engine.container.files == APP
    answer = await world.request(m.FindPreview)
    assert isinstance(answer, m.PreviewOpened)
    assert answer.is_behind


async def test_a_repair_brings_the_preview_up_to_date(world: World, engine: MemoryEngine) -> None:
    await test_a_phase_that_fails_leaves_the_last_good_app_up_and_says_so(world, engine)
    world.model.add_phase("Mend", {"missing.js": "1\n"}, last=True)
    await world.generate("mend it")
    await world.sink.expect("generation_complete", 2)
    assert engine.container is not None
    assert engine.container.files == await world.files()
    answer = await world.request(m.FindPreview)
    assert isinstance(answer, m.PreviewOpened)
    assert (answer.url, answer.is_behind) == (URL, False)
