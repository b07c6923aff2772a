"""Pieces of the state as plain JSON: what the jsonb columns hold and the snapshot shows.

Both use one form, camelCase as on the wire, so that a phase looks the same in the database and in
a browser. PostgreSQL's text and jsonb have no U+0000, which a model's or a tool's output may hold:
`stored_text` escapes it (and the escape character) and `read_text` gives it back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import orjson

from actors.codec import camel, plan_from_data
from actors.events import ModelCall, RunState
from actors.state import (
    Command,
    FileInfo,
    OpenFile,
    Pause,
    Phase,
    PhaseStatus,
    Problem,
    ProjectState,
    Run,
    Totals,
)

_T = TypeVar("_T")

_ESCAPE = "\ue000"  # a private-use character: escaping is rare and the rest stays readable


def stored_text(text: str) -> str:
    """Return `text` without U+0000; `read_text` is the inverse."""
    if "\0" not in text and _ESCAPE not in text:
        return text
    return text.replace(_ESCAPE, _ESCAPE + "1").replace("\0", _ESCAPE + "0")


def read_text(text: str) -> str:
    """Return what was given to `stored_text`."""
    if _ESCAPE not in text:
        return text
    return text.replace(_ESCAPE + "0", "\0").replace(_ESCAPE + "1", _ESCAPE)


def to_column(value: Any) -> str:
    """Return plain JSON as the text of a jsonb column."""
    return orjson.dumps(_each_text(value, stored_text)).decode()


def from_column(text: str) -> Any:
    """Return the plain JSON of a jsonb column's text."""
    return _each_text(orjson.loads(text), read_text)


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    match value:
        case str():
            return change(value)
        case dict():
            return {key: _each_text(member, change) for key, member in value.items()}
        case list():
            return [_each_text(item, change) for item in value]
        case _:
            return value


def phase_record(phase: Phase) -> dict[str, Any]:
    """{number, name, description, files, delete, isLastPhase, status, finished, installs}."""
    return {
        "number": phase.number,
        "name": phase.plan.name,
        "description": phase.plan.description,
        "files": [{"path": file.path, "purpose": file.purpose} for file in phase.plan.files],
        "delete": list(phase.plan.delete),
        "isLastPhase": phase.plan.is_last_phase,
        "status": phase.status.value,
        "finished": list(phase.finished),
        "installs": [list(arguments) for arguments in phase.installs],
    }


def phase_from_record(record: Mapping[str, Any]) -> Phase:
    """Return what was given to `phase_record`."""
    return Phase(
        number=record["number"],
        plan=plan_from_data(record),
        status=PhaseStatus(record["status"]),
        finished=list(record["finished"]),
        installs=[tuple(arguments) for arguments in record.get("installs", ())],
    )


def payload_record(command: Command) -> dict[str, Any]:
    """{description, model, maxPhases}: a command without its id."""
    return {
        "description": command.description,
        "model": command.model,
        "maxPhases": command.max_phases,
    }


def command_record(command: Command) -> dict[str, Any]:
    """{id, description, model, maxPhases}."""
    return {"id": command.id, **payload_record(command)}


def command_from_record(record: Mapping[str, Any]) -> Command:
    """Return what was given to `command_record`."""
    return Command(
        id=record["id"],
        description=record["description"],
        model=record["model"],
        max_phases=record["maxPhases"],
    )


def run_record(run: Run) -> dict[str, Any]:
    """{id, description, model, maxPhases, firstPhase, usage, repairs, isSteered, pause, call}."""
    return {
        **command_record(run.command),
        "firstPhase": run.first_phase,
        "usage": totals_record(run.totals),
        "repairs": run.repairs,
        "isSteered": run.is_steered,
        "pause": _plain(run.pause),
        "call": _plain(run.call),
    }


def run_from_record(record: Mapping[str, Any]) -> Run:
    """Return what was given to `run_record`."""
    return Run(
        command=command_from_record(record),
        first_phase=record["firstPhase"],
        totals=totals_from_record(record.get("usage")),  # the members from here on are of version 3
        repairs=record.get("repairs", 0),
        is_steered=record.get("isSteered", False),
        pause=_built(Pause, record.get("pause")),
        call=_built(ModelCall, record.get("call")),
    )


def totals_record(totals: Totals) -> dict[str, Any]:
    """{calls, promptTokens, completionTokens, costUsd, estimatedCalls}."""
    record = _plain(totals)
    assert record is not None
    return record


def totals_from_record(record: Mapping[str, Any] | None) -> Totals:
    """Return what was given to `totals_record`; no record, no calls."""
    return _built(Totals, record) or Totals()


def _plain(value: Pause | ModelCall | Totals | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return {camel(item.name): getattr(value, item.name) for item in dataclasses.fields(value)}


def _built(cls: type[_T], record: Mapping[str, Any] | None) -> _T | None:
    """Return what was given to `_plain`."""
    if record is None:
        return None
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    return cls(**{item.name: record[camel(item.name)] for item in fields})


def problem_record(problem: Problem) -> dict[str, Any]:
    """{code, message}."""
    return {"code": problem.code, "message": problem.message}


def problem_from_record(record: Mapping[str, Any]) -> Problem:
    """Return what was given to `problem_record`."""
    return Problem(code=record["code"], message=record["message"])


def state_from_row(project_id: str, row: Mapping[str, Any]) -> ProjectState:
    """Build the state from the row that `actors.projections.LOAD` selects."""
    commands = [
        (item["status"], command_from_record({"id": item["id"], **item["payload"]}))
        for item in from_column(row["commands"])
    ]
    index = row["current_phase_index"]
    return ProjectState(
        project_id=project_id,
        state=RunState(row["current_state"]),
        phases=[phase_from_record(record) for record in from_column(row["phases"])],
        files={
            path: FileInfo(size=size, sha256=sha256, phase_number=phase_index + 1)
            for path, size, sha256, phase_index in from_column(row["files"])
        },
        open_file=_open_file(row["open_rows"]),
        run=run_from_record(from_column(row["run"])) if row["run"] else None,
        queue=[command for status, command in commands if status == "queued"],
        problem=problem_from_record(from_column(row["problem"])) if row["problem"] else None,
        preview_url=row["preview_url"],
        sandbox_kind=row["sandbox_kind"],
        sandbox_container_id=row["sandbox_container_id"],
        descriptions=[command.description for status, command in commands if status != "queued"],
        problems=from_column(row["problems"]),
        totals=totals_from_record(from_column(row["usage"]) if row["usage"] else None),
        designing=0 if index is None else index + 1,
        last_seq=row["last_seq"],
    )


def _open_file(rows: Sequence[str] | None) -> OpenFile | None:
    """Join the journalled `data` of a file_start and its file_chunks; no rows, no open file."""
    if not rows:
        return None
    records = [orjson.loads(row) for row in rows]
    chunks = [record["chunk"] for record in records if "chunk" in record]
    return OpenFile(path=records[0]["path"], chunks=chunks)
