"""Projects made by copying rows in the service's own PostgreSQL, while nobody has them in memory.

A copy is a project like any other: the service made the first one, in `make_project`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp

from actors.database import Connection, connect, disconnect
from tests.benchmarks.script import Script
from tests.benchmarks.viewer import open_viewers, wait_until_asleep

SOURCE = "source"
COPY_SECONDS = 60.0
TABLES = {  # and their column of the project's id; what others refer to comes first
    "projects": "id",
    "agent_states": "project_id",
    "generated_files": "project_id",
    "events": "project_id",
    "commands": "project_id",
    "usage": "project_id",
}
_COPY = """
INSERT INTO {table}
SELECT made.* FROM {table} AS source, unnest($2::text[]) AS name,
       jsonb_populate_record(source, jsonb_build_object('{column}', name)) AS made
 WHERE source.{column} = $1
"""
_ADD_FILES = """
INSERT INTO generated_files (project_id, file_path, content, size, sha256, phase_index)
SELECT $1, 'src/part' || number || '.js', content, length(content),
       encode(sha256(content), 'hex'), 0
  FROM generate_series(1, $2) AS number,
       convert_to(repeat('// part ' || number || E'\\n', 40), 'UTF8') AS content
"""


async def make_project(session: aiohttp.ClientSession, tokens: int) -> None:
    """Have the service make the project `SOURCE`, with one file, and wait until it sleeps."""
    async with open_viewers(session, [SOURCE]) as [viewer]:
        await viewer.generate(Script(group=SOURCE, tokens=tokens))
        await viewer.until("generation_complete")
    await wait_until_asleep(session)


async def add_files(database_url: str, count: int) -> None:
    """Give `SOURCE` so many finished files more, of half a kilobyte each."""
    async with _connected(database_url) as connection:
        await connection.execute(_ADD_FILES, SOURCE, count)


async def copy_project(database_url: str, names: Sequence[str]) -> None:
    """Make projects that are `SOURCE` but for their names."""
    async with _connected(database_url) as connection:
        for table, column in TABLES.items():
            sql = _COPY.format(table=table, column=column)
            await connection.execute(sql, SOURCE, names, timeout=COPY_SECONDS)
        await connection.execute("ANALYZE")  # whether autovacuum has been here shall not matter


@asynccontextmanager
async def _connected(database_url: str) -> AsyncIterator[Connection]:
    connection = await connect(database_url)
    try:
        yield connection
    finally:
        await disconnect(connection)
