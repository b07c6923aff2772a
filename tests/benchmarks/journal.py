"""journal: what keeping the events costs, per 1,000 tokens that reach the viewers.

Projects stream 100 tokens/s each, with a viewer each. Counted is everything from the commands to
the moment at which every actor has left memory: the other events of a run (plan, states, the
finished file) are in it. `rows written` are inserts, updates and deletes in all tables, by
PostgreSQL's own statistics; `WAL` is what goes to the disk first, by `pg_current_wal_lsn`; `kept`
is what the journal still holds afterwards: the chunks of a finished file are not kept.

The actor's share of the CPU time is measured apart, since an actor does much else: this process
appends the same number of batches, of as many chunks each, to the same server.
"""

from __future__ import annotations

import asyncio
import time

from actors.codec import encode_data
from actors.database import connect, disconnect
from actors.events import FileChunk
from actors.state import apply
from actors.store import JournalEntry, Store
from tests.benchmarks.failure import BenchmarkFailed
from tests.benchmarks.figures import Figure
from tests.benchmarks.link import Job, Link
from tests.benchmarks.options import Options
from tests.benchmarks.processes import cpu_seconds
from tests.benchmarks.script import PATH, TOKEN_CHARS
from tests.benchmarks.stage import Stage, open_stage
from tests.benchmarks.stream import TOKENS_PER_SECOND, checked_chunks, start_streams
from tests.benchmarks.viewer import open_session, open_viewers, wait_until_asleep

SETTINGS = {"CODEGEN_MAX_RUNS": "1000", "CODEGEN_IDLE_SECONDS": "0.2"}
QUIET_SECONDS = 1.5  # a server process holds its statistics back for up to 1 s
SETTLE_SECONDS = 30.0
_SAMPLE = """
SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::float8 AS wal_bytes,
       (SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)
          FROM pg_stat_user_tables)::float8 AS rows_written,
       (SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'events')::float8 AS events,
       (SELECT n_tup_upd FROM pg_stat_user_tables
         WHERE relname = 'agent_states')::float8 AS batches,
       (SELECT count(*) FROM events)::float8 AS kept_rows,
       (SELECT coalesce(sum(octet_length(data)), 0) FROM events)::float8 AS kept_bytes,
       (SELECT count(*) FROM events WHERE type = 'file_chunk')::float8 AS chunks_left
"""

Sample = dict[str, float]


async def measure(options: Options) -> list[Figure]:
    projects = options.journal_projects
    job = Job(
        projects=projects,
        tokens=TOKENS_PER_SECOND * options.stream_seconds,
        rate=TOKENS_PER_SECOND,
    )
    async with open_stage(**SETTINGS) as stage:
        before = await _sample(stage)
        await stage.load("journal", job)
        after = await _settled_sample(stage)
        cost = {name: after[name] - before[name] for name in after}
        _check(cost, job)
        own_seconds = await _append_alike(stage.database_url, cost, job)
    thousands = job.projects * job.tokens / 1000
    amounts = {
        ("rows written", "rows"): cost["rows_written"],
        ("batches committed", "batches"): cost["batches"],
        ("WAL", "KiB"): cost["wal_bytes"] / 1024,
        ("rows kept", "rows"): cost["kept_rows"],
        ("data kept", "KiB"): cost["kept_bytes"] / 1024,
        ("CPU of PostgreSQL", "ms"): cost["cpu_seconds"] * 1000,
        ("CPU of the actor for its journal", "ms"): own_seconds * 1000,
    }
    case = f"journal {projects}"
    return [
        Figure(case, f"{name} per 1,000 tokens", amount / thousands, unit)
        for (name, unit), amount in amounts.items()
    ]


async def _sample(stage: Stage) -> Sample:
    connection = await connect(stage.database_url)
    try:
        row = await connection.fetchrow(_SAMPLE)
    finally:
        await disconnect(connection)
    assert row is not None
    return {**row, "cpu_seconds": cpu_seconds(stage.service_pid).database}


async def _settled_sample(stage: Stage) -> Sample:
    """Sample once nothing is written any more and all statistics have come in."""
    deadline = time.monotonic() + SETTLE_SECONDS
    last = await _sample(stage)
    while time.monotonic() < deadline:
        await asyncio.sleep(QUIET_SECONDS)
        sample = await _sample(stage)
        if sample["rows_written"] == last["rows_written"]:
            return sample
        last = sample
    raise BenchmarkFailed("PostgreSQL is written to although every actor has left")


def _check(cost: Sample, job: Job) -> None:
    """Raise BenchmarkFailed where the figures cannot be those of the streams."""
    if cost["chunks_left"]:
        raise BenchmarkFailed(f"{cost['chunks_left']:.0f} chunks of finished files are kept")
    chars = job.projects * job.tokens * TOKEN_CHARS
    if cost["kept_bytes"] < chars or cost["wal_bytes"] < chars:
        raise BenchmarkFailed(f"{chars} characters were streamed, yet PostgreSQL wrote {cost}")
    if not 0 < cost["batches"] < cost["rows_written"] or cost["events"] <= cost["kept_rows"]:
        raise BenchmarkFailed(f"the journal's batches and chunks are not in {cost}")


async def _append_alike(database_url: str, cost: Sample, job: Job) -> float:
    """Return the CPU seconds of this process for as many batches of as many chunks each."""
    batches = round(cost["batches"])
    chunks = round(cost["events"] / batches) or 1
    text = "x" * round(job.projects * job.tokens * TOKEN_CHARS / cost["events"])
    store = Store(database_url)
    try:
        claim = await store.claim("alike")
        for number in range(-batches, batches):  # as many as a warm-up
            if number == 0:
                began = time.process_time()
            entries = []
            for _ in range(chunks):
                event = FileChunk(path=PATH, chunk=text)
                seq = claim.state.last_seq + 1
                apply(claim.state, event, seq)
                entries.append(JournalEntry(seq, event, encode_data(event)))
            await store.append("alike", claim.epoch, entries, claim.state)
        return time.process_time() - began
    finally:
        await store.close()


async def load(job: Job, link: Link) -> None:
    """Stream, check every byte, and wait until no actor is left."""
    names = [f"p{number}" for number in range(job.projects)]
    async with open_session(job.url) as session, open_viewers(session, names) as viewers:
        scripts = await start_streams(viewers, "journalled", job)
        await asyncio.gather(*(viewer.until("generation_complete") for viewer in viewers))
        for viewer, script in zip(viewers, scripts, strict=True):
            await checked_chunks(session, viewer, script)
        await wait_until_asleep(session)
