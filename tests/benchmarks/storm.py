"""storm: after a restart, one viewer each of very many sleeping projects, all at once.

From the first connect to the moment at which every viewer has its state: state_change and
snapshot; or, in a second storm after a second restart, state_change and the events after the
cursor that it came with. The client has one of the cores for its own half of every handshake.
"""

from __future__ import annotations

import asyncio
import resource
import time
from typing import Any

import aiohttp
import orjson

from tests.benchmarks.failure import BenchmarkFailed
from tests.benchmarks.figures import Figure
from tests.benchmarks.link import Job, Link
from tests.benchmarks.options import Options
from tests.benchmarks.script import LINE_TOKENS
from tests.benchmarks.stage import open_stage
from tests.benchmarks.stored import SOURCE, copy_project, make_project
from tests.benchmarks.viewer import open_session, service_status

SETTINGS = {"CODEGEN_IDLE_SECONDS": "0.2"}  # the first project is to sleep soon
TOKENS = 100 * LINE_TOKENS
CURSOR = 5  # of the events of a project, the first ones are known to who comes back
OTHER_FILES = 256  # of each process, beside the sockets
STORM_SECONDS = 120.0


async def measure(options: Options) -> list[Figure]:
    viewers = options.storm_viewers
    allow_open_files(viewers + OTHER_FILES)  # of the client and the service: both inherit it
    figures = []
    async with open_stage(**SETTINGS) as stage:

        async def store() -> None:
            await copy_project(stage.database_url, project_names(viewers))

        await stage.load("storm", Job(tokens=TOKENS), made=store)
        for name, since in (("snapshot", None), ("missed events", CURSOR)):
            await stage.restart()
            job = Job(projects=viewers, is_asleep=True, since=since)
            seconds = await stage.load("storm", job)
            figure = f"{viewers:,} viewers of sleeping projects, until all have their {name}"
            figures.append(Figure("storm", figure, seconds, "s"))
    return figures


def project_names(count: int) -> list[str]:
    return [f"p{number}" for number in range(count)]


def allow_open_files(count: int) -> None:
    """Raise this process's limit of open files where needed; its children inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != soft < count:
        if resource.RLIM_INFINITY != hard < count:
            raise BenchmarkFailed(
                f"A storm needs {count} open files in a process and {hard} are allowed here; "
                "raise the hard limit (ulimit -Hn), or choose fewer viewers."
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


async def load(job: Job, link: Link) -> float | None:
    """Make the project that is copied; or, where all are asleep, return the storm's seconds."""
    async with open_session(job.url) as session:
        if not job.is_asleep:
            await make_project(session, job.tokens)
            await link.meet("made")
            return None
        expected = await _expected_numbers(session, job.since)
        sockets: list[aiohttp.ClientWebSocketResponse] = []
        began = time.monotonic()
        async with asyncio.timeout(STORM_SECONDS):
            streams = await asyncio.gather(
                *(
                    _open(session, name, job.since, len(expected), sockets)
                    for name in project_names(job.projects)
                )
            )
        seconds = time.monotonic() - began
        for name, frames in zip(project_names(job.projects), streams, strict=True):
            if [(frame["type"], frame["seq"]) for frame in frames] != expected:
                raise BenchmarkFailed(f"{name} got {frames}")
        await _check_that_all_sleep(session, job.projects)
        await asyncio.gather(*(socket.close() for socket in sockets))
    return seconds


async def _expected_numbers(
    session: aiohttp.ClientSession, since: int | None
) -> list[tuple[str, int]]:
    """Return type and number of each frame that a viewer is to get, as the JSON API tells them."""
    async with session.get(f"/api/projects/{SOURCE}/events?since={since or 0}") as answer:
        missed = [(event["type"], event["seq"]) for event in orjson.loads(await answer.read())]
    if len(missed) < 2:
        raise BenchmarkFailed(f"there is nothing to catch up with after {since}: {missed}")
    if since is None:
        return [("state_change", 0), ("snapshot", missed[-1][1])]
    return [("state_change", since), *missed]


async def _open(
    session: aiohttp.ClientSession,
    name: str,
    since: int | None,
    frames: int,
    sockets: list[aiohttp.ClientWebSocketResponse],
) -> list[dict[str, Any]]:
    query = "" if since is None else f"?since={since}"
    socket = await session.ws_connect(f"/ws/{name}{query}", max_msg_size=0)
    sockets.append(socket)
    stream: list[dict[str, Any]] = []
    while len(stream) < frames:
        message = await socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise BenchmarkFailed(f"{name} got {message} after {stream}")
        stream.append(orjson.loads(message.data))
    return stream


async def _check_that_all_sleep(session: aiohttp.ClientSession, viewers: int) -> None:
    status = await service_status(session)
    if (status["viewers"], status["liveActors"]) != (viewers, 0):
        raise BenchmarkFailed(f"looking has woken somebody, or a viewer is missing: {status}")
