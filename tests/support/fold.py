"""The state that a viewer has made of its frames: what its page would show. No I/O.

A `Fold` takes the frames of one socket after the other: a `snapshot` begins it anew, every event
changes it by `actors.state.apply`. It refuses, with FoldError, what the protocol rules out: an
event whose number is not above all earlier ones, a first frame that is no `state_change`, a
snapshot that replaces what was seen without saying `resync`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors.codec import decode_data
from actors.snapshot import snapshot_data
from actors.state import ProjectState, apply
from tests.support.replay_fold import state_of_snapshot

Frame = Mapping[str, Any]

#: Frames that are no events of the project: answers to this socket alone (an `error` with the
#: cursor as its number is one, too), and what the gateway tells of the database.
ANSWERS = ("accepted", "done", "storage_unavailable", "storage_restored")


class FoldError(AssertionError):
    """A frame that breaks the protocol."""


class Fold:
    """What one viewer knows. `cursor` is what it comes back with, None where it knows nothing."""

    def __init__(self, project_id: str) -> None:
        self._project_id = project_id
        self.state = ProjectState(project_id=project_id)
        self.cursor: int | None = None
        self._asked: int | None = None
        self._is_first = True  # whether the socket's first frame is still to come
        self._awaits_snapshot = False
        self._has_snapshot = False  # of this socket

    def open(self) -> int | None:
        """Begin another socket; returns the `since` to ask for."""
        self._asked = self.cursor
        self._is_first = True
        self._awaits_snapshot = self._has_snapshot = False
        return self.cursor

    def forget(self, cursor: int | None = None) -> None:
        """Know nothing any more; with cursor 0, ask for all events rather than for a snapshot."""
        self.state = ProjectState(project_id=self._project_id)
        self.cursor = cursor

    def take(self, frame: Frame) -> bool:
        """Take the next frame; returns whether it was an event of the project."""
        type_, seq = frame["type"], frame["seq"]
        if type_ in ANSWERS or (type_ == "error" and self._is_no_event(seq)):
            return False
        if self._is_first:
            self._is_first = False
            _require(type_ == "state_change", frame, "the first frame must be a state_change")
            _require(seq in (self._asked, 0), frame, f"it must carry 0, or the {self._asked} asked")
            self._awaits_snapshot = seq != self._asked
            return False
        if type_ == "snapshot":
            self._take_snapshot(frame)
            return False
        _require(not self._awaits_snapshot, frame, "a snapshot must come first")
        assert self.cursor is not None
        if type_ == "state_change" and seq in (self.cursor, 0):
            self._awaits_snapshot = True
            return False
        _require(seq > self.cursor, frame, f"its number must be above {self.cursor}")
        self.cursor = seq
        apply(self.state, decode_data(type_, frame["data"]), seq)
        return True

    def _is_no_event(self, seq: int) -> bool:
        """Say whether an error is the answer to a command, by when it comes or by its number."""
        return self._is_first or self._awaits_snapshot or seq == self.cursor

    def _take_snapshot(self, frame: Frame) -> None:
        data = frame["data"]
        is_resync = self._asked is not None or self._has_snapshot
        _require(data.get("resync", False) is is_resync, frame, f"resync must be {is_resync}")
        _require(data["lastSeq"] == frame["seq"], frame, "its number must be its lastSeq")
        self._awaits_snapshot, self._has_snapshot = False, True
        self.cursor = frame["seq"]
        self.state = state_of_snapshot(self._project_id, data)


def differences(state: ProjectState, data: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the members in which a snapshot's data, or the API's answer, differs from a state.

    The numbers are not compared, nor what depends on the service more than on the project.
    """
    shown = snapshot_data(state, model="", is_demo=False, preview_base="")
    one, other = [
        {**members, "previewUrl": members["previewUrl"] is not None} for members in (shown, data)
    ]
    names = shown.keys() - {"model", "isDemo", "lastSeq"}
    return {name: (one[name], other[name]) for name in names if one[name] != other[name]}


def _require(is_met: bool, frame: Frame, sentence: str) -> None:
    if not is_met:
        raise FoldError(f"{sentence}: {str(dict(frame))[:500]}")
