"""The gateway's side of the database: it reads what owners wrote, and wakes nobody.

Every answer is one statement, hence of one moment: no transaction, one round trip. The only writes
are creating a project, which owns nothing yet, and deleting one whose actor is not alive.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import orjson

from actors.database import (
    CLOSE_SECONDS,
    CONNECT_OPTIONS,
    LOST,
    Connection,
    address_errors,
    storage_errors,
)
from actors.errors import CursorTooOld, InvalidInput, StorageUnavailable
from actors.outage import Outage
from actors.projections import LOAD
from actors.records import read_text, state_from_row, stored_text
from actors.state import FileInfo, ProjectState, Totals

MAX_CONNECTIONS = 8
#: Deadline of one answer, connecting included: who asks here can be told to try again.
READ_SECONDS = 5.0
MAX_PAGE_ROWS = 200
#: Files that `all_contents` holds in memory at once.
CONTENTS_AT_ONCE = 20

_EVENTS_SINCE = """
SELECT trimmed_seq, seq, type, data
  FROM agent_states LEFT JOIN LATERAL (
       SELECT seq, type, data FROM events
        WHERE project_id = $1 AND seq > $2 ORDER BY seq LIMIT $3) AS event ON true
 WHERE project_id = $1 ORDER BY seq
"""
# Newest first; a cursor is the last row of the page before.
_LIST = """
SELECT id, title, status, coalesce(current_state, 'idle') AS state, projects.updated_at,
       (SELECT count(*) FROM generated_files WHERE project_id = id) AS files
  FROM projects LEFT JOIN agent_states ON project_id = id
 WHERE $1::timestamptz IS NULL
    OR (projects.updated_at <= $1 AND (projects.updated_at < $1 OR id > $2))
 ORDER BY projects.updated_at DESC, id LIMIT $3
"""
_CREATE = """
WITH project AS (INSERT INTO projects (id) VALUES ($1) ON CONFLICT DO NOTHING)
INSERT INTO agent_states (project_id, epoch) VALUES ($1, nextval('project_epochs'))
ON CONFLICT DO NOTHING RETURNING true
"""
_DELETE = """
WITH owner AS (DELETE FROM agent_states WHERE project_id = $1),
     journal AS (DELETE FROM events WHERE project_id = $1)
DELETE FROM projects WHERE id = $1 RETURNING true
"""
_FILES = """
SELECT file_path, size, sha256, phase_index FROM generated_files
 WHERE project_id = $1 ORDER BY file_path
"""
_FILE = """
SELECT content, sha256 FROM generated_files WHERE project_id = $1 AND file_path = $2
"""
_SANDBOX_LINES = """
SELECT seq, data FROM events WHERE project_id = $1 AND type = 'sandbox_log' AND seq <= $2
 ORDER BY seq DESC LIMIT $3
"""
_PROJECT_OF_DIGEST = """
SELECT id FROM projects WHERE left(encode(sha256(id::bytea), 'hex'), 20) = $1
"""
_HAS_FILES = "SELECT FROM generated_files WHERE project_id = $1 LIMIT 1"
_CONTENTS = (
    "SELECT file_path, content FROM generated_files WHERE project_id = $1 ORDER BY file_path"
)
_OPEN_PROJECTS = """
SELECT project_id FROM agent_states
 WHERE run IS NOT NULL OR (sandbox_container_id IS NOT NULL AND NOT is_clean)
UNION SELECT project_id FROM commands WHERE status = 'queued' ORDER BY 1
"""
_USAGE = """
SELECT day::text, calls, prompt_tokens, completion_tokens, cost_usd, estimated_calls
  FROM daily_usage
 WHERE day > (now() AT TIME ZONE 'UTC')::date - $1::integer ORDER BY day DESC
"""
_TODAY = "SELECT (now() AT TIME ZONE 'UTC')::date::text AS today"
_COUNTS = "SELECT current_state, count(*) AS count FROM agent_states GROUP BY 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSummary:
    """One row of the list of projects; `files` is how many are finished."""

    id: str
    title: str
    status: str
    state: str
    updated_at: datetime
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectPage:
    """Projects, newest change first; `cursor` leads to the next page, None on the last."""

    projects: tuple[ProjectSummary, ...]
    cursor: str | None


class Reader:
    """Reads over a small pool, made at the first call. Every method raises StorageUnavailable.

    It does so within `READ_SECONDS`, however many wait for a connection: when one call finds
    PostgreSQL away, all that wait behind it are told the same.
    """

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._places = asyncio.Semaphore(MAX_CONNECTIONS)
        self._outage = Outage()

    async def state(self, project_id: str) -> ProjectState | None:
        """Return the project as its journal has it, or None for an unknown one."""
        row = await self._row(LOAD, project_id)
        return None if row is None else state_from_row(project_id, dict(row))

    async def events_since(
        self, project_id: str, since: int, limit: int
    ) -> list[tuple[int, str, bytes]]:
        """Return up to `limit` events after number `since`, in order: (seq, type, data).

        The chunks of finished files are not among them: their file_end has the whole text.
        Raises CursorTooOld where the journal begins after `since`.
        """
        rows = await self._rows(_EVENTS_SINCE, project_id, since, limit)
        if rows and rows[0]["trimmed_seq"] > since:
            raise CursorTooOld()
        return [
            (row["seq"], row["type"], row["data"].encode())
            for row in rows
            if row["seq"] is not None
        ]

    async def sandbox_lines(
        self, project_id: str, up_to: int, limit: int
    ) -> list[tuple[int, dict[str, str]]]:
        """Return the newest lines of the sandbox up to a number, oldest first: (seq, data)."""
        rows = await self._rows(_SANDBOX_LINES, project_id, up_to, limit)
        return [(row["seq"], orjson.loads(row["data"])) for row in reversed(rows)]

    async def list_projects(self, after: str | None, limit: int) -> ProjectPage:
        """Return up to `limit` (1 to 200) projects after a page's cursor.

        A project that changes meanwhile moves to the front and may be missed or seen again.
        Raises InvalidInput for a cursor that was not made here.
        """
        limit = max(1, min(limit, MAX_PAGE_ROWS))
        updated_at, last_id = (None, "") if after is None else _read_cursor(after)
        rows = await self._rows(_LIST, updated_at, last_id, limit + 1)
        projects = tuple(
            ProjectSummary(**{**row, "title": read_text(row["title"])}) for row in rows[:limit]
        )
        has_more = len(rows) > limit
        return ProjectPage(projects=projects, cursor=_cursor(projects[-1]) if has_more else None)

    async def create_project(self, project_id: str) -> bool:
        """Create an empty project; False where it exists already."""
        return await self._row(_CREATE, project_id) is not None

    async def delete_project(self, project_id: str) -> bool:
        """Drop a project with all its data; False where there is none.

        An owner that is alive all the same is fenced off: its row, and so its epoch, is gone.
        """
        return await self._row(_DELETE, project_id) is not None

    async def files(self, project_id: str) -> dict[str, FileInfo]:
        """Return the finished files by path."""
        return {
            read_text(row["file_path"]): FileInfo(
                size=row["size"], sha256=row["sha256"], phase_number=row["phase_index"] + 1
            )
            for row in await self._rows(_FILES, project_id)
        }

    async def file(self, project_id: str, path: str) -> tuple[str, str] | None:
        """Return a finished file's text and SHA-256 in hex."""
        row = await self._row(_FILE, project_id, stored_text(path))
        return None if row is None else (row["content"].decode(), row["sha256"])

    async def project_of_digest(self, digest: str) -> str | None:
        """Return the id with this digest (`addresses.id_digest`), or None."""
        row = await self._row(_PROJECT_OF_DIGEST, digest)
        return None if row is None else str(row["id"])

    async def has_files(self, project_id: str) -> bool:
        """Say whether the project has a finished file; False for an unknown one."""
        return await self._row(_HAS_FILES, project_id) is not None

    async def all_contents(self, project_id: str) -> AsyncIterator[tuple[str, str]]:
        """Yield every finished file as (path, text), by path, all of one moment.

        Holds one connection of the pool until it is exhausted or closed.
        """
        async with self._place():
            with storage_errors(self._database_url):
                async with self._connected() as connection, connection.transaction(readonly=True):
                    rows = connection.cursor(_CONTENTS, project_id, prefetch=CONTENTS_AT_ONCE)
                    async for row in rows:
                        yield read_text(row["file_path"]), row["content"].decode()

    async def open_projects(self) -> list[str]:
        """Return the projects that are to be revived at start.

        Those with an open run or a queued command, and those whose last owner was killed and may
        have left its sandbox running.
        """
        return [row["project_id"] for row in await self._rows(_OPEN_PROJECTS)]

    async def counts(self) -> dict[str, int]:
        """Return how many projects are in each state; states without one are absent."""
        return {row["current_state"]: row["count"] for row in await self._rows(_COUNTS)}

    async def usage(self, days: int) -> dict[str, Totals]:
        """Return what model calls consumed on each of the last days (UTC), the newest first.

        Keys are ISO dates; a day without a call is absent.
        """
        rows = [dict(row) for row in await self._rows(_USAGE, days)]
        return {row.pop("day"): Totals(**row) for row in rows}

    async def today(self) -> str:
        """Return the day (UTC, an ISO date) that a call which ends now is counted for."""
        row = await self._row(_TODAY)
        assert row is not None
        return str(row["today"])

    async def ping(self) -> float:
        """Return the seconds that the database takes to answer."""
        started = time.perf_counter()
        await self._row("SELECT 1")
        return time.perf_counter() - started

    async def close(self) -> None:
        """Close the pool; calls under way that do not end at once are cut off."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await pool.close()
        except LOST:
            pool.terminate()

    async def _row(self, sql: str, *arguments: Any) -> asyncpg.Record | None:
        rows = await self._rows(sql, *arguments)
        return rows[0] if rows else None

    async def _rows(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        async with self._place():
            try:
                with storage_errors(self._database_url):
                    async with asyncio.timeout(READ_SECONDS):
                        rows = await self._fetch(sql, arguments)
            except StorageUnavailable as problem:
                self._outage.begin(problem)  # before somebody else has our place
                raise
            self._outage.end()
            return rows

    async def _fetch(self, sql: str, arguments: tuple[Any, ...]) -> list[asyncpg.Record]:
        """Run one statement; connections that died since they were last used are passed over."""
        for spare in range(MAX_CONNECTIONS, -1, -1):
            try:
                async with self._connected() as connection:
                    return list(await connection.fetch(sql, *arguments))
            except LOST as error:
                if isinstance(error, TimeoutError) or not spare or self._pool is None:
                    raise
        raise AssertionError("the last try returns or raises")

    @contextlib.asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Wait for one of the connections, but no longer than those that have one."""
        async with self._outage.unless_told():
            await self._places.acquire()
        try:
            yield
        finally:
            self._places.release()

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        if self._pool is None:
            # No least number: asyncpg would keep trying, and logging, while the server is away.
            self._pool = asyncpg.create_pool(
                self._database_url,
                min_size=0,
                max_size=MAX_CONNECTIONS,
                reset=_leave_as_it_is,
                **{**CONNECT_OPTIONS, "timeout": READ_SECONDS, "command_timeout": READ_SECONDS},
            )
        pool = await self._pool  # nothing is connected yet, so this neither waits nor fails
        with address_errors():
            connection = await pool.acquire(timeout=READ_SECONDS)
        try:
            yield connection
        except (*LOST, asyncio.CancelledError):  # cancelled, it may still be busy
            with contextlib.suppress(asyncpg.InterfaceError):  # it is closed already
                connection.terminate()
            raise
        finally:
            await pool.release(connection)


async def _leave_as_it_is(connection: Connection) -> None:
    """Spare the round trip of a reset: no statement here leaves anything in its session."""


def _cursor(last: ProjectSummary) -> str:
    text = orjson.dumps([last.updated_at.isoformat(), last.id])
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        updated_at, last_id = orjson.loads(text)
        when = datetime.fromisoformat(updated_at)
    except (ValueError, TypeError):
        raise InvalidInput("The cursor is not one that this list gave out.") from None
    if when.tzinfo is None or not isinstance(last_id, str):
        raise InvalidInput("The cursor is not one that this list gave out.")
    return when, last_id
