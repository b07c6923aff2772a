"""The journal of one live project: number, fold, save and publish its events, in this order.

Saving is not a step that someone can forget: the only way to change the state is to record an
event here. A *barrier* event is committed before it is published; the others are published at
once and committed in groups at most `WRITE_SECONDS` later.

Chunks of one file that arrive within one flush window become one event. The window is zero while
the loop keeps up and widens with the loop's own lag: a busy machine sends fewer, larger frames.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from actors.codec import encode_data, frame
from actors.errors import Fenced, StorageUnavailable
from actors.events import Event, FileChunk, SandboxLog
from actors.feed import Feed
from actors.outage import Patience
from actors.state import ProjectState, apply
from actors.store import JournalEntry, Store

log = logging.getLogger(__name__)

T = TypeVar("T")

WRITE_SECONDS = 0.25  # the longest that a published event may be missing from PostgreSQL
MAX_WINDOW_SECONDS = 0.05
MAX_MERGED_CHARS = 256 * 1024  # of chunks that become one event, however long the window is
LAG_FLOOR_SECONDS = 0.002  # a lag below this is the loop's ordinary work
LAG_FACTOR = 4.0
MAX_UNWRITTEN_BYTES = 4 * 1024 * 1024  # then recording waits for the database
MAX_UNWRITTEN_EVENTS = 4_000  # likewise; with as many held ones fewer than UNCLEAN_GAP
UNCLEAN_GAP = 10_000  # numbers left out after a crash: more than can have been seen unsaved


class Journal:
    """Records events for the owner of `epoch`.

    When another owner exists, `on_fenced` is called and `record` raises Fenced. While PostgreSQL
    is away its `patience` waits: a run pauses at its next barrier, or once `MAX_UNWRITTEN_BYTES` of
    chunks wait, and nothing is skipped. Once the patience has ended, `record` raises
    StorageUnavailable, and nothing more is saved.
    Where PostgreSQL refuses events for good, the state in memory is ahead of the journal and of no
    use any more: `on_broken` is called, and the project's next life folds the journal afresh.
    """

    def __init__(
        self,
        store: Store,
        feed: Feed,
        state: ProjectState,
        epoch: int,
        *,
        patience: Patience,
        on_fenced: Callable[[], None],
        on_broken: Callable[[], None],
    ) -> None:
        self.state = state
        self._patience = patience
        self._on_fenced = on_fenced
        self._on_broken = on_broken
        self._store = store
        self._feed = feed
        self._epoch = epoch
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()  # one transaction at a time, in the order of the numbers
        self._is_committing_barrier = False
        self._held: list[Event] = []  # arrived while a barrier was being committed
        self._chunk_path = ""
        self._chunk_parts: list[str] = []
        self._chunk_chars = 0
        self._unwritten: list[JournalEntry] = []
        self._unwritten_bytes = 0
        self._flush_timer: asyncio.TimerHandle | None = None
        self._flush_due = 0.0
        self._write_task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lines_left_out = 0
        self._is_fenced = False
        self._lag = 0.0

    def skip_unsaved_numbers(self) -> None:
        """After a crash: leave out numbers that viewers may have seen with other content."""
        self.state.last_seq += UNCLEAN_GAP

    async def record(self, *events: Event) -> int:
        """Record events in order; returns once they are durable if one of them is a barrier.

        Returns the number of the last one, or, without a barrier, of one at or before it.
        """
        if not any(event.is_barrier for event in events):
            for event in events:
                self.note(event)
            if self._is_full:
                await asyncio.shield(self._keep(self._write_group()))  # as below
            return self.state.last_seq
        # A cancelled run must not leave its last events half recorded: they are in the state
        # already, so they are committed and published whatever becomes of the caller.
        return await asyncio.shield(self._keep(self._record_barrier(events)))

    async def record_if(self, condition: Callable[[], bool], *events: Event) -> int:
        """Record barrier events if, at their turn, the state fulfils a condition; 0 where not."""
        return await asyncio.shield(self._keep(self._record_barrier(events, condition)))

    async def settled(self) -> None:
        """Wait until every barrier that was begun is durable, and every event is in the state."""
        async with self._lock:
            self._flush()

    @property
    def _is_full(self) -> bool:
        return (
            self._unwritten_bytes > MAX_UNWRITTEN_BYTES
            or len(self._unwritten) > MAX_UNWRITTEN_EVENTS
        )

    async def _record_barrier(
        self, events: Sequence[Event], condition: Callable[[], bool] = lambda: True
    ) -> int:
        encoded = [(event, encode_data(event)) for event in events]  # may fail: before all else
        async with self._lock:
            self._flush()
            if not condition():
                return 0
            self._is_committing_barrier = True
            try:
                entries = [self._number(event, data) for event, data in encoded]
                await self._commit([*self._take_unwritten(), *entries])
                for entry in entries:
                    self._publish(entry)
                self._feed.mark_durable(entries[-1].seq)
                return entries[-1].seq
            finally:
                self._is_committing_barrier = False
                held, self._held = self._held, []
                for event in held:
                    self.note(event)

    def _keep(self, work: Coroutine[None, None, T]) -> asyncio.Task[T]:
        task = self._loop.create_task(work, name="journal")
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also where its caller was cancelled

    def note(self, event: Event) -> None:
        """Record an event that is no barrier, without waiting; may be called from a callback.

        Lines of a sandbox's log are left out while PostgreSQL does not keep up.
        """
        assert not event.is_barrier
        if isinstance(event, SandboxLog) and (
            self._is_full or len(self._held) > MAX_UNWRITTEN_EVENTS
        ):
            self._lines_left_out += 1
            return
        if self._is_committing_barrier:
            self._held.append(event)
        elif isinstance(event, FileChunk):
            if event.path != self._chunk_path:
                self._flush()
                self._chunk_path = event.path
            self._chunk_parts.append(event.chunk)
            self._chunk_chars += len(event.chunk)
            if self._chunk_chars > MAX_MERGED_CHARS:
                self._flush()
            else:
                self._schedule_flush()
        else:
            self._flush()
            self._add(event)

    def _number(self, event: Event, data: bytes) -> JournalEntry:
        seq = self.state.last_seq + 1
        apply(self.state, event, seq)
        return JournalEntry(seq, event, data)

    def _publish(self, entry: JournalEntry) -> None:
        self._feed.publish(entry.seq, frame(entry.event.type, entry.data, entry.seq))

    def _add(self, event: Event) -> None:
        entry = self._number(event, encode_data(event))
        self._publish(entry)
        self._unwritten.append(entry)
        self._unwritten_bytes += len(entry.data)
        if self._write_task is None:
            self._write_task = self._loop.create_task(self._write_later(), name="write-later")

    # --- chunks ----------------------------------------------------------------------------------

    def _schedule_flush(self) -> None:
        if self._flush_timer is not None:
            return
        now = self._loop.time()
        is_alone = now - self._flush_due > MAX_WINDOW_SECONDS  # waiting would merge it with nothing
        window = 0.0
        if self._feed.is_congested:
            window = MAX_WINDOW_SECONDS
        elif self._lag > LAG_FLOOR_SECONDS and not is_alone:
            window = min(MAX_WINDOW_SECONDS, self._lag * LAG_FACTOR)
        self._flush_due = now + window
        self._flush_timer = self._loop.call_at(self._flush_due, self._flush_on_time)

    def _flush_on_time(self) -> None:
        lag = self._loop.time() - self._flush_due
        self._lag += (lag - self._lag) / 8
        self._flush_timer = None
        if not self._is_committing_barrier:
            self._flush()

    def _flush(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        if self._chunk_parts:
            text, self._chunk_parts, self._chunk_chars = "".join(self._chunk_parts), [], 0
            self._add(FileChunk(path=self._chunk_path, chunk=text))

    # --- writing ---------------------------------------------------------------------------------

    async def _write_later(self) -> None:
        await asyncio.sleep(WRITE_SECONDS)
        self._write_task = None  # from here on `close` waits for it rather than cancelling it
        # the owner was told by `on_fenced`, or is told by what it does next
        with contextlib.suppress(Fenced, StorageUnavailable):
            await self._write_group()

    async def _write_group(self) -> None:
        async with self._lock:
            entries = self._take_unwritten()
            if entries:
                last = entries[-1].seq
                await self._commit(entries)
                self._feed.mark_durable(last)

    def _take_unwritten(self) -> list[JournalEntry]:
        entries, self._unwritten, self._unwritten_bytes = self._unwritten, [], 0
        return entries

    async def _commit(self, entries: Sequence[JournalEntry]) -> None:
        try:
            await self._patience.until_done(
                lambda: self._store.append(self.state.project_id, self._epoch, entries, self.state)
            )
        except Fenced:
            if not self._is_fenced:
                self._is_fenced = True
                self._on_fenced()
            raise
        except StorageUnavailable:  # the service stops; the next life folds the journal afresh
            raise
        except Exception:
            log.exception("%s: events cannot be journalled", self.state.project_id)
            self._on_broken()
            raise
        if self._lines_left_out:
            log.warning(
                "%s: %d lines of its sandbox's log were left out",
                self.state.project_id,
                self._lines_left_out,
            )
            self._lines_left_out = 0

    async def close(self) -> None:
        """Write what is unwritten; a fenced owner writes nothing.

        Raises StorageUnavailable where the patience has ended.
        """
        await self.settled()  # what was held back meanwhile has its turn now
        self._flush()
        if self._write_task is not None:
            self._write_task.cancel()
            self._write_task = None
        with contextlib.suppress(Fenced):
            await self._write_group()
