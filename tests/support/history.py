"""Random but lawful histories of a project: what its owners could have recorded.

A `Story` is a random walk over the protocol. Like the real pipeline it decides from the project's
state what comes next, so whatever the fold says is open, waiting or missing is what it goes on
with, also after an actor's end in the middle of anything. Any prefix of a history is lawful, too.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from copy import deepcopy
from itertools import islice

from hypothesis import strategies as st

from actors import events as ev
from actors.codec import JournalEntry, encode_data
from actors.events import Event, PhasePlan, PlannedFile, RunState
from actors.journal import UNCLEAN_GAP
from actors.state import Command, Phase, PhaseStatus, ProjectState, apply, completed_phases

TEXTS = ("a", "", "naïve ☃ 𝄞", "line\r\n", "nul \0 and \ue000", '{"json": "\\u0000"}', "</file>")
PATHS = ("index.html", "src/main.js", "src/ünï.css", "package.json", "a/b/c/d.txt")
MAX_PHASES = 2  # of one command: short runs make room for many


def record(state: ProjectState, events: Sequence[Event]) -> list[JournalEntry]:
    """Apply events to the state and return the entries that a journal would write."""
    entries = []
    for event in events:
        seq = state.last_seq + 1
        apply(state, event, seq)
        entries.append(JournalEntry(seq, event, encode_data(event)))
    return entries


def history(rng: random.Random) -> Iterator[Event]:
    """Yield the events of some runs: finished, failed, cancelled, resumed, or still open."""
    return islice(Story(rng), rng.randint(100, 200))


def journal(rng: random.Random, length: int) -> list[JournalEntry]:
    """Return a history as its journal had it before anything was dropped from it."""
    state = ProjectState(project_id="story")
    entries: list[JournalEntry] = []
    for event in islice(Story(rng), length):
        if isinstance(event, ev.RunResumed) and rng.randrange(2):  # after a crash
            state.last_seq += UNCLEAN_GAP
        entries += record(state, [event])
    return entries


def journals(max_events: int) -> st.SearchStrategy[list[JournalEntry]]:
    """Journals from which hypothesis can find the simplest that fails."""
    return st.builds(journal, st.randoms(use_true_random=False), st.integers(0, max_events))


class Story:
    """An endless history. The dice's lowest numbers stand for the ordinary course of things."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._state = ProjectState(project_id="story")
        self._texts: dict[str, str] = {}
        self._commands = 0
        self._course = self._with_asides(self._life())

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        """Tell the next event, which changes the state before the course of things goes on."""
        if self._state.run is not None and self._rarely(25):
            self.revive(self._state)
        event = next(self._course)
        apply(self._state, event, self._state.last_seq + 1)
        if isinstance(event, ev.FileEnd):
            self._texts[event.path] = event.content
        if isinstance(event, ev.FileDeleted):
            self._texts.pop(event.path, None)
        return event

    def revive(self, saved: ProjectState) -> None:
        """Go on as the next owner, who found `saved`; what was told beyond it has been lost.

        Finished files are durable before they are told, so their texts are all there.
        """
        self._state = deepcopy(saved)
        self._course = self._with_asides(self._life())

    # --- dice --------------------------------------------------------------------------------

    def _rarely(self, out_of: int) -> bool:
        return self._rng.randrange(out_of) == out_of - 1

    def _text(self) -> str:
        return self._rng.choice(TEXTS)

    # --- commands and runs -------------------------------------------------------------------

    def _with_asides(self, course: Iterator[Event]) -> Iterator[Event]:
        for event in course:
            yield event
            if self._rarely(12):
                yield self._aside()

    def _aside(self) -> Event:
        """What is recorded beside the run: by the sandbox, by a command that comes in."""
        state = self._state
        match self._rng.randrange(7):
            case 0:
                return ev.SandboxLog(stream="stdout", line=self._text())
            case 1:
                return ev.ModelWarning(kind="prose", detail=self._text())
            case 2:
                return self._usage("implement")
            case 3:
                return ev.ProblemReported(message=self._text())
            case 4:
                return ev.ModelRetry(attempt=2, wait_seconds=0.5, reason=self._text(), model="m")
            case 5 if state.run is not None:
                return self._steered()
            case _:
                return self._queued(place=len(state.queue) + (state.run is not None))

    def _queued(self, place: int) -> Event:
        self._commands += 1
        return ev.CommandQueued(
            id=f"{self._commands}-{self._text()}",
            description=f"app {self._commands} {self._text()}",
            model="a/model",
            max_phases=self._rng.randint(1, MAX_PHASES),
            place=place,
        )

    def _steered(self) -> Event:
        self._commands += 1
        return ev.RunSteered(
            id=f"{self._commands}-{self._text()}",
            description=f"wish {self._commands} {self._text()}",
            model=self._rng.choice(("a/model", "b/model")),
            max_phases=self._rng.randint(1, MAX_PHASES),
        )

    def _life(self) -> Iterator[Event]:
        """What an actor records from its start on."""
        state = self._state
        if state.run is not None:
            open_file = state.open_file
            number = max(state.designing, state.run.first_phase)
            yield ev.RunResumed(id=state.run.command.id, phase_number=number)
            if open_file is not None:
                yield ev.FileStart(path=open_file.path)
                yield ev.FileChunk(path=open_file.path, chunk=open_file.text)
            yield from self._run()
        while True:
            if not state.queue:
                if self._rarely(3):
                    yield ev.Hibernated()
                yield self._queued(place=len(state.queue))
            if self._rarely(6):  # a cancel without a run drops all that waits
                for command in list(state.queue):
                    yield ev.CommandDropped(id=command.id, reason="user")
            else:
                yield self._started(state.queue[0])
                yield from self._run()

    def _started(self, command: Command) -> Event:
        return ev.RunStarted(
            id=command.id,
            description=command.description,
            model=command.model,
            max_phases=command.max_phases,
            first_phase=len(self._state.phases) + 1,
        )

    def _run(self) -> Iterator[Event]:
        """Carry out the open run, up to one of its endings."""
        for event in self._work():
            yield event
            if self._rarely(25):
                yield from self._stopped()
                return
            if self._rarely(25):
                yield from self._paused()
        yield ev.StateChange(state=RunState.COMPLETE)
        files = tuple(sorted(self._state.files))
        yield ev.GenerationComplete(files=files, phases=self._rng.randint(1, MAX_PHASES))

    def _paused(self) -> Iterator[Event]:
        """Wait for a cap to be raised; another life, or this one, goes on."""
        yield ev.RunPaused(code="budget_exceeded", message=self._text(), needed_usd=0.5)
        yield ev.StateChange(state=RunState.PAUSED)
        assert self._state.run is not None
        yield ev.RunResumed(id=self._state.run.command.id, phase_number=self._state.designing)

    def _stopped(self) -> Iterator[Event]:
        open_file = self._state.open_file
        if open_file is not None:
            yield self._restored(open_file.path)
        match self._rng.randrange(4):
            case 0:
                yield ev.ErrorRaised(message=self._text(), code="model_error")
                yield ev.StateChange(state=RunState.ERROR)
            case 1:
                yield from self._cancelled("user")
            case 2:
                yield from self._cancelled("removed")
            case _:
                yield from self._cancelled("replaced")
                yield self._queued(place=0)

    @staticmethod
    def _cancelled(reason: str) -> Iterator[Event]:
        yield ev.GenerationCancelled(reason=reason)
        yield ev.StateChange(state=RunState.IDLE)

    # --- phases ------------------------------------------------------------------------------

    def _work(self) -> Iterator[Event]:
        """The phases of the open run, from where the state says that it is."""
        run = self._state.run
        assert run is not None
        while True:
            phase = self._state.phase
            if phase is None or phase.number < run.first_phase:
                yield from self._design()
            elif phase.status is PhaseStatus.DESIGNED:
                yield from self._implement(phase)
            elif phase.status is PhaseStatus.WRITTEN:
                yield from self._deploy(phase)
            elif phase.status is PhaseStatus.FAILED or not self._is_enough():
                yield from self._design()
            else:
                return

    def _is_enough(self) -> bool:
        run = self._state.run
        assert run is not None
        return not run.is_steered and completed_phases(self._state) >= run.command.max_phases

    def _design(self) -> Iterator[Event]:
        yield ev.StateChange(state=RunState.DESIGNING_PHASE)
        yield ev.PhaseDesigning(phase_number=len(self._state.phases) + 1)
        wishes, problems = len(self._state.descriptions), len(self._state.problems)
        yield self._call("plan")
        yield self._usage("plan")
        files = self._rng.sample(PATHS, self._rng.randint(1, 3))
        others = [path for path in self._texts if path not in files]
        yield ev.PhaseDesigned(
            phase=PhasePlan(
                name=self._text(),
                description=self._text(),
                files=tuple(PlannedFile(path=path, purpose=self._text()) for path in files),
                is_last_phase=False,
                delete=tuple(path for path in others if self._rarely(4)),
            ),
            wishes=wishes,
            problems=problems,
        )

    def _implement(self, phase: Phase) -> Iterator[Event]:
        yield ev.StateChange(state=RunState.IMPLEMENTING_PHASE)
        planned = [file.path for file in phase.plan.files]
        while missing := [path for path in planned if path not in phase.finished]:
            yield self._call("implement")
            if self._is_cut():
                yield ev.PhaseCut(phase_number=phase.number)
                return
            for path in missing:
                if self._rarely(8):  # unplanned, or once more
                    kept = [path for path in PATHS if path not in phase.plan.delete]
                    yield from self._file(self._rng.choice(kept))
                yield from self._file(path)
            if self._rarely(4):
                yield ev.InstallRequested(arguments=("npm", "install", self._text()))
            yield self._usage("implement")
        for path in phase.plan.delete:
            if path in self._texts:
                yield ev.FileDeleted(path=path)
        yield ev.FilesWritten(count=len(phase.finished))

    def _is_cut(self) -> bool:
        run = self._state.run
        return run is not None and run.is_steered and self._state.open_file is None

    def _file(self, path: str) -> Iterator[Event]:
        """Write a file; one that a dead actor left open is gone on with, given up or begun anew."""
        open_file = self._state.open_file
        if open_file is not None and (open_file.path != path or self._rarely(3)):
            yield self._restored(open_file.path)
            open_file = None
        text = "" if open_file is None else open_file.text
        if open_file is None or self._rarely(3):
            yield ev.FileStart(path=path)
            text = ""
        for _ in range(self._rng.randint(0, 4)):
            chunk = self._text()
            yield ev.FileChunk(path=path, chunk=chunk)
            text += chunk
        if self._rarely(8):
            yield self._restored(path)
        else:
            yield ev.FileEnd(path=path, content="patched" if self._rarely(8) else text)

    def _restored(self, path: str) -> Event:
        return ev.FileRestored(path=path, content=self._texts.get(path))

    def _deploy(self, phase: Phase) -> Iterator[Event]:
        if self._state.sandbox_kind is None or self._rarely(3):
            container_id = self._rng.choice(("c0ffee", None))
            yield ev.SandboxStarted(kind="docker", container_id=container_id)
        yield ev.StateChange(state=RunState.INSTALLING_DEPS)
        if self._rarely(8):
            number = phase.number
            yield ev.PhaseFailed(phase_number=number, code="install_failed", message=self._text())
            return
        yield ev.DepsInstalled()
        if self._rarely(3):
            yield ev.StateChange(state=RunState.CHECKING_BUILD)
        yield ev.StateChange(state=RunState.STARTING_SERVER)
        yield ev.ServerStarted(url=f"http://127.0.0.1:{self._rng.randint(1, 9)}")
        if self._rarely(8):
            yield ev.ServerStopped(reason="exited", message=self._text())
        yield ev.PhaseCompleted(phase_number=phase.number)

    def _call(self, purpose: str) -> ev.ModelCall:
        price = self._rng.choice((None, 0.125))
        return ev.ModelCall(
            purpose=purpose,
            model="a/model",
            prompt_tokens=self._rng.randint(0, 9),
            prompt_usd=price,
            completion_usd=price,
        )

    def _usage(self, purpose: str) -> ev.Usage:
        return ev.Usage(
            purpose=purpose,
            model="a/model",
            prompt_tokens=self._rng.randint(0, 9),
            completion_tokens=self._rng.randint(0, 9),
            cost_usd=self._rng.choice((None, 0.25)),
            estimated=self._rng.choice((False, True)),
        )
