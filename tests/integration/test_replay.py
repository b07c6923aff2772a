"""Whoever joins wherever and whenever has the state of who saw all of it live; over PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Iterator
from copy import deepcopy

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from actors import events as ev
from actors.codec import JournalEntry, decode_data
from actors.journal import UNCLEAN_GAP
from actors.reader import Reader
from actors.state import FileInfo, ProjectState, apply
from actors.store import Store
from gateway import ring, viewer
from gateway.hub import Hub, LiveFeed
from tests.support.fold import Fold
from tests.support.gateway import Owner, Watcher, publish, source_of
from tests.support.history import Story, journal
from tests.support.replay_fold import comparable

_numbers = itertools.count(1)

# No shrinking: it takes minutes here, and a seed is as good to begin with.
on_postgresql = settings(
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # each example has its project
)
seeds = st.integers(0, 2**32 - 1)


def a_project() -> str:
    return f"p-{next(_numbers)}"


@pytest.fixture
async def reader(database_url: str) -> AsyncIterator[Reader]:
    reader = Reader(database_url)
    yield reader
    await reader.close()


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    store = Store(database_url)
    yield store
    await store.close()


# --- the journal -------------------------------------------------------------------------------


@settings(on_postgresql, max_examples=30)
@given(seed=seeds)
async def test_the_journal_after_any_cut_brings_a_viewer_to_the_state_seen_live(
    store: Store, reader: Reader, seed: int
) -> None:
    rng = random.Random(seed)
    entries = journal(rng, rng.randint(0, 80))
    project_id = a_project()
    claim = await store.claim(project_id)
    live = claim.state
    seen = [deepcopy(live)]
    while entries:
        size = rng.randint(1, 12)
        batch, entries = entries[:size], entries[size:]
        for entry in batch:
            apply(live, entry.event, entry.seq)
            seen.append(deepcopy(live))
        await store.append(project_id, claim.epoch, batch, live)
        assert comparable(await stored_state(reader, project_id)) == comparable(live)
        if not entries or rng.randrange(6) == 5:  # files are finished in some, open in others
            for state in deepcopy(seen):
                await catch_up(reader, state)
                assert comparable(state) == comparable(live)


async def stored_state(reader: Reader, project_id: str) -> ProjectState:
    state = await reader.state(project_id)
    assert state is not None
    return state


async def catch_up(reader: Reader, state: ProjectState) -> None:
    """Fold what a viewer with this state has missed."""
    for seq, type_, data in await reader.events_since(state.project_id, state.last_seq, 1000):
        assert seq > state.last_seq
        apply(state, decode_data(type_, orjson.loads(data)), seq)


# --- the gateway -------------------------------------------------------------------------------


class Member:
    """One of the audience: a client whose socket is opened, held up, closed and opened again.

    `seqs` are the numbers of the events that it saw after number `since`, which is that of its
    last snapshot, or of the state that it began with.
    """

    def __init__(self, hub: Hub, state: ProjectState, since: int | None) -> None:
        self._hub = hub
        self._project_id = state.project_id
        self._fold = Fold(state.project_id)
        self._fold.state, self._fold.cursor = state, since
        self.since = since or 0
        self.seqs: list[int] = []
        self.snapshots = 0
        self.is_new = since is None
        self._open()

    def _open(self) -> None:
        self._watcher = Watcher(self._hub, self._project_id, self._fold.open())
        self._taken = 0

    @property
    def gate(self) -> asyncio.Event:
        return self._watcher.gate

    def _take(self) -> None:
        frames = self._watcher.frames
        for frame in frames[self._taken :]:
            if self._fold.take(frame):
                self.seqs.append(frame["seq"])
            elif frame["type"] == "snapshot":
                self.since, self.seqs = frame["seq"], []
                self.snapshots += 1
        self._taken = len(frames)

    async def until(self, seq: int) -> ProjectState:
        """Return the state once the frame of this number has arrived."""
        await self._watcher.until_seq(seq)
        self._take()
        return comparable(self._fold.state)

    async def leave(self) -> None:
        await self._watcher.leave()

    async def come_back(self) -> None:
        await self.leave()
        self._take()
        self._open()


class Theatre:
    """A story told by owners that come and die, over a feed that comes and goes, to any audience.

    As in the journal, an event that is a barrier is saved before it is published, the others later.
    """

    def __init__(self, database_url: str, reader: Reader, rng: random.Random) -> None:
        self._database_url = database_url
        self.project_id = a_project()
        self._reader = reader
        self._hub = Hub(source_of(reader))
        self._rng = rng
        self._story = Story(rng)
        self.audience: list[Member] = []
        self.saved: list[JournalEntry] = []
        self._unsaved: list[JournalEntry] = []
        self._feed: LiveFeed | None = None
        self._said = 0  # over the feed that is open
        self.deaths = 0
        self.reconnections = 0

    async def __aenter__(self) -> Theatre:
        self.owner = await Owner(self._database_url, self.project_id).claim()
        self._states = {0: deepcopy(self.owner.state)}
        self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.owner.store.close()
        for member in self.audience:
            await member.leave()

    # --- the owner -----------------------------------------------------------------------------

    def connect(self) -> None:
        """Open the feed again where the gateway had lost it."""
        if self._feed is None:
            durable = self.saved[-1].seq if self.saved else 0
            self._said = 0
            self._feed = self._hub.attach(self.project_id, epoch=self.owner.epoch, durable=durable)

    def disconnect(self) -> None:
        if self._feed is not None:
            self._feed.detach()
            self._feed = None
            self.reconnections += 1

    async def say(self) -> None:
        (entry,) = self.owner.number(next(self._story))
        self._states[entry.seq] = deepcopy(self.owner.state)
        self._unsaved.append(entry)
        if entry.event.is_barrier:
            await self._write()
            for _ in range(self._rng.randrange(3)):  # who joins now reads what is not yet said
                await self._reader.ping()
        if self._feed is not None:
            publish(self._feed, [entry])
            self._said += 1
        if entry.event.is_barrier:
            self._tell_durable()

    async def save(self) -> None:
        if self._unsaved:
            await self._write()
            self._tell_durable()

    async def _write(self) -> None:
        await self.owner.save(self._unsaved)
        self.saved += self._unsaved
        self._unsaved = []

    def _tell_durable(self) -> None:
        if self._feed is not None:
            self._feed.mark_durable(self.saved[-1].seq)

    async def die(self) -> None:
        """Lose what is unsaved; the next owner leaves out numbers and goes on."""
        self.deaths += 1
        self._unsaved = []
        if self._rng.randrange(3):
            self.disconnect()  # or its end is noticed after the successor's beginning
        self._feed = None
        await self.owner.store.close()
        await self.start_over()
        await self.say()

    async def start_over(self) -> None:
        self.owner = await Owner(self._database_url, self.project_id).claim()
        self.owner.state.files = await self._files()  # which the actor itself can do without
        self._story.revive(self.owner.state)
        self.connect()
        self.owner.state.last_seq += UNCLEAN_GAP

    async def _files(self) -> dict[str, FileInfo]:
        reader = Reader(self._database_url)
        try:
            return await reader.files(self.project_id)
        finally:
            await reader.close()

    # --- the audience --------------------------------------------------------------------------

    def join(self) -> None:
        since = self._rng.choice([None, *self._states])
        state = self._states[since or 0]
        self.audience.append(Member(self._hub, deepcopy(state), since))

    def anyone(self) -> Member:
        return self._rng.choice(self.audience)

    async def look(self) -> None:
        """Whoever is not held up has the state that was told so far.

        What this feed has not said, or the ring has no room for, can be known when it is saved.
        """
        if self._feed is None:
            return
        if len(self._unsaved) > min(self._said, ring.MAX_RING_FRAMES):
            await self.save()
        for member in self.audience:
            if member.gate.is_set():
                state = await member.until(self.owner.state.last_seq)
                assert state == comparable(self.owner.state)

    async def finish(self) -> None:
        self.connect()
        await self.save()
        await self.say()
        await self.save()
        for member in self.audience:
            member.gate.set()
        await self.look()

    async def act(self) -> None:
        """Let something happen."""
        match self._rng.randrange(14):
            case 0 | 1 | 2 | 3 | 4:
                await self.say()
            case 5 if len(self.audience) < 6:
                self.join()
            case 6:
                await asyncio.sleep(0)
            case 7:
                await self.save()
            case 8:
                await self.look()
            case 9 if self.audience:
                self.anyone().gate.clear()
            case 10 if self.audience:
                self.anyone().gate.set()
            case 11 if self.audience:
                await self.anyone().come_back()
            case 12:
                self.connect() if self._feed is None else self.disconnect()
            case 13:
                await self.die()


@settings(on_postgresql, max_examples=20)
@given(seed=seeds)
async def test_every_viewer_that_ever_joins_has_the_state_seen_live(
    database_url: str, reader: Reader, seed: int
) -> None:
    rng = random.Random(seed)
    with small_limits():
        async with Theatre(database_url, reader, rng) as theatre:
            for _ in range(rng.randint(0, 100)):
                await theatre.act()
            await theatre.finish()
    assert comparable(await stored_state(reader, theatre.project_id)) == comparable(
        theatre.owner.state
    )
    for member in theatre.audience:
        check_numbers(member, theatre.saved)
        if not theatre.deaths and not theatre.reconnections:
            assert member.snapshots == member.is_new


@contextlib.contextmanager
def small_limits() -> Iterator[None]:
    """Let queues overflow, replays have pages, and the ring be too short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(viewer, "MAX_QUEUED_FRAMES", 6)
        patch.setattr(viewer, "REPLAY_PAGE_EVENTS", 5)
        patch.setattr(viewer, "JOIN_RETRY_SECONDS", (0.002,) * 5_000)
        patch.setattr(ring, "MAX_RING_FRAMES", 10)
        yield


def check_numbers(member: Member, saved: list[JournalEntry]) -> None:
    """Every saved event was seen, but for chunks, which the journal drops when files are finished.

    That no chunk was missed while its file was open has been seen by the text.
    """
    needed = [
        entry.seq for entry in saved if not isinstance(entry.event, ev.FileStart | ev.FileChunk)
    ]
    assert {seq for seq in needed if seq > member.since} <= set(member.seqs)
