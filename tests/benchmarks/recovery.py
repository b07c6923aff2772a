"""recovery: from `kill -9` of a generating project's actor to its next chunk at a viewer.

A project streams, alone; in the middle of its file its actor is killed, and once the file streams
again, killed once more: a third time within a minute would end the run, by design, so then comes
the next project.

What is subtracted is the model's own time for the answer that the resumed run asks for, as measured
by itself: from having received the request to the last token of the first new line, since viewers
are sent whole lines. What the service does is left: noticing the death, reviving the project,
resuming the run, building the prompt, connecting, and passing the line on. Text that is shown again
is not new: a chunk counts if it arrives after the model has sent that line.
"""

from __future__ import annotations

import os
import signal
import time

import aiohttp
import orjson

from tests.benchmarks.failure import BenchmarkFailed
from tests.benchmarks.figures import Figure, latencies
from tests.benchmarks.link import Job, Link
from tests.benchmarks.options import Options
from tests.benchmarks.script import LINE_TOKENS, Script
from tests.benchmarks.stage import open_stage
from tests.benchmarks.viewer import (
    Viewer,
    open_session,
    open_viewers,
    service_status,
    stored_text,
)

KILLS_PER_PROJECT = 2
LINES_BEFORE_A_KILL = 3
TOKENS = 12 * LINE_TOKENS
TOKENS_PER_SECOND = 200


async def measure(options: Options) -> list[Figure]:
    async with open_stage() as stage:
        projects = max(1, options.kills // KILLS_PER_PROJECT)
        job = Job(projects=projects, tokens=TOKENS, rate=TOKENS_PER_SECOND)
        samples = await stage.load("recovery", job)
    return latencies("recovery", "kill to the next chunk beyond the model", samples)


async def load(job: Job, link: Link) -> list[float]:
    """Return the milliseconds of each recovery."""
    names = [f"p{number}" for number in range(job.projects)]
    taken: list[float] = []
    async with open_session(job.url) as session, open_viewers(session, names) as viewers:
        for number, viewer in enumerate(viewers):
            script = Script(group=f"killed{number}", tokens=job.tokens, rate=job.rate)
            times_url = f"{job.model_url}/times/{script.key}"
            await viewer.generate(script)
            for _ in range(KILLS_PER_PROJECT):
                pid = await _pid_in_the_middle(session, viewer)
                killed_ns = time.monotonic_ns()
                os.kill(pid, signal.SIGKILL)
                taken.append(await _recovery(session, viewer, killed_ns, times_url) / 1e6)
            await viewer.until("generation_complete")
            script.sent_times(await stored_text(session, viewer.project_id))
            if warnings := viewer.of_type("model_warning"):
                raise BenchmarkFailed(f"the model was not understood at once: {warnings}")
        restarts = (await service_status(session))["restarts"]
    if restarts != {"actors": len(taken), "actorSystem": 0}:
        raise BenchmarkFailed(f"{len(taken)} kills, but the service counts {restarts}")
    return taken


async def _pid_in_the_middle(session: aiohttp.ClientSession, viewer: Viewer) -> int:
    """Return the actor's process once some lines of its file have arrived."""
    lines = 0
    while lines < LINES_BEFORE_A_KILL:
        _, frame = await viewer.until("file_chunk")
        lines += orjson.loads(frame)["data"]["chunk"].count("\n")
    pids = (await service_status(session))["pids"]
    return int(pids[viewer.project_id])


async def _recovery(
    session: aiohttp.ClientSession, viewer: Viewer, killed_ns: int, times_url: str
) -> int:
    """Return the ns from the kill to the first new chunk, less the model's own."""
    await viewer.until("run_resumed")
    while True:
        arrived_ns, _ = await viewer.until("file_chunk")
        async with session.get(times_url) as answer:
            received_ns, sent_ns = map(int, orjson.loads(await answer.read()))
        if killed_ns < received_ns <= sent_ns <= arrived_ns:
            return arrived_ns - killed_ns - (sent_ns - received_ns)
