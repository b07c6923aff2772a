"""revive: from a generate for a passivated project to its first event, `command_queued`.

One revival after the other, with nothing else in memory; once over projects of few finished files
and once over projects of many. The load is that of first_chunk, over projects that were stored.
"""

from __future__ import annotations

from tests.benchmarks.failure import BenchmarkFailed
from tests.benchmarks.figures import Figure, latencies
from tests.benchmarks.first_chunk import ASLEEP, generate_each
from tests.benchmarks.link import Job, Link
from tests.benchmarks.options import Options
from tests.benchmarks.stage import Stage, open_stage
from tests.benchmarks.stored import add_files, copy_project, make_project
from tests.benchmarks.viewer import Viewer, open_session, open_viewers

PROJECTS = 10


async def measure(options: Options) -> list[Figure]:
    figures = []
    for files in options.revived_files:
        async with open_stage(**ASLEEP) as stage:
            samples = await _revive(stage, files, options.revivals)
        name = f"generate to the first event, {files:,} files"
        figures += latencies("revive", name, samples["first_event"])
    return figures


async def _revive(stage: Stage, files: int, revivals: int) -> dict[str, list[float]]:
    async def store() -> None:
        await add_files(stage.database_url, files - 1)
        await copy_project(stage.database_url, project_names())

    job = Job(repeats=revivals, is_asleep=True, files=files)
    samples: dict[str, list[float]] = await stage.load("revive", job, made=store)
    return samples


def project_names() -> list[str]:
    return [f"p{number}" for number in range(PROJECTS)]


async def load(job: Job, link: Link) -> dict[str, list[float]]:
    """Return what `generate_each` does, for projects of `job.files` files each."""
    async with open_session(job.url) as session:
        await make_project(session, job.tokens)
        await link.meet("made")
        async with open_viewers(session, project_names()) as viewers:
            taken = await generate_each(session, viewers, job)
            for viewer in viewers:
                _check_files(viewer, job.files)
    return taken


def _check_files(viewer: Viewer, count: int) -> None:
    """Raise BenchmarkFailed unless the viewer was told of so many files, before and after."""
    for type_ in ("snapshot", "generation_complete"):
        for frame in viewer.of_type(type_):
            told = len(frame["data"]["files"])
            if told != count:
                raise BenchmarkFailed(
                    f"{viewer.project_id}: {type_} has {told} files instead of {count}"
                )
