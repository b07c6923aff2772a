"""The gateway's reads against a real PostgreSQL that owners write to."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import asyncpg
import pytest
import pytest_asyncio

from actors import events as ev
from actors.codec import encode_data
from actors.database import connect
from actors.errors import CursorTooOld, Fenced, InvalidInput, StorageUnavailable
from actors.events import RunState
from actors.postgres import EmbeddedPostgres
from actors.reader import CONTENTS_AT_ONCE, MAX_CONNECTIONS, Reader
from actors.state import FileInfo, ProjectState
from actors.store import Store
from tests.support.history import history, record
from tests.support.postgres import standing_still, wait_until_blocked

PROJECT = "p-1"


@pytest_asyncio.fixture
async def reader(database_url: str) -> AsyncIterator[Reader]:
    reader = Reader(database_url)
    yield reader
    await reader.close()


@pytest_asyncio.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    store = Store(database_url)
    yield store
    await store.close()


@pytest_asyncio.fixture
async def sql(database_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await connect(database_url)
    yield connection
    await connection.close()


async def write(store: Store, project_id: str, *events: ev.Event) -> ProjectState:
    claim = await store.claim(project_id)
    entries = record(claim.state, events)
    await store.append(project_id, claim.epoch, entries, claim.state)
    return claim.state


def queued(id_: str = "c-1") -> ev.CommandQueued:
    return ev.CommandQueued(id=id_, description="a timer\n now", model="m", max_phases=3, place=0)


def started(id_: str = "c-1") -> ev.RunStarted:
    return ev.RunStarted(id=id_, description="a timer", model="m", max_phases=3, first_phase=1)


async def test_an_unknown_project_is_none_everywhere(reader: Reader) -> None:
    assert await reader.state(PROJECT) is None
    assert await reader.events_since(PROJECT, 0, 10) == []
    assert await reader.files(PROJECT) == {}
    assert await reader.file(PROJECT, "a") is None
    assert not await reader.has_files(PROJECT)
    assert [item async for item in reader.all_contents(PROJECT)] == []
    assert not await reader.delete_project(PROJECT)


@pytest.mark.parametrize("seed", range(4))
async def test_the_state_is_what_the_next_owner_claims_and_the_files_beside_it(
    reader: Reader, store: Store, seed: int
) -> None:
    await write(store, PROJECT, *history(random.Random(seed)))
    read = await reader.state(PROJECT)
    assert read is not None
    claimed = (await store.claim(PROJECT)).state
    assert (read.files != {}, claimed.files) == (True, {})
    assert replace(read, files={}) == claimed
    assert await reader.files(PROJECT) == read.files


async def test_events_since_pages_through_the_journal_in_order(
    reader: Reader, store: Store
) -> None:
    events = [queued(), started(), *(ev.PhaseDesigning(phase_number=n) for n in range(8))]
    await write(store, PROJECT, *events)
    expected = [(n, event.type, encode_data(event)) for n, event in enumerate(events, 1)]
    assert await reader.events_since(PROJECT, 0, 100) == expected
    assert await reader.events_since(PROJECT, 3, 4) == expected[3:7]
    assert await reader.events_since(PROJECT, len(events), 4) == []
    assert await reader.events_since(PROJECT, 10**12, 4) == []


async def test_events_before_the_beginning_of_a_trimmed_journal_are_not_to_be_had(
    reader: Reader, database_url: str
) -> None:
    store = Store(database_url, kept_events=3)
    events = [queued(), *(ev.PhaseDesigning(phase_number=n) for n in range(8))]
    await write(store, PROJECT, *events)
    await write(store, PROJECT, ev.GenerationComplete(files=(), phases=1))
    await store.close()
    assert [seq for seq, _, _ in await reader.events_since(PROJECT, 7, 100)] == [8, 9, 10]
    for since in (0, 6):
        with pytest.raises(CursorTooOld):
            await reader.events_since(PROJECT, since, 100)


async def test_a_created_project_is_idle_and_is_created_once(reader: Reader, store: Store) -> None:
    assert await reader.create_project(PROJECT)
    assert not await reader.create_project(PROJECT)
    assert await reader.state(PROJECT) == ProjectState(project_id=PROJECT)
    claim = await store.claim(PROJECT)
    assert claim.was_clean


async def test_projects_are_listed_newest_change_first_page_by_page(
    reader: Reader, store: Store, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    for number in range(7):
        await reader.create_project(f"p-{number}")
    await sql.execute("UPDATE projects SET updated_at = '2026-01-01' WHERE id <> 'p-3'")
    await write(store, "p-5", queued(), ev.FileEnd(path="a", content="x"))
    pages, cursor = [], None
    while True:
        page = await reader.list_projects(cursor, 3)
        pages.append([project.id for project in page.projects])
        cursor = page.cursor
        if cursor is None:
            break
    assert pages == [["p-5", "p-3", "p-0"], ["p-1", "p-2", "p-4"], ["p-6"]]
    newest = (await reader.list_projects(None, 1)).projects[0]
    assert (newest.title, newest.status, newest.state, newest.files) == (
        "a timer now",
        "idle",
        "idle",
        1,
    )
    assert newest.updated_at.tzinfo is not None


async def test_an_empty_list_is_one_page(reader: Reader) -> None:
    page = await reader.list_projects(None, 10)
    assert (page.projects, page.cursor) == ((), None)


@pytest.mark.parametrize("cursor", ["", "x", "é", "bnVsbA", "WzEsMl0", "WyIyMDI2LTAxLTAxIiwieCJd"])
async def test_a_cursor_of_somebody_else_is_refused(reader: Reader, cursor: str) -> None:
    with pytest.raises(InvalidInput):
        await reader.list_projects(cursor, 10)


async def test_a_project_has_files_from_its_first_finished_one_on(
    reader: Reader, store: Store
) -> None:
    await write(store, PROJECT, ev.FileStart(path="a"), ev.FileChunk(path="a", chunk="x"))
    assert not await reader.has_files(PROJECT)
    await write(store, PROJECT, ev.FileEnd(path="a", content=""))
    assert await reader.has_files(PROJECT)
    assert not await reader.has_files("another")


async def test_a_file_comes_with_its_hash(reader: Reader, store: Store) -> None:
    text = "naïve \0 ☃"
    await write(store, PROJECT, ev.FileEnd(path="src/ü.txt", content=text))
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert await reader.file(PROJECT, "src/ü.txt") == (text, digest)
    info = FileInfo(size=len(text.encode()), sha256=digest, phase_number=0)
    assert await reader.files(PROJECT) == {"src/ü.txt": info}
    assert await reader.file(PROJECT, "src/u.txt") is None


async def test_all_contents_is_of_one_moment(reader: Reader, store: Store) -> None:
    ends = [ev.FileEnd(path=f"f{n:03}", content=str(n)) for n in range(50)]
    await write(store, PROJECT, *ends)
    contents = reader.all_contents(PROJECT)
    seen = [await anext(contents)]
    await write(store, PROJECT, *(ev.FileEnd(path=f"f{n:03}", content="new") for n in range(50)))
    seen += [item async for item in contents]
    assert seen == [(f"f{n:03}", str(n)) for n in range(50)]


async def test_an_archive_that_is_given_up_gives_its_connection_back(
    reader: Reader, store: Store
) -> None:
    await write(store, PROJECT, *(ev.FileEnd(path=f"f{n}", content="") for n in range(50)))
    for _ in range(MAX_CONNECTIONS + 1):
        contents = reader.all_contents(PROJECT)
        await anext(contents)
        await contents.aclose()  # type: ignore[attr-defined]  # it is an async generator
    assert await reader.ping() > 0


async def test_open_projects_are_those_with_a_run_or_a_queue(reader: Reader, store: Store) -> None:
    await reader.create_project("idle")
    await write(store, "waiting", queued())
    await write(store, "running", queued(), started())
    await write(store, "done", queued(), started(), ev.GenerationComplete(files=(), phases=1))
    await write(store, "dropped", queued(), ev.CommandDropped(id="c-1", reason="removed"))
    assert await reader.open_projects() == ["running", "waiting"]


async def test_a_project_whose_owner_was_killed_beside_its_sandbox_is_open(
    reader: Reader, store: Store
) -> None:
    sandbox = ev.SandboxStarted(kind="docker", container_id="c0ffee")
    for project_id in ("left", "killed"):
        await write(store, project_id, sandbox)
    await write(store, "without", ev.SandboxStarted(kind="static", container_id=None))
    await store.mark_clean("left", (await store.claim("left")).epoch, 1)
    assert await reader.open_projects() == ["killed"]


async def test_counts_are_by_state(reader: Reader, store: Store) -> None:
    assert await reader.counts() == {}
    await reader.create_project("a")
    await reader.create_project("b")
    await write(store, "c", ev.StateChange(state=RunState.ERROR))
    assert await reader.counts() == {"idle": 2, "error": 1}


async def test_deleting_a_project_fences_an_owner_that_is_alive(
    reader: Reader, store: Store, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    claim = await store.claim(PROJECT)
    entries = record(claim.state, list(history(random.Random(5))))
    await store.append(PROJECT, claim.epoch, entries, claim.state)
    assert await reader.delete_project(PROJECT)
    for table in ("projects", "agent_states", "events", "generated_files", "commands", "usage"):
        assert await sql.fetchval(f"SELECT count(*) FROM {table}") == 0
    await reader.create_project(PROJECT)
    more = record(claim.state, [queued("late")])
    with pytest.raises(Fenced):
        await store.append(PROJECT, claim.epoch, more, claim.state)


async def test_many_reads_share_few_connections(
    reader: Reader, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    await asyncio.gather(*(reader.ping() for _ in range(100)))
    open_ = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    assert await sql.fetchval(open_) <= MAX_CONNECTIONS + 1


async def test_connections_that_died_are_replaced(
    reader: Reader, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    await asyncio.gather(*(reader.counts() for _ in range(20)))
    await sql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert await asyncio.gather(*(reader.counts() for _ in range(20))) == [{}] * 20


async def test_a_reader_goes_on_once_the_database_can_be_reached(
    database_url: str, postgres_url: str
) -> None:
    reader = Reader("postgresql://u:sesame@127.0.0.1:1/db")
    for _ in range(2):
        with pytest.raises(StorageUnavailable) as caught:
            await reader.ping()
        assert "sesame" not in str(caught.value)
    await reader.close()
    await reader.close()


async def test_an_address_that_cannot_be_read_is_storage_unavailable() -> None:
    reader = Reader("postgresql://u:sesame@h:65a/db")
    with pytest.raises(StorageUnavailable, match="DATABASE_URL cannot be read"):
        await reader.state(PROJECT)
    await reader.close()


async def test_closing_cuts_off_a_read_that_does_not_end(
    database_url: str, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    reader = Reader(database_url)
    async with sql.transaction():
        await sql.execute("LOCK TABLE agent_states IN ACCESS EXCLUSIVE MODE")
        reading = asyncio.create_task(reader.counts())
        await wait_until_blocked(database_url)
        await reader.close()
        with pytest.raises(StorageUnavailable):
            await reading


async def test_no_reader_waits_behind_others_that_are_stuck(
    reader: Reader, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.reader.READ_SECONDS", 0.2)
    tries = 0
    fetch = reader._fetch

    async def count(sql: str, arguments: tuple[object, ...]) -> list[asyncpg.Record]:
        nonlocal tries
        tries += 1
        return await fetch(sql, arguments)

    monkeypatch.setattr(reader, "_fetch", count)
    await reader.ping()
    with standing_still(postgres):
        pings = [asyncio.create_task(reader.ping()) for _ in range(4 * MAX_CONNECTIONS)]
        async with asyncio.timeout(20):
            outcomes = await asyncio.gather(*pings, return_exceptions=True)
        assert {str(outcome) for outcome in outcomes} == {str(outcomes[0])}
        assert isinstance(outcomes[0], StorageUnavailable)
        assert "does not answer" in str(outcomes[0])
        assert tries == 1 + MAX_CONNECTIONS
    assert await asyncio.gather(*(reader.ping() for _ in range(2 * MAX_CONNECTIONS)))


async def exhaust(items: AsyncIterator[object]) -> None:
    async for _ in items:
        pass


async def test_reading_all_files_ends_when_the_database_stands_still(
    reader: Reader, store: Store, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.reader.READ_SECONDS", 0.2)
    files = [ev.FileEnd(path=f"{n}.js", content="x") for n in range(2 * CONTENTS_AT_ONCE)]
    await write(store, PROJECT, *files)
    contents = reader.all_contents(PROJECT)
    await anext(contents)
    with standing_still(postgres), pytest.raises(StorageUnavailable):
        await asyncio.wait_for(exhaust(contents), 20)
    assert len([path async for path, _ in reader.all_contents(PROJECT)]) == len(files)


@pytest.mark.parametrize("zone", ["Etc/GMT-14", "Etc/GMT+12"])  # one of them has another day
async def test_the_day_is_that_of_utc(
    reader: Reader, sql: asyncpg.Connection[asyncpg.Record], zone: str
) -> None:
    database = await sql.fetchval("SELECT current_database()")
    await sql.execute(f"ALTER DATABASE {database} SET timezone = '{zone}'")
    before = datetime.now(UTC).date()

    today = await reader.today()

    assert today in {before.isoformat(), datetime.now(UTC).date().isoformat()}
