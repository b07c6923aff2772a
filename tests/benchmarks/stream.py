"""stream: projects that stream 100 tokens/s each with one viewer each, all beginning together.

The latency of a line is from the model's sending of its last token to the arrival of the
`file_chunk` that has it. CPU time is taken from the first line to the last `generation_complete`:
the writing of the journal and of the finished files is in it, the starting of actors is not. The
model and the client share the machine with the service; what they take is shown.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import aiohttp
import orjson

from tests.benchmarks.failure import BenchmarkFailed
from tests.benchmarks.figures import Figure, latencies
from tests.benchmarks.link import Job, Link
from tests.benchmarks.options import Options
from tests.benchmarks.processes import Amounts, cpu_seconds, own_cpu_seconds
from tests.benchmarks.script import TOKEN_CHARS, Script
from tests.benchmarks.stage import Stage, open_stage
from tests.benchmarks.viewer import Arrived, Viewer, open_session, open_viewers, stored_text

TOKENS_PER_SECOND = 100
SETTINGS = {"CODEGEN_MAX_RUNS": "1000", "CODEGEN_IDLE_SECONDS": "3600"}


async def measure(options: Options) -> list[Figure]:
    figures = []
    for projects in options.stream_projects:
        async with open_stage(**SETTINGS) as stage:
            figures += await _measure_one(stage, projects, options.stream_seconds)
    return figures


async def _measure_one(stage: Stage, projects: int, seconds: int) -> list[Figure]:
    case = f"stream {projects}"
    began, ended = CpuSample(stage), CpuSample(stage)
    job = Job(projects=projects, tokens=TOKENS_PER_SECOND * seconds, rate=TOKENS_PER_SECOND)
    result = await stage.load(
        "stream",
        job,
        streaming=began.take,
        complete=ended.take,
    )
    spent, span = ended.tree - began.tree, ended.at - began.at
    machine_percent = 100 / (span * len(os.sched_getaffinity(0)))
    tokens = result["tokens"]
    return [
        *latencies(case, "delivery of a line", result["latencies"]),
        Figure(case, "CPU of the service", spent.service / tokens * 1e6, "us/token"),
        Figure(case, "CPU of PostgreSQL", spent.database / tokens * 1e6, "us/token"),
        Figure(case, "CPU of the service", spent.service * machine_percent, "% of machine"),
        Figure(case, "CPU of PostgreSQL", spent.database * machine_percent, "% of machine"),
        Figure(
            case,
            "CPU of model and client",
            (ended.load - began.load) * machine_percent,
            "% of machine",
        ),
        Figure(case, "lines checked", len(result["latencies"]), "lines"),
    ]


class CpuSample:
    """CPU seconds up to now, and when that was."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.tree = Amounts(service=0, database=0)
        self.load = 0.0
        self.at = 0.0

    async def take(self) -> None:
        self.at = time.monotonic()
        self.tree = cpu_seconds(self._stage.service_pid)
        self.load = sum(map(own_cpu_seconds, self._stage.load_pids))


async def load(job: Job, link: Link) -> dict[str, Any]:
    """Return the latency of every line in ms, and how many tokens came while CPU was taken."""
    names = [f"p{number}" for number in range(job.projects)]
    async with open_session(job.url) as session, open_viewers(session, names) as viewers:
        scripts = await start_streams(viewers, "streams", job)
        await viewers[0].until("file_chunk")
        began_ns = time.monotonic_ns()
        await link.meet("streaming")
        await asyncio.gather(*(viewer.until("generation_complete") for viewer in viewers))
        await link.meet("complete")
        taken: list[float] = []
        chars = 0
        for viewer, script in zip(viewers, scripts, strict=True):
            chunks = await checked_chunks(session, viewer, script)
            taken += _line_latencies(chunks, script)
            chars += sum(len(text) for at_ns, text in chunks if at_ns > began_ns)
    return {"latencies": taken, "tokens": chars / TOKEN_CHARS}


async def start_streams(viewers: list[Viewer], group: str, job: Job) -> list[Script]:
    """Send a generate on every socket; the streams begin when the model was asked for all."""
    scripts = [
        Script(group=group, number=number, tokens=job.tokens, rate=job.rate, together=len(viewers))
        for number in range(len(viewers))
    ]
    for viewer, script in zip(viewers, scripts, strict=True):
        await viewer.generate(script)
    return scripts


async def checked_chunks(
    session: aiohttp.ClientSession, viewer: Viewer, script: Script
) -> list[Arrived]:
    """Return the texts of the chunks with their arrival, once they are known to be the file.

    What was streamed, what `file_end` says and what is stored is the same, byte for byte.
    """
    frames = [(at_ns, orjson.loads(raw)) for at_ns, raw in viewer.frames]
    own = ("accepted", "snapshot")
    numbers = [frame["seq"] for _, frame in frames if frame["type"] not in own][1:]
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise BenchmarkFailed(f"{viewer.project_id}: events are missing or doubled")
    chunks = [(at, f["data"]["chunk"]) for at, f in frames if f["type"] == "file_chunk"]
    streamed = "".join(text for _, text in chunks)
    [ended] = [f["data"]["content"] for _, f in frames if f["type"] == "file_end"]
    if not streamed == ended == await stored_text(session, viewer.project_id):
        raise BenchmarkFailed(f"{viewer.project_id}: what was streamed is not what was stored")
    script.sent_times(streamed)
    return chunks


def _line_latencies(chunks: list[Arrived], script: Script) -> list[float]:
    arrived_ns = [at_ns for at_ns, text in chunks for _ in range(text.count("\n"))]
    sent_ns = script.sent_times("".join(text for _, text in chunks))
    return [
        (arrived - sent) / 1e6 for arrived, sent in zip(arrived_ns, sent_ns, strict=False)
    ]  # the last two lines have no time of their own
