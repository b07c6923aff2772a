"""One recorded exchange with a model's server: the format of its file. No I/O.

A file is JSON lines; times (`at`) are seconds since the request was sent:

    {"version": 1, "purpose": "plan", "phaseNumber": 1, "description": "...", "request": {...}}
    {"at": 0.41, "status": 200, "contentType": "text/event-stream", "retryAfter": ""}
    {"at": 0.43, "text": "data: {...}\\n\\n"}                  bytes of the body as they arrived,
    {"at": 0.44, "base64": "..."}                             those that are no UTF-8 in Base64
    {"at": 2.05, "end": "complete"}

`end` is complete, closed (by us: cancelled, too slow, or with nothing more to come), or error with
the `code` and `message` of what broke it. No head means that there was no answer.

There is no key in a recording: no headers are stored, and where the server repeats the key in its
answer asterisks stand for it.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from actors.errors import ModelError, error_from_code
from actors.generation.model import ModelRequest
from actors.generation.transport import Exchange

VERSION = 1
MAX_RECORDED_BYTES = 64 * 1024 * 1024  # of one answer; a longer one is not stored


class Tape:
    """One exchange while it is recorded; `secret` is kept out of it, `clock` is in seconds."""

    def __init__(
        self, request: ModelRequest, body: bytes, *, secret: bytes, clock: Callable[[], float]
    ) -> None:
        self.is_too_long = False
        self._secret = secret
        self._clock = clock
        self._started = clock()
        self._lines: list[Mapping[str, Any]] = [
            {
                "version": VERSION,
                "purpose": request.purpose,
                "phaseNumber": request.phase_number,
                "description": request.description,
                "request": orjson.loads(body),
            }
        ]
        self._pieces: list[tuple[float, bytes]] = []
        self._bytes = 0
        self._end: Mapping[str, Any] | None = None

    def head(self, exchange: Exchange) -> None:
        """Keep the head of the answer."""
        self._lines.append(
            {
                "at": self._now(),
                "status": exchange.status,
                "contentType": exchange.content_type,
                "retryAfter": exchange.retry_after,
            }
        )

    def add(self, data: bytes) -> None:
        """Keep bytes of the body."""
        self._bytes += len(data)
        if self._bytes > MAX_RECORDED_BYTES:
            self.is_too_long = True
            self._pieces.clear()
        else:
            self._pieces.append((self._now(), data))

    def end(self, error: BaseException | None) -> None:
        """Keep how the answer ended by itself."""
        end: dict[str, Any] = {"at": self._now(), "end": "complete"}
        if isinstance(error, ModelError):
            end |= {"end": "error", "code": error.code, "message": str(error)}
        elif error is not None:
            end["end"] = "closed"
        self._end = end

    def text(self) -> bytes:
        """Return the file's text."""
        end = self._end or {"at": self._now(), "end": "closed"}
        lines = [*self._lines, *map(_piece_line, self._without_secret()), end]
        return b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)

    def _without_secret(self) -> list[tuple[float, bytes]]:
        """Return the pieces, cut as they were; the secret may have been cut in two."""
        body = b"".join(data for _, data in self._pieces)
        if not self._secret or self._secret not in body:
            return self._pieces
        body = body.replace(self._secret, b"*" * len(self._secret))
        ends = list(itertools.accumulate(len(data) for _, data in self._pieces))
        return [
            (at, body[end - len(data) : end])
            for (at, data), end in zip(self._pieces, ends, strict=True)
        ]

    def _now(self) -> float:
        return round(self._clock() - self._started, 6)


def _piece_line(piece: tuple[float, bytes]) -> Mapping[str, Any]:
    at, data = piece
    try:
        return {"at": at, "text": data.decode()}
    except UnicodeDecodeError:
        return {"at": at, "base64": base64.b64encode(data).decode()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cassette:
    """One exchange as it was recorded; `status` None where there was no answer."""

    purpose: str
    phase_number: int
    description: str
    status: int | None
    content_type: str
    retry_after: str
    head_at: float
    pieces: tuple[tuple[float, bytes], ...]
    end_at: float
    end: str
    problem: ModelError | None


def read_cassette(text: bytes) -> Cassette:
    """Read a recording; raises ValueError for anything else."""
    try:
        first, *lines, end = map(orjson.loads, text.splitlines())
        if first["version"] != VERSION:
            raise ValueError(f"it has version {first['version']}")
        head: Mapping[str, Any] = lines.pop(0) if lines else {"at": 0.0, "status": None}
        problem = None
        if end["end"] == "error":
            problem = error_from_code(end["code"], end["message"])
        if not isinstance(problem, ModelError | None):
            raise ValueError(f"it ends with {end['code']}")
        return Cassette(
            purpose=first["purpose"],
            phase_number=first["phaseNumber"],
            description=first["description"],
            status=head["status"],
            content_type=head.get("contentType", ""),
            retry_after=head.get("retryAfter", ""),
            head_at=head["at"],
            pieces=tuple((line["at"], _bytes(line)) for line in lines),
            end_at=end["at"],
            end=end["end"],
            problem=problem,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("it is no recording of an exchange") from error


def _bytes(line: Mapping[str, Any]) -> bytes:
    if "base64" in line:
        return base64.b64decode(line["base64"], validate=True)
    return bytes(line["text"].encode())
