"""Events as JSON: the text of the frame that every viewer sees, and its inverse.

A frame is `{"type":..., "data":{...}, "seq":n}` with camelCase inside `data`. The same `data` is
journalled, so a replay sends what was sent live.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from actors import events as ev
from actors.events import Event, PhasePlan, PlannedFile, RunState

EVENT_TYPES: dict[str, type[Event]] = {
    cls.type: cls
    for cls in (
        *(ev.StateChange, ev.PhaseDesigning, ev.PhaseDesigned),
        *(ev.PhaseCompleted, ev.PhaseFailed, ev.PhaseCut, ev.ProblemReported),
        *(ev.FileStart, ev.FileChunk, ev.FileEnd, ev.FileRestored, ev.FileDeleted),
        *(ev.InstallRequested, ev.FilesWritten, ev.DepsInstalled),
        *(ev.ServerStarted, ev.ServerStopped, ev.SandboxStarted, ev.SandboxLog),
        *(ev.CommandQueued, ev.CommandDropped, ev.CommandAnswered),
        *(ev.RunStarted, ev.RunSteered, ev.RunPaused, ev.RunResumed),
        *(ev.GenerationComplete, ev.GenerationCancelled, ev.ErrorRaised),
        *(ev.ModelWarning, ev.ModelRetry, ev.ModelCall, ev.Usage),
        ev.Hibernated,
    )
}


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A numbered event with its encoded `data`, made once for the journal and the viewers."""

    seq: int
    event: Event
    data: bytes


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
    (ev.StateChange, "state"): RunState,
    (ev.PhaseDesigned, "phase"): plan_from_data,
    (ev.GenerationComplete, "files"): tuple,
    (ev.InstallRequested, "arguments"): tuple,
}


def decode_data(type_: str, data: Mapping[str, Any]) -> Event:
    """Build the event from its type and its decoded `data`.

    Raises KeyError for an unknown type or a missing member, ValueError for an unknown state. A
    member that events of earlier versions lack has its default.
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
