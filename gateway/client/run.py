"""Following one generate command through the frames of its project; no I/O.

Other people's runs may share the project: what they do is seen, but only our run ends the command.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Frame = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How our run ended; `files` are all paths of the project after a complete run."""

    status: Literal["complete", "error", "cancelled"]
    code: str = ""
    message: str = ""
    files: tuple[str, ...] = ()


class RunFollower:
    """The state of one generate command, as its project's frames tell it.

    `place` is None until the command is accepted; `last_seq` is what to resume after, None before
    the first numbered frame; `outcome` is None until our run has ended.
    """

    def __init__(self, command_id: str) -> None:
        self.command_id = command_id
        self.cancel_id = f"{command_id}-cancel"
        self.last_seq: int | None = None
        self.place: int | None = None
        self.is_running = False
        self.preview_url: str | None = None
        self.outcome: Outcome | None = None

    def see(self, frame: Frame) -> bool:
        """Take one frame; return False for one that was seen before a reconnect."""
        kind, data, seq = frame["type"], frame["data"], frame["seq"]
        if kind in ("storage_unavailable", "storage_restored"):
            return True  # of this moment, without a number
        if kind == "snapshot":
            self.last_seq = data["lastSeq"]
            self._see_snapshot(data)
            return True
        is_old = self.last_seq is not None and seq <= self.last_seq
        # Answers to this socket alone carry the number of the last frame before them.
        is_answer = kind in ("accepted", "done") or (kind == "error" and is_old)
        if not is_answer:
            if is_old:
                return False
            self.last_seq = seq
        if self.outcome is None:
            self._see_event(kind, data, is_answer=is_answer)
        return True

    def _see_event(self, kind: str, data: Frame, *, is_answer: bool) -> None:
        match kind:
            case "accepted" if data["id"] == self.command_id:
                self.place = data["place"]
            case "run_started" if data["id"] == self.command_id:
                self.place, self.is_running = 0, True
            case "command_dropped" if data["id"] == self.command_id:
                self.outcome = Outcome(status="cancelled", message=data["reason"])
            case "server_started":
                self.preview_url = data["url"]
            case "run_paused" if self.is_running:
                self._fail(data["code"], data["message"])
            case "error" if is_answer:
                self._see_refusal(data)
            case "error" if self.is_running:
                self._fail(data["code"], data["message"])
            case "generation_cancelled" if self.is_running:
                self.outcome = Outcome(status="cancelled", message=data["reason"])
            case "generation_complete" if self.is_running:
                self.outcome = Outcome(status="complete", files=tuple(data["files"]))

    def _see_refusal(self, data: Frame) -> None:
        """Take an answer to one of our own commands; that of a cancel means it came too late."""
        answered = data.get("id")
        if answered == self.command_id or (answered is None and self.place is None):
            self._fail(data["code"], data["message"])

    def _see_snapshot(self, data: Frame) -> None:
        """Start from a snapshot; in place of a replay it also tells what was missed of our run."""
        self.preview_url = data["previewUrl"] or self.preview_url
        run_id = (data["run"] or {}).get("id")
        self.is_running = run_id == self.command_id
        if self.is_running and data["run"]["pause"] and self.outcome is None:
            self._fail(data["run"]["pause"]["code"], data["run"]["pause"]["message"])
        is_queued = any(command["id"] == self.command_id for command in data["queue"])
        if self.place is None or self.is_running or is_queued or self.outcome is not None:
            return
        if data["problem"]:
            self._fail(data["problem"]["code"], data["problem"]["message"])
        elif data["state"] == "complete":
            files = tuple(file["path"] for file in data["files"])
            self.outcome = Outcome(status="complete", files=files)
        else:
            self.outcome = Outcome(status="cancelled", message="user")

    def _fail(self, code: str, message: str) -> None:
        self.outcome = Outcome(status="error", code=code, message=message)
