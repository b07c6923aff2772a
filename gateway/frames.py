"""What a client may send: text in, commands out; nothing here does I/O.

A frame is one JSON object with a `type`. Members that are not known are ignored, members that are
null count as absent. A command that comes out of here is valid; everything else is refused with a
sentence that names the member and what it may be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from actors.errors import InvalidDescription, InvalidFrame, InvalidProjectId

MAX_FRAME_BYTES = 256 * 1024
MAX_DESCRIPTION_CHARS = 20_000
MAX_ID_CHARS = 128
MAX_MODEL_CHARS = 200
MAX_PHASES = 50
MAX_PROBLEM_CHARS = 4_000  # what is longer is cut: its beginning says what went wrong
MODES = ("queue", "steer", "replace")
_PROJECT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateFrame:
    """Generate from `description`; what is None is left to the service's settings."""

    description: str
    id: str | None = None
    model: str | None = None
    max_phases: int | None = None
    mode: str = "queue"


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelFrame:
    """Stop the run, or the one command `command_id`, which runs or waits."""

    id: str | None = None
    command_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemFrame:
    """Keep an error of the running app for the next plan."""

    message: str
    id: str | None = None


ClientFrame = GenerateFrame | CancelFrame | ProblemFrame


def parse_frame(text: str | bytes) -> ClientFrame:
    """Turn one frame's text into its command.

    Raises InvalidFrame or InvalidDescription.
    """
    return parse_command(decode_object(text))


def decode_object(text: str | bytes) -> dict[str, Any]:
    """Decode one JSON object; lone surrogates, NaN and very deep nesting are not JSON.

    Raises InvalidFrame.
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(data) > MAX_FRAME_BYTES:
        raise InvalidFrame(f"A frame holds at most {MAX_FRAME_BYTES // 1024} KiB.")
    try:
        members = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidFrame(f"The frame is not valid JSON: {error}.") from error
    if not isinstance(members, dict):
        raise InvalidFrame("The frame must be a JSON object with a type.")
    return members


def parse_command(members: Mapping[str, Any]) -> ClientFrame:
    """Turn a decoded frame into its command; raises InvalidFrame or InvalidDescription."""
    type_ = members.get("type")
    parse = _PARSERS.get(type_) if isinstance(type_, str) else None
    if parse is None:
        raise InvalidFrame(f"The frame's type must be one of {', '.join(_PARSERS)}.")
    return parse(members)


def parse_generate(members: Mapping[str, Any]) -> GenerateFrame:
    """Read the members of a generate command; `type` is not looked at.

    Raises InvalidFrame or InvalidDescription.
    """
    mode = members.get("mode")
    if mode is not None and mode not in MODES:
        raise InvalidFrame(f"mode must be one of {', '.join(MODES)}.")
    return GenerateFrame(
        description=_description(members.get("description")),
        id=_name(members, "id", MAX_ID_CHARS),
        model=_name(members, "model", MAX_MODEL_CHARS),
        max_phases=_max_phases(members.get("maxPhases")),
        mode=mode or "queue",
    )


def parse_cancel(members: Mapping[str, Any]) -> CancelFrame:
    """Read the members of a cancel command; raises InvalidFrame."""
    return CancelFrame(
        id=_name(members, "id", MAX_ID_CHARS),
        command_id=_name(members, "commandId", MAX_ID_CHARS),
    )


def parse_problem(members: Mapping[str, Any]) -> ProblemFrame:
    """Read the members of a report; raises InvalidFrame."""
    message = members.get("message")
    if not isinstance(message, str) or not message.strip() or "\0" in message:
        raise InvalidFrame("message must be text: what the app's error says.")
    return ProblemFrame(
        message=message.strip()[:MAX_PROBLEM_CHARS], id=_name(members, "id", MAX_ID_CHARS)
    )


_PARSERS: dict[str, Callable[[Mapping[str, Any]], ClientFrame]] = {
    "generate": parse_generate,
    "cancel": parse_cancel,
    "report_problem": parse_problem,
}


def echoed_id(members: Mapping[str, Any]) -> str | None:
    """Return the id to echo in the refusal of a frame, or None where it has no usable one."""
    try:
        return _name(members, "id", MAX_ID_CHARS)
    except InvalidFrame:
        return None


def check_project_id(text: str) -> str:
    """Return `text` if it is a project id; raises InvalidProjectId."""
    if not _PROJECT_ID.fullmatch(text):
        raise InvalidProjectId
    return text


def _description(value: Any) -> str:
    if value is None:
        raise InvalidDescription("A generate command needs a description of the app.")
    if not isinstance(value, str):
        raise InvalidDescription("description must be text.")
    description = value.strip()
    if not description:
        raise InvalidDescription("The description is empty; say what the app should do.")
    if len(description) > MAX_DESCRIPTION_CHARS:
        raise InvalidDescription(
            f"The description has {len(description):,} characters;"
            f" at most {MAX_DESCRIPTION_CHARS:,} are allowed."
        )
    if "\0" in description:
        raise InvalidDescription("The description holds a NUL character; remove it.")
    return description


def _name(members: Mapping[str, Any], member: str, max_chars: int) -> str | None:
    value = members.get(member)
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= max_chars or not value.isprintable():
        raise InvalidFrame(f"{member} must be 1 to {max_chars} printable characters.")
    return value


def _max_phases(value: Any) -> int | None:
    if value is None:
        return None
    # bool is an int to Python; true is no number to the protocol
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_PHASES:
        raise InvalidFrame(f"maxPhases must be a whole number from 1 to {MAX_PHASES}.")
    return value
