"""The file of a recorded exchange: what is written is what is read; the key is in none."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import errors
from actors.generation import cassette as module
from actors.generation.cassette import Tape, read_cassette
from actors.generation.model import ChatMessage, ModelRequest

REQUEST = ModelRequest(
    purpose="implement",
    model="a/model",
    messages=(ChatMessage(role="user", content="a page"),),
    description="a page",
    phase_number=2,
)
BODY = b'{"model":"a/model"}'
KEY = b"sk-or-secret"


class Head:
    """The head of an answer."""

    status = 200
    content_type = "text/event-stream"
    retry_after = "7"

    async def read(self) -> bytes:
        return b""

    def close(self) -> None: ...


def tape(*, secret: bytes = KEY) -> Tape:
    """A tape whose clock goes on by a second with each look at it."""
    ticks = itertools.count(100.0)
    return Tape(REQUEST, BODY, secret=secret, clock=lambda: next(ticks))


def lines(recorded: Tape) -> list[Any]:
    return [orjson.loads(line) for line in recorded.text().splitlines()]


def test_an_exchange_is_written_line_by_line() -> None:
    recorded = tape()
    recorded.head(Head())
    recorded.add("data: ä\n\n".encode())
    recorded.add(b"\xe4")
    recorded.end(None)

    assert lines(recorded) == [
        {
            "version": 1,
            "purpose": "implement",
            "phaseNumber": 2,
            "description": "a page",
            "request": {"model": "a/model"},
        },
        {"at": 1.0, "status": 200, "contentType": "text/event-stream", "retryAfter": "7"},
        {"at": 2.0, "text": "data: ä\n\n"},
        {"at": 3.0, "base64": "5A=="},
        {"at": 4.0, "end": "complete"},
    ]


def test_an_exchange_is_read_as_it_was_written() -> None:
    recorded = tape()
    recorded.head(Head())
    recorded.add(b"data: 1")
    recorded.add(b"\xe4")

    read = read_cassette(recorded.text())

    assert (read.purpose, read.phase_number, read.description) == ("implement", 2, "a page")
    assert (read.status, read.content_type, read.retry_after) == (200, "text/event-stream", "7")
    assert read.head_at == 1.0
    assert read.pieces == ((2.0, b"data: 1"), (3.0, b"\xe4"))
    assert (read.end, read.end_at, read.problem) == ("closed", 4.0, None)


@pytest.mark.parametrize(
    ("error", "end", "problem"),
    [
        (None, "complete", None),
        (KeyboardInterrupt(), "closed", None),
        (errors.ModelStreamBroken("It broke."), "error", errors.ModelStreamBroken),
        (errors.ModelRateLimited("Slowly."), "error", errors.ModelRateLimited),
    ],
)
def test_its_end_is_kept(
    error: BaseException | None, end: str, problem: type[errors.ModelError] | None
) -> None:
    recorded = tape()
    recorded.end(error)

    read = read_cassette(recorded.text())

    assert read.status is None
    assert read.end == end
    assert type(read.problem) is (problem or type(None))
    assert problem is None or str(read.problem) == str(error)


@given(st.lists(st.binary(max_size=20), max_size=8), st.integers(0, 60))
def test_the_key_is_kept_out_wherever_it_is_cut(pieces: list[bytes], at: int) -> None:
    body = b"".join(pieces)
    body = body[:at] + KEY + body[at:]
    for cut in range(len(body) + 1):
        recorded = tape()
        recorded.head(Head())
        recorded.add(body[:cut])
        recorded.add(body[cut:])

        played = [data for _, data in read_cassette(recorded.text()).pieces]

        assert KEY not in b"".join(played)
        assert [len(data) for data in played] == [cut, len(body) - cut]
        assert b"".join(played).replace(b"*" * len(KEY), KEY) == body or b"*" in body


def test_without_a_key_nothing_is_left_out() -> None:
    recorded = tape(secret=b"")
    recorded.head(Head())
    recorded.add(b"abc")

    assert read_cassette(recorded.text()).pieces[0][1] == b"abc"


def test_an_endless_answer_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RECORDED_BYTES", 3)
    recorded = tape()

    recorded.add(b"abc")
    assert not recorded.is_too_long
    recorded.add(b"d")
    assert recorded.is_too_long


FIRST = b'{"version":1,"purpose":"plan","phaseNumber":1,"description":"d"}\n'
HEAD = b'{"at":1,"status":200}\n'


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{\n",
        FIRST,
        FIRST + b"[]\n",
        b'{"version":2}\n{"end":"complete"}\n',
        b'{"version":1}\n{"end":"complete","at":1}\n',
        FIRST + HEAD + b'{"end":"error","at":1}\n',
        FIRST + HEAD + b'{"end":"error","at":1,"code":"not_found","message":"m"}\n',
        FIRST + HEAD + b'{"at":1}\n{"end":"complete","at":1}\n',
        FIRST + HEAD + b'{"at":1,"text":5}\n{"end":"complete","at":1}\n',
        FIRST + HEAD + b'{"at":1,"base64":"?"}\n{"end":"complete","at":1}\n',
        FIRST + b'[1]\n{"end":"complete","at":1}\n',
    ],
)
def test_what_is_no_recording_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_cassette(text)
