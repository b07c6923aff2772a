"""The second step of a phase: its files, asked for until none of the plan is missing.

A file that an answer breaks off in stays open, and the next answer is asked to go on with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

from actors import events as ev
from actors.errors import ModelStreamBroken, OutputInvalid
from actors.events import Event, RunState
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
from actors.state import Phase

MAX_IMPLEMENT_TRIES = 3  # calls in a row that bring a phase no further than it was
MAX_IMPLEMENT_CALLS = 12  # for the files of one phase, in one life; 40 files of 5 KB, 20 KB a call


async def implement(work: Work, phase: Phase) -> Batches:
    """Have the files of the plan written that are missing; raises ServiceError if some stay so.

    Where the run is steered elsewhere, it ends after the file that is being written.
    """
    if work.run.is_steered:  # before this life of the run: its current file is not worth a call
        yield _restored(work)
        return
    unfinished = _unfinished(work, phase)
    calls = _Calls(_reached(work, phase))
    told: list[Event] = [ev.StateChange(state=RunState.IMPLEMENTING_PHASE)]
    while (missing := _missing(phase)) and not _is_cut(work):
        if unfinished is None:
            told += _restored(work)
        if calls.made:
            told.append(ev.ModelWarning(kind="missing_files", detail=", ".join(missing)))
        request, call = await work.meter.announce(
            implement_request(work.context(phase.number, phase=phase, unfinished=unfinished)),
            work.run,
        )
        yield (*told, call)
        told = []
        broken: ModelStreamBroken | None = None
        try:
            async with aclosing(_write_files(work, request, unfinished)) as answer:
                async for batch in answer:
                    yield batch
        except ModelStreamBroken as error:
            broken = error
            told.append(ev.ModelWarning(kind=error.code, detail=str(error)))
        await work.settled()
        calls.count(_reached(work, phase))
        if calls.are_over and (missing := _missing(phase)):
            raise broken or _left_out(missing)
        unfinished = _unfinished(work, phase)
    yield [*told, *_restored(work)]


async def _write_files(
    work: Work, request: ModelRequest, unfinished: UnfinishedFile | None
) -> Batches:
    """Ask for what is missing. A file that the answer breaks off in stays open."""
    writer = FileWriter(work.files, unfinished, has_packages=work.deployment.runs_commands)
    reason = "error"
    broken: ModelStreamBroken | None = None
    try:
        async with aclosing(work.meter.stream(request)) as answer:
            async for part in answer:
                match part:
                    case ModelText():
                        if told := writer.feed(part.text):
                            yield _up_to_cut(work, told)
                        if _is_cut(work):
                            return
                        writer.check()
                    case ModelRetry():
                        yield await work.meter.announce_again(request, part, work.run)
                    case ModelUsage():
                        yield (usage_event(request.purpose, part),)
                    case ModelFinished():
                        reason = part.reason
    except ModelStreamBroken as error:
        broken = error
    yield writer.close(reason)
    writer.check()
    if broken is not None:
        raise broken


def _is_cut(work: Work) -> bool:
    """Say whether the run was steered elsewhere and no file is open."""
    return work.run.is_steered and work.state.open_file is None


def _up_to_cut(work: Work, told: list[Event]) -> list[Event]:
    """Leave out what follows the last file that is finished, where the run was steered."""
    if not work.run.is_steered:
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


def _left_out(missing: Sequence[str]) -> OutputInvalid:
    return OutputInvalid(
        f"The model left out {len(missing)} planned files, also when asked again: "
        f"{', '.join(missing)}. Generate again or choose another model."
    )


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
