"""What somebody who sees frames alone makes of them: the project's state, in a comparable form.

A client's state is the service's own fold over a decoded snapshot and decoded events, so a replay
can be compared with what was seen live, and both with what PostgreSQL holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from actors.events import RunState, decode_data
from actors.records import (
    command_from_record,
    phase_from_record,
    problem_from_record,
    run_from_record,
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
        last_seq=data["lastSeq"],
    )


def _open_file(data: Data | None) -> OpenFile | None:
    return OpenFile(path=data["path"], chunks=[data["text"]]) if data else None


class Client:
    """One client's fold over its frames, on one socket or on several after one another.

    `seqs` are the numbers of the events that it saw after number `since`, which is that of its
    last snapshot, or of the state that it began with. A frame out of order is an AssertionError.
    """

    def __init__(self, state: ProjectState) -> None:
        self.state = state
        self.since = state.last_seq
        self.seqs: list[int] = []
        self.snapshots = 0
        self._is_opening = False
        self._must_be_snapshot = False

    def open(self) -> None:
        """Note that the next frame is the first one of a socket."""
        self._is_opening, self._must_be_snapshot = True, False

    def see(self, frame: Data) -> None:
        """Take one frame of the project's stream."""
        type_, data, seq = frame["type"], frame["data"], frame["seq"]
        is_opening, self._is_opening = self._is_opening, False
        assert type_ == "snapshot" or not self._must_be_snapshot
        self._must_be_snapshot = False
        if type_ == "snapshot":
            assert seq == data["lastSeq"]
            self.state = state_of_snapshot(self.state.project_id, data)
            self.since, self.seqs = seq, []
            self.snapshots += 1
        elif is_opening or (type_ == "state_change" and seq == 0):
            assert type_ == "state_change"
            assert seq in (0, self.state.last_seq)
            self._must_be_snapshot = seq < self.state.last_seq or not is_opening
        else:
            assert seq > self.state.last_seq, f"{frame} after {self.state.last_seq}"
            apply(self.state, decode_data(type_, data), seq)
            self.seqs.append(seq)
