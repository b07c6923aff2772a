"""The journal over a real PostgreSQL and a real feed: what is seen, what is saved, in which order.

`row_held` keeps a commit from ending: another transaction holds the project's row. `MARKER` is a
line that the test itself puts on the feed: what was published before has arrived when it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from actors import events as ev
from actors.database import CONNECT_OPTIONS, connect
from actors.errors import Fenced, StorageUnavailable
from actors.events import RunState
from actors.feed import Feed
from actors.journal import (
    MAX_MERGED_CHARS,
    MAX_UNWRITTEN_BYTES,
    MAX_UNWRITTEN_EVENTS,
    UNCLEAN_GAP,
    Journal,
)
from actors.outage import Patience
from actors.postgres import EmbeddedPostgres
from actors.reader import Reader
from actors.state import OpenFile, ProjectState
from actors.store import Store
from tests.support.feed import WAIT_SECONDS, FeedSink
from tests.support.history import history
from tests.support.log import log_line
from tests.support.postgres import standing_still, wait_until_blocked
from tests.support.replay_fold import comparable, fold

PROJECT = "p-1"
MARKER = b'{"type":"marker","data":{},"seq":%d}'
DESIGNING = ev.StateChange(state=RunState.DESIGNING_PHASE)
OPENED = (ev.FileStart(path="b"), ev.FileChunk(path="b", chunk="three"))


class Owner:
    """A journal over a store and a feed of its own, and what it was told of their end."""

    def __init__(self, database_url: str, feed_path: Path) -> None:
        self._database_url = database_url
        self._feed_path = feed_path
        self.store = Store(database_url)
        self.fenced = 0
        self.was_told = asyncio.Event()
        self.was_broken = asyncio.Event()
        self.journal: Journal
        self.feed: Feed

    async def claim(self) -> Owner:
        claim = await self.store.claim(PROJECT)
        self.feed = Feed(self._feed_path, PROJECT, claim.epoch)
        await self.feed.open(claim.state.last_seq)
        self.patience = Patience(self.feed.storage_away, self.feed.storage_back)
        self.journal = Journal(
            self.store,
            self.feed,
            claim.state,
            claim.epoch,
            patience=self.patience,
            on_fenced=self._note_fenced,
            on_broken=self.was_broken.set,
        )
        return self

    def _note_fenced(self) -> None:
        self.fenced += 1
        self.was_told.set()

    async def close(self) -> None:
        with contextlib.suppress(StorageUnavailable):
            await self.journal.close()
        await self.feed.close()
        await self.store.close()


class World:
    """A database, a gateway's end of the feed, and the owners that a test makes."""

    def __init__(self, database_url: str, feed_path: Path, sink: FeedSink) -> None:
        self.database_url = database_url
        self.sink = sink
        self._feed_path = feed_path
        self.owners: list[Owner] = []
        self._markers = 0

    async def owner(self) -> Owner:
        owner = Owner(self.database_url, self._feed_path)
        self.owners.append(owner)
        return await owner.claim()

    async def fetch(self, sql: str) -> Any:
        connection = await connect(self.database_url)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    async def saved(self) -> list[int]:
        """The numbers in the journal."""
        numbers: list[int] = await self.fetch("SELECT array_agg(seq ORDER BY seq) FROM events")
        return numbers or []

    async def saved_state(self) -> ProjectState:
        """What a viewer who comes now is shown."""
        reader = Reader(self.database_url)
        try:
            state = await reader.state(PROJECT)
        finally:
            await reader.close()
        assert state is not None
        return comparable(state)

    @contextlib.asynccontextmanager
    async def row_held(self) -> AsyncIterator[None]:
        """Let no commit of the project end."""
        connection = await connect(self.database_url)
        try:
            async with connection.transaction():
                await connection.execute("SELECT FROM agent_states FOR UPDATE")
                yield
        finally:
            await connection.close()

    async def blocked(self) -> None:
        """Return when a commit waits for the row."""
        await wait_until_blocked(self.database_url)

    async def published(self, owner: Owner) -> list[dict[str, Any]]:
        """Return every frame that was published before this call."""
        self._markers += 1
        marker = {"type": "marker", "data": {}, "seq": -self._markers}
        owner.feed.publish(0, MARKER % -self._markers)
        await self.sink.until(lambda frame: frame == marker)
        return [frame for frame in self.sink.frames if frame["type"] != "marker"]

    async def durable(self, seq: int) -> None:
        """Wait until the feed says that everything up to `seq` is saved."""
        await self.sink.until(lambda _: ("D", b"%d" % seq) in self.sink.lines)


@pytest.fixture
async def world(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    path = tmp_path / "feed.sock"
    async with FeedSink(path) as sink:
        world = World(database_url, path, sink)
        yield world
        for owner in world.owners:
            await owner.close()


def numbers(frames: list[dict[str, Any]]) -> list[int]:
    return [frame["seq"] for frame in frames]


def types(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["type"] for frame in frames]


def chunk(path: str, text: str) -> ev.FileChunk:
    return ev.FileChunk(path=path, chunk=text)


def line(text: str) -> ev.SandboxLog:
    return ev.SandboxLog(stream="stdout", line=text)


async def finished(*tasks: asyncio.Task[Any]) -> None:
    """Wait for the end of tasks, however they end."""
    async with asyncio.timeout(WAIT_SECONDS):
        await asyncio.gather(*tasks, return_exceptions=True)


# --- what is seen is saved -----------------------------------------------------------------------


async def test_a_barrier_is_on_no_feed_before_it_is_in_postgresql(world: World) -> None:
    owner = await world.owner()
    async with world.row_held():
        recording = asyncio.create_task(owner.journal.record(DESIGNING))
        await world.blocked()
        assert await world.published(owner) == []
    await recording
    assert await world.saved() == [1]
    assert types(await world.published(owner)) == ["state_change"]


async def test_a_barrier_brings_what_came_before_it_into_the_same_transaction(
    world: World,
) -> None:
    owner = await world.owner()
    await owner.journal.record(ev.FileStart(path="a"), chunk("a", "one"))
    assert await world.saved() == []
    await owner.journal.record(
        ev.Usage(purpose="plan", model="m", prompt_tokens=1, completion_tokens=1, cost_usd=None)
    )
    assert await world.saved() == [1, 2, 3]
    await world.durable(3)
    assert types(await world.published(owner)) == ["file_start", "file_chunk", "usage"]


async def test_what_is_no_barrier_is_seen_at_once_and_saved_without_being_asked(
    world: World,
) -> None:
    owner = await world.owner()
    await owner.journal.record(line("hello"))
    assert types(await world.published(owner)) == ["sandbox_log"]
    await world.durable(1)
    assert await world.saved() == [1]


async def test_several_barriers_at_once_are_seen_all_or_none(world: World) -> None:
    owner = await world.owner()
    async with world.row_held():
        events = (ev.GenerationComplete(files=(), phases=1), DESIGNING)
        recording = asyncio.create_task(owner.journal.record(*events))
        await world.blocked()
        assert await world.published(owner) == []
    await recording
    assert types(await world.published(owner)) == ["generation_complete", "state_change"]


async def test_a_batch_of_both_kinds_keeps_its_order_and_is_saved_as_a_whole(world: World) -> None:
    owner = await world.owner()
    owner.journal.note(chunk("a", "one "))  # still in its window
    batch = (chunk("a", "two"), ev.FileEnd(path="a", content="one two"), *OPENED)
    async with world.row_held():
        recording = asyncio.create_task(owner.journal.record(*batch))
        await world.blocked()
        assert numbers(await world.published(owner)) == [1]
    assert await recording == 5
    assert [frame["data"] for frame in await world.published(owner)][1:4] == [
        {"path": "a", "chunk": "two"},
        {"path": "a", "content": "one two"},
        {"path": "b"},
    ]
    assert await world.saved() == [3, 4, 5]  # of a finished file nothing but its end is kept
    assert fold(PROJECT, await world.published(owner)) == await world.saved_state()


async def test_too_much_that_is_unsaved_makes_the_recorder_wait_for_the_database(
    world: World,
) -> None:
    owner = await world.owner()
    events = (line("log"), chunk("a", "x" * (MAX_UNWRITTEN_BYTES + 1)))
    async with world.row_held():
        recording = asyncio.create_task(owner.journal.record(*events))
        await world.blocked()
        assert numbers(await world.published(owner)) == [1, 2]
        assert not recording.done()
    await recording
    assert await world.saved() == [1, 2]


# --- chunks --------------------------------------------------------------------------------------


async def test_chunks_of_one_file_within_a_window_become_one_event(world: World) -> None:
    owner = await world.owner()
    owner.journal.note(chunk("a", "one "))
    owner.journal.note(chunk("a", "two "))
    owner.journal.note(chunk("a", "three"))
    frame = await world.sink.expect("file_chunk")
    assert frame["data"] == {"path": "a", "chunk": "one two three"}
    assert numbers(await world.published(owner)) == [1]


async def test_chunks_that_have_become_long_do_not_wait_for_more(world: World) -> None:
    owner = await world.owner()
    piece = "x" * (MAX_MERGED_CHARS // 2 + 1)
    for _ in range(3):
        owner.journal.note(chunk("a", piece))
    await world.sink.until(lambda frame: frame["seq"] == 2)
    assert [frame["data"]["chunk"] for frame in world.sink.frames] == [2 * piece, piece]
    assert numbers(await world.published(owner)) == [1, 2]


async def test_chunks_of_different_files_are_never_merged(world: World) -> None:
    owner = await world.owner()
    for path, text in (("a", "1"), ("a", "2"), ("b", "3"), ("a", "4"), ("a", "5")):
        owner.journal.note(chunk(path, text))
    await world.sink.until(lambda frame: frame["seq"] == 3)
    assert [tuple(frame["data"].values()) for frame in world.sink.frames] == [
        ("a", "12"),
        ("b", "3"),
        ("a", "45"),
    ]


async def test_a_chunk_that_is_still_in_its_window_precedes_a_barrier(world: World) -> None:
    owner = await world.owner()
    owner.journal.note(chunk("a", "text"))
    assert await owner.journal.record(ev.FileEnd(path="a", content="text")) == 2
    assert types(await world.published(owner)) == ["file_chunk", "file_end"]
    assert fold(PROJECT, await world.published(owner)) == await world.saved_state()


async def test_an_event_between_two_chunks_keeps_its_place(world: World) -> None:
    owner = await world.owner()
    await owner.journal.record(ev.FileStart(path="a"), chunk("a", "1"), line("log"))
    await owner.journal.record(chunk("a", "2"), ev.FileEnd(path="a", content="12"))
    assert types(await world.published(owner)) == [
        "file_start",
        "file_chunk",
        "sandbox_log",
        "file_chunk",
        "file_end",
    ]


# --- order ---------------------------------------------------------------------------------------


async def test_what_arrives_while_a_barrier_is_committed_follows_it_without_a_gap(
    world: World,
) -> None:
    owner = await world.owner()
    async with world.row_held():
        recording = asyncio.create_task(owner.journal.record(line("before"), DESIGNING))
        await world.blocked()
        for event in (line("log"), chunk("a", "1"), chunk("a", "2"), chunk("b", "3")):
            owner.journal.note(event)
        assert await world.published(owner) == []
    await recording
    await owner.journal.record(DESIGNING)
    frames = await world.published(owner)
    assert numbers(frames) == [1, 2, 3, 4, 5, 6]
    assert [frame["data"].get("line", frame["data"].get("chunk")) for frame in frames] == [
        "before",
        None,
        "log",
        "12",
        "3",
        None,
    ]
    assert fold(PROJECT, frames) == await world.saved_state()


async def test_recorders_at_once_take_turns_in_the_order_of_their_calls(world: World) -> None:
    owner = await world.owner()
    states = [RunState.DESIGNING_PHASE, RunState.IMPLEMENTING_PHASE, RunState.INSTALLING_DEPS]
    async with world.row_held():
        recordings = []
        for state in states:
            recordings.append(
                asyncio.create_task(owner.journal.record(ev.StateChange(state=state)))
            )
            await world.blocked()
            owner.journal.note(line(state))
    await asyncio.gather(*recordings)
    await owner.journal.close()
    frames = await world.published(owner)
    assert numbers(frames) == list(range(1, 7))
    assert [f["data"]["state"] for f in frames if f["type"] == "state_change"] == states
    assert [f["data"]["line"] for f in frames if f["type"] == "sandbox_log"] == states
    assert fold(PROJECT, frames) == await world.saved_state()


async def test_recording_returns_the_number_under_which_the_barrier_is_saved(
    world: World,
) -> None:
    owner = await world.owner()
    async with world.row_held():
        recordings = [
            asyncio.create_task(owner.journal.record(line("log"), DESIGNING)),
            asyncio.create_task(owner.journal.record(ev.DepsInstalled())),
        ]
        await world.blocked()
        owner.journal.note(line("between"))
    assert await asyncio.gather(*recordings) == [2, 4]
    frames = await world.published(owner)
    assert types(frames) == ["sandbox_log", "state_change", "sandbox_log", "deps_installed"]


async def test_lines_of_a_log_are_left_out_while_postgresql_does_not_keep_up_and_nothing_else_is(
    world: World,
) -> None:
    owner = await world.owner()
    count = MAX_UNWRITTEN_EVENTS + 100
    with log_line("actors.journal", "lines of its sandbox's log were left out") as complaint:
        async with world.row_held():
            recording = asyncio.create_task(owner.journal.record(DESIGNING))
            await world.blocked()
            for number in range(count):
                owner.journal.note(line(str(number)))
            owner.journal.note(chunk("a", "text"))
        await recording
    assert len(complaint.records) == 1
    await owner.journal.close()
    frames = await world.published(owner)
    lines = [frame["data"]["line"] for frame in frames if frame["type"] == "sandbox_log"]
    assert lines == [str(number) for number in range(len(lines))]
    assert MAX_UNWRITTEN_EVENTS <= len(lines) < count
    assert types(frames)[-1] == "file_chunk"
    assert numbers(frames) == list(range(1, len(frames) + 1))
    assert fold(PROJECT, frames) == await world.saved_state()


async def test_after_a_crash_the_numbers_that_viewers_may_have_seen_are_left_out(
    world: World,
) -> None:
    owner = await world.owner()
    await owner.journal.record(DESIGNING)
    heir = await world.owner()
    heir.journal.skip_unsaved_numbers()
    await heir.journal.record(DESIGNING)
    assert await world.saved() == [1, 1 + UNCLEAN_GAP + 1]


# --- cancelling ----------------------------------------------------------------------------------


async def test_cancelling_the_recorder_during_a_commit_loses_nothing(world: World) -> None:
    owner = await world.owner()
    async with world.row_held():
        recording = asyncio.create_task(owner.journal.record(chunk("a", "1"), DESIGNING))
        await world.blocked()
        recording.cancel()
        await finished(recording)
        assert recording.cancelled()
        assert await world.published(owner) == []
    await world.sink.expect("state_change")
    assert await world.saved() == [1, 2]
    assert fold(PROJECT, await world.published(owner)) == comparable(owner.journal.state)
    assert comparable(owner.journal.state) == await world.saved_state()


async def test_settled_means_that_what_a_cancelled_recorder_began_is_saved_and_in_the_state(
    world: World,
) -> None:
    owner = await world.owner()
    async with world.row_held():
        recording = asyncio.create_task(owner.journal.record(DESIGNING))
        await world.blocked()
        recording.cancel()
        await finished(recording)
        settling = asyncio.create_task(owner.journal.settled())
    await settling
    assert await world.saved() == [1]
    assert owner.journal.state.state is RunState.DESIGNING_PHASE


async def test_settled_means_that_the_last_chunks_are_in_the_state(world: World) -> None:
    owner = await world.owner()
    await owner.journal.record(*OPENED, chunk("b", " four"))
    await owner.journal.settled()
    assert owner.journal.state.open_file == OpenFile(path="b", chunks=["three four"])
    async with world.row_held():
        recording = asyncio.create_task(owner.journal.record(DESIGNING))
        await world.blocked()
        await owner.journal.record(chunk("b", " five"))
        settling = asyncio.create_task(owner.journal.settled())
    await settling
    await recording
    assert owner.journal.state.open_file is not None
    assert owner.journal.state.open_file.text == "three four five"


async def test_cancelling_a_recorder_that_waits_for_its_turn_loses_nothing(world: World) -> None:
    owner = await world.owner()
    async with world.row_held():
        first = asyncio.create_task(owner.journal.record(DESIGNING))
        await world.blocked()
        second = asyncio.create_task(owner.journal.record(ev.DepsInstalled()))
        await world.blocked()
        second.cancel()
        await finished(second)
    await first
    await world.sink.expect("deps_installed")
    assert await world.saved() == [1, 2]
    assert comparable(owner.journal.state) == await world.saved_state()


@pytest.mark.parametrize("seed", range(8))
async def test_the_feed_and_the_database_tell_the_same_story_whatever_is_cancelled(
    world: World, seed: int
) -> None:
    rng = random.Random(seed)
    owner = await world.owner()
    pending: list[asyncio.Task[Any]] = []
    for event in history(rng):
        if not isinstance(event, ev.CommandQueued):  # a run records one thing after another
            await finished(*pending)
            await owner.journal.settled()
        recording = asyncio.create_task(owner.journal.record(event))
        await turns(1 + rng.randrange(3))  # it has begun, so it will be recorded
        if rng.random() < 0.3:
            recording.cancel()
        if rng.random() < 0.4:
            owner.journal.note(line(f"log {rng.random()}"))
        if rng.random() < 0.7:
            await finished(recording)
        else:
            await turns(rng.randrange(3))
        pending.append(recording)
    await finished(*pending)
    await owner.journal.close()
    frames = await world.published(owner)
    assert numbers(frames) == list(range(1, len(frames) + 1))
    assert fold(PROJECT, frames) == comparable(owner.journal.state)
    assert fold(PROJECT, frames) == await world.saved_state()


async def turns(count: int) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


# --- another owner, no database, the end ---------------------------------------------------------


async def test_an_owner_that_was_succeeded_is_told_once_and_writes_nothing(world: World) -> None:
    stale = await world.owner()
    heir = await world.owner()
    stale.journal.note(chunk("a", "unsaved"))
    with pytest.raises(Fenced):
        await stale.journal.record(DESIGNING)
    with pytest.raises(Fenced):
        await stale.journal.record(ev.DepsInstalled())
    stale.journal.note(line("more"))
    await stale.journal.close()
    assert stale.fenced == 1
    assert await world.saved() == []
    await heir.journal.record(DESIGNING)
    assert await world.saved() == [1]
    assert heir.fenced == 0


async def test_no_viewer_sees_a_barrier_of_an_owner_that_was_succeeded(world: World) -> None:
    stale = await world.owner()
    await world.owner()
    with pytest.raises(Fenced):
        await stale.journal.record(DESIGNING)
    assert await world.published(stale) == []


async def test_an_owner_learns_of_its_successor_by_what_it_saves_on_its_own(world: World) -> None:
    stale = await world.owner()
    heir = await world.owner()
    with log_line("asyncio", "never retrieved") as complaint:
        stale.journal.note(line("hello"))
        async with asyncio.timeout(WAIT_SECONDS):
            await stale.was_told.wait()
    assert complaint.records == []
    assert await world.saved() == []
    assert heir.fenced == 0


async def test_an_event_that_postgresql_refuses_for_good_ends_this_life_unseen(
    world: World,
) -> None:
    owner = await world.owner()
    await owner.journal.record(DESIGNING)
    absurd = ev.Usage(
        purpose="plan", model="m", prompt_tokens=2**63, completion_tokens=0, cost_usd=None
    )
    with pytest.raises(asyncpg.DataError):
        await owner.journal.record(absurd)
    assert owner.was_broken.is_set()
    assert owner.fenced == 0
    assert await world.saved() == [1]
    assert types(await world.published(owner)) == ["state_change"]


async def test_an_event_that_cannot_be_encoded_changes_nothing(world: World) -> None:
    owner = await world.owner()
    with pytest.raises(TypeError):
        await owner.journal.record(ev.FileEnd(path="a", content="\ud800"))
    await owner.journal.record(DESIGNING)
    frames = await world.published(owner)
    assert numbers(frames) == [1]
    assert fold(PROJECT, frames) == comparable(owner.journal.state)
    assert fold(PROJECT, frames) == await world.saved_state()


async def test_without_postgresql_a_recorder_waits_and_goes_on_with_nothing_skipped(
    world: World, postgres: EmbeddedPostgres
) -> None:
    owner = await world.owner()
    await owner.journal.record(DESIGNING)
    await asyncio.to_thread(postgres.stop)
    try:
        with log_line("actors.outage", "Waiting for it") as waiting:
            owner.journal.note(chunk("a", "1"))
            recording = asyncio.create_task(owner.journal.record(ev.DepsInstalled()))
            await waiting.logged()
            owner.journal.note(chunk("a", "2"))
            owner.journal.note(line("log"))
            assert types(await world.published(owner)) == ["state_change", "file_chunk"]
            assert not recording.done()
            assert [bool(said) for said in world.sink.storage] == [True]
            assert "cannot be reached" in world.sink.storage[0]["message"]
    finally:
        await asyncio.to_thread(postgres.start)
    await recording
    await owner.journal.close()
    await world.durable(5)
    assert world.sink.storage[1:] == [{}]
    kinds = [kind for kind, rest in world.sink.lines if kind == "S" or b"deps_inst" in rest]
    assert kinds == ["S", "S", "E"]
    frames = await world.published(owner)
    assert types(frames) == [
        "state_change",
        "file_chunk",
        "deps_installed",
        "file_chunk",
        "sandbox_log",
    ]
    assert numbers(frames) == [1, 2, 3, 4, 5]
    assert fold(PROJECT, frames) == await world.saved_state()


async def test_what_was_written_on_its_own_while_postgresql_was_away_is_saved_too(
    world: World, postgres: EmbeddedPostgres
) -> None:
    owner = await world.owner()
    await asyncio.to_thread(postgres.stop)
    try:
        with log_line("actors.outage", "Waiting for it") as waiting:
            owner.journal.note(line("one"))
            await waiting.logged()
            owner.journal.note(line("two"))
    finally:
        await asyncio.to_thread(postgres.start)
    await world.durable(2)
    assert await world.saved() == [1, 2]


async def test_a_commit_that_takes_long_is_told_and_so_is_its_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.outage.SLOW_SECONDS", 0.01)
    owner = await world.owner()
    async with world.row_held():
        recording = asyncio.create_task(owner.journal.record(DESIGNING))
        await world.sink.until_line("S")
    await recording
    await world.sink.until_line("S", 2)
    assert "has not answered" in world.sink.storage[0]["message"]
    assert world.sink.storage[1] == {}


async def test_a_statement_that_a_stopped_server_swallowed_is_carried_out_once(
    world: World, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CONNECT_OPTIONS, "command_timeout", 0.2)
    monkeypatch.setitem(CONNECT_OPTIONS, "timeout", 0.2)
    owner = await world.owner()
    with log_line("actors.outage", "Waiting for it") as waiting, standing_still(postgres):
        recording = asyncio.create_task(owner.journal.record(line("log"), DESIGNING))
        await waiting.logged()
        monkeypatch.undo()
    await recording
    assert await world.saved() == [1, 2]
    assert numbers(await world.published(owner)) == [1, 2]
    assert "does not answer" in world.sink.storage[0]["message"]


async def test_who_has_to_leave_while_postgresql_is_away_saves_nothing_and_ends(
    world: World, postgres: EmbeddedPostgres
) -> None:
    owner = await world.owner()
    await owner.journal.record(DESIGNING)
    with standing_still(postgres):
        recording = asyncio.create_task(owner.journal.record(ev.DepsInstalled()))
        owner.journal.note(line("held"))
        await asyncio.sleep(0)
        owner.patience.give_up_in(0.05)
        await finished(recording)
        assert isinstance(recording.exception(), StorageUnavailable)
        owner.journal.note(line("log"))
        with pytest.raises(StorageUnavailable):
            await owner.journal.close()
        await owner.store.close()
    assert not owner.was_broken.is_set()
    await owner.journal.settled()
    assert (await world.saved_state()).last_seq in (1, 2)  # the server may have had the statement


async def test_close_saves_and_publishes_what_is_unwritten(world: World) -> None:
    owner = await world.owner()
    owner.journal.note(line("log"))
    owner.journal.note(chunk("a", "in the window"))
    await owner.journal.close()
    assert await world.saved() == [1, 2]
    frames = await world.published(owner)
    assert types(frames) == ["sandbox_log", "file_chunk"]
    assert fold(PROJECT, frames) == await world.saved_state()


async def test_close_waits_for_a_barrier_and_saves_what_arrived_meanwhile(world: World) -> None:
    owner = await world.owner()
    async with world.row_held():
        recording = asyncio.create_task(owner.journal.record(DESIGNING))
        await world.blocked()
        recording.cancel()
        owner.journal.note(line("log"))
        owner.journal.note(chunk("a", "text"))
        closing = asyncio.create_task(owner.journal.close())
        await finished(recording)
    await closing
    assert await world.saved() == [1, 2, 3]
    assert types(await world.published(owner)) == ["state_change", "sandbox_log", "file_chunk"]


async def test_closing_leaves_no_task_behind(world: World) -> None:
    before = asyncio.all_tasks()
    owner = await world.owner()
    owner.journal.note(line("log"))
    recording = asyncio.create_task(owner.journal.record(DESIGNING))
    await owner.journal.close()
    await recording
    await owner.close()
    left = asyncio.all_tasks() - before
    if left:
        await finished(*left)
    assert await world.saved() == [1, 2]


async def test_closing_twice_writes_nothing_twice(world: World) -> None:
    owner = await world.owner()
    await owner.journal.record(DESIGNING)
    await owner.journal.close()
    await owner.journal.close()
    assert await world.saved() == [1]
    assert numbers(await world.published(owner)) == [1]
