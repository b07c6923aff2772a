"""The owner's side of the database: one project's journal and projections, fenced by an epoch.

A `Store` holds one connection, opened when first needed and let go when it has rested for a while.
Calls take turns. A connection that turns out to be dead when it is used again is replaced once:
every call here may be repeated, even when the answer of its first try was lost after the commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from actors.codec import JournalEntry
from actors.database import LOST, Connection, connect, disconnect, storage_errors
from actors.errors import Fenced, StorageUnavailable
from actors.projections import LOAD_OWNED, batch
from actors.records import from_column, read_text, state_from_row, stored_text
from actors.rehearsal import NO_PROJECT, first_appends
from actors.settings import KEPT_EVENTS
from actors.state import ProjectState

__all__ = ["Claim", "JournalEntry", "Store", "StoredAnswer"]

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Deadline of a call that a request makes before it changes anything: it can still be refused.
PROMPT_SECONDS = 3.0
PREPARED_SECONDS = 30.0  # between two uses of a spare's connection
REST_SECONDS = 0.5  # without a call, after `rest`: then the connection is let go

# Take the project over: a new epoch; answers it and whether the last owner left in order. Where
# the name is empty (`Store.prepare`) there is nothing to take.
_CLAIM = """
WITH project AS (INSERT INTO projects (id) SELECT $1 WHERE $1 <> '' ON CONFLICT DO NOTHING)
INSERT INTO agent_states (project_id, epoch) SELECT $1, nextval('project_epochs') WHERE $1 <> ''
ON CONFLICT (project_id) DO UPDATE SET epoch = nextval('project_epochs'), updated_at = now()
RETURNING epoch, is_clean
"""
_MARK_OWNED = "UPDATE agent_states SET is_clean = false WHERE project_id = $1 AND is_clean"
_MARK_CLEAN = """
UPDATE agent_states SET is_clean = true, last_seq = greatest(last_seq, $3), updated_at = now()
 WHERE project_id = $1 AND epoch = $2 RETURNING true
"""
# Drop a project and all that hangs on it; answers whether it was ours, or gone already.
_REMOVE = """
WITH owner AS (DELETE FROM agent_states WHERE project_id = $1 AND epoch = $2 RETURNING project_id),
     journal AS (DELETE FROM events USING owner WHERE events.project_id = owner.project_id),
     project AS (DELETE FROM projects USING owner WHERE projects.id = owner.project_id)
SELECT EXISTS (SELECT FROM owner)
    OR NOT EXISTS (SELECT FROM agent_states WHERE project_id = $1)
"""
_RESERVE = "SELECT reserve_cost($1, $2, $3, $4)"
_CHARS_SINCE_CALL = """
SELECT sum(length(data)) FROM events
 WHERE project_id = $1 AND type IN ('file_chunk', 'file_end')
   AND seq > (SELECT max(seq) FROM events WHERE project_id = $1 AND type = 'model_call')
"""
_ANSWER = """
SELECT kind, answer FROM commands
 WHERE project_id = $1 AND command_id = $2 AND answer IS NOT NULL
"""
_CONTENTS = """
SELECT file_path, content FROM generated_files
 WHERE project_id = $1 AND ($2::text[] IS NULL OR file_path = ANY($2)) ORDER BY file_path
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """A project taken over: its state, the owner's epoch, and whether the last owner left well."""

    state: ProjectState
    epoch: int
    was_clean: bool


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What a command was answered: a place in the queue, or for a cancel maybe an error's code."""

    kind: str
    seq: int
    place: int = 0
    code: str | None = None


class Store:
    """One owner's access. Every method raises StorageUnavailable; those with an epoch, Fenced."""

    def __init__(self, database_url: str, *, kept_events: int = KEPT_EVENTS) -> None:
        self._database_url = database_url
        self._kept_events = kept_events
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()
        self._resting: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()  # set by the claim

    async def stay_prepared(self) -> None:
        """Be connected, with an owner's first statements prepared, until a project is claimed.

        For a spare. What is idle for long may be cut off without a word, so it is used every
        `PREPARED_SECONDS`; without PostgreSQL it is tried again then.
        """
        while not self._wanted.is_set():
            try:
                await self._prepare()
            except StorageUnavailable as error:
                log.warning("a spare is not connected: %s", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PREPARED_SECONDS):
                    await self._wanted.wait()

    async def _prepare(self) -> None:
        """Carry an owner's first statements out on no project; ends early when one is claimed."""
        statements = [
            (_CLAIM, [NO_PROJECT]),
            (LOAD_OWNED, [NO_PROJECT]),
            (_MARK_OWNED, [NO_PROJECT]),
            (_ANSWER, [NO_PROJECT, ""]),
            *first_appends(),
            (_CONTENTS, [NO_PROJECT, None]),
        ]
        for sql, arguments in statements:
            if self._wanted.is_set():
                return
            await self._run(functools.partial(_fetch, sql=sql, arguments=arguments))

    async def claim(self, project_id: str) -> Claim:
        """Become the owner of the project, creating it where it does not exist, and load it.

        The state comes without the finished files, so that it costs the same for 3 and for 3,000.
        """
        self._wanted.set()

        async def work(connection: Connection) -> Claim:
            async with connection.transaction():
                claimed = await connection.fetchrow(_CLAIM, project_id)
                row = await connection.fetchrow(LOAD_OWNED, project_id)
                await connection.execute(_MARK_OWNED, project_id)
            assert claimed is not None
            assert row is not None
            state = state_from_row(project_id, dict(row))
            return Claim(state=state, epoch=claimed["epoch"], was_clean=claimed["is_clean"])

        return await self._run(work)

    async def append(
        self, project_id: str, epoch: int, entries: Sequence[JournalEntry], state: ProjectState
    ) -> None:
        """Write events and what they change, in one transaction and one round trip.

        `state` is the fold up to the last entry; it is read before the first suspension. After
        StorageUnavailable the same entries may be given again, alone or followed by newer ones.
        Raises Fenced, having written nothing, where another owner exists.
        """
        if not entries:
            return
        sql, arguments = batch(project_id, epoch, entries, state, kept_events=self._kept_events)
        if not await self._run(lambda connection: connection.fetchval(sql, *arguments)):
            raise Fenced

    async def find_command(self, project_id: str, command_id: str) -> StoredAnswer | None:
        """Return the answer that a command of this id got, for whoever repeats it; promptly."""
        key = stored_text(command_id)
        row = await self._run(
            lambda connection: connection.fetchrow(_ANSWER, project_id, key), PROMPT_SECONDS
        )
        return None if row is None else StoredAnswer(row["kind"], **from_column(row["answer"]))

    async def ping(self) -> None:
        """Make sure that PostgreSQL answers promptly."""
        await self._run(lambda connection: connection.fetchval("SELECT 1"), PROMPT_SECONDS)

    async def file_contents(
        self, project_id: str, paths: Sequence[str] | None = None
    ) -> dict[str, str]:
        """Return the finished files' texts by path: all of them, or those of `paths` that exist."""
        keys = None if paths is None else [stored_text(path) for path in paths]
        rows = await self._run(lambda connection: connection.fetch(_CONTENTS, project_id, keys))
        return {read_text(row["file_path"]): row["content"].decode() for row in rows}

    async def reserve(self, project_id: str, epoch: int, cost_usd: float, day_usd: float) -> bool:
        """Reserve what a model call can cost, if the day's cap (UTC, all projects) leaves it.

        The next event that ends a call releases it (actors/projections.py).
        """

        arguments = (project_id, epoch, cost_usd, day_usd)
        return bool(await self._run(lambda c: c.fetchval(_RESERVE, *arguments)))

    async def chars_since_call(self, project_id: str) -> int:
        """Return how many characters of the last model call's answer are saved, about.

        Those of files, with a little JSON around each, and with the whole of one it went on with.
        """
        found = await self._run(lambda c: c.fetchval(_CHARS_SINCE_CALL, project_id))
        return int(found or 0)

    async def mark_clean(self, project_id: str, epoch: int, last_seq: int) -> None:
        """Note that the owner leaves memory with everything saved.

        `last_seq` is the number that its successor goes on from: also where the owner has left
        numbers out, after a crash, and has then recorded nothing.
        """
        if not await self._run(lambda c: c.fetchval(_MARK_CLEAN, project_id, epoch, last_seq)):
            raise Fenced

    async def remove(self, project_id: str, epoch: int) -> None:
        """Drop everything of the project."""
        if not await self._run(lambda c: c.fetchval(_REMOVE, project_id, epoch)):
            raise Fenced

    def rest(self) -> None:
        """Let go of the connection if no call comes within `REST_SECONDS`."""
        self._stop_resting()
        self._resting = asyncio.get_running_loop().create_task(self._release_later(), name="rest")

    async def _release_later(self) -> None:
        await asyncio.sleep(REST_SECONDS)
        self._resting = None  # from here on a call waits for it rather than cancelling it
        await self.release()

    def _stop_resting(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None

    async def release(self) -> None:
        """Let go of the connection once no call uses it; the next call opens another."""
        async with self._turn:
            connection, self._connection = self._connection, None
            if connection is not None:
                await disconnect(connection)

    async def close(self) -> None:
        """Let go of the connection for good."""
        self._stop_resting()
        await self.release()

    async def _run(
        self, work: Callable[[Connection], Awaitable[T]], seconds: float | None = None
    ) -> T:
        self._stop_resting()
        with storage_errors(self._database_url):
            async with asyncio.timeout(seconds), self._turn:
                if self._connection is not None:
                    with contextlib.suppress(*LOST):
                        return await self._use(self._connection, work)
                self._connection = await connect(self._database_url)
                return await self._use(self._connection, work)

    async def _use(self, connection: Connection, work: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            return await work(connection)
        except (*LOST, asyncio.CancelledError):  # cancelled, it may still be busy with the call
            self._drop()
            raise

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


async def _fetch(connection: Connection, sql: str, arguments: Sequence[Any]) -> None:
    await connection.fetch(sql, *arguments)
