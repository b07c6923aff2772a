"""Which calls are made again, when, by which model, and what is told of it."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest

from actors import errors
from actors.generation.model import (
    ChatMessage,
    ModelEvent,
    ModelFacts,
    ModelFinished,
    ModelRequest,
    ModelRetry,
    ModelText,
    ModelUsage,
)
from actors.generation.retry import RetryingModel, RetryPolicy

REQUEST = ModelRequest(
    purpose="plan",
    model="a",
    messages=(ChatMessage(role="user", content="a page"),),
    description="a page",
    phase_number=1,
)
TEXT, END = ModelText(text="x"), ModelFinished(reason="stop")
USAGE = ModelUsage(model="a", prompt_tokens=1, completion_tokens=0, cost_usd=None, estimated=True)
Outcome = Sequence[ModelEvent | errors.ModelError]


class ScriptedModel:
    """Yields and raises what it is told, one outcome a call; the last one for ever."""

    is_demo = False

    def __init__(self, *outcomes: Outcome) -> None:
        self._outcomes = itertools.chain(outcomes, itertools.repeat(outcomes[-1]))
        self.requests: list[ModelRequest] = []
        self.open_calls = 0
        self.is_closed = False

    @property
    def asked(self) -> list[str]:
        return [request.model for request in self.requests]

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        self.requests.append(request)
        self.open_calls += 1
        try:
            for event in next(self._outcomes):
                if isinstance(event, errors.ModelError):
                    raise event
                yield event
        finally:
            self.open_calls -= 1

    async def facts(self, model: str) -> ModelFacts:
        if model == "small":
            return ModelFacts(context_tokens=2_500)
        return ModelFacts(max_completion_tokens=len(model) if model != "unknown" else None)

    async def close(self) -> None:
        self.is_closed = True


class Clock:
    """Sleeps at once, and keeps for how long."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture(autouse=True)
def no_luck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pause is as long as it may be."""
    monkeypatch.setattr(random, "random", lambda: 1.0)


async def ask(
    model: ScriptedModel, *fallbacks: str, clock: Clock | None = None
) -> tuple[list[ModelEvent], errors.ModelError | None]:
    """Return what came, and the error that ended it."""
    retrying = RetryingModel(model, fallbacks=fallbacks, sleep=(clock or Clock()).sleep)
    told: list[ModelEvent] = []
    try:
        async with aclosing(retrying.stream(REQUEST)) as events:
            async for event in events:
                told.append(event)
    except errors.ModelError as error:
        return told, error
    return told, None


@pytest.mark.parametrize(
    "error", [errors.ModelUnavailable("Down."), errors.ModelStreamBroken("Down.")]
)
async def test_a_failure_before_the_first_text_is_told_and_tried_again(
    error: errors.ModelError, caplog: pytest.LogCaptureFixture
) -> None:
    model, clock = ScriptedModel([error], [USAGE, error], [TEXT, END]), Clock()

    with caplog.at_level(logging.WARNING):
        told, problem = await ask(model, clock=clock)

    assert problem is None
    assert told == [
        ModelRetry(attempt=2, wait_seconds=1.0, reason="Down.", model="a"),
        USAGE,
        ModelRetry(attempt=3, wait_seconds=2.0, reason="Down.", model="a"),
        TEXT,
        END,
    ]
    assert clock.slept == [1.0, 2.0]
    assert "Down. Asking a in 2.0 s" in caplog.text


async def test_a_retry_is_told_before_its_pause() -> None:
    paused = asyncio.Event()

    async def sleep(seconds: float) -> None:
        paused.set()
        await asyncio.Event().wait()

    model = ScriptedModel([errors.ModelUnavailable()], [TEXT, END])
    events = RetryingModel(model, sleep=sleep).stream(REQUEST)

    assert isinstance(await anext(events), ModelRetry)
    assert not paused.is_set()

    next_event = asyncio.ensure_future(anext(events))
    await paused.wait()
    next_event.cancel()
    with pytest.raises(asyncio.CancelledError):
        await next_event
    assert model.asked == ["a"]


async def test_leaving_the_stream_leaves_the_call() -> None:
    model = ScriptedModel([TEXT, END])
    events = RetryingModel(model).stream(REQUEST)
    assert await anext(events) == TEXT

    await events.aclose()

    assert model.open_calls == 0


@pytest.mark.parametrize(
    "error",
    [
        errors.ModelUnauthorized(),
        errors.ModelPaymentRequired(),
        errors.ModelNotFound(),
        errors.ModelRefused(),
        errors.ModelError(),
        errors.ModelUnavailable("The address is wrong.", retryable=False),
    ],
)
async def test_what_waiting_cannot_mend_is_neither_tried_again_nor_elsewhere(
    error: errors.ModelError,
) -> None:
    model = ScriptedModel([error])

    assert await ask(model, "b") == ([], error)
    assert model.asked == ["a"]


async def test_a_failure_after_the_first_text_is_the_consumers() -> None:
    error = errors.ModelStreamBroken()
    model = ScriptedModel([TEXT, USAGE, error])

    assert await ask(model, "b") == ([TEXT, USAGE], error)
    assert model.asked == ["a"]


async def test_the_fallbacks_follow_in_order_and_the_last_error_is_raised() -> None:
    model, clock = ScriptedModel([errors.ModelUnavailable("Down.")]), Clock()

    told, problem = await ask(model, "b", "a", "c", clock=clock)

    assert isinstance(problem, errors.ModelUnavailable)
    assert model.asked == ["a"] * 5 + ["b"] * 5 + ["c"] * 5
    assert clock.slept == [1, 2, 4, 8, 0, 1, 2, 4, 8, 0, 1, 2, 4, 8]
    retries = [event for event in told if isinstance(event, ModelRetry)]
    assert [retry.attempt for retry in retries] == list(range(2, 16))
    assert [retry.model for retry in retries] == model.asked[1:]


async def test_a_fallback_answers() -> None:
    down: Outcome = [errors.ModelRateLimited("Wait.", retry_after_seconds=61.0)]
    model, clock = ScriptedModel(down, [TEXT, END]), Clock()

    told, problem = await ask(model, "b", clock=clock)

    assert problem is None
    assert told[0] == ModelRetry(attempt=2, wait_seconds=0.0, reason="Wait.", model="b")
    assert told[1:] == [TEXT, END]
    assert clock.slept == [0.0]


@pytest.mark.parametrize(
    ("max_tokens", "expected"), [(None, [None] * 4), (4, [4, 4, 3, 4]), (2, [2, 2, 2, 2])]
)
async def test_a_fallback_is_not_asked_for_more_than_it_can_write(
    max_tokens: int | None, expected: list[int | None]
) -> None:
    model = ScriptedModel([errors.ModelRateLimited(retry_after_seconds=3600.0)])
    retrying = RetryingModel(model, fallbacks=["longer", "two", "unknown"], sleep=Clock().sleep)

    with pytest.raises(errors.ModelRateLimited):
        async for _ in retrying.stream(dataclasses.replace(REQUEST, max_tokens=max_tokens)):
            pass

    assert [request.max_tokens for request in model.requests] == expected


async def test_a_fallback_is_not_asked_for_more_than_its_context_takes() -> None:
    model = ScriptedModel([errors.ModelRateLimited(retry_after_seconds=3600.0)], [TEXT, END])
    message = ChatMessage(role="user", content="x" * 3_500)
    request = dataclasses.replace(REQUEST, messages=(message,), max_tokens=8_000)

    retrying = RetryingModel(model, fallbacks=["small"], sleep=Clock().sleep)
    assert [event async for event in retrying.stream(request)][1:] == [TEXT, END]

    assert [request.max_tokens for request in model.requests] == [8_000, 1_300]


@pytest.mark.parametrize(
    ("error", "failures", "elapsed", "chance", "expected"),
    [
        (errors.ModelUnavailable(), 1, 0.0, 1.0, 1.0),
        (errors.ModelUnavailable(), 1, 0.0, 0.0, 0.0),
        (errors.ModelUnavailable(), 4, 0.0, 0.5, 4.0),
        (errors.ModelUnavailable(), 5, 0.0, 0.5, None),
        (errors.ModelUnavailable(), 1, 299.9, 0.5, 0.5),
        (errors.ModelUnavailable(), 1, 300.0, 0.5, None),
        (errors.ModelRateLimited(), 2, 0.0, 0.5, 1.0),
        (errors.ModelRateLimited(retry_after_seconds=7.0), 1, 0.0, 0.5, 7.5),
        (errors.ModelRateLimited(retry_after_seconds=60.0), 1, 0.0, 0.0, 60.0),
        (errors.ModelRateLimited(retry_after_seconds=60.1), 1, 0.0, 0.0, None),
    ],
)
def test_pauses_grow_and_respect_what_the_server_asks(
    error: errors.ModelError,
    failures: int,
    elapsed: float,
    chance: float,
    expected: float | None,
) -> None:
    assert RetryPolicy().pause_seconds(error, failures, elapsed, chance) == expected


async def test_the_rest_of_the_port_is_the_models() -> None:
    model = ScriptedModel([END])
    retrying = RetryingModel(model)

    assert not retrying.is_demo
    assert await retrying.facts("four") == ModelFacts(max_completion_tokens=4)
    await retrying.close()
    assert model.is_closed
