"""What somebody who sees frames alone makes of them: the project's state, in a comparable form.

A client's state is the service's own fold over a decoded snapshot and decoded events, so a replay
can be compared with what was seen live, and both with what PostgreSQL holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from actors.codec import decode_data
from actors.events import RunState
from actors.records import (
    command_from_record,
    phase_from_record,
    problem_from_record,
    run_from_record,
    totals_from_record,
)
from actors.state import FileInfo, OpenFile, ProjectState, apply

Data = Mapping[str, Any]


def comparable(state: ProjectState) -> ProjectState:
    """Return the state with what may differ made equal.

    The open file's text is in one piece, however it was cut; of the preview only that there is one
    counts, since a snapshot has the address that this service gives it.
    """
    state = deepcopy(state)
    if state.preview_url is not None:
        state.preview_url = "/"
    if state.open_file is not None:
        state.open_file = OpenFile(path=state.open_file.path, chunks=[state.open_file.text])
    return state


def fold(project_id: str, frames: Iterable[Data]) -> ProjectState:
    """Return the state of somebody who has seen every frame from the first."""
    state = ProjectState(project_id=project_id)
    for frame in frames:
        apply(state, decode_data(frame["type"], frame["data"]), frame["seq"])
    return comparable(state)


def state_of_snapshot(project_id: str, data: Data) -> ProjectState:
    """Return the state that `actors.snapshot.snapshot_data` shows."""
    return ProjectState(
        project_id=project_id,
        state=RunState(data["state"]),
        phases=[phase_from_record(record) for record in data["phases"]],
        designing=data["designing"],
        files={
            file["path"]: FileInfo(
                size=file["size"], sha256=file["sha256"], phase_number=file["phaseNumber"]
            )
            for file in data["files"]
        },
        open_file=_open_file(data["openFile"]),
        run=run_from_record(data["run"]) if data["run"] else None,
        queue=[command_from_record(record) for record in data["queue"]],
        problem=problem_from_record(data["problem"]) if data["problem"] else None,
        preview_url=data["previewUrl"],
        sandbox_kind=data["sandbox"]["kind"],
        sandbox_container_id=data["sandbox"]["containerId"],
        descriptions=list(data["descriptions"]),
        problems=list(data["problems"]),
        totals=totals_from_record(data["usage"]),
        last_seq=data["lastSeq"],
    )


def _open_file(data: Data | None) -> OpenFile | None:
    return OpenFile(path=data["path"], chunks=[data["text"]]) if data else None
