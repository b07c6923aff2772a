"""revive: from a generate for a passivated project to its first event, `command_queued`.

The load is that of first_chunk: one revival after the other, with nothing else in memory.
"""

from __future__ import annotations

from tests.benchmarks.figures import Figure, latencies
from tests.benchmarks.first_chunk import ASLEEP
from tests.benchmarks.link import Job
from tests.benchmarks.options import Options
from tests.benchmarks.stage import open_stage

PROJECTS = 10
REVIVALS = 50


async def measure(options: Options) -> list[Figure]:
    async with open_stage(**ASLEEP) as stage:
        job = Job(url="", projects=PROJECTS, repeats=REVIVALS, is_asleep=True)
        samples = await stage.load("revive", job)
    return latencies("revive", "generate to the first event", samples["first_event"])
