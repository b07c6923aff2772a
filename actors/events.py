"""The event vocabulary and its codec: what happens to a project, in the wire's own words.

An event is a frozen dataclass. `encode` gives the text of the frame that every viewer sees,
`{"type":..., "data":{...}, "seq":n}` with camelCase inside `data`; `decode_data` is its inverse.
The same JSON is journalled, so a replay sends what was sent live.

A *barrier* event is durable in PostgreSQL before any viewer sees it; the others follow within
250 ms (`actors/journal.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

import orjson


class RunState(StrEnum):
    """What a project is doing; the wire's `state_change.state`."""

    IDLE = "idle"
    DESIGNING_PHASE = "designing_phase"
    IMPLEMENTING_PHASE = "implementing_phase"
    INSTALLING_DEPS = "installing_deps"
    STARTING_SERVER = "starting_server"
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
    """The plan of the phase."""

    type = "phase_designed"
    phase: PhasePlan


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
    """A finished file is gone, as the phase's plan asked for."""

    type = "file_deleted"
    path: str


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
class PhaseCompleted(Event):
    """All steps of a phase are done and saved."""

    type = "phase_completed"
    phase_number: int


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
    """The project's sandbox runs; `kind` is docker or static."""

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

    `kind` as in the SCOF parser or of a `generation.faults.Fault`; install_command, missing_files;
    or the code of the error that broke a call off.
    """

    type = "model_warning"
    is_barrier = False
    kind: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage(Event):
    """Tokens and cost of one model call; `purpose` is plan or implement.

    They are the server's, or `estimated` where it did not tell: it does so at an answer's end.
    """

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


EVENT_TYPES: dict[str, type[Event]] = {
    cls.type: cls
    for cls in (
        StateChange,
        PhaseDesigning,
        PhaseDesigned,
        FileStart,
        FileChunk,
        FileEnd,
        FileRestored,
        FileDeleted,
        FilesWritten,
        DepsInstalled,
        ServerStarted,
        PhaseCompleted,
        GenerationComplete,
        ErrorRaised,
        CommandQueued,
        CommandDropped,
        CommandAnswered,
        RunStarted,
        RunResumed,
        GenerationCancelled,
        SandboxStarted,
        SandboxLog,
        ModelWarning,
        Usage,
        Hibernated,
    )
}


def camel(name: str) -> str:
    """Turn a field's name into the wire's: `phase_number` -> `phaseNumber`."""
    head, *rest = name.split("_")
    return head + "".join(word.title() for word in rest)


#: class -> ((attribute, wire name), ...), made once: encoding is on the hot path.
_FIELDS: dict[type, tuple[tuple[str, str], ...]] = {
    cls: tuple((field.name, camel(field.name)) for field in dataclasses.fields(cls))
    for cls in (*EVENT_TYPES.values(), PhasePlan, PlannedFile)
}

#: Members that events of earlier versions lack.
_DEFAULTED: dict[type, frozenset[str]] = {
    cls: frozenset(
        field.name for field in dataclasses.fields(cls) if field.default is not dataclasses.MISSING
    )
    for cls in _FIELDS
}


def _plain(value: Any) -> Any:
    """Give orjson something it knows: our nested dataclasses with camelCase names."""
    return {wire: getattr(value, name) for name, wire in _FIELDS[type(value)]}


def encode_data(event: Event) -> bytes:
    """Return the JSON of an event's `data`, as it is journalled."""
    return orjson.dumps(_plain(event), default=_plain, option=orjson.OPT_PASSTHROUGH_DATACLASS)


def frame(type_: str, data: bytes, seq: int) -> bytes:
    """Join an event's type, its encoded data and its number into a frame; one line, no LF."""
    return b'{"type":"%b","data":%b,"seq":%d}' % (type_.encode(), data, seq)


def plan_from_data(data: Mapping[str, Any]) -> PhasePlan:
    """Build a `PhasePlan` from its wire form."""
    return PhasePlan(
        name=data["name"],
        description=data["description"],
        files=tuple(PlannedFile(path=f["path"], purpose=f["purpose"]) for f in data["files"]),
        is_last_phase=data["isLastPhase"],
        delete=tuple(data.get("delete", ())),
    )


_CONVERT: dict[tuple[type[Event], str], Callable[[Any], Any]] = {
    (StateChange, "state"): RunState,
    (PhaseDesigned, "phase"): plan_from_data,
    (GenerationComplete, "files"): tuple,
}


def decode_data(type_: str, data: Mapping[str, Any]) -> Event:
    """Build the event from its type and its decoded `data`; what older ones lack has its default.

    Raises KeyError for an unknown type or a missing member, ValueError for an unknown state.
    """
    cls = EVENT_TYPES[type_]
    values = {
        name: _CONVERT.get((cls, name), _same)(data[wire])
        for name, wire in _FIELDS[cls]
        if wire in data or name not in _DEFAULTED[cls]
    }
    return cls(**values)


def _same(value: Any) -> Any:
    return value
