"""memory: PSS of the service with 1 and with 20 live projects; the slope is what one actor takes.

Each project has a viewer, whose share in the gateway is therefore in the slope as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.benchmarks.figures import Figure
from tests.benchmarks.link import Job, Link
from tests.benchmarks.options import Options
from tests.benchmarks.processes import Amounts, pss_bytes
from tests.benchmarks.stage import Stage, open_stage
from tests.benchmarks.stream import SETTINGS, TOKENS_PER_SECOND, start_streams
from tests.benchmarks.viewer import open_session, open_viewers

FEW, MANY = 1, 20
STREAM_SECONDS = 4
SETTLE_SECONDS = 1.0  # into the stream, and after its end
MIB = 2**20


async def measure(options: Options) -> list[Figure]:
    samples: dict[str, Amounts] = {}
    async with open_stage(**SETTINGS) as stage:
        names = [f"{state}_{count}" for count in (FEW, MANY) for state in ("streaming", "idle")]
        await stage.load(
            "memory",
            Job(tokens=STREAM_SECONDS * TOKENS_PER_SECOND, rate=TOKENS_PER_SECOND),
            **{name: _sampler(stage, samples, name) for name in names},
        )
    return [figure for state in ("idle", "streaming") for figure in _figures(state, samples)]


def _sampler(stage: Stage, samples: dict[str, Amounts], name: str) -> Callable[[], Awaitable[None]]:
    async def sample() -> None:
        samples[name] = pss_bytes(stage.service_pid)

    return sample


def _figures(state: str, samples: dict[str, Amounts]) -> list[Figure]:
    few, many = samples[f"{state}_{FEW}"], samples[f"{state}_{MANY}"]
    more = many - few
    added = MANY - FEW
    return [
        Figure("memory", f"one {state} actor", more.service / added / MIB, "MiB"),
        Figure("memory", f"its share of PostgreSQL, {state}", more.database / added / MIB, "MiB"),
        Figure("memory", f"service, {FEW} {state}", few.service / MIB, "MiB"),
        Figure("memory", f"service, {MANY} {state}", many.service / MIB, "MiB"),
        Figure("memory", f"PostgreSQL, {MANY} {state}", many.database / MIB, "MiB"),
    ]


async def load(job: Job, link: Link) -> None:
    """Stream to few projects, then to many, the same few among them."""
    for count in (FEW, MANY):
        names = [f"p{number}" for number in range(count)]
        async with open_session(job.url) as session, open_viewers(session, names) as viewers:
            await start_streams(viewers, f"streams{count}", job)
            await asyncio.gather(*(viewer.until("file_chunk") for viewer in viewers))
            await asyncio.sleep(SETTLE_SECONDS)
            await link.meet(f"streaming_{count}")
            await asyncio.gather(*(viewer.until("generation_complete") for viewer in viewers))
            await asyncio.sleep(SETTLE_SECONDS)
            await link.meet(f"idle_{count}")
