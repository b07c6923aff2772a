"""What the roster decides and the supervisor carries out, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from actors.messages import Failed, Message, ProjectRequest, Request


@dataclass(frozen=True, slots=True)
class Send:
    """Send `message` to the actor, gateway or admin at `address`."""

    address: Any
    message: Message


@dataclass(frozen=True, slots=True)
class Breed:
    """Have `count` more spares made."""

    count: int


@dataclass(frozen=True, slots=True)
class ForgetBirths:
    """The births that were asked for will not happen any more."""


@dataclass(frozen=True, slots=True)
class Kill:
    """End a process that hangs."""

    pid: int


Effect = Send | Breed | ForgetBirths | Kill


def refuse(request: ProjectRequest, code: str, message: str) -> Send:
    """Return the refusal of a request, for whoever has asked."""
    failed = Failed(request_id=request.request_id, code=code, message=message)
    return Send(request.reply_to, failed)


def addressed(request: Request, sender: Any) -> Any:
    """Return the request with `reply_to` filled in."""
    return request if request.reply_to is not None else replace(request, reply_to=sender)
