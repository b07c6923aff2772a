"""connect: from opening a socket to its first frame, one socket after the other."""

from __future__ import annotations

import time

from tests.benchmarks.failure import BenchmarkFailed
from tests.benchmarks.figures import Figure, latencies
from tests.benchmarks.link import Job, Link
from tests.benchmarks.options import Options
from tests.benchmarks.script import Script
from tests.benchmarks.stage import open_stage
from tests.benchmarks.viewer import open_session, open_viewers

CONNECTS = 200
SLEEPING_PROJECTS = 20
TOKENS = 1000  # of each sleeping project's file


async def measure(options: Options) -> list[Figure]:
    """Projects that nobody has seen, then sleeping ones right after a restart."""
    async with open_stage() as stage:
        job = Job(projects=SLEEPING_PROJECTS, repeats=CONNECTS, tokens=TOKENS)
        new = await stage.load("connect", job)
        await stage.restart()
        asleep = Job(projects=SLEEPING_PROJECTS, repeats=CONNECTS, is_asleep=True)
        sleeping = await stage.load("connect", asleep)
    return [
        *latencies("connect", "to the first frame, new project", new),
        *latencies("connect", "to the first frame, asleep after a restart", sleeping),
    ]


async def load(job: Job, link: Link) -> list[float]:
    """Return the milliseconds of each connect; unless `is_asleep`, then make what is to sleep."""
    sites = [f"site-{number}" for number in range(job.projects)]
    async with open_session(job.url) as session:
        taken: list[float] = []
        for number in range(job.repeats):
            name = sites[number % len(sites)] if job.is_asleep else f"new-{number}"
            started_ns = time.monotonic_ns()
            socket = await session.ws_connect(f"/ws/{name}", max_msg_size=0)
            frame = await socket.receive_str()
            taken.append((time.monotonic_ns() - started_ns) / 1e6)
            await socket.close()
            state = "complete" if job.is_asleep else "idle"
            if not frame.startswith(f'{{"type":"state_change","data":{{"state":"{state}"}}'):
                raise BenchmarkFailed(f"the first frame of {name} is {frame}")
        if not job.is_asleep:
            async with open_viewers(session, sites) as viewers:
                for viewer in viewers:
                    await viewer.generate(Script(group=viewer.project_id, tokens=job.tokens))
                    await viewer.until("generation_complete")
    return taken
