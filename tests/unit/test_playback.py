"""Recording and playing back: the same events, from files alone, at any speed."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from actors import errors
from actors.generation import cassette
from actors.generation.catalog import Catalog
from actors.generation.model import (
    ChatMessage,
    ModelEvent,
    ModelFinished,
    ModelRequest,
    ModelRetry,
    ModelText,
    ModelUsage,
)
from actors.generation.openrouter import OpenRouterModel
from actors.generation.playback import PlaybackTransport
from actors.generation.recording import RecordingTransport
from actors.generation.retry import RetryingModel
from actors.generation.transport import Exchange, Transport

KEY = "sk-or-secret"
MESSAGES = (ChatMessage(role="user", content="a page"),)


def request(phase: int = 1, description: str = "a page") -> ModelRequest:
    return ModelRequest(
        purpose="plan",
        model="a/model",
        messages=MESSAGES,
        description=description,
        phase_number=phase,
    )


def stream(text: str, *, is_whole: bool = True) -> list[bytes]:
    """An answer in three pieces, one of which ends inside a character."""
    body = f'data: {{"choices":[{{"delta":{{"content":"\u00e4{text}"}}}}]}}\n\n'.encode()
    cut = body.index(b"\xa4")
    end = b'data: {"choices":[{"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    return [body[:cut], body[cut:], *([end] if is_whole else [])]


class Answer:
    """An answer of these pieces; an error is raised, None stands for silence."""

    def __init__(
        self, pieces: Sequence[bytes | errors.ModelError], status: int = 200, retry_after: str = ""
    ) -> None:
        self._pieces = list(pieces)
        self.status = status
        self.content_type = "text/event-stream" if status == 200 else "application/json"
        self.retry_after = retry_after
        self.is_closed = False

    async def read(self) -> bytes:
        if not self._pieces:
            return b""
        piece = self._pieces.pop(0)
        if isinstance(piece, errors.ModelError):
            raise piece
        return piece

    def close(self) -> None:
        self.is_closed = True


class Server:
    """The port with prepared answers."""

    def __init__(self, *answers: Answer | BaseException) -> None:
        self._answers = list(answers)
        self.is_closed = False

    async def post(self, request: ModelRequest, body: bytes) -> Exchange:
        answer = self._answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def close(self) -> None:
        self.is_closed = True


class Sleeper:
    def __init__(self) -> None:
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))


async def hear(transport: Transport, *requests: ModelRequest) -> list[ModelEvent | str]:
    """Ask for each; returns all events, errors as their sentences, retries without pauses."""
    model = OpenRouterModel(transport, Catalog("", None), api_key=KEY)
    retrying = RetryingModel(model, sleep=Sleeper())
    heard: list[ModelEvent | str] = []
    for asked in requests or [request()]:
        try:
            async for event in retrying.stream(asked):
                if isinstance(event, ModelRetry):
                    heard.append(event.reason)
                else:
                    heard.append(event)
        except errors.ModelError as error:
            heard.append(str(error))
    return heard


def play(directory: Path, **settings: object) -> PlaybackTransport:
    settings = {"speed": 0.0, "sleep": Sleeper(), **settings}
    return PlaybackTransport(directory, **settings)  # type: ignore[arg-type]  # tests pass what fits


LIVES: dict[str, list[Answer | BaseException]] = {
    "whole": [Answer(stream("x"))],
    "cut": [Answer([*stream("x", is_whole=False), errors.ModelStreamBroken("It broke.")])],
    "ended early": [Answer(stream("x", is_whole=False))],
    "refused": [Answer([b'{"error":{"message":"No credit."}}'], status=402)],
    "refused, then simpler": [Answer([b'{"error":"response_format"}'], 400), Answer(stream("x"))],
    "late": [
        Answer([b"Slowly."], status=429, retry_after="3"),
        errors.ModelUnavailable("It is down."),
        Answer([errors.ModelStreamBroken("It broke.")]),
        Answer(stream("x")),
    ],
}


@pytest.mark.parametrize("answers", LIVES.values(), ids=LIVES)
async def test_what_was_heard_is_heard_again(
    tmp_path: Path, answers: list[Answer | BaseException]
) -> None:
    heard = await hear(RecordingTransport(Server(*answers), tmp_path, api_key=KEY))

    assert len(os.listdir(tmp_path)) == len(answers)
    assert await hear(play(tmp_path)) == heard
    assert await hear(play(tmp_path)) == heard


async def test_each_request_gets_the_oldest_answer_to_its_like(tmp_path: Path) -> None:
    asked = [request(1), request(2), request(1), request(1, "another")]
    answers = [Answer(stream(text)) for text in ("one", "two", "three", "four")]
    await hear(RecordingTransport(Server(*answers), tmp_path, api_key=KEY), *asked)

    heard = await hear(
        play(tmp_path),
        *(request(2, "mine"), request(1, "another"), request(1), request(1, "mine")),
        *(request(1), request(3)),
    )

    texts = [event.text for event in heard if isinstance(event, ModelText)]
    assert "".join(texts) == "\u00e4two\u00e4four\u00e4one\u00e4three"
    nothing = f"The recording in {tmp_path} has no answer left for the plan of phase "
    assert [event for event in heard if isinstance(event, str)] == [
        f"{nothing}1; check CODEGEN_MODEL.",
        f"{nothing}3; check CODEGEN_MODEL.",
    ]


async def test_an_answer_that_was_left_ends_where_it_was_left(tmp_path: Path) -> None:
    recording = RecordingTransport(Server(Answer(stream("x"))), tmp_path, api_key=KEY)
    model = OpenRouterModel(recording, Catalog("", None), api_key=KEY)
    events = model.stream(request())
    assert await anext(events) == ModelText(text="\u00e4x")
    await events.aclose()

    text, usage, problem = await hear(play(tmp_path))

    assert text == ModelText(text="\u00e4x")
    assert isinstance(usage, ModelUsage)
    assert problem == "The recording of the answer ends here."


async def test_an_exchange_that_was_left_before_its_answer_is_not_played(tmp_path: Path) -> None:
    recording = RecordingTransport(
        Server(KeyboardInterrupt(), Answer(stream("x"))), tmp_path, api_key=KEY
    )
    with pytest.raises(KeyboardInterrupt):
        await hear(recording)
    await hear(recording)
    assert len(os.listdir(tmp_path)) == 2

    assert (await hear(play(tmp_path)))[-1] == ModelFinished(reason="stop")


@pytest.mark.parametrize(("speed", "factor"), [(1.0, 1.0), (10.0, 0.1), (0.5, 2.0), (0.0, 0.0)])
async def test_it_is_played_at_any_speed(tmp_path: Path, speed: float, factor: float) -> None:
    (tmp_path / "1.exchange").write_bytes(
        b'{"version":1,"purpose":"plan","phaseNumber":1,"description":"d","request":{}}\n'
        b'{"at":1,"status":200,"contentType":"text/event-stream","retryAfter":""}\n'
        b'{"at":3,"text":": hello\\n"}\n'
        b'{"at":3.5,"text":"\\n"}\n'
        b'{"at":7.5,"end":"complete"}\n'
    )
    sleeper = Sleeper()

    await hear(play(tmp_path, speed=speed, sleep=sleeper))

    assert sleeper.slept[:4] == [seconds * factor for seconds in (1.0, 2.0, 0.5, 4.0)]


async def test_files_that_are_no_recordings_are_left_out_with_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "0.exchange").write_bytes(b"oops")
    (tmp_path / "notes.txt").write_bytes(b"mine")
    await hear(RecordingTransport(Server(Answer(stream("x"))), tmp_path, api_key=KEY))

    heard = await hear(play(tmp_path))

    assert heard[-1] == ModelFinished(reason="stop")
    assert "0.exchange is not played" in caplog.text
    assert "notes" not in caplog.text


async def test_a_recording_is_the_users_own_and_holds_no_key(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "records"
    refusal = Answer([f"bad key {KEY[:5]}".encode(), KEY[5:].encode()], status=401)

    await hear(RecordingTransport(Server(refusal), directory, api_key=f" {KEY}\n"))

    (name,) = os.listdir(directory)
    assert KEY.encode() not in (directory / name).read_bytes()
    assert b"bad key" in (directory / name).read_bytes()
    assert (directory / name).stat().st_mode & 0o777 == 0o600
    assert directory.stat().st_mode & 0o777 == 0o700


async def test_what_cannot_be_stored_ends_no_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    recording = RecordingTransport(
        Server(Answer(stream("x"))), tmp_path / "file" / "records", api_key=KEY
    )

    assert (await hear(recording))[-1] == ModelFinished(reason="stop")
    assert "is not recorded" in caplog.text


async def test_an_endless_answer_is_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cassette, "MAX_RECORDED_BYTES", 10)
    with caplog.at_level(logging.WARNING):
        recording = RecordingTransport(Server(Answer(stream("x"))), tmp_path, api_key=KEY)
        assert (await hear(recording))[-1] == ModelFinished(reason="stop")

    assert os.listdir(tmp_path) == []
    assert "is not recorded" in caplog.text


async def test_closing_closes_what_is_recorded(tmp_path: Path) -> None:
    server, answer = Server(), Answer(stream("x"))
    recording = RecordingTransport(Server(answer), tmp_path, api_key=KEY)
    exchange = await recording.post(request(), b"{}")
    exchange.close()
    exchange.close()
    assert answer.is_closed
    assert len(os.listdir(tmp_path)) == 1

    await RecordingTransport(server, tmp_path, api_key=KEY).close()
    assert server.is_closed
    await play(tmp_path).close()
