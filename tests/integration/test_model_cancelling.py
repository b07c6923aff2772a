"""Leaving a model call: the connection closes at once, whatever the call is doing."""

from __future__ import annotations

import asyncio

import pytest

from actors import errors
from actors.generation.model import ModelRetry, ModelText, ModelUsage
from tests.support.model_client import AT_ONCE, PLAN, Make, ask
from tests.support.openrouter import Answer, ScriptedOpenRouter


async def test_cancelling_the_consumer_closes_the_connection(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    gate = openrouter.hold(10, purpose="plan")
    task = asyncio.create_task(ask(make()))
    await gate.reached.happened()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await openrouter.requests[0].client_gone.happened()
    assert openrouter.requests[0].chars_sent == 10


async def test_leaving_the_stream_closes_the_connection(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(Answer(stall_at_chars=10))
    events = make().stream(PLAN)
    assert isinstance(await anext(events), ModelText)

    await events.aclose()

    await openrouter.requests[0].client_gone.happened()


async def test_cancelling_before_the_first_byte_closes_the_connection(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(Answer(never_answer=True))
    task = asyncio.create_task(ask(make()))
    await asyncio.to_thread(openrouter.wait_for_requests, 1)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await openrouter.requests[0].client_gone.happened()


async def test_cancelling_during_a_pause_ends_it_and_sends_nothing_more(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(Answer(status=429, headers={"Retry-After": "50"}))
    events = make(retry=AT_ONCE).stream(PLAN)
    retry = await anext(events)
    assert isinstance(retry, ModelRetry)
    assert retry.wait_seconds == 50
    pause = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)  # it is waiting now

    pause.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pause

    assert len(openrouter.requests) == 1


async def test_closing_the_client_ends_a_call_under_way(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(Answer(stall_at_chars=10))
    model = make()
    events = model.stream(PLAN)
    await anext(events)

    await model.close()

    assert isinstance(await anext(events), ModelUsage)
    with pytest.raises(errors.ModelStreamBroken):
        await anext(events)
    await openrouter.requests[0].client_gone.happened()
