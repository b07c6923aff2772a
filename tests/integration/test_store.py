"""The owner's side against a real PostgreSQL: fencing, projections, idempotence, lost answers."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from actors import events as ev
from actors.codec import JournalEntry
from actors.database import connect
from actors.errors import Fenced, StorageUnavailable
from actors.events import RunState
from actors.projections import KEPT_SANDBOX_LOG_ROWS
from actors.reader import Reader
from actors.state import OpenFile, ProjectState
from actors.store import Store, StoredAnswer
from tests.support.history import history, record
from tests.support.log import log_line
from tests.support.postgres import wait_until_blocked
from tests.support.replay_fold import comparable

PROJECT = "p-1"


@pytest_asyncio.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    store = Store(database_url)
    yield store
    await store.close()


@pytest_asyncio.fixture
async def reader(database_url: str) -> AsyncIterator[Reader]:
    reader = Reader(database_url)
    yield reader
    await reader.close()


@pytest_asyncio.fixture
async def sql(database_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await connect(database_url)
    yield connection
    await connection.close()


def queued(id_: str = "c-1", place: int = 0) -> ev.CommandQueued:
    return ev.CommandQueued(
        id=id_, description="a timer", model="a/model", max_phases=3, place=place
    )


def started(id_: str = "c-1") -> ev.RunStarted:
    return ev.RunStarted(
        id=id_, description="a timer", model="a/model", max_phases=3, first_phase=1
    )


async def saved(reader: Reader) -> ProjectState:
    """The whole state that PostgreSQL has, as `comparable` returns it."""
    state = await reader.state(PROJECT)
    assert state is not None
    return comparable(state)


TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"


async def append(store: Store, epoch: int, state: ProjectState, *events: ev.Event) -> None:
    await store.append(PROJECT, epoch, record(state, events), state)


async def test_claim_creates_a_project_with_an_empty_state(store: Store) -> None:
    claim = await store.claim(PROJECT)
    assert claim.state == ProjectState(project_id=PROJECT)
    assert claim.was_clean


async def test_what_is_prepared_is_what_a_revival_and_its_run_ask_first(
    store: Store, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    count = "SELECT count(*) FROM pg_prepared_statements"
    await store._prepare()
    prepared = await store._run(lambda connection: connection.fetchval(count))
    claim = await store.claim(PROJECT)
    await store.find_command(PROJECT, "c-1")
    await append(store, claim.epoch, claim.state, queued())
    await append(store, claim.epoch, claim.state, started())
    await append(store, claim.epoch, claim.state, ev.RunResumed(id="c-1", phase_number=1))
    await append(store, claim.epoch, claim.state, ev.StateChange(state=RunState.IDLE))
    await store.file_contents(PROJECT)
    assert await store._run(lambda connection: connection.fetchval(count)) == prepared
    tables = {row["table_name"] for row in await sql.fetch(TABLES)}
    assert "projects" in tables
    for table in tables - {"schema_version"}:
        owners = await sql.fetch(f"SELECT DISTINCT row.* FROM {table} AS row")
        assert all(PROJECT in row.values() for row in owners), "of no project nothing is written"


async def test_preparing_ends_where_a_claim_wants_the_connection(store: Store) -> None:
    preparing = asyncio.create_task(store.stay_prepared())
    await asyncio.sleep(0)  # it has begun to connect
    claim = await store.claim(PROJECT)
    await preparing
    assert claim.epoch == 1  # preparing has taken none
    count = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'WITH owner%'"
    assert await store._run(lambda connection: connection.fetchval(count)) == 0


async def test_a_spare_whose_connection_is_cut_connects_again_by_itself(
    store: Store, sql: asyncpg.Connection[asyncpg.Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.store.PREPARED_SECONDS", 0.01)
    staying = asyncio.create_task(store.stay_prepared())
    await wait_for_value(sql, OTHERS, 2)
    cut = await sql.fetchval(OTHER)
    await sql.execute(KILL_OTHERS)
    await wait_for_value(sql, f"{OTHERS} AND pid NOT IN ({cut}, pg_backend_pid())", 1)
    await store.claim(PROJECT)
    await staying


async def test_a_spare_without_a_database_leaves_it_to_its_project_to_say_so() -> None:
    store = Store("postgresql://nobody@/nothing?host=/nonexistent")
    with log_line("actors.store", "a spare is not connected") as told:
        staying = asyncio.create_task(store.stay_prepared())
        await told.logged()
    with pytest.raises(StorageUnavailable):
        await store.claim(PROJECT)
    await staying


async def test_every_claim_has_a_greater_epoch(store: Store) -> None:
    epochs = [(await store.claim(PROJECT)).epoch for _ in range(3)]
    assert epochs == sorted(set(epochs))


async def test_a_claim_after_a_crash_is_not_clean_and_after_a_passivation_is(store: Store) -> None:
    await store.claim(PROJECT)
    crashed = await store.claim(PROJECT)
    assert not crashed.was_clean
    await store.mark_clean(PROJECT, crashed.epoch, 0)
    assert (await store.claim(PROJECT)).was_clean
    assert not (await store.claim(PROJECT)).was_clean


async def test_numbers_that_an_owner_left_out_stay_left_out_when_it_leaves(store: Store) -> None:
    claim = await store.claim(PROJECT)
    await append(store, claim.epoch, claim.state, queued())
    await store.mark_clean(PROJECT, claim.epoch, 10_001)
    heir = await store.claim(PROJECT)
    assert heir.state.last_seq == 10_001
    await store.mark_clean(PROJECT, heir.epoch, 1)  # never back
    assert (await store.claim(PROJECT)).state.last_seq == 10_001


async def test_a_stale_owner_is_fenced_and_writes_nothing(
    store: Store, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    stale = await store.claim(PROJECT)
    owner = await store.claim(PROJECT)
    events = list(history(random.Random(1)))
    with pytest.raises(Fenced):
        await append(store, stale.epoch, stale.state, *events)
    with pytest.raises(Fenced):
        await append(store, stale.epoch, ProjectState(project_id=PROJECT), ev.FileStart(path="a"))
    with pytest.raises(Fenced):
        await store.mark_clean(PROJECT, stale.epoch, 0)
    with pytest.raises(Fenced):
        await store.remove(PROJECT, stale.epoch)
    for table in ("events", "generated_files", "commands", "usage"):
        assert await sql.fetchval(f"SELECT count(*) FROM {table}") == 0
    await append(store, owner.epoch, owner.state, queued())
    assert (await store.claim(PROJECT)).state == owner.state


async def test_an_append_to_a_project_that_was_never_claimed_is_fenced(store: Store) -> None:
    with pytest.raises(Fenced):
        await append(store, 1, ProjectState(project_id=PROJECT), queued())


@pytest.mark.parametrize("seed", range(16))
async def test_the_projections_equal_the_fold_after_every_batch(
    store: Store, reader: Reader, seed: int
) -> None:
    rng = random.Random(seed)
    claim = await store.claim(PROJECT)
    events, contents = list(history(rng)), dict[str, str]()
    state, epoch = claim.state, claim.epoch
    while events:
        size = rng.randint(1, 12)
        batch, events = events[:size], events[size:]
        await append(store, epoch, state, *batch)
        for event in batch:
            match event:
                case ev.FileEnd():
                    contents[event.path] = event.content
                case ev.FileDeleted():
                    contents.pop(event.path, None)
        claim = await store.claim(PROJECT)
        epoch = claim.epoch
        assert await saved(reader) == comparable(state)
        claim.state.files = state.files  # which an owner does without
        assert comparable(claim.state) == comparable(state)
        if rng.random() < 0.3:
            state = claim.state  # go on as a revived actor does
    assert await store.file_contents(PROJECT) == contents


@pytest.mark.parametrize("seed", range(4))
async def test_a_repeated_append_changes_nothing(
    store: Store, reader: Reader, sql: asyncpg.Connection[asyncpg.Record], seed: int
) -> None:
    rng = random.Random(seed)
    claim = await store.claim(PROJECT)
    state = claim.state
    events = list(history(rng))
    while events:
        size = rng.randint(1, 12)
        entries, events = record(state, events[:size]), events[size:]
        for _ in range(2):  # the second time as if the first answer had been lost
            await store.append(PROJECT, claim.epoch, entries, state)
    assert await saved(reader) == comparable(state)
    numbers = [row["seq"] for row in await sql.fetch("SELECT seq FROM usage")]
    assert len(numbers) == len(set(numbers)) > 0


async def test_a_lost_answer_is_made_good_with_newer_entries_in_the_same_batch(
    store: Store, reader: Reader
) -> None:
    claim = await store.claim(PROJECT)
    state = claim.state
    first = record(state, [queued(), started(), ev.FileStart(path="a")])
    await store.append(PROJECT, claim.epoch, first, state)
    more = record(state, [ev.FileChunk(path="a", chunk="x"), ev.FileEnd(path="a", content="x")])
    await store.append(PROJECT, claim.epoch, [*first, *more], state)
    assert await saved(reader) == state


async def test_a_group_of_chunks_may_be_written_when_the_state_is_further_on(store: Store) -> None:
    claim = await store.claim(PROJECT)
    state = claim.state
    entries = record(state, [ev.FileStart(path="a"), ev.FileChunk(path="a", chunk="x")])
    later = record(state, [ev.FileChunk(path="a", chunk="y"), ev.FileStart(path="b")])
    await store.append(PROJECT, claim.epoch, entries, state)
    saved = (await store.claim(PROJECT)).state
    assert (saved.last_seq, saved.open_file) == (2, OpenFile(path="a", chunks=["x"]))
    epoch = (await store.claim(PROJECT)).epoch
    await store.append(PROJECT, epoch, later, state)
    assert comparable((await store.claim(PROJECT)).state) == comparable(state)


async def test_a_state_ahead_of_a_barrier_is_our_bug(store: Store) -> None:
    claim = await store.claim(PROJECT)
    entries = record(claim.state, [queued(), started()])
    with pytest.raises(AssertionError):
        await store.append(PROJECT, claim.epoch, entries[:1], claim.state)


async def test_numbers_may_have_gaps(store: Store) -> None:
    claim = await store.claim(PROJECT)
    claim.state.last_seq += 10_000
    await append(store, claim.epoch, claim.state, queued())
    assert (await store.claim(PROJECT)).state.last_seq == 10_001


async def test_an_empty_append_does_nothing(store: Store) -> None:
    await store.append(PROJECT, 1, [], ProjectState(project_id=PROJECT))


async def test_a_finished_files_chunks_leave_the_journal_and_its_text_stays(
    store: Store, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    claim = await store.claim(PROJECT)
    state = claim.state
    await append(store, claim.epoch, state, ev.FileStart(path="a"))
    await append(store, claim.epoch, state, ev.FileChunk(path="a", chunk="te"))
    await append(store, claim.epoch, state, ev.FileChunk(path="a", chunk="xt"))
    assert await sql.fetchval("SELECT count(*) FROM events") == 3
    await append(store, claim.epoch, state, ev.FileEnd(path="a", content="text"))
    rows = await sql.fetch("SELECT type, data FROM events")
    assert [tuple(row) for row in rows] == [("file_end", '{"path":"a","content":"text"}')]
    row = await sql.fetchrow("SELECT * FROM generated_files")
    assert row is not None
    assert (row["content"], row["size"]) == (b"text", 4)
    assert row["sha256"] == hashlib.sha256(b"text").hexdigest()


async def test_a_file_that_is_given_up_leaves_no_chunks(
    store: Store, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    claim = await store.claim(PROJECT)
    for end in (
        ev.FileRestored(path="a", content=None),
        ev.ErrorRaised(message="m", code="c"),
        ev.RunResumed(id="c-1", phase_number=1),
    ):
        await append(
            store,
            claim.epoch,
            claim.state,
            ev.FileStart(path="a"),
            ev.FileChunk(path="a", chunk="x"),
        )
        await append(store, claim.epoch, claim.state, end)
        assert await sql.fetchval("SELECT count(*) FROM events WHERE type ~ '^file_(st|ch)'") == 0
    assert (await store.claim(PROJECT)).state.open_file is None


async def test_a_run_that_is_resumed_has_its_open_file_with_its_text(
    store: Store, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    claim = await store.claim(PROJECT)
    opened = [ev.FileStart(path="a"), *(ev.FileChunk(path="a", chunk=text) for text in "text")]
    await append(store, claim.epoch, claim.state, *opened)
    again = await store.claim(PROJECT)
    resumed = ev.RunResumed(id="c-1", phase_number=1)
    shown_again = (ev.FileStart(path="a"), ev.FileChunk(path="a", chunk="text"))
    await append(store, again.epoch, again.state, resumed, *shown_again)
    assert await sql.fetchval("SELECT count(*) FROM events WHERE type ~ '^file_(st|ch)'") == 2
    assert (await store.claim(PROJECT)).state.open_file == OpenFile(path="a", chunks=["text"])


async def test_a_chunk_without_a_start_opens_its_file(store: Store, reader: Reader) -> None:
    claim = await store.claim(PROJECT)
    chunks = [ev.FileChunk(path="a", chunk="1"), ev.FileChunk(path="b", chunk="2")]
    end = ev.FileEnd(path="c", content="")
    await append(store, claim.epoch, claim.state, *chunks, end)
    assert claim.state.open_file == OpenFile(path="b", chunks=["2"])
    assert await saved(reader) == claim.state
    more = [ev.FileEnd(path="b", content="2"), ev.FileChunk(path="d", chunk="4")]
    await append(store, claim.epoch, claim.state, *more)
    assert await saved(reader) == claim.state


async def test_the_project_follows_its_run(
    store: Store, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    claim = await store.claim(PROJECT)
    steps: list[tuple[tuple[ev.Event, ...], str]] = [
        ((queued(),), "idle"),
        ((started(),), "generating"),
        ((ev.StateChange(state=RunState.ERROR), ev.ErrorRaised(message="", code="c")), "error"),
        ((queued("c-2"), started("c-2")), "generating"),
        (
            (
                ev.StateChange(state=RunState.COMPLETE),
                ev.GenerationComplete(files=(), phases=1),
            ),
            "complete",
        ),
    ]
    for events, status in steps:
        await append(store, claim.epoch, claim.state, *events)
        assert await sql.fetchval("SELECT status FROM projects") == status
    assert await sql.fetchval("SELECT title FROM projects") == "a timer"


async def test_a_command_keeps_its_first_answer_for_its_repeats(store: Store) -> None:
    claim = await store.claim(PROJECT)
    assert await store.find_command(PROJECT, "c-1") is None
    await append(store, claim.epoch, claim.state, queued("other"), queued(place=1))
    assert await store.find_command(PROJECT, "c-1") == StoredAnswer(kind="generate", place=1, seq=2)
    await append(store, claim.epoch, claim.state, started())
    await append(store, claim.epoch, claim.state, ev.GenerationCancelled(reason="user"))
    assert await store.find_command(PROJECT, "c-1") == StoredAnswer(kind="generate", place=1, seq=2)
    assert await store.find_command("another", "c-1") is None


async def test_commands_end_as_done_or_dropped(
    store: Store, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    claim = await store.claim(PROJECT)
    state = claim.state
    await append(store, claim.epoch, state, queued("a"), queued("b", 1), queued("c", 2))
    await append(store, claim.epoch, state, started("a"))
    await append(
        store,
        claim.epoch,
        state,
        ev.GenerationCancelled(reason="replaced"),
        ev.CommandDropped(id="b", reason="replaced"),
        started("c"),
        queued("d"),
        ev.CommandDropped(id="d", reason="removed"),
    )
    rows = await sql.fetch("SELECT command_id, status FROM commands ORDER BY 1")
    statuses = {row["command_id"]: row["status"] for row in rows}
    assert statuses == {"a": "done", "b": "dropped", "c": "running", "d": "dropped"}
    assert (await store.claim(PROJECT)).state == state


async def test_usage_is_kept_per_model_call(
    store: Store, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    claim = await store.claim(PROJECT)
    usage = ev.Usage(
        purpose="plan", model="m", prompt_tokens=2**33, completion_tokens=2, cost_usd=0.5
    )
    await append(store, claim.epoch, claim.state, usage)
    row = await sql.fetchrow(
        "SELECT seq, purpose, model, prompt_tokens, completion_tokens, cost_usd FROM usage"
    )
    assert row is not None
    assert tuple(row) == (1, "plan", "m", 2**33, 2, 0.5)


async def test_the_journal_is_trimmed_to_its_newest_events_when_a_run_ends_or_the_actor_leaves(
    database_url: str, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    store = Store(database_url, kept_events=5)
    claim = await store.claim(PROJECT)

    async def kept() -> tuple[list[int], int]:
        rows = await sql.fetch("SELECT seq FROM events ORDER BY seq")
        floor = await sql.fetchval("SELECT trimmed_seq FROM agent_states")
        return [row["seq"] for row in rows], floor

    phases = [ev.PhaseDesigning(phase_number=number) for number in range(20)]
    await append(store, claim.epoch, claim.state, *phases)
    assert await kept() == (list(range(1, 21)), 0)
    end = [ev.StateChange(state=RunState.ERROR), ev.ErrorRaised(message="no", code="c")]
    await append(store, claim.epoch, claim.state, *end)
    assert await kept() == ([18, 19, 20, 21, 22], 17)
    await append(store, claim.epoch, claim.state, *end * 4)
    assert await kept() == (list(range(23, 31)), 22)
    await append(store, claim.epoch, claim.state, ev.GenerationCancelled(reason="user"))
    assert await kept() == ([27, 28, 29, 30, 31], 26)
    await append(store, claim.epoch, claim.state, ev.ServerStarted(url="http://h"), ev.Hibernated())
    assert await kept() == ([29, 30, 31, 32, 33], 28)
    await store.close()


@pytest.mark.parametrize("last", [ev.GenerationComplete(files=(), phases=1), ev.Hibernated()])
async def test_sandbox_logs_are_trimmed_when_a_run_ends_or_the_project_goes_to_sleep(
    store: Store, sql: asyncpg.Connection[asyncpg.Record], last: ev.Event
) -> None:
    claim = await store.claim(PROJECT)
    count = KEPT_SANDBOX_LOG_ROWS + 50
    lines = [ev.SandboxLog(stream="stdout", line=str(number)) for number in range(count)]
    await append(store, claim.epoch, claim.state, *lines)
    newest = ev.SandboxLog(stream="stdout", line="newest")
    await append(store, claim.epoch, claim.state, newest, last)
    seqs = await sql.fetch("SELECT seq FROM events WHERE type = 'sandbox_log' ORDER BY seq")
    expected = list(range(count + 2 - KEPT_SANDBOX_LOG_ROWS, count + 2))
    assert [row["seq"] for row in seqs] == expected


async def test_chunks_alone_change_no_column_but_the_number_and_stay_within_the_page(
    store: Store, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    claim = await store.claim(PROJECT)
    await append(store, claim.epoch, claim.state, queued(), started(), ev.FileStart(path="a"))
    before = await sql.fetchval("SELECT updated_at FROM projects")
    for _ in range(40):
        await append(store, claim.epoch, claim.state, ev.FileChunk(path="a", chunk="x"))
    assert await sql.fetchval("SELECT updated_at FROM projects") == before
    pages = await sql.fetchval("SELECT pg_relation_size('agent_states') / 8192")
    assert pages == 1
    assert (await store.claim(PROJECT)).state.last_seq == claim.state.last_seq


async def test_file_contents_returns_the_paths_that_exist(store: Store) -> None:
    claim = await store.claim(PROJECT)
    ends = [ev.FileEnd(path=path, content=f"{path}\0") for path in ("a", "b", "c")]
    await append(store, claim.epoch, claim.state, *ends)
    assert await store.file_contents(PROJECT, ["b", "x"]) == {"b": "b\0"}
    assert list(await store.file_contents(PROJECT)) == ["a", "b", "c"]
    assert await store.file_contents(PROJECT, []) == {}
    assert await store.file_contents("unknown") == {}


async def test_files_that_end_in_one_batch_keep_each_its_own_bytes(
    store: Store, reader: Reader
) -> None:
    claim = await store.claim(PROJECT)
    texts = {"a": "naïve ☃ 𝄞\n", "b": "", "c": "nul \0 and \ue000", "d": "x"}
    ends = [ev.FileEnd(path=path, content=text) for path, text in texts.items()]
    again = ev.FileEnd(path="a", content="the last one counts")
    await append(store, claim.epoch, claim.state, *ends, again)
    assert await store.file_contents(PROJECT) == {**texts, "a": again.content}
    assert await reader.files(PROJECT) == claim.state.files


async def test_a_deleted_file_has_no_row_and_the_last_word_in_a_batch_counts(
    store: Store, reader: Reader
) -> None:
    claim = await store.claim(PROJECT)
    ends = [ev.FileEnd(path=path, content=path) for path in ("a", "b", "nul \0")]
    await append(store, claim.epoch, claim.state, *ends)
    await append(
        store,
        claim.epoch,
        claim.state,
        ev.FileDeleted(path="a"),
        ev.FileDeleted(path="nul \0"),
        ev.FileEnd(path="c", content="1"),
        ev.FileDeleted(path="c"),
        ev.FileDeleted(path="b"),
        ev.FileEnd(path="b", content="2"),
        ev.FileDeleted(path="never"),
    )
    assert await store.file_contents(PROJECT) == {"b": "2"}
    assert await reader.files(PROJECT) == claim.state.files


async def test_remove_drops_everything_and_may_be_repeated(
    store: Store, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    claim = await store.claim(PROJECT)
    await append(store, claim.epoch, claim.state, *history(random.Random(3)))
    await store.claim("another")
    await store.remove(PROJECT, claim.epoch)
    await store.remove(PROJECT, claim.epoch)
    for table in ("events", "generated_files", "commands", "usage"):
        assert await sql.fetchval(f"SELECT count(*) FROM {table}") == 0
    assert await sql.fetchval("SELECT array_agg(id) FROM projects") == ["another"]


async def test_the_owner_of_a_removed_project_stays_fenced_when_it_is_made_again(
    store: Store,
) -> None:
    claim = await store.claim(PROJECT)
    await store.remove(PROJECT, claim.epoch)
    again = await store.claim(PROJECT)
    assert again.state == ProjectState(project_id=PROJECT)
    with pytest.raises(Fenced):
        await append(store, claim.epoch, claim.state, queued())


async def test_two_stores_claiming_at_once_leave_one_owner(database_url: str) -> None:
    stores = [Store(database_url) for _ in range(4)]
    claims = await asyncio.gather(*(store.claim(PROJECT) for store in stores))
    outcomes = await asyncio.gather(
        *(
            append(store, claim.epoch, claim.state, queued())
            for store, claim in zip(stores, claims, strict=True)
        ),
        return_exceptions=True,
    )
    assert sorted(str(type(outcome)) for outcome in outcomes) == sorted(
        [str(type(None)), *[str(Fenced)] * 3]
    )
    for store in stores:
        await store.close()


async def test_concurrent_calls_on_one_store_take_turns(store: Store) -> None:
    claim = await store.claim(PROJECT)
    results = await asyncio.gather(*(store.file_contents(PROJECT) for _ in range(20)))
    assert results == [{}] * 20
    assert claim.epoch


OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
OTHER = """
SELECT max(pid) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


async def test_a_released_connection_is_opened_again(
    store: Store, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    claim = await store.claim(PROJECT)
    await store.release()
    await store.release()
    await wait_for_value(sql, OTHERS, 1)
    await append(store, claim.epoch, claim.state, queued())
    assert await sql.fetchval(OTHERS) == 2


async def test_a_connection_that_rests_is_let_go_and_opened_again(
    store: Store, sql: asyncpg.Connection[asyncpg.Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.store.REST_SECONDS", 0.0)
    await store.claim(PROJECT)
    store.rest()
    await wait_for_value(sql, OTHERS, 1)
    assert await store.file_contents(PROJECT) == {}
    assert await sql.fetchval(OTHERS) == 2


async def test_a_call_ends_the_rest_of_the_connection_and_uses_it(
    store: Store, sql: asyncpg.Connection[asyncpg.Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.store.REST_SECONDS", 0.0)
    others = "SELECT array_agg(pid) FROM pg_stat_activity WHERE datname = current_database()"
    await store.claim(PROJECT)
    connected = await sql.fetchval(others)
    store.rest()
    await asyncio.gather(*(store.file_contents(PROJECT) for _ in range(3)))
    assert await sql.fetchval(others) == connected
    store.rest()
    store.rest()
    await store.close()
    await wait_for_value(sql, OTHERS, 1)


async def wait_for_value(
    sql: asyncpg.Connection[asyncpg.Record], query: str, expected: object
) -> None:
    async with asyncio.timeout(20):
        while await sql.fetchval(query) != expected:
            pass


KILL_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


async def test_a_connection_that_died_while_idle_is_replaced(
    store: Store, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    claim = await store.claim(PROJECT)
    await sql.execute(KILL_OTHERS)
    await append(store, claim.epoch, claim.state, queued())
    await sql.execute(KILL_OTHERS)
    assert (await store.claim(PROJECT)).state == claim.state


async def test_a_connection_that_dies_during_an_append_is_replaced_and_nothing_is_lost(
    store: Store, database_url: str, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    claim = await store.claim(PROJECT)
    async with sql.transaction():
        await sql.execute("SELECT FROM agent_states FOR UPDATE")  # the append waits for this row
        appending = asyncio.create_task(append(store, claim.epoch, claim.state, queued()))
        await wait_until_blocked(database_url)
        await sql.execute(KILL_OTHERS)
    await appending
    assert (await store.claim(PROJECT)).state == claim.state


async def test_a_cancelled_append_leaves_a_usable_store(
    store: Store, database_url: str, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    claim = await store.claim(PROJECT)
    entries = record(claim.state, [queued()])
    async with sql.transaction():
        await sql.execute("SELECT FROM agent_states FOR UPDATE")
        task = asyncio.create_task(store.append(PROJECT, claim.epoch, entries, claim.state))
        await wait_until_blocked(database_url)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await store.append(PROJECT, claim.epoch, entries, claim.state)
    assert (await store.claim(PROJECT)).state == claim.state


async def test_the_journal_holds_the_very_bytes_that_were_given(
    store: Store, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    claim = await store.claim(PROJECT)
    data = '{"path" :"a",  "chunk":"☃\\u0000"}'.encode()
    claim.state.last_seq = 1
    entry = JournalEntry(1, ev.FileChunk(path="a", chunk="☃\0"), data)
    await store.append(PROJECT, claim.epoch, [entry], claim.state)
    assert (await sql.fetchval("SELECT data FROM events")).encode() == data


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://u:sesame@127.0.0.1:1/db", "127.0.0.1:1, database db cannot be reached"),
        ("postgresql:///db?host=/nowhere", "the local socket, database db cannot be reached"),
        ("postgresql://u:sesame/x@127.0.0.1:1/db", "DATABASE_URL cannot be read"),
        ("postgresql://u:sesame@h:65a/db", "DATABASE_URL cannot be read"),
    ],
)
async def test_an_unreachable_database_is_named_without_its_password(url: str, words: str) -> None:
    with pytest.raises(StorageUnavailable) as caught:
        await Store(url).claim(PROJECT)
    assert words in str(caught.value)
    shown: BaseException | None = caught.value
    while shown is not None:
        assert "sesame" not in repr(shown)
        shown = None if shown.__suppress_context__ and shown.__cause__ is None else shown.__cause__


async def test_a_database_that_refuses_is_storage_unavailable(
    database_url: str, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    name = await sql.fetchval("SELECT current_database()")
    with pytest.raises(StorageUnavailable, match="does not exist"):
        await Store(database_url.replace(name, "missing")).claim(PROJECT)
    with pytest.raises(StorageUnavailable, match="refuses to serve"):
        await Store(database_url.replace("postgres@", "nobody_we_know@")).claim(PROJECT)
    await sql.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    store = Store(database_url)
    with pytest.raises(StorageUnavailable, match="read-only"):
        await store.claim(PROJECT)
    await store.close()


async def test_a_wrong_argument_is_our_bug_and_keeps_the_connection(store: Store) -> None:
    claim = await store.claim(PROJECT)
    with pytest.raises(asyncpg.DataError):
        await store.mark_clean(PROJECT, "not a number", 0)  # type: ignore[arg-type]  # the bug
    await store.mark_clean(PROJECT, claim.epoch, 0)


async def test_an_open_file_is_kept_whole_also_where_its_project_sleeps(database_url: str) -> None:
    store = Store(database_url, kept_events=1)
    claim = await store.claim("p1")
    chunks = [ev.FileChunk(path="a", chunk=f"{number}\n") for number in range(20)]
    paused = ev.RunPaused(code="budget_exceeded", message="Too dear.", needed_usd=1.0)
    events = [ev.FileStart(path="a"), *chunks, paused, ev.Hibernated()]
    for event in events:
        await store.append("p1", claim.epoch, record(claim.state, [event]), claim.state)
    again = await store.claim("p1")
    assert again.state.open_file is not None
    assert again.state.open_file.text == "".join(chunk.chunk for chunk in chunks)
    await store.close()
