"""The second step of a phase: its files, asked for until none of the plan is missing.

A file that an answer breaks off in stays open, and the next answer is asked to go on with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from actors import events as ev
from actors.errors import ModelStreamBroken
from actors.events import Event, RunState
from actors.generation.faults import Fault, complaint, undelivered
from actors.generation.model import ModelFinished, ModelText, ModelUsage
from actors.generation.prompts import implement_request
from actors.generation.seam import UnfinishedFile, continuable
from actors.generation.work import Batches, Work, usage_event
from actors.generation.writer import FileWriter
from actors.state import Phase

MAX_IMPLEMENT_TRIES = 3  # calls in a row that bring a phase no further than it was
MAX_IMPLEMENT_CALLS = 12  # for the files of one phase, in one life; 40 files of 5 KB, 20 KB a call


async def implement(work: Work, phase: Phase) -> Batches:
    """Have the files of the plan written that are missing; raises ServiceError if some stay so."""
    unfinished = _unfinished(work, phase)
    yield (ev.StateChange(state=RunState.IMPLEMENTING_PHASE),)
    calls = _Calls(_reached(work, phase))
    review = _Review()
    told: list[Event] = []
    while missing := _missing(phase):
        if unfinished is None:
            told += _restored(work)
        if calls.made:
            told.append(ev.ModelWarning(kind="missing_files", detail=", ".join(missing)))
        yield told
        told = []
        broken: ModelStreamBroken | None = None
        try:
            async with aclosing(_write_files(work, phase, unfinished, review)) as answer:
                async for batch in answer:
                    yield batch
        except ModelStreamBroken as error:
            broken = error
            told.append(ev.ModelWarning(kind=error.code, detail=str(error)))
        await work.settled()
        calls.count(_reached(work, phase))
        if calls.are_over and (missing := _missing(phase)):
            raise broken or undelivered(missing, review.faults)
        unfinished = _unfinished(work, phase)
    yield [*told, *_restored(work), *_deleted(work, phase)]


def _deleted(work: Work, phase: Phase) -> list[Event]:
    """Delete what the plan says, behind the last file: until then its text was of use."""
    paths = [path for path in phase.plan.delete if path in work.files]
    for path in paths:
        del work.files[path]
    return [ev.FileDeleted(path=path) for path in paths]


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
    work: Work, phase: Phase, unfinished: UnfinishedFile | None, review: _Review
) -> Batches:
    """Ask for what is missing. A file that the answer breaks off in stays open."""
    request = implement_request(
        work.context(
            phase.number,
            phase=phase,
            unfinished=unfinished,
            complaint=review.complaint(_missing(phase)),
        )
    )
    writer = FileWriter(
        work.files,
        unfinished,
        planned=[file.path for file in phase.plan.files],
        deleted=phase.plan.delete,
    )
    reason = "error"
    broken: ModelStreamBroken | None = None
    try:
        async with aclosing(work.model.stream(request)) as answer:
            async for part in answer:
                match part:
                    case ModelText():
                        if told := writer.feed(part.text):
                            yield told
                        writer.check()
                    case ModelUsage():
                        yield (usage_event(request, part),)
                    case ModelFinished():
                        reason = part.reason
    except ModelStreamBroken as error:
        broken = error
    yield writer.close(reason)
    writer.check()
    review.faults |= writer.faults
    review.is_whole = reason == "stop"
    if broken is not None:
        raise broken


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

    def __init__(self, reached: tuple[int, int]) -> None:
        self.made = 0
        self._furthest = reached
        self._in_vain = 0

    def count(self, reached: tuple[int, int]) -> None:
        """Count a call that got so far; only to be further than ever counts as progress."""
        self.made += 1
        self._in_vain = 0 if reached > self._furthest else self._in_vain + 1
        self._furthest = max(self._furthest, reached)

    @property
    def are_over(self) -> bool:
        return self._in_vain >= MAX_IMPLEMENT_TRIES or self.made >= MAX_IMPLEMENT_CALLS
