"""The event vocabulary: what happens to a project, in the wire's own words.

An event is a frozen dataclass; `codec.py` turns it into JSON and back.

A *barrier* event is durable in PostgreSQL before any viewer sees it; the others follow within
250 ms (`actors/journal.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class RunState(StrEnum):
    """What a project is doing; the wire's `state_change.state`."""

    IDLE = "idle"
    DESIGNING_PHASE = "designing_phase"
    IMPLEMENTING_PHASE = "implementing_phase"
    INSTALLING_DEPS = "installing_deps"
    CHECKING_BUILD = "checking_build"
    STARTING_SERVER = "starting_server"
    PAUSED = "paused"
    COMPLETE = "complete"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFile:
    """One file of a plan: where it goes and what it is for."""

    path: str
    purpose: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PhasePlan:
    """What the model designed for one phase; `delete` holds the paths that go at its end."""

    name: str
    description: str
    files: tuple[PlannedFile, ...]
    is_last_phase: bool
    delete: tuple[str, ...] = ()


class Event:
    """Base of all events; `type` is the wire's word, `is_barrier` as in the module docstring."""

    __slots__ = ()
    type: ClassVar[str]
    is_barrier: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange(Event):
    """The project entered another state."""

    type = "state_change"
    state: RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseDesigning(Event):
    """A plan is being made; `phase_number` counts from 1 over all runs of the project."""

    type = "phase_designing"
    phase_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseDesigned(Event):
    """The plan of the phase; it knows so many of the project's `wishes` and open `problems`."""

    type = "phase_designed"
    phase: PhasePlan
    wishes: int = 0
    problems: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStart(Event):
    """The model began to write a file, or its saved text is shown again: its text is empty now."""

    type = "file_start"
    is_barrier = False
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChunk(Event):
    """More text of the open file, in order."""

    type = "file_chunk"
    is_barrier = False
    path: str
    chunk: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEnd(Event):
    """A file is finished; `content` is its whole text and replaces what was seen so far."""

    type = "file_end"
    path: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRestored(Event):
    """An unfinished file was given up; it has its former content, or (`None`) does not exist."""

    type = "file_restored"
    path: str
    content: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDeleted(Event):
    """A finished file, never the open one, is gone, as the phase's plan asked for."""

    type = "file_deleted"
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallRequested(Event):
    """The model asks for packages, `npm install ...`; package.json gets them with its phase."""

    type = "install_requested"
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesWritten(Event):
    """All files of the phase are in the sandbox."""

    type = "files_written"
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DepsInstalled(Event):
    """The dependencies are installed (or there are none)."""

    type = "deps_installed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStarted(Event):
    """The app answers at `url`."""

    type = "server_started"
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStopped(Event):
    """The app answered and does no more; `reason` is exited or hung.

    `message` says how that came, what happens next, and, on further lines, what it said last.
    """

    type = "server_stopped"
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseCompleted(Event):
    """All steps of a phase are done and saved."""

    type = "phase_completed"
    phase_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseFailed(Event):
    """The app does not install, build or start with this phase; the next one is to repair it."""

    type = "phase_failed"
    phase_number: int
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseCut(Event):
    """The phase ends with the files that are finished: the run was steered elsewhere."""

    type = "phase_cut"
    phase_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemReported(Event):
    """The running app has an error; the next plan is to mend it."""

    type = "problem_reported"
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationComplete(Event):
    """The run reached its end: every path of the project, and the phases of this run."""

    type = "generation_complete"
    files: tuple[str, ...]
    phases: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRaised(Event):
    """The run ended early; finished files are kept."""

    type = "error"
    message: str
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandQueued(Event):
    """A generate command was accepted; `place` 0 goes to the head of the queue, else to its end.

    `place` is the number of runs that it waits for.
    """

    type = "command_queued"
    id: str
    description: str
    model: str
    max_phases: int
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandDropped(Event):
    """A queued command will not be run."""

    type = "command_dropped"
    id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandAnswered(Event):
    """A command other than generate was carried out, or refused with `code`; `kind` is cancel."""

    type = "command_answered"
    id: str
    kind: str
    code: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """The queued command `id` became the run; phases count from `first_phase` (1-based)."""

    type = "run_started"
    id: str
    description: str
    model: str
    max_phases: int
    first_phase: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSteered(Event):
    """The generate command `id` changed what the open run is to do; it is planned anew.

    The run may take `max_phases` more phases than it has completed.
    """

    type = "run_steered"
    id: str
    description: str
    model: str
    max_phases: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPaused(Event):
    """The open run waits: the next model call could cost `needed_usd`, which a cap does not allow.

    It goes on, with run_resumed, once the cap allows it: raised, or on another day.
    """

    type = "run_paused"
    code: str
    message: str
    needed_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed(Event):
    """An open run goes on after its actor, or the service, ended without finishing it.

    No file is open any more, whatever a viewer saw that was not yet saved. One that was, by what
    is saved, is shown again in the same transaction, to be continued or given up.
    """

    type = "run_resumed"
    id: str
    phase_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationCancelled(Event):
    """The run was stopped; `reason` is user, replaced or removed."""

    type = "generation_cancelled"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxStarted(Event):
    """The project's sandbox runs; `kind` is docker, bubblewrap or static."""

    type = "sandbox_started"
    kind: str
    container_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxLog(Event):
    """One line of output from the sandbox; `stream` is stdout, stderr or progress."""

    type = "sandbox_log"
    is_barrier = False
    stream: str
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelWarning(Event):
    """The model's output broke a rule and was mended.

    `kind`: see the SCOF parser and `generation/faults.py`; install_command, missing_files, a code.
    """

    type = "model_warning"
    is_barrier = False
    kind: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRetry(Event):
    """A model call failed before its first text; `model` is asked next, after `wait_seconds`.

    `attempt` counts the calls made for the same request, that next one included; `reason` is a
    sentence.
    """

    type = "model_retry"
    is_barrier = False
    attempt: int
    wait_seconds: float
    reason: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall(Event):
    """A model is about to be asked; a usage follows, also where the call is broken off.

    `prompt_tokens` is estimated. The prices are in USD per token, None where nobody knows them.
    """

    type = "model_call"
    purpose: str
    model: str
    prompt_tokens: int
    prompt_usd: float | None
    completion_usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage(Event):
    """Tokens and cost of one model call, `estimated` where the server did not tell at its end."""

    type = "usage"
    purpose: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    estimated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hibernated(Event):
    """The actor left memory; the next command revives it."""

    type = "hibernated"
