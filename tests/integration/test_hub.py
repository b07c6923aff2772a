"""Viewers joined to a real journal: whatever happens, no gap and no duplicates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from actors import events as ev
from actors.events import RunState
from actors.reader import Reader
from actors.state import ProjectState
from gateway import ring, viewer
from gateway.hub import Hub
from gateway.viewer import UNREADABLE_CURSOR, parse_since
from tests.support.gateway import Owner, Watcher, publish, source_of
from tests.support.wait import wait_until

PROJECT = "p1"


@pytest.fixture
async def reader(database_url: str) -> AsyncIterator[Reader]:
    reader = Reader(database_url)
    yield reader
    await reader.close()


@pytest.fixture
def hub(reader: Reader) -> Hub:
    return Hub(source_of(reader))


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[Owner]:
    owner = await Owner(database_url, PROJECT).claim()
    yield owner
    await owner.store.close()


def logs(first: int, last: int) -> list[ev.Event]:
    """Return events that are easy to tell apart and need no state before them."""
    return [ev.SandboxLog(stream="stdout", line=str(n)) for n in range(first, last + 1)]


def chunk(text: str) -> ev.FileChunk:
    return ev.FileChunk(path="a.js", chunk=text)


# --- joining -----------------------------------------------------------------------------------


async def test_a_viewer_of_an_unknown_project_sees_an_idle_empty_one(hub: Hub) -> None:
    watcher = Watcher(hub, "nobody")
    state_change, snapshot = await watcher.until_count(2)
    await watcher.leave()
    assert state_change == {"type": "state_change", "data": {"state": "idle"}, "seq": 0}
    assert (snapshot["type"], snapshot["seq"]) == ("snapshot", 0)
    assert snapshot["data"]["files"] == []
    assert "resync" not in snapshot["data"]


async def test_a_new_viewer_gets_state_and_snapshot_then_live_frames(
    hub: Hub, owner: Owner
) -> None:
    written = await owner.write(ev.StateChange(state=RunState.DESIGNING_PHASE), *logs(1, 2))
    feed = hub.attach(PROJECT, epoch=owner.epoch, durable=3)
    publish(feed, written)
    watcher = Watcher(hub, PROJECT)
    await watcher.until_count(2)
    publish(feed, await owner.write(*logs(3, 4)))
    await watcher.until_seq(5)
    await watcher.leave()
    assert watcher.types == ["state_change", "snapshot", "sandbox_log", "sandbox_log"]
    assert watcher.frames[0]["data"] == {"state": "designing_phase"}
    assert watcher.seqs == [0, 3, 4, 5]


async def test_frames_that_are_not_yet_saved_follow_the_snapshot(hub: Hub, owner: Owner) -> None:
    saved = await owner.write(ev.FileStart(path="a.js"), chunk("one "))
    feed = hub.attach(PROJECT, epoch=owner.epoch, durable=0)
    publish(feed, saved)
    feed.mark_durable(2)
    publish(feed, owner.number(chunk("two "), chunk("three")))
    watcher = Watcher(hub, PROJECT)
    await watcher.until_seq(4)
    await watcher.leave()
    assert watcher.frames[1]["data"]["openFile"] == {"path": "a.js", "text": "one "}
    assert [frame["data"]["chunk"] for frame in watcher.frames[2:]] == ["two ", "three"]


async def test_a_frame_that_was_saved_before_it_was_sent_comes_once(hub: Hub, owner: Owner) -> None:
    feed = hub.attach(PROJECT, epoch=owner.epoch, durable=0)
    written = await owner.write(*logs(1, 3))
    watcher = Watcher(hub, PROJECT)
    await watcher.until_seq(3)
    publish(feed, written)
    publish(feed, await owner.write(*logs(4, 4)))
    await watcher.until_seq(4)
    await watcher.leave()
    assert watcher.seqs == [0, 3, 4]


# --- coming back -------------------------------------------------------------------------------


async def test_a_cursor_is_answered_with_what_was_missed_then_live_frames(
    hub: Hub, owner: Owner
) -> None:
    written = await owner.write(*logs(1, 6))
    feed = hub.attach(PROJECT, epoch=owner.epoch, durable=6)
    watcher = Watcher(hub, PROJECT, since=4)
    await watcher.until_seq(6)
    publish(feed, await owner.write(*logs(7, 7)))
    await watcher.until_seq(7)
    await watcher.leave()
    assert watcher.frames[0] == {"type": "state_change", "data": {"state": "idle"}, "seq": 4}
    assert watcher.seqs == [4, 5, 6, 7]
    assert watcher.frames[1]["data"] == {"stream": "stdout", "line": "5"}
    assert written[4].data == b'{"stream":"stdout","line":"5"}'


async def test_a_replay_longer_than_a_page_is_whole(
    hub: Hub, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer, "REPLAY_PAGE_EVENTS", 4)
    await owner.write(*logs(1, 12))
    watcher = Watcher(hub, PROJECT, since=0)
    await watcher.until_seq(12)
    await watcher.leave()
    assert watcher.seqs == [0, *range(1, 13)]


async def test_a_replay_of_a_finished_file_has_its_whole_text(hub: Hub, owner: Owner) -> None:
    await owner.write(ev.FileStart(path="a.js"), chunk("on"), chunk("e"))
    await owner.write(ev.FileEnd(path="a.js", content="one"))
    watcher = Watcher(hub, PROJECT, since=1)
    await watcher.until_seq(4)
    await watcher.leave()
    assert watcher.frames[-1]["data"] == {"path": "a.js", "content": "one"}


@pytest.mark.parametrize("since", [7, UNREADABLE_CURSOR])
async def test_a_cursor_that_means_nothing_is_answered_with_a_resync(
    hub: Hub, owner: Owner, since: int
) -> None:
    await owner.write(*logs(1, 3))
    watcher = Watcher(hub, PROJECT, since=since)
    await watcher.until_count(2)
    await watcher.leave()
    assert watcher.types == ["state_change", "snapshot"]
    assert watcher.seqs == [0, 3]
    assert watcher.frames[1]["data"]["resync"] is True


async def test_who_missed_too_much_is_given_a_resync(
    hub: Hub, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer, "REPLAY_PAGE_EVENTS", 4)
    monkeypatch.setattr(viewer, "MAX_REPLAY_EVENTS", 8)
    await owner.write(*logs(1, 20))
    watcher = Watcher(hub, PROJECT, since=0)
    await watcher.until(lambda frames: frames[-1:] != [] and frames[-1]["type"] == "snapshot")
    await watcher.leave()
    assert watcher.seqs == [0, *range(1, 9), 8, 20]
    assert watcher.frames[-1]["data"]["resync"] is True


async def test_who_comes_with_a_cursor_before_the_journals_beginning_is_given_a_resync(
    hub: Hub, database_url: str
) -> None:
    owner = await Owner(database_url, PROJECT, kept_events=3).claim()
    await owner.write(*logs(1, 20))
    await owner.write(ev.GenerationComplete(files=(), phases=1))
    watcher = Watcher(hub, PROJECT, since=5)
    await watcher.until(lambda frames: frames[-1:] != [] and frames[-1]["type"] == "snapshot")
    await watcher.leave()
    assert watcher.seqs[-1] == 21
    assert watcher.frames[-1]["data"]["resync"] is True
    await owner.store.close()


@pytest.mark.parametrize(
    ("text", "since"),
    [
        (None, None),
        ("0", 0),
        ("12", 12),
        ("", UNREADABLE_CURSOR),
        ("-1", UNREADABLE_CURSOR),
        ("1.5", UNREADABLE_CURSOR),
        ("x", UNREADABLE_CURSOR),
        ("٣", UNREADABLE_CURSOR),
        ("9" * 30, UNREADABLE_CURSOR),
    ],
)
def test_cursors_are_whole_numbers_from_0(text: str | None, since: int | None) -> None:
    assert parse_since(text) == since


# --- slow viewers ------------------------------------------------------------------------------


async def test_a_viewer_that_falls_behind_joins_again_and_misses_nothing(
    hub: Hub, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer, "MAX_QUEUED_FRAMES", 5)
    feed = hub.attach(PROJECT, epoch=owner.epoch, durable=0)
    slow, quick = Watcher(hub, PROJECT), Watcher(hub, PROJECT)
    await slow.until_count(2)
    await quick.until_count(2)
    slow.gate.clear()
    for first in range(1, 40, 4):
        publish(feed, await owner.write(*logs(first, first + 3)))
        await quick.until_seq(first + 3)
    slow.gate.set()
    await slow.until_seq(40)
    for watcher in (slow, quick):
        await watcher.leave()
        assert watcher.seqs == [0, 0, *range(1, 41)]
        assert watcher.types.count("snapshot") == 1


async def test_a_queue_is_bounded_in_bytes_but_takes_one_large_frame(
    hub: Hub, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer, "MAX_QUEUED_BYTES", 1000)
    feed = hub.attach(PROJECT, epoch=owner.epoch, durable=0)
    watcher = Watcher(hub, PROJECT)
    await watcher.until_count(2)
    large = ev.FileEnd(path="a.js", content="x" * 5000)
    publish(feed, await owner.write(large, *logs(2, 2), large))
    await watcher.until_seq(3)
    await watcher.leave()
    assert watcher.seqs == [0, 0, 1, 2, 3]


# --- actors that come, go and die --------------------------------------------------------------


async def test_an_actor_of_an_older_epoch_is_not_heard(hub: Hub, owner: Owner) -> None:
    watcher = Watcher(hub, PROJECT)
    await watcher.until_count(2)
    new = hub.attach(PROJECT, epoch=5, durable=0)
    old = hub.attach(PROJECT, epoch=4, durable=0)
    stale = owner.number(*logs(1, 1))
    publish(old, stale)
    old.mark_durable(1)
    old.detach()
    assert hub.live_feeds == 1
    publish(new, await owner.write(*logs(100, 100)))
    await watcher.until_seq(2)
    await watcher.leave()
    assert [frame["data"]["line"] for frame in watcher.frames[2:]] == ["100"]


async def test_a_superseded_connection_is_not_heard(hub: Hub, owner: Owner) -> None:
    watcher = Watcher(hub, PROJECT)
    await watcher.until_count(2)
    first = hub.attach(PROJECT, epoch=1, durable=0)
    second = hub.attach(PROJECT, epoch=1, durable=0)
    entries = owner.number(*logs(1, 1))
    publish(first, entries)
    publish(second, entries)
    first.detach()
    assert hub.live_feeds == 1
    await watcher.until_seq(1)
    await watcher.leave()
    assert watcher.seqs == [0, 0, 1]


async def test_what_a_dead_actor_had_not_saved_is_taken_back(hub: Hub, owner: Owner) -> None:
    feed = hub.attach(PROJECT, epoch=1, durable=0)
    watcher = Watcher(hub, PROJECT)
    await watcher.until_count(2)
    publish(feed, await owner.write(ev.FileStart(path="a.js"), chunk("saved")))
    feed.mark_durable(2)
    publish(feed, owner.number(chunk("lost")))
    await watcher.until_seq(3)
    feed.detach()
    await watcher.until(lambda frames: frames[-1]["type"] == "snapshot" and len(frames) > 2)
    await watcher.leave()
    last = watcher.frames[-1]
    assert (last["seq"], last["data"]["resync"]) == (2, True)
    assert last["data"]["openFile"] == {"path": "a.js", "text": "saved"}


async def test_numbers_that_a_new_owner_uses_again_start_the_viewer_over(
    hub: Hub, owner: Owner, database_url: str
) -> None:
    feed = hub.attach(PROJECT, epoch=1, durable=0)
    watcher = Watcher(hub, PROJECT)
    await watcher.until_count(2)
    publish(feed, owner.number(*logs(1, 3)))
    await watcher.until_seq(3)
    heir = await Owner(database_url, PROJECT).claim()
    successor = hub.attach(PROJECT, epoch=heir.epoch, durable=0)  # the old one never said goodbye
    publish(successor, await heir.write(*logs(101, 103)))
    await watcher.until(lambda frames: frames[-1]["type"] == "snapshot" and len(frames) > 5)
    publish(successor, await heir.write(*logs(104, 104)))
    await watcher.until_seq(4)
    await heir.store.close()
    await watcher.leave()
    assert watcher.seqs == [0, 0, 1, 2, 3, 0, 3, 4]
    assert watcher.frames[-1]["data"]["line"] == "104"


async def test_what_was_saved_but_never_sent_is_read_when_the_actor_has_died(
    hub: Hub, owner: Owner
) -> None:
    feed = hub.attach(PROJECT, epoch=1, durable=0)
    watcher = Watcher(hub, PROJECT)
    await watcher.until_count(2)
    await owner.write(*logs(1, 2))
    feed.detach()
    await watcher.until_seq(2)
    await watcher.leave()
    assert watcher.seqs == [0, 0, 1, 2]


async def test_what_was_saved_but_never_sent_is_read_when_the_next_owner_comes(
    hub: Hub, owner: Owner
) -> None:
    hub.attach(PROJECT, epoch=1, durable=0)
    watcher = Watcher(hub, PROJECT)
    await watcher.until_count(2)
    await owner.write(*logs(1, 2))
    hub.attach(PROJECT, epoch=2, durable=2)
    await watcher.until_seq(2)
    await watcher.leave()
    assert watcher.seqs == [0, 0, 1, 2]


async def test_what_a_feed_left_out_is_read_from_the_journal(hub: Hub, owner: Owner) -> None:
    feed = hub.attach(PROJECT, epoch=1, durable=0)
    watcher = Watcher(hub, PROJECT)
    await watcher.until_count(2)
    publish(feed, await owner.write(*logs(1, 1)))
    await owner.write(*logs(2, 3))  # the feed was not connected
    publish(feed, await owner.write(*logs(4, 4)))
    await watcher.until_seq(4)
    await watcher.leave()
    assert watcher.seqs == [0, 0, 1, 2, 3, 4]


async def test_what_was_recorded_while_the_feed_was_away_is_read_as_soon_as_it_is_saved(
    hub: Hub, owner: Owner
) -> None:
    first = hub.attach(PROJECT, epoch=1, durable=0)
    watcher = Watcher(hub, PROJECT)
    await watcher.until_count(2)
    first.detach()
    unsaved = owner.number(*logs(1, 2))
    again = hub.attach(PROJECT, epoch=1, durable=0)
    await watcher.viewer.reply("done", {})  # comes after whatever is read now
    await watcher.until(lambda frames: frames[-1]["type"] == "done")
    await owner.save(unsaved)
    again.mark_durable(2)
    await watcher.until_seq(2)
    publish(again, await owner.write(*logs(3, 3)))
    await watcher.until_seq(3)
    await watcher.leave()
    assert watcher.seqs == [0, 0, 0, 1, 2, 3]


async def test_a_viewer_waits_for_the_journal_where_the_ring_has_overflowed(
    hub: Hub, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring, "MAX_RING_FRAMES", 3)
    feed = hub.attach(PROJECT, epoch=1, durable=0)
    entries = owner.number(*logs(1, 6))
    publish(feed, entries)
    watcher = Watcher(hub, PROJECT, since=0)
    await watcher.until_count(1)
    await owner.save(entries)
    await watcher.until_seq(6)
    await watcher.leave()
    assert watcher.seqs == [0, 1, 2, 3, 4, 5, 6]


class CountingReader(Reader):
    """A reader that counts how often a state is read."""

    states = 0

    async def state(self, project_id: str) -> ProjectState | None:
        self.states += 1
        return await super().state(project_id)


@pytest.mark.parametrize(
    ("last_event", "reads"), [(ev.Hibernated(), 1), (logs(1, 1)[0], 2)], ids=["in order", "dead"]
)
async def test_only_viewers_of_an_actor_that_died_read_the_journal_again(
    owner: Owner, database_url: str, last_event: ev.Event, reads: int
) -> None:
    reader = CountingReader(database_url)
    hub = Hub(source_of(reader))
    feed = hub.attach(PROJECT, epoch=1, durable=0)
    watcher = Watcher(hub, PROJECT)
    await watcher.until_count(2)
    publish(feed, await owner.write(last_event))
    await watcher.until_seq(1)
    feed.detach()
    await watcher.viewer.reply("done", {})  # comes after whatever is read now
    await watcher.until(lambda frames: frames[-1]["type"] == "done")
    await watcher.leave()
    await reader.close()
    assert reader.states == reads


# --- PostgreSQL away ---------------------------------------------------------------------------


def notices(watcher: Watcher) -> list[tuple[str, int]]:
    return [
        (frame["type"].removeprefix("storage_"), frame["seq"])
        for frame in watcher.frames
        if frame["type"].startswith("storage_")
    ]


async def told(watcher: Watcher, *types: str) -> None:
    """Wait until these notices and no others have been sent."""
    await watcher.until(lambda _: len(notices(watcher)) >= len(types))
    assert [type_ for type_, _ in notices(watcher)] == list(types)


async def test_viewers_are_told_of_an_outage_after_the_frames_before_it_and_of_its_end(
    hub: Hub, owner: Owner
) -> None:
    feed = hub.attach(PROJECT, epoch=1, durable=0)
    quick, slow = Watcher(hub, PROJECT), Watcher(hub, PROJECT)
    await quick.until_count(2)
    await slow.until_count(2)
    slow.gate.clear()
    publish(feed, await owner.write(*logs(1, 3)))
    feed.tell_storage("It is full.")
    await told(quick, "unavailable")
    slow.gate.set()
    await told(slow, "unavailable")
    feed.tell_storage(None)
    await told(quick, "unavailable", "restored")
    await told(slow, "unavailable", "restored")
    publish(feed, await owner.write(*logs(4, 4)))
    for watcher in (quick, slow):
        await watcher.until_seq(4)
        await watcher.leave()
        assert watcher.seqs == [0, 0, 1, 2, 3, 3, 3, 4]
        assert watcher.frames[5]["data"] == {"message": "It is full."}
        assert watcher.frames[6]["data"] == {}


async def test_who_comes_during_an_outage_is_told_first(hub: Hub, owner: Owner) -> None:
    feed = hub.attach(PROJECT, epoch=1, durable=0)
    publish(feed, await owner.write(*logs(1, 2)))
    feed.mark_durable(2)
    feed.tell_storage("It is full.")  # and can be read all the same
    watcher = Watcher(hub, PROJECT, since=1)
    await watcher.until_seq(2)
    feed.tell_storage(None)
    await told(watcher, "unavailable", "restored")
    await watcher.leave()
    assert watcher.types == [
        "storage_unavailable",
        "state_change",
        "sandbox_log",
        "storage_restored",
    ]
    assert watcher.seqs == [1, 1, 2, 2]


@pytest.mark.parametrize("successor_says", [True, False])
async def test_an_actor_that_dies_during_an_outage_leaves_it_to_its_successor_to_say_so(
    hub: Hub, owner: Owner, successor_says: bool
) -> None:
    feed = hub.attach(PROJECT, epoch=1, durable=0)
    watcher = Watcher(hub, PROJECT)
    await watcher.until_count(2)
    feed.tell_storage("It is full.")
    await told(watcher, "unavailable")
    feed.detach()
    successor = hub.attach(PROJECT, epoch=2, durable=0)
    if successor_says:
        successor.tell_storage("It is full.")
    publish(successor, await owner.write(*logs(1, 1)))
    await watcher.until_seq(1)
    assert notices(watcher)[1:] == ([] if successor_says else [("restored", 0)])
    feed.tell_storage("Nobody listens.")
    successor.tell_storage(None)
    await told(watcher, "unavailable", "restored")
    await watcher.leave()


class AbsentReader(Reader):
    """A reader whose database is away until it is told where it is."""

    def __init__(self) -> None:
        super().__init__("postgresql://nobody@/nothing?host=/nonexistent")
        self.tries = 0

    async def state(self, project_id: str) -> ProjectState | None:
        self.tries += 1
        return await super().state(project_id)

    async def come_back(self, database_url: str) -> None:
        self._database_url = database_url  # first: who tries meanwhile makes a pool
        await self.close()


@pytest.fixture
async def absent(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AbsentReader]:
    monkeypatch.setattr(viewer, "JOIN_RETRY_SECONDS", (0.001,))
    reader = AbsentReader()
    yield reader
    await reader.close()


async def test_a_viewer_keeps_trying_to_read_is_told_once_and_gets_its_answers(
    absent: AbsentReader, owner: Owner, database_url: str
) -> None:
    await owner.write(*logs(1, 2))
    watcher = Watcher(Hub(source_of(absent)), PROJECT, since=1)
    await told(watcher, "unavailable")
    await wait_until(lambda: absent.tries >= 5)
    for number in range(3):
        await watcher.viewer.reply("error", {"id": number})
    await watcher.until_count(4)
    assert watcher.types == ["storage_unavailable", "error", "error", "error"]
    assert "cannot be reached" in watcher.frames[0]["data"]["message"]
    await absent.come_back(database_url)
    await told(watcher, "unavailable", "restored")
    await watcher.leave()
    assert watcher.types[4:] == ["state_change", "sandbox_log", "storage_restored"]
    assert watcher.seqs == [1, 1, 1, 1, 1, 2, 2]


async def test_a_viewer_that_both_its_actor_and_its_reading_tell_hears_it_once(
    absent: AbsentReader, owner: Owner, database_url: str
) -> None:
    hub = Hub(source_of(absent))
    watcher = Watcher(hub, PROJECT)
    await told(watcher, "unavailable")
    feed = hub.attach(PROJECT, epoch=owner.epoch, durable=0)
    feed.tell_storage("The actor says so, too.")
    await absent.come_back(database_url)
    await watcher.until(lambda frames: frames[-1]["type"] == "snapshot")
    feed.tell_storage(None)
    await told(watcher, "unavailable", "restored")
    await watcher.leave()


async def test_a_client_that_leaves_while_its_viewer_waits_for_the_database_ends_it(
    absent: AbsentReader,
) -> None:
    hub = Hub(source_of(absent))
    watcher = Watcher(hub, PROJECT)
    await told(watcher, "unavailable")
    tasks = asyncio.all_tasks()
    await watcher.leave()
    assert watcher.task.cancelled()
    assert all(task.done() for task in tasks if "viewer of" in task.get_name())
    assert hub.viewers == 0


# --- deleted projects, replies -----------------------------------------------------------------


async def test_viewers_of_a_deleted_project_see_an_empty_one_and_then_the_next(
    hub: Hub, owner: Owner, reader: Reader, database_url: str
) -> None:
    feed = hub.attach(PROJECT, epoch=owner.epoch, durable=0)
    watcher = Watcher(hub, PROJECT)
    publish(feed, await owner.write(*logs(1, 3)))
    await watcher.until_seq(3)
    await reader.delete_project(PROJECT)
    feed.detach()
    hub.forget(PROJECT)
    await watcher.until(lambda frames: frames[-1]["seq"] == 0)
    heir = await Owner(database_url, PROJECT).claim()
    successor = hub.attach(PROJECT, epoch=heir.epoch, durable=0)
    publish(successor, await heir.write(*logs(1, 1)))
    await watcher.until_seq(1)
    await heir.store.close()
    await watcher.leave()
    assert watcher.types[-1] == "sandbox_log"


async def test_a_reply_goes_to_its_viewer_alone_and_carries_the_cursor(
    hub: Hub, owner: Owner
) -> None:
    feed = hub.attach(PROJECT, epoch=1, durable=0)
    asking, other = Watcher(hub, PROJECT), Watcher(hub, PROJECT)
    publish(feed, await owner.write(*logs(1, 2)))
    await asking.until_seq(2)
    await asking.viewer.reply("accepted", {"id": "c1"})
    await asking.until(lambda frames: frames[-1]["type"] == "accepted")
    publish(feed, await owner.write(*logs(3, 3)))
    await other.until_seq(3)
    for watcher in (asking, other):
        await watcher.leave()
    assert {"type": "accepted", "data": {"id": "c1"}, "seq": 2} in asking.frames
    assert "accepted" not in other.types


async def test_a_reply_carries_the_last_frame_s_number_where_numbers_above_it_have_no_frame(
    hub: Hub, owner: Owner
) -> None:
    feed = hub.attach(PROJECT, epoch=1, durable=0)
    publish(feed, await owner.write(*logs(1, 2)))
    await owner.store.mark_clean(PROJECT, owner.epoch, 10_002)
    feed.detach()
    watcher = Watcher(hub, PROJECT, since=1)
    await watcher.until_seq(2)
    await watcher.viewer.reply("error", {"code": "project_busy"})
    await watcher.until(lambda frames: frames[-1]["type"] == "error")
    heir = await Owner(owner.store._database_url, PROJECT).claim()
    publish(hub.attach(PROJECT, epoch=heir.epoch, durable=10_002), await heir.write(*logs(3, 3)))
    await watcher.until_seq(10_003)
    await watcher.leave()
    await heir.store.close()
    assert watcher.seqs == [1, 2, 2, 10_003]


async def test_replies_wait_for_a_client_that_does_not_read_and_end_with_it(hub: Hub) -> None:
    watcher = Watcher(hub, PROJECT)
    await watcher.until_count(2)
    watcher.gate.clear()

    async def flood() -> None:
        for _ in range(3 * viewer.MAX_REPLIES):
            await watcher.viewer.reply("error", {})

    flooding = asyncio.create_task(flood())
    done, _ = await asyncio.wait([flooding], timeout=0.05)
    assert not done
    await watcher.leave()
    await flooding


async def test_channels_without_viewers_and_feeds_are_dropped(hub: Hub) -> None:
    watcher = Watcher(hub, PROJECT)
    feed = hub.attach(PROJECT, epoch=1, durable=0)
    assert (hub.viewers, hub.live_feeds) == (1, 1)
    await watcher.leave()
    feed.detach()
    assert (hub.viewers, hub.live_feeds) == (0, 0)
    assert hub._channels == {}
