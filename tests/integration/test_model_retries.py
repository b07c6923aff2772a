"""Calls that are made again and models that stand in for others, over real HTTP."""

from __future__ import annotations

import logging
import socket

import pytest

from actors import errors
from actors.generation.model import ModelRetry
from tests.support.model_client import AT_ONCE, Make, ask, ask_in_vain, failure, text_of
from tests.support.openrouter import DEFAULT_PHASE, TEST_KEY, Answer, ScriptedOpenRouter

HTML = b"<html><head><title>502 Bad Gateway</title></head><body>\n<h1>nginx</h1></body></html>"
PASSING = {
    "408": Answer(status=408),
    "429": Answer(status=429),
    "429 with Retry-After": Answer(status=429, headers={"Retry-After": "0"}),
    "500": Answer(status=500),
    "502 as a page": Answer(status=502, body=HTML, content_type="text/html"),
    "503": Answer(status=503),
    "an error chunk": Answer(error_at_chars=0),
    "a cut": Answer(cut_at_chars=0),
    "silence": Answer(stall_at_chars=0),
    "no answer": Answer(never_answer=True),
}


@pytest.mark.parametrize("answer", PASSING.values(), ids=PASSING)
async def test_a_failure_before_the_first_text_is_told_and_tried_again(
    openrouter: ScriptedOpenRouter,
    make: Make,
    answer: Answer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    openrouter.answer_next(answer)
    openrouter.answer_next(answer)

    with caplog.at_level(logging.DEBUG):
        events = await ask(make(retry=AT_ONCE, first_text_seconds=0.3))

    assert text_of(events) == DEFAULT_PHASE.plan_text()
    assert len(openrouter.requests) == 3
    retries = [event for event in events if isinstance(event, ModelRetry)]
    assert [(retry.attempt, retry.model) for retry in retries] == [
        (2, "test/model"),
        (3, "test/model"),
    ]
    assert all(retry.reason.endswith(".") and retry.reason.isprintable() for retry in retries)
    assert TEST_KEY not in caplog.text + repr(events)


async def test_a_pause_is_as_long_as_the_server_asks(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(Answer(status=429, headers={"Retry-After": "0.25"}))

    retry, *_ = await ask(make(retry=AT_ONCE))

    assert isinstance(retry, ModelRetry)
    assert retry.wait_seconds == 0.25
    assert "a pause of 0.25 seconds (429: scripted error)" in retry.reason


async def test_a_refused_connection_is_tried_again(make: Make) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

    told, problem = await ask_in_vain(make(retry=AT_ONCE, base_url=f"http://127.0.0.1:{port}/v1"))

    assert [type(event) for event in told] == [ModelRetry] * 4
    assert f"127.0.0.1:{port} cannot be reached" in str(problem)


async def test_fallbacks_answer_in_their_order(openrouter: ScriptedOpenRouter, make: Make) -> None:
    for _ in range(10):
        openrouter.answer_next(Answer(status=503))
    model = make(retry=AT_ONCE, fallbacks=["second/model", "test/model", "third/model"])

    events = await ask(model)

    asked = [request.body["model"] for request in openrouter.requests]
    assert asked == ["test/model"] * 5 + ["second/model"] * 5 + ["third/model"]
    retries = [event for event in events if isinstance(event, ModelRetry)]
    assert [retry.model for retry in retries] == asked[1:]
    assert text_of(events) == DEFAULT_PHASE.plan_text()


async def test_calls_end_where_every_model_fails(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(Answer(status=500), always=True)

    told, problem = await ask_in_vain(make(retry=AT_ONCE, fallbacks=["second/model"]))

    assert isinstance(problem, errors.ModelUnavailable)
    assert len(openrouter.requests) == 10
    assert [type(event) for event in told] == [ModelRetry] * 9


@pytest.mark.parametrize("status", [302, 400, 401, 402, 403, 404, 422])
async def test_what_waiting_cannot_mend_is_neither_tried_again_nor_elsewhere(
    openrouter: ScriptedOpenRouter, make: Make, status: int
) -> None:
    openrouter.answer_next(Answer(status=status), always=True)

    told, _ = await ask_in_vain(make(retry=AT_ONCE, fallbacks=["second/model"]))

    assert told == []
    assert {request.body["model"] for request in openrouter.requests} == {"test/model"}
    assert len({request.prompt for request in openrouter.requests}) == 1


async def test_a_failure_after_the_first_text_is_not_tried_again(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(Answer(cut_at_chars=20), always=True)

    await failure(make(retry=AT_ONCE))

    assert len(openrouter.requests) == 1


@pytest.mark.parametrize("value", ["3600", "Fri, 31 Dec 2100 23:59:59 GMT"])
async def test_a_server_that_asks_for_too_much_patience_is_not_asked_again(
    openrouter: ScriptedOpenRouter, make: Make, value: str
) -> None:
    openrouter.answer_next(Answer(status=429, headers={"Retry-After": value}), always=True)

    problem = await failure(make(retry=AT_ONCE))

    assert isinstance(problem, errors.ModelRateLimited)
    assert problem.retry_after_seconds is not None
    assert problem.retry_after_seconds >= 3600
    assert len(openrouter.requests) == 1


async def test_an_unreadable_retry_after_is_none(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(Answer(status=429, headers={"Retry-After": "soon"}))

    problem = await failure(make())

    assert isinstance(problem, errors.ModelRateLimited)
    assert problem.retry_after_seconds is None
