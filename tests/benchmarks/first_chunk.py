"""first_chunk: from generate to the first file_chunk, less what the model itself took.

One generate after the other over ten projects that are all in memory, or all passivated.
"""

from __future__ import annotations

import aiohttp
import orjson

from tests.benchmarks.figures import Figure, latencies
from tests.benchmarks.link import Job, Link
from tests.benchmarks.options import Options
from tests.benchmarks.script import Script, own_time_ns
from tests.benchmarks.stage import open_stage
from tests.benchmarks.viewer import (
    Viewer,
    open_session,
    open_viewers,
    stored_text,
    wait_until_asleep,
)

PROJECTS = 10
REPEATS = 50
ASLEEP = {"CODEGEN_IDLE_SECONDS": "0.2"}
AWAKE = {"CODEGEN_IDLE_SECONDS": "3600"}


async def measure(options: Options) -> list[Figure]:
    figures = []
    for name, settings in (("awake", AWAKE), ("asleep", ASLEEP)):
        async with open_stage(**settings) as stage:
            job = Job(projects=PROJECTS, repeats=REPEATS, is_asleep=name == "asleep")
            samples = await stage.load("first_chunk", job)
        figures += latencies("first_chunk", f"beyond the model, {name}", samples["first_chunk"])
    return figures


async def load(job: Job, link: Link) -> dict[str, list[float]]:
    """Return what `generate_each` does, once each project has a file."""
    names = [f"p{number}" for number in range(job.projects)]
    async with open_session(job.url) as session, open_viewers(session, names) as viewers:
        for viewer in viewers:
            await _generate(viewer, Script(group="made", tokens=job.tokens))
        return await generate_each(session, viewers, job)


async def generate_each(
    session: aiohttp.ClientSession, viewers: list[Viewer], job: Job
) -> dict[str, list[float]]:
    """Return the milliseconds to the first event and to the first chunk of each generate."""
    taken: dict[str, list[float]] = {"first_event": [], "first_chunk": []}
    for number in range(job.repeats):
        viewer = viewers[number % len(viewers)]
        if job.is_asleep:
            await wait_until_asleep(session)
        script = Script(group="measured", number=number, tokens=job.tokens)
        to_event, to_chunk = await _generate(viewer, script)
        script.sent_times(await stored_text(session, viewer.project_id))
        taken["first_event"].append(to_event)
        taken["first_chunk"].append(to_chunk)
    return taken


async def _generate(viewer: Viewer, script: Script) -> tuple[float, float]:
    sent_ns = await viewer.generate(script)
    event_ns, _ = await viewer.until("command_queued")
    chunk_ns, frame = await viewer.until("file_chunk")
    own_ns = own_time_ns(orjson.loads(frame)["data"]["chunk"])
    await viewer.until("generation_complete")
    return (event_ns - sent_ns) / 1e6, (chunk_ns - sent_ns - own_ns) / 1e6
