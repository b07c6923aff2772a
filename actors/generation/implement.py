"""The second step of a phase: its files, asked for until none of the plan is missing.

A file that an answer breaks off in stays open, and the next answer is asked to go on with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from actors import events as ev
from actors.errors import ModelStreamBroken
from actors.events import Event, PhasePlan, RunState
from actors.generation.faults import Fault, complaint, undelivered
from actors.generation.meter import usage_event
from actors.generation.model import (
    ModelFinished,
    ModelRequest,
    ModelRetry,
    ModelText,
    ModelUsage,
)
from actors.generation.prompts import implement_request
from actors.generation.seam import UnfinishedFile, continuable
from actors.generation.work import Batches, Work
from actors.generation.writer import FileWriter
from actors.paths import clashing_path
from actors.state import Phase

MAX_IMPLEMENT_TRIES = 3  # calls in a row that bring a phase no further than it was
MAX_IMPLEMENT_CALLS = 12  # for up to 40 files of one phase, in one life: 5 KB each, 20 KB a call
FILES_PER_CALLS = 40


async def implement(work: Work, phase: Phase) -> Batches:
    """Have the files of the plan written that are missing; raises ServiceError if some stay so.

    Where the run is steered elsewhere, it ends after the file that is being written.
    """
    if _is_steered(work):  # before this life of the run: its current file is not worth a call
        yield _restored(work)
        return
    unfinished = _unfinished(work, phase)
    calls = _Calls(_reached(work, phase), len(phase.plan.files))
    review = _Review()
    told: list[Event] = [
        ev.StateChange(state=RunState.IMPLEMENTING_PHASE),
        *_delete(work, _in_the_way(phase.plan)),
    ]
    while (missing := _missing(phase)) and not await _is_cut(work):
        if unfinished is None:
            told += _restored(work)
        if calls.made:
            told.append(ev.ModelWarning(kind="missing_files", detail=", ".join(missing)))
        request, call = await work.meter.announce(
            implement_request(
                work.context(
                    phase.number,
                    phase=phase,
                    unfinished=unfinished,
                    complaint=review.complaint(missing),
                    context_tokens=await work.context_tokens(),
                )
            ),
            work.run,
        )
        yield (*told, call)
        told = []
        broken: ModelStreamBroken | None = None
        try:
            async with aclosing(_write_files(work, phase, request, unfinished, review)) as answer:
                async for batch in answer:
                    yield batch
        except ModelStreamBroken as error:
            broken = error
            told.append(ev.ModelWarning(kind=error.code, detail=str(error)))
        await work.settled()
        calls.count(_reached(work, phase))
        if calls.are_over and (missing := _missing(phase)):
            if _is_steered(work):
                break
            raise broken or undelivered(missing, review.faults)
        unfinished = _unfinished(work, phase)
    told += _restored(work)
    if not _missing(phase):  # until then the texts were of use
        told += _delete(work, phase.plan.delete)
    yield told


def _in_the_way(plan: PhasePlan) -> list[str]:
    """Return what has to go first: a file where a directory is to be, or the reverse."""
    planned = {file.path for file in plan.files}
    return [path for path in plan.delete if clashing_path(path, planned) is not None]


def _delete(work: Work, paths: Iterable[str]) -> list[Event]:
    existing = [path for path in paths if path in work.files]
    for path in existing:
        del work.files[path]
    return [ev.FileDeleted(path=path) for path in existing]


@dataclass(slots=True)
class _Review:
    """What was wrong with the answers so far: faults by path, and whether the last one ended."""

    faults: dict[str, Fault] = field(default_factory=dict)
    is_whole: bool = False

    def complaint(self, missing: Sequence[str]) -> str | None:
        """Return what the next request is to complain about."""
        self.faults = {path: fault for path, fault in self.faults.items() if path in missing}
        left_out = [path for path in missing if path not in self.faults] if self.is_whole else []
        return complaint(left_out, self.faults.values()) or None


async def _write_files(
    work: Work,
    phase: Phase,
    request: ModelRequest,
    unfinished: UnfinishedFile | None,
    review: _Review,
) -> Batches:
    """Ask for what is missing. A file that the answer breaks off in stays open."""
    writer = FileWriter(
        work.files,
        unfinished,
        planned=[file.path for file in phase.plan.files],
        deleted=phase.plan.delete,
        has_packages=work.deployment.runs_commands,
    )
    reason = "error"
    broken: ModelStreamBroken | None = None
    try:
        async with aclosing(work.meter.stream(request)) as answer:
            async for part in answer:
                match part:
                    case ModelText():
                        if await _is_cut(work):
                            break
                        if told := writer.feed(part.text):
                            yield _up_to_cut(work, told)
                        if await _is_cut(work):
                            break
                        writer.check()
                    case ModelRetry():
                        yield await work.meter.announce_again(request, part, work.run)
                    case ModelUsage():
                        yield (usage_event(request.purpose, part),)
                    case ModelFinished():
                        reason = part.reason
    except ModelStreamBroken as error:
        broken = error
    if await _is_cut(work):
        yield work.meter.unsettled(work.run)
        return
    yield writer.close(reason)
    writer.check()
    review.faults |= writer.faults
    review.is_whole = reason == "stop"
    if broken is not None:
        raise broken


def _is_steered(work: Work) -> bool:
    return work.run.is_steered


async def _is_cut(work: Work) -> bool:
    """Say whether the run was steered elsewhere and no file is open."""
    if not _is_steered(work):
        return False
    await work.settled()  # a file that was begun just now counts as open
    return work.state.open_file is None


def _up_to_cut(work: Work, told: list[Event]) -> list[Event]:
    """Leave out what follows the last file that is finished, where the run was steered."""
    if not _is_steered(work):
        return told
    ends = [n for n, event in enumerate(told, 1) if isinstance(event, ev.FileEnd)]
    return told[: ends[-1]] if ends else told


def _unfinished(work: Work, phase: Phase) -> UnfinishedFile | None:
    """The open file, if it is one of the phase's and the model can go on with it."""
    file = work.state.open_file
    if file is None or file.path not in _missing(phase):
        return None
    return continuable(file.path, file.text)


def _restored(work: Work) -> list[Event]:
    """Give up the open file, if there is one."""
    file = work.state.open_file
    if file is None:
        return []
    return [ev.FileRestored(path=file.path, content=work.files.get(file.path))]


def _reached(work: Work, phase: Phase) -> tuple[int, int]:
    """How far the phase is, as something that grows."""
    file = work.state.open_file
    return -len(_missing(phase)), len(file.text) if file is not None else 0


def _missing(phase: Phase) -> list[str]:
    return [file.path for file in phase.plan.files if file.path not in phase.finished]


class _Calls:
    """Counts the calls for one phase in one life, and bounds them."""

    def __init__(self, reached: tuple[int, int], files: int) -> None:
        self.made = 0
        self._most = MAX_IMPLEMENT_CALLS * math.ceil(files / FILES_PER_CALLS)
        self._furthest = reached
        self._in_vain = 0

    def count(self, reached: tuple[int, int]) -> None:
        """Count a call that got so far; only to be further than ever counts as progress."""
        self.made += 1
        self._in_vain = 0 if reached > self._furthest else self._in_vain + 1
        self._furthest = max(self._furthest, reached)

    @property
    def are_over(self) -> bool:
        return self._in_vain >= MAX_IMPLEMENT_TRIES or self.made >= self._most
