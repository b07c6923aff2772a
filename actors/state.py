"""A project's state and the one function that changes it: state is a fold of events.

Nothing here does I/O. File contents are not part of the state, only their sizes and hashes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from actors import events as ev
from actors.events import PhasePlan, RunState

MAX_PROBLEMS = 10  # reported ones that wait for a plan: the first ones say most


class PhaseStatus(StrEnum):
    """How far a phase has come."""

    DESIGNED = "designed"
    WRITTEN = "written"
    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(slots=True, kw_only=True)
class Phase:
    """One design + implement round.

    `finished` holds the paths that the phase has completed, `installs` the argument vectors of the
    install commands that it asks for.
    """

    number: int
    plan: PhasePlan
    status: PhaseStatus = PhaseStatus.DESIGNED
    finished: list[str] = field(default_factory=list)
    installs: list[tuple[str, ...]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInfo:
    """A finished file: its size in bytes of UTF-8, its SHA-256 in hex, its phase (1-based)."""

    size: int
    sha256: str
    phase_number: int


@dataclass(slots=True, kw_only=True)
class OpenFile:
    """The file being written and its text so far, in pieces."""

    path: str
    chunks: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.chunks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A generate command that waits or runs."""

    id: str
    description: str
    model: str
    max_phases: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What model calls consumed together; `estimated_calls` of them by estimate."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0  # as far as prices are known
    estimated_calls: int = 0

    def plus(self, usage: ev.Usage) -> Totals:
        """Return the totals with one call more."""
        return Totals(
            calls=self.calls + 1,
            prompt_tokens=self.prompt_tokens + usage.prompt_tokens,
            completion_tokens=self.completion_tokens + usage.completion_tokens,
            cost_usd=self.cost_usd + (usage.cost_usd or 0.0),
            estimated_calls=self.estimated_calls + usage.estimated,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Why the open run waits, and what its next call could cost."""

    code: str
    message: str
    needed_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One generate command's work; `first_phase` is the number (1-based) of its first phase.

    `repairs` counts the failed phases in a row; `is_steered` says that its plan is out of date;
    `call` is the model call that is under way or was broken off without a word of its usage.
    """

    command: Command
    first_phase: int
    totals: Totals = Totals()
    repairs: int = 0
    is_steered: bool = False
    pause: Pause | None = None
    call: ev.ModelCall | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why the last run ended early."""

    code: str
    message: str


@dataclass(slots=True, kw_only=True)
class ProjectState:
    """Everything a viewer is shown, short of the files' contents.

    An owner's `files` are those that it has finished itself: it needs no others (`Store.claim`).
    """

    project_id: str
    state: RunState = RunState.IDLE
    phases: list[Phase] = field(default_factory=list)
    files: dict[str, FileInfo] = field(default_factory=dict)
    open_file: OpenFile | None = None
    run: Run | None = None
    queue: list[Command] = field(default_factory=list)
    problem: Problem | None = None
    preview_url: str | None = None
    sandbox_kind: str | None = None
    sandbox_container_id: str | None = None
    descriptions: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    totals: Totals = Totals()
    designing: int = 0
    last_seq: int = 0

    @property
    def status(self) -> str:
        """`projects.status`: idle, generating, paused, complete or error."""
        if self.run is not None:
            return "generating" if self.run.pause is None else "paused"
        if self.state in (RunState.COMPLETE, RunState.ERROR):
            return self.state.value
        return "idle"

    @property
    def phase(self) -> Phase | None:
        """The newest phase."""
        return self.phases[-1] if self.phases else None

    @property
    def deleted_paths(self) -> frozenset[str]:
        """What the phases so far were to delete; later ones may have written it again."""
        return frozenset(path for phase in self.phases for path in phase.plan.delete)


def file_info(content: str, phase_number: int) -> FileInfo:
    """Measure a finished file."""
    data = content.encode()
    return FileInfo(
        size=len(data), sha256=hashlib.sha256(data).hexdigest(), phase_number=phase_number
    )


def apply(state: ProjectState, event: ev.Event, seq: int) -> None:
    """Change `state` by one event; `seq` is the event's number and only ever grows."""
    state.last_seq = seq
    match event:
        case ev.StateChange():
            state.state = event.state
        case ev.CommandQueued():
            command = Command(
                id=event.id,
                description=event.description,
                model=event.model,
                max_phases=event.max_phases,
            )
            state.queue.insert(len(state.queue) if event.place else 0, command)
        case ev.CommandDropped():
            state.queue = [command for command in state.queue if command.id != event.id]
        case ev.RunStarted():
            state.queue = [command for command in state.queue if command.id != event.id]
            command = Command(
                id=event.id,
                description=event.description,
                model=event.model,
                max_phases=event.max_phases,
            )
            state.run = Run(command=command, first_phase=event.first_phase)
            state.descriptions.append(event.description)
            state.problem = None
        case ev.RunSteered():
            state.descriptions.append(event.description)
            _steer(state, event)
        case ev.RunPaused():
            pause = Pause(code=event.code, message=event.message, needed_usd=event.needed_usd)
            _change_run(state, pause=pause, call=None)
        case ev.RunResumed():
            state.open_file = None
            _change_run(state, pause=None)
        case ev.PhaseDesigning():
            state.designing = event.phase_number
        case ev.PhaseDesigned():
            state.phases.append(Phase(number=len(state.phases) + 1, plan=event.phase))
            state.problems = state.problems[event.problems :]
            _change_run(state, is_steered=0 < event.wishes < len(state.descriptions))
        case ev.FileStart():
            state.open_file = OpenFile(path=event.path)
        case ev.FileChunk():
            if state.open_file is None or state.open_file.path != event.path:
                state.open_file = OpenFile(path=event.path)
            state.open_file.chunks.append(event.chunk)
        case ev.FileEnd():
            _finish_file(state, event.path, event.content)
        case ev.FileRestored():
            _close(state, event.path)
        case ev.FileDeleted():
            _delete_file(state, event.path)
        case ev.InstallRequested():
            if state.phase is not None and event.arguments not in state.phase.installs:
                state.phase.installs.append(event.arguments)
        case ev.FilesWritten():
            if state.phase is not None:
                state.phase.status = PhaseStatus.WRITTEN
        case ev.PhaseCompleted():
            if state.phase is not None:
                state.phase.status = PhaseStatus.COMPLETE
            _change_run(state, repairs=0)
        case ev.PhaseFailed():
            if state.phase is not None:
                state.phase.status = PhaseStatus.FAILED
            if event.message not in state.problems:
                state.problems.append(event.message)
            _change_run(state, repairs=state.run.repairs + 1 if state.run else 0)
        case ev.PhaseCut():
            _cut(state)
        case ev.ProblemReported():
            if event.message not in state.problems and len(state.problems) < MAX_PROBLEMS:
                state.problems.append(event.message)  # at the end: plans know them by number
        case ev.ModelCall():
            _change_run(state, call=event)
        case ev.Usage():
            state.totals = state.totals.plus(event)
            if state.run is not None:
                state.run = replace(state.run, call=None, totals=state.run.totals.plus(event))
        case ev.ServerStarted():
            state.preview_url = event.url
        case ev.SandboxStarted():
            state.sandbox_kind = event.kind
            state.sandbox_container_id = event.container_id
        case ev.GenerationComplete() | ev.GenerationCancelled():
            _end_run(state)
        case ev.ErrorRaised():
            state.problem = Problem(code=event.code, message=event.message)
            _end_run(state)
        case _:
            pass  # deps_installed, sandbox_log, ... change nothing that is kept here


def completed_phases(state: ProjectState) -> int:
    """Return how many phases the open run has completed."""
    first = state.run.first_phase if state.run is not None else len(state.phases) + 1
    return sum(phase.status is PhaseStatus.COMPLETE for phase in state.phases[first - 1 :])


def _change_run(state: ProjectState, **changes: Any) -> None:
    if state.run is not None:
        state.run = replace(state.run, **changes)


def _steer(state: ProjectState, event: ev.RunSteered) -> None:
    """Let so many phases follow as the wish asks for; one that only has to start is not cut."""
    if state.run is not None:
        of_run = state.phases[state.run.first_phase - 1 :]
        is_written = bool(of_run) and of_run[-1].status is PhaseStatus.WRITTEN
        command = replace(
            state.run.command,
            model=event.model,
            max_phases=completed_phases(state) + is_written + event.max_phases,
        )
        state.run = replace(state.run, command=command, is_steered=True)


def _cut(state: ProjectState) -> None:
    """Let the newest phase be what is finished of it; another one follows."""
    phase = state.phase
    if phase is None:
        return
    kept = tuple(file for file in phase.plan.files if file.path in phase.finished)
    phase.plan = replace(phase.plan, files=kept, delete=(), is_last_phase=False)
    phase.status = PhaseStatus.COMPLETE
    if state.run is not None:  # a phase that was cut is none of those that were asked for
        command = replace(state.run.command, max_phases=state.run.command.max_phases + 1)
        state.run = replace(state.run, command=command)


def _finish_file(state: ProjectState, path: str, content: str) -> None:
    phase = state.phase
    state.files[path] = file_info(content, phase.number if phase else 0)
    if phase is not None and path not in phase.finished:
        phase.finished.append(path)
    _close(state, path)


def _delete_file(state: ProjectState, path: str) -> None:
    phase = state.phase
    state.files.pop(path, None)
    if phase is not None and path in phase.finished:
        phase.finished.remove(path)


def _close(state: ProjectState, path: str) -> None:
    if state.open_file is not None and state.open_file.path == path:
        state.open_file = None


def _end_run(state: ProjectState) -> None:
    state.run = None
    state.open_file = None
