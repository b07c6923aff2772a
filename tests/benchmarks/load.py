"""The load client's process: `python -m tests.benchmarks.load CASE JOB`, see link.py."""

from __future__ import annotations

import asyncio
import sys

import orjson

from tests.benchmarks.cases import CASES
from tests.benchmarks.failure import BenchmarkFailed
from tests.benchmarks.link import Job, Link, open_stdin

MAX_SECONDS = 280.0  # below the conductor's own deadline


async def main(case: str, job: Job) -> None:
    """Carry out one job and say its result."""
    link = Link(await open_stdin())
    load = CASES[case].load
    assert load is not None
    try:
        async with asyncio.timeout(MAX_SECONDS):
            link.say({"result": await load(job, link)})
    except (BenchmarkFailed, TimeoutError) as error:
        link.say({"failed": str(error) or "the load client ran out of time"})


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Job(**orjson.loads(sys.argv[2]))))
