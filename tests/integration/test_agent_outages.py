"""PostgreSQL away in the middle of everything: what waits, what is refused, what goes on."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from actors import messages as m
from actors.postgres import EmbeddedPostgres
from actors.state import ProjectState
from actors.store import Store
from tests.support.agent import MORE, SITE, WAIT_SECONDS, World
from tests.support.openrouter import Answer, Gate
from tests.support.postgres import standing_still
from tests.support.sandbox import MemoryEngine, MemorySandbox
from tests.support.wait import wait_until

REQUESTS: list[tuple[type[m.ProjectRequest], dict[str, Any]]] = [
    (m.StartGeneration, {"description": "refused", "command_id": "refused"}),
    (m.StartGeneration, {"description": "refused", "mode": "replace"}),
    (m.CancelGeneration, {}),
    (m.RemoveProject, {}),
    (m.ReviveProject, {}),
    (m.PassivateProject, {}),
]


async def in_the_first_file(world: World) -> Gate:
    """Begin a run and hold it in the middle of index.html; returns the gate."""
    world.model.add_phase("Base", SITE, last=True)
    gate = world.model.hold("Hello")
    await world.live()
    await world.generate("first")
    await world.sink.expect("file_start")
    await world.everything_is_saved()
    return gate


async def refused(world: World) -> None:
    """Every request is answered with the one code."""
    answers = await asyncio.gather(*(world.request(type_, **fields) for type_, fields in REQUESTS))
    assert {answer.code for answer in answers if isinstance(answer, m.Failed)} == {
        "storage_unavailable"
    }
    assert all(isinstance(answer, m.Failed) for answer in answers)


async def claimed(world: World) -> ProjectState:
    """The state that the next life would find."""
    store = Store(world.settings.database_url)
    try:
        return (await store.claim("p1")).state
    finally:
        await store.close()


def seqs(world: World) -> list[int]:
    return [frame["seq"] for frame in world.sink.frames]


# --- refused -------------------------------------------------------------------------------------


async def test_what_is_asked_during_an_outage_is_refused_and_the_run_goes_on(world: World) -> None:
    gate = await in_the_first_file(world)
    async with world.database_away_for_a_call():
        gate.release()
        await world.sink.until_line("S")
        await refused(world)
    await world.sink.expect("generation_complete")
    assert [bool(said) for said in world.sink.storage] == [True, False]
    assert await world.files() == SITE
    assert seqs(world) == list(range(1, len(seqs(world)) + 1))
    assert world.sink.types().count("command_queued") == 1
    assert "generation_cancelled" not in world.sink.types()


async def test_what_is_asked_before_anybody_knows_of_the_outage_is_refused_soon(
    world: World, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.store.PROMPT_SECONDS", 0.2)
    await world.live()
    with standing_still(postgres):
        await refused(world)
    # Idle it was, idle it is: the supervisor will ask again.
    refusal, idle = world.desk.told[-2:]
    assert isinstance(refusal, m.PassivationRefused)
    assert refusal.code == "storage_unavailable"
    assert idle == m.ProjectIdle(project_id="p1", idle=True)
    assert world.sink.frames == []
    world.desk.post(m.PassivateProject(request_id="again", project_id="p1"))
    await world.has_left()
    assert world.sink.types() == ["hibernated"]


async def test_a_claim_that_hangs_is_told_to_who_asks_and_comes_to_its_end(
    world: World, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.outage.SLOW_SECONDS", 0.1)
    world.model.add_phase("Base", SITE, last=True)
    with standing_still(postgres):
        life = asyncio.create_task(world.live())
        await wait_until(lambda: world.desk.agent is not None)
        answer = await world.generate("refused")
        assert isinstance(answer, m.Failed)
        assert answer.code == "storage_unavailable"
    await life
    await world.generate("an app")
    await world.sink.expect("generation_complete")


async def test_who_waits_for_his_turn_behind_a_call_that_gets_stuck_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.outage.SLOW_SECONDS", 0.3)
    await world.live(grants=False)
    async with world.commits_held("command_queued"):
        first = asyncio.ensure_future(world.generate("first", command_id="first"))
        await world.commit_is_held()
        # This one waits before the outage is known: the connection is in use.
        answer = await world.request(m.CancelGeneration)
        assert isinstance(answer, m.Failed)
        assert answer.code == "storage_unavailable"
        assert "has been taken" not in answer.message
        again = await world.generate("first", command_id="first")
        assert isinstance(again, m.Failed)
        assert again.code == "storage_unavailable"
        assert "has been taken" in again.message
        assert not first.done()
    assert isinstance(await first, m.Accepted)
    assert isinstance(await world.generate("first", command_id="first"), m.Accepted)
    assert world.sink.types() == ["command_queued"]


# --- patient -------------------------------------------------------------------------------------


async def test_a_cancel_that_has_begun_when_the_database_goes_away_ends_the_run_for_good(
    world: World,
) -> None:
    gate = await in_the_first_file(world)
    async with world.commits_held("generation_cancelled"):
        cancel = asyncio.ensure_future(world.request(m.CancelGeneration))
        await world.commit_is_held()
        async with world.database_away_for_a_call():
            pass  # the commit that is held is lost with its connection
    assert isinstance(await cancel, m.Done)
    assert world.sink.types()[-4:] == [
        "file_restored",
        "command_answered",
        "generation_cancelled",
        "state_change",
    ]
    gate.release()
    world.model.add_phase("More", MORE, last=True)
    await world.generate("second", command_id="second")
    await world.sink.until(lambda f: f["type"] == "run_started" and f["data"]["id"] == "second")
    await world.sink.expect("generation_complete")
    assert "run_resumed" not in world.sink.types()


async def test_a_passivation_whose_sandbox_stops_into_an_outage_is_tried_again_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.engine = MemoryEngine()
    world.model.add_phase("Base", SITE, last=True)
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    async with contextlib.AsyncExitStack() as outage:
        stop = MemorySandbox.stop

        async def stop_slowly(sandbox: MemorySandbox) -> None:
            await stop(sandbox)
            await outage.enter_async_context(world.database_away())

        monkeypatch.setattr(MemorySandbox, "stop", stop_slowly)
        answer = await world.request(m.PassivateProject)
        assert isinstance(answer, m.Failed)
        assert answer.code == "storage_unavailable"
        assert world.desk.told[-1] == m.ProjectIdle(project_id="p1", idle=True)
    monkeypatch.undo()
    world.model.add_phase("More", MORE, last=True)
    await world.generate("more")  # it is there as before, with a sandbox once it is needed
    await world.sink.expect("generation_complete", 2)
    assert world.engine.container is not None
    assert world.engine.container.files == {**SITE, **MORE}
    world.desk.post(m.PassivateProject(request_id="p", project_id="p1"))
    await world.has_left()
    assert (await claimed(world)).last_seq == world.sink.frames[-1]["seq"]


async def test_the_models_stream_is_held_back_and_what_is_kept_stays_bounded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 64 * 1024
    monkeypatch.setattr("actors.journal.MAX_UNWRITTEN_BYTES", limit)
    lines = "".join(f"{number} {'x' * 990}\n" for number in range(3_000))
    world.model.add_phase("Base", {"a.txt": lines, "b.txt": lines}, last=True)
    answer = Answer(chunk_chars=16 * 1024, send_buffer_bytes=limit)
    world.model.answer_next(answer, purpose="implement")
    await world.live()
    async with world.commits_held("file_chunk"):
        await world.generate()
        await world.sink.until_line("S")
        assert world.desk.agent is not None
        journal = world.desk.agent._journal
        assert journal is not None
        # The run waits for the journal, and reads nothing more of the model.
        await wait_until(lambda: bool(journal._tasks))
        shown = sum(
            len(frame["data"]["chunk"])
            for frame in world.sink.frames
            if frame["type"] == "file_chunk"
        )
        [request] = world.model.received("implement")
        assert limit < shown < len(lines)
        assert shown < request.chars_sent < 2 * len(lines)
        assert not request.ended.is_set
    await world.sink.expect("generation_complete")
    assert await world.files() == {"a.txt": lines, "b.txt": lines}
    for path in ("a.txt", "b.txt"):
        chunks = [
            frame["data"]["chunk"]
            for frame in world.sink.frames
            if frame["type"] == "file_chunk" and frame["data"]["path"] == path
        ]
        assert "".join(chunks) == lines
    assert seqs(world) == list(range(1, len(seqs(world)) + 1))


# --- leaving -------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_stop_during_an_outage_ends_and_the_next_life_goes_on_from_the_journal(
    world: World, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    monkeypatch.setattr("actors.agent.SAVE_SECONDS", 0.2)
    monkeypatch.setattr("actors.outage.SLOW_SECONDS", 0.1 if is_known else WAIT_SECONDS)
    gate = await in_the_first_file(world)
    with standing_still(postgres):
        gate.release()
        if is_known:
            await world.sink.until_line("S")
        world.desk.post(m.SaveAndStop())
        await world.has_left()
    assert world.desk.told[-1] == m.ProjectGone(project_id="p1", is_saved=False)
    seen = world.sink.frames[-1]["seq"]
    await world.live()
    resumed = await world.sink.expect("run_resumed")
    assert resumed["seq"] > seen
    await world.sink.expect("generation_complete")
    assert await world.files() == SITE
    assert len(world.model.received("plan")) == 1


async def test_a_stop_is_held_up_neither_by_a_stuck_request_nor_by_a_run_that_fails_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.agent.SAVE_SECONDS", 0.2)
    text = "cat > index.html << 'EOF'\n<h1>Hello</h1>\n"
    world.model.answer_next(
        Answer(text=text, finish_reason="content_filter", usage=None), purpose="implement"
    )
    gate = await in_the_first_file(world)
    async with world.commits_held("command_queued"):
        stuck = asyncio.ensure_future(world.generate("second", command_id="second"))
        await world.commit_is_held()
        gate.release()
        await world.model.received("implement")[0].ended.happened()
        world.desk.post(m.SaveAndStop())
        await world.has_left()
        answer = await stuck
        assert isinstance(answer, m.Failed)
        assert answer.code == "storage_unavailable"
    assert world.desk.told[-1] == m.ProjectGone(project_id="p1", is_saved=False)
    assert "error" not in world.sink.types()
    await world.live()
    await world.sink.expect("run_resumed")
    await world.sink.expect("generation_complete")
    assert await world.files() == SITE
