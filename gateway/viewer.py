"""One viewer: a bounded queue of live frames, joined without a gap to what PostgreSQL holds.

Joining goes: (1) from now on keep the live frames, beginning with the channel's ring; (2) read
the state or the missed events from PostgreSQL and send them; (3) go on with the kept frames whose
numbers are higher. A viewer whose queue overflows is not disconnected: the queue is dropped and,
once its socket takes data again, it joins anew from the last frame that it was sent.

Every frame's `seq` is a cursor: who has handled the frame may come back with `?since=seq`. The
opening `state_change` therefore carries the cursor that the viewer came with (0 where it had none
that counts), and only the `snapshot` or the replay behind it moves on.

While PostgreSQL is away the viewer is told so, once (`storage_unavailable`), and that it is back
(`storage_restored`): because the project's actor says so, or because joining fails. It then keeps
trying for as long as its socket is open. Such a notice never overtakes the frames before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any, Protocol

import orjson

from actors import codec, events
from actors.errors import CursorTooOld, StorageUnavailable
from actors.state import ProjectState
from gateway.ring import Numbered, Ring

log = logging.getLogger(__name__)

MAX_QUEUED_FRAMES = 4_000
MAX_QUEUED_BYTES = 8 * 1024 * 1024  # the frames themselves are shared by a project's viewers
MAX_REPLIES = 64  # answers to this socket alone; who sends faster than it reads waits
REPLAY_PAGE_EVENTS = 500
MAX_REPLAY_EVENTS = 10_000  # who missed more is given a snapshot
FRAMES_PER_TURN = 64  # then the other sockets have theirs
JOIN_RETRY_SECONDS = (0.1, 0.3, 1.0, 2.0)  # while PostgreSQL is away or lags; then the last one
UNREADABLE_CURSOR = -1
MAX_CURSOR_DIGITS = 18  # fits PostgreSQL's bigint

Send = Callable[[bytes], Awaitable[None]]


class History(Protocol):
    """What is read of PostgreSQL; errors are StorageUnavailable.

    `events_since` also raises CursorTooOld, as the `Reader` says.
    """

    async def state(self, project_id: str) -> ProjectState | None: ...

    async def events_since(
        self, project_id: str, since: int, limit: int
    ) -> list[tuple[int, str, bytes]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where viewers read; `describe` turns a state into the snapshot's data."""

    history: History
    describe: Callable[[ProjectState], dict[str, Any]]


def parse_since(text: str | None) -> int | None:
    """Read a cursor: None where there is none, `UNREADABLE_CURSOR` where it is no number >= 0."""
    if text is None:
        return None
    if text.isascii() and text.isdigit() and len(text) <= MAX_CURSOR_DIGITS:
        return int(text)
    return UNREADABLE_CURSOR


class _JournalLags(Exception):
    """The ring has overflowed, and PostgreSQL does not have yet what was dropped there."""


class Viewer:
    """One socket's place in its project's stream. The hub calls the synchronous methods."""

    __slots__ = (
        "_frames",
        "_is_behind",
        "_is_gone",
        "_is_opened",
        "_is_resync",
        "_is_told_of_outage",
        "_needs_snapshot",
        "_notice_after",
        "_position",
        "_queued_bytes",
        "_replies",
        "_reply_room",
        "_ring",
        "_source",
        "_storage_problem",
        "_wakeup",
        "cursor",
        "project_id",
    )

    def __init__(self, source: Source, project_id: str, ring: Ring, since: int | None) -> None:
        self._source = source
        self.project_id = project_id
        self._ring = ring
        self.cursor = max(since or 0, 0)  # the last frame that was sent
        self._position = self.cursor  # the last frame that was sent or is queued
        self._needs_snapshot = since is None or since < 0
        self._is_resync = since is not None  # a snapshot replaces what the client has
        self._is_opened = False  # whether the opening state_change was sent
        self._is_behind = True
        self._is_gone = False
        self._frames: deque[Numbered] = deque()
        self._queued_bytes = 0
        self._replies: deque[tuple[str, bytes]] = deque()
        self._storage_problem: str | None = None  # as the project's actor says
        self._notice_after = 0  # the last frame before it said so
        self._is_told_of_outage = False
        self._reply_room = asyncio.Event()
        self._reply_room.set()
        self._wakeup = asyncio.Event()

    # --- called by the channel -------------------------------------------------------------------

    def push(self, seq: int, frame: bytes) -> None:
        """Queue a live frame, unless it is known already or the viewer is behind anyway."""
        if self._is_behind or seq <= self._position:
            return
        size = self._queued_bytes + len(frame)
        if len(self._frames) >= MAX_QUEUED_FRAMES or (self._frames and size > MAX_QUEUED_BYTES):
            self.fall_behind()
            return
        self._position = seq
        self._queued_bytes = size
        self._frames.append((seq, frame))
        self._wakeup.set()

    def fall_behind(self) -> None:
        """Drop the queue; the viewer joins anew from its cursor."""
        self._frames.clear()
        self._queued_bytes = 0
        self._is_behind = True
        self._wakeup.set()

    def catch_up(self, durable: int) -> None:
        """Have the viewer read what it lacks of everything up to `durable`."""
        if max(self._position, self.cursor) < durable:
            self.fall_behind()

    def start_over_from(self, seq: int) -> None:
        """Give the viewer a snapshot if it has seen `seq` or more: those numbers mean nothing."""
        if max(self._position, self.cursor) >= seq:
            self._needs_snapshot = True
            self.fall_behind()

    def see_storage(self, problem: str | None, after: int) -> None:
        """Have the viewer told, after the frame `after`, that PostgreSQL is away or back."""
        self._storage_problem, self._notice_after = problem, after
        self._wakeup.set()

    def leave(self) -> None:
        """Let whoever waits for room for a reply go on; nothing is sent any more."""
        self._is_gone = True
        self._replies.clear()
        self._reply_room.set()

    # --- called by the socket --------------------------------------------------------------------

    async def reply(self, type_: str, data: Mapping[str, Any]) -> None:
        """Send a frame to this socket alone, waiting while too many are unread."""
        await self._reply_room.wait()
        if self._is_gone:
            return
        self._replies.append((type_, orjson.dumps(data)))
        if len(self._replies) >= MAX_REPLIES:
            self._reply_room.clear()
        self._wakeup.set()

    async def run(self, send: Send) -> None:
        """Write the stream until cancelled; `send` waits while the socket takes no more.

        Raises what `send` raises.
        """
        while True:
            await self._join_patiently(send)
            await self._deliver(send)

    async def _deliver(self, send: Send) -> None:
        sent = 0
        while not self._is_behind:
            if self._replies:
                await self._send_reply(send)
            elif self._is_notice_due:
                await self._send_notice(send, self._storage_problem)
            elif self._frames:
                self.cursor, frame = self._frames.popleft()
                self._queued_bytes -= len(frame)
                await send(frame)
            else:
                self._wakeup.clear()
                await self._wakeup.wait()
                continue
            sent += 1
            if sent % FRAMES_PER_TURN == 0:
                await asyncio.sleep(0)

    async def _send_reply(self, send: Send) -> None:
        type_, data = self._replies.popleft()
        self._reply_room.set()
        await send(codec.frame(type_, data, self.cursor))

    @property
    def _is_notice_due(self) -> bool:
        is_news = self._is_told_of_outage == (self._storage_problem is None)
        return is_news and not (self._frames and self._frames[0][0] <= self._notice_after)

    async def _send_notice(self, send: Send, problem: str | None) -> None:
        self._is_told_of_outage = problem is not None
        type_ = "storage_restored" if problem is None else "storage_unavailable"
        data = {} if problem is None else {"message": problem}
        await send(codec.frame(type_, orjson.dumps(data), self.cursor))

    # --- joining ---------------------------------------------------------------------------------

    async def _join_patiently(self, send: Send) -> None:
        """Join, trying again and again; once there was a failure, replies do not wait for that."""
        if not self._is_opened and self._storage_problem is not None:
            await self._send_notice(send, self._storage_problem)
        if not self._is_told_of_outage and await self._try_to_join(send):
            return
        async with self._replying(send):
            for pause in chain(JOIN_RETRY_SECONDS, repeat(JOIN_RETRY_SECONDS[-1])):
                await asyncio.sleep(pause)
                if await self._try_to_join(send):
                    return

    async def _try_to_join(self, send: Send) -> bool:
        try:
            await self._join(send)
        except _JournalLags:
            log.info("a viewer of %s waits for the journal", self.project_id)
        except StorageUnavailable as error:
            if not self._is_told_of_outage:
                log.warning("a viewer of %s waits for the database: %s", self.project_id, error)
                await self._send_notice(send, str(error))
        else:
            return True
        return False

    @contextlib.asynccontextmanager
    async def _replying(self, send: Send) -> AsyncIterator[None]:
        """Send replies beside whatever the block does."""

        async def reply() -> None:
            while True:
                while self._replies:
                    await self._send_reply(send)
                self._wakeup.clear()
                await self._wakeup.wait()

        replying = asyncio.create_task(reply(), name=f"replies to a viewer of {self.project_id}")
        try:
            yield
        finally:
            replying.cancel()
            await asyncio.wait([replying])
            if not replying.cancelled():
                replying.exception()  # the client has gone; the block will notice

    async def _join(self, send: Send) -> None:
        needs_snapshot, self._needs_snapshot = self._needs_snapshot, False
        floor = self._ring.floor
        self._keep_live_frames()
        try:
            read_to = await self._read_up(send, needs_snapshot)
            if read_to < floor:
                raise _JournalLags
        except (StorageUnavailable, _JournalLags):
            self._needs_snapshot |= needs_snapshot
            self.fall_behind()
            raise
        while self._frames and self._frames[0][0] <= read_to:
            self._queued_bytes -= len(self._frames.popleft()[1])
        self._position = max(self._position, read_to)

    def _keep_live_frames(self) -> None:
        self._is_behind = False
        self._frames = deque(self._ring.frames)
        self._queued_bytes = sum(len(frame) for _, frame in self._frames)
        self._position = self._ring.last_seq

    async def _read_up(self, send: Send, needs_snapshot: bool) -> int:
        """Send what PostgreSQL has: the missed events, or a snapshot where they do not help.

        Returns the number up to which everything is sent. It may be above that of the last frame:
        rows of chunks are dropped with their file, and after a crash numbers are left out. The
        cursor does not follow, since by the cursor in an answer a client tells it from an event.
        """
        is_in_ring = not needs_snapshot and self._is_in_ring()
        if is_in_ring and self._is_opened:
            return self.cursor
        state = await self._state()
        if is_in_ring:
            await self._send_state(send, state)
            return self.cursor
        if needs_snapshot or self.cursor > state.last_seq:
            self.cursor = 0
        elif await self._replay(send, state):
            return max(self.cursor, state.last_seq)
        else:
            state = await self._state()
        await self._send_snapshot(send, state)
        return self.cursor

    def _is_in_ring(self) -> bool:
        """Say whether the kept frames go on after the cursor, which may be ahead of the journal."""
        return bool(self._frames) and self._frames[0][0] - 1 <= self.cursor <= self._position

    async def _state(self) -> ProjectState:
        state = await self._source.history.state(self.project_id)
        return state or ProjectState(project_id=self.project_id)

    async def _replay(self, send: Send, state: ProjectState) -> bool:
        """Send the events after the cursor; False where there are too many, or not all any more."""
        if not self._is_opened:
            await self._send_state(send, state)
        for _ in range(MAX_REPLAY_EVENTS // REPLAY_PAGE_EVENTS):
            try:
                page = await self._source.history.events_since(
                    self.project_id, self.cursor, REPLAY_PAGE_EVENTS
                )
            except CursorTooOld:
                return False
            for seq, type_, data in page:
                self.cursor = seq
                await send(codec.frame(type_, data, seq))
            if len(page) < REPLAY_PAGE_EVENTS:
                return True
        return False

    async def _send_snapshot(self, send: Send, state: ProjectState) -> None:
        await self._send_state(send, state)
        data = self._source.describe(state)
        if self._is_resync:
            data["resync"] = True
        self._is_resync = True
        self.cursor = state.last_seq
        await send(codec.frame("snapshot", orjson.dumps(data), state.last_seq))

    async def _send_state(self, send: Send, state: ProjectState) -> None:
        self._is_opened = True
        data = codec.encode_data(events.StateChange(state=state.state))
        await send(codec.frame("state_change", data, self.cursor))
