"""What meets at the wrong moment in one project: a cancel, an outage, a failing sandbox, an end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from actors import messages as m
from actors.database import connect
from actors.effects import Send
from actors.errors import SandboxUnavailable
from actors.events import RunState
from actors.generation import pipeline
from actors.roster import Roster, Stage
from actors.seats import Seats
from actors.state import ProjectState
from actors.store import Store
from tests.support.agent import MORE, SITE, World
from tests.support.log import log_line
from tests.support.openrouter import Answer, Gate
from tests.support.replay_fold import comparable, fold
from tests.support.sandbox import MemoryEngine


@pytest.fixture
async def engine(world: World) -> AsyncIterator[MemoryEngine]:
    """The world's sandbox is one in memory that can fail."""
    world.engine = MemoryEngine()
    yield world.engine
    world.engine.problem = None


async def in_the_second_file(world: World) -> Gate:
    """Begin a run and hold it in the middle of app.js; returns the gate."""
    world.model.add_phase("Base", SITE, last=True)
    gate = world.model.hold("console")
    await world.live()
    await world.generate("first")
    await world.sink.until(lambda f: f["type"] == "file_start" and f["data"]["path"] == "app.js")
    await world.everything_is_saved()
    return gate


async def expect_a_second_run_alone(world: World) -> None:
    """A new command is carried out by a run of its own, and nothing else goes on."""
    world.model.add_phase("More", MORE, last=True)
    await world.generate("second", command_id="second")
    await world.sink.until(lambda f: f["type"] == "run_started" and f["data"]["id"] == "second")
    await world.sink.expect("generation_complete")
    assert world.sink.types().count("generation_complete") == 1
    assert "run_resumed" not in world.sink.types()


# --- a cancel and the run ------------------------------------------------------------------------


async def test_a_cancel_right_behind_the_grant_stops_the_run(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    await world.live(grants=False)
    await world.generate("first")
    world.desk.post(m.RunGranted(project_id="p1"))
    assert isinstance(await world.request(m.CancelGeneration), m.Done)
    info = await world.request(m.ReviveProject)
    assert isinstance(info, m.ProjectInfo)
    assert not info.running
    assert world.desk.times_told(m.RunEnded) == 1  # the place that was granted is free again
    world.desk.grants = True
    await expect_a_second_run_alone(world)


async def test_a_cancel_while_the_end_of_a_file_is_committed_keeps_the_file(world: World) -> None:
    gate = await in_the_second_file(world)
    async with world.commits_held("file_end"):
        gate.release()
        await world.commit_is_held()
        cancel = asyncio.ensure_future(world.request(m.CancelGeneration))
    assert isinstance(await cancel, m.Done)
    await world.sink.expect("generation_cancelled")
    assert "file_restored" not in world.sink.types()
    assert world.sink.types().count("file_end") == 2
    assert await world.files() == SITE


async def test_a_cancel_while_the_completion_is_committed_comes_too_late(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    await world.live()
    async with world.commits_held("generation_complete"):
        await world.generate()
        await world.commit_is_held()
        cancel = asyncio.ensure_future(world.request(m.CancelGeneration))
    answer = await cancel
    assert isinstance(answer, m.Failed)
    assert answer.code == "nothing_running"
    await world.sink.expect("generation_complete")
    assert "generation_cancelled" not in world.sink.types()
    assert world.desk.times_told(m.RunEnded) == 1


# --- the database is away ------------------------------------------------------------------------


async def test_a_model_that_fails_in_a_file_while_the_database_is_away_ends_the_run(
    world: World,
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    text = "cat > index.html << 'EOF'\n<h1>Hello</h1>\nHalf\n"
    world.model.answer_next(
        Answer(text=text, finish_reason="content_filter", usage=None), purpose="implement"
    )
    gate = world.model.hold("Half")
    await world.live()
    await world.generate("first")
    await world.sink.expect("file_chunk")
    await world.everything_is_saved()  # so that the call that fails is one of the run's ending
    async with world.database_away_for_a_call():
        gate.release()
    error = await world.sink.expect("error")
    assert error["data"]["code"] == "model_refused"
    await world.sink.until(lambda f: f["data"] == {"state": "error"})
    assert world.sink.types()[-3:] == ["file_restored", "error", "state_change"]
    await expect_a_second_run_alone(world)
    assert world.desk.times_told(m.RunEnded) == 2


async def test_a_cancel_while_the_database_is_away_changes_nothing(world: World) -> None:
    gate = await in_the_second_file(world)
    before = world.sink.types()
    async with world.database_away():
        answer = await world.request(m.CancelGeneration)
    assert isinstance(answer, m.Failed)
    assert answer.code == "storage_unavailable"
    assert world.sink.types() == before
    assert isinstance(await world.request(m.CancelGeneration), m.Done)
    assert world.sink.types()[-4:] == [
        "file_restored",
        "command_answered",
        "generation_cancelled",
        "state_change",
    ]
    gate.release()
    await expect_a_second_run_alone(world)


async def test_a_request_before_the_first_claim_is_told_that_the_database_is_away(
    world: World,
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    with log_line("actors.outage", "Waiting for it") as waits:
        async with world.database_away():
            life = asyncio.create_task(world.live())
            await waits.logged()
            for answer in (
                await world.generate(),
                await world.request(m.CancelGeneration),
                await world.request(m.PassivateProject),
            ):
                assert isinstance(answer, m.Failed)
                assert answer.code == "storage_unavailable"
            assert [type(message) for message in world.desk.told] == [m.PassivationRefused]
    await life
    await world.generate()
    await world.sink.expect("generation_complete")


async def test_an_agent_that_could_not_claim_its_project_leaves_at_once(world: World) -> None:
    with log_line("actors.outage", "Waiting for it") as waits:
        async with world.database_away():
            life = asyncio.create_task(world.live())
            await waits.logged()
            world.desk.post(m.SaveAndStop())
            await world.has_left()
            await life
    assert world.desk.told == [m.ProjectGone(project_id="p1")]


# --- the database refuses ------------------------------------------------------------------------


async def journalled(world: World) -> ProjectState:
    """The state that follows from the journal's events alone."""
    connection = await connect(world.settings.database_url)
    try:
        rows = await connection.fetch("SELECT seq, type, data FROM events ORDER BY seq")
    finally:
        await connection.close()
    frames = ({**row, "data": orjson.loads(row["data"])} for row in rows)
    return fold("p1", frames)


async def claimed(world: World) -> ProjectState:
    """The state that the next life would find."""
    store = Store(world.settings.database_url)
    try:
        return comparable((await store.claim("p1")).state)
    finally:
        await store.close()


async def test_events_that_the_database_refuses_end_the_process_and_the_next_life_is_the_journals(
    world: World,
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    await world.live()
    async with world.commits_refused("file_end"):
        await world.generate()
        await world.has_left()
    assert world.desk.crashed.is_set()
    assert "file_end" not in world.sink.types()
    assert await world.files() == {}
    found = await claimed(world)
    assert found == await journalled(world)
    assert found.state is RunState.IMPLEMENTING_PHASE
    await world.live()
    await world.sink.expect("generation_complete")
    assert await world.files() == SITE
    assert len(world.model.received("plan")) == 1


# --- idle, leaving, removal ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "fields", "answered"),
    [
        (m.CancelGeneration, {}, "nothing_running"),
        (m.ReviveProject, {}, None),
        (m.StartGeneration, {"description": " "}, "invalid_description"),
    ],
)
async def test_a_request_that_changes_nothing_leaves_the_project_ready_for_passivation(
    world: World, type_: type[m.ProjectRequest], fields: dict[str, Any], answered: str | None
) -> None:
    now = 0.0
    roster = Roster(
        seats=Seats(max_runs=1, max_sandboxes=None),
        spares=0,
        idle_seconds=60,
        sandbox_idle_seconds=60,
        clock=lambda: now,
    )
    roster.request(m.ReviveProject(request_id="r", project_id="p1", reply_to="gateway"))
    roster.spare_ready("actor", 1)
    await world.live()
    heard = 0

    def report() -> None:
        nonlocal heard
        for message in world.desk.told[heard:]:
            assert isinstance(message, m.ProjectIdle)
            roster.idle("actor", message)
        heard = len(world.desk.told)

    report()
    request = type_(request_id="q", project_id="p1", reply_to="gateway", **fields)
    assert roster.request(request) == [Send("actor", request)]
    answer = await world.desk.ask(request)
    assert (answer.code if isinstance(answer, m.Failed) else None) == answered
    # The answer goes out before the agent settles: the next one follows when it has.
    await world.request(m.ReviveProject)
    report()
    now = 60.0
    assert roster.passivate_idle()
    assert roster.stage("p1") is Stage.PASSIVATING


async def test_a_failed_removal_keeps_the_queue_going(world: World, engine: MemoryEngine) -> None:
    world.model.add_phase("Base", SITE, last=True)
    world.model.add_phase("More", MORE, last=True)
    gate = world.model.hold("Hello")
    await world.live()
    await world.generate("first")
    await world.sink.expect("file_start")
    await world.generate("second", command_id="second")
    world.desk.grants = False
    engine.problem = SandboxUnavailable("Docker is gone.")
    answer = await world.request(m.RemoveProject)
    assert isinstance(answer, m.Failed)
    assert answer.code == "sandbox_unavailable"
    engine.problem = None
    gate.release()
    world.desk.post(m.RunGranted(project_id="p1"))
    await world.sink.until(lambda f: f["type"] == "run_started" and f["data"]["id"] == "second")
    await world.sink.expect("generation_complete")
    assert world.desk.times_told(m.RunWanted) == 2


@pytest.mark.parametrize(
    "problem", [SandboxUnavailable("Docker is gone."), RuntimeError("what nobody foresaw")]
)
async def test_a_project_whose_sandbox_cannot_be_stopped_is_passivated_all_the_same(
    world: World, engine: MemoryEngine, problem: Exception
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    engine.problem = problem
    world.desk.post(m.PassivateProject(request_id="p", project_id="p1"))
    await world.has_left()
    await world.sink.expect("hibernated")
    assert world.desk.told[-1] == m.ProjectGone(project_id="p1")
    assert (await world.sink.expect("hibernated"))["seq"] == (await claimed(world)).last_seq


async def test_a_passivation_stops_the_sandbox_of_an_earlier_life(
    world: World, engine: MemoryEngine
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    await world.die()
    container = engine.container
    assert container is not None
    await world.live()
    world.desk.post(m.PassivateProject(request_id="p", project_id="p1"))
    await world.has_left()
    assert not container.is_running
    assert engine.container is container  # with all that it holds


async def test_a_sandbox_that_could_not_start_is_started_by_the_next_run(
    world: World, engine: MemoryEngine
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    world.model.answer_next(Answer(status=401), purpose="plan")  # ends the run before it is needed
    engine.problem = SandboxUnavailable("Docker is not there yet.")
    await world.live()
    await world.generate("first")
    error = await world.sink.expect("error")
    assert error["data"]["code"] == "model_unauthorized"
    engine.problem = None
    await world.generate("second")
    await world.sink.expect("generation_complete")
    assert engine.container is not None
    assert engine.container.files == SITE


@pytest.mark.parametrize("losses", [["install"], ["serve"], ["install", "serve", "serve"]])
async def test_a_sandbox_that_is_lost_during_a_run_is_made_anew_and_the_run_goes_on(
    world: World, engine: MemoryEngine, losses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "SANDBOX_RETRY_SECONDS", (0.0, 0.0, 0.0))
    world.model.add_phase("Base", SITE | {"package.json": "{}\n"}, last=True)
    engine.losses = list(losses)
    await world.live()
    await world.generate("first")
    await world.sink.expect("generation_complete")
    assert engine.containers_made == 1 + len(losses)
    assert engine.container is not None
    assert engine.container.is_serving
    assert engine.container.files == SITE | {"package.json": "{}\n"}
    assert len(world.model.received("implement")) == 1


async def test_a_sandbox_that_is_lost_again_and_again_ends_the_run(
    world: World, engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "SANDBOX_RETRY_SECONDS", (0.0, 0.0))
    world.model.add_phase("Base", SITE, last=True)
    engine.losses = ["serve"] * 3
    await world.live()
    await world.generate("first")
    error = await world.sink.expect("error")
    assert error["data"]["code"] == "sandbox_unavailable"
