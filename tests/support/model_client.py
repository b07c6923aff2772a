"""Clients of the scripted model server, and what their answers come to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from actors import errors
from actors.generation.catalog import Catalog
from actors.generation.http_transport import APP_TITLE, APP_URL, CONNECT_SECONDS, HttpTransport
from actors.generation.model import Model, ModelEvent, ModelRequest, ModelText
from actors.generation.openrouter import FIRST_TEXT_SECONDS, IDLE_SECONDS, OpenRouterModel
from actors.generation.plan import parse_plan
from actors.generation.prompts import PromptContext, implement_request, plan_request
from actors.generation.recording import RecordingTransport
from actors.generation.retry import RetryingModel, RetryPolicy
from actors.generation.transport import Transport
from tests.support.openrouter import DEFAULT_PHASE, TEST_KEY, ScriptedOpenRouter

AT_ONCE = RetryPolicy(first_pause_seconds=0.0)
CONTEXT = PromptContext(
    descriptions=("a page",), model="test/model", sandbox="static", phase_number=1
)
PLAN = plan_request(CONTEXT)

Make = Callable[..., Model]


def implement() -> ModelRequest:
    """Ask for the files of the default phase."""
    return implement_request(
        PromptContext(
            descriptions=("a page",),
            model="m",
            sandbox="static",
            phase_number=1,
            plan=parse_plan(DEFAULT_PHASE.plan_text()),
        )
    )


@pytest.fixture
async def make(openrouter: ScriptedOpenRouter) -> AsyncIterator[Make]:
    """Make clients of the scripted server; all are closed in the end.

    Without `retry` a client makes one call only.
    """
    models: list[Model] = []

    def make(
        *,
        base_url: str = openrouter.base_url,
        api_key: str = TEST_KEY,
        retry: RetryPolicy | None = None,
        fallbacks: Sequence[str] = (),
        record: Path | None = None,
        connect_seconds: float = CONNECT_SECONDS,
        first_text_seconds: float = FIRST_TEXT_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
        app_title: str = APP_TITLE,
        app_url: str = APP_URL,
    ) -> Model:
        http = HttpTransport(
            base_url,
            api_key,
            connect_seconds=connect_seconds,
            first_byte_seconds=first_text_seconds,
            app_title=app_title,
            app_url=app_url,
        )
        transport: Transport = http
        if record is not None:
            transport = RecordingTransport(http, record, api_key=api_key)
        model: Model = OpenRouterModel(
            transport,
            Catalog(base_url, http.list_models),
            api_key=api_key,
            first_text_seconds=first_text_seconds,
            idle_seconds=idle_seconds,
        )
        if retry is not None:
            model = RetryingModel(model, fallbacks=fallbacks, policy=retry)
        models.append(model)
        return model

    yield make
    for model in models:
        await model.close()


async def ask(model: Model, request: ModelRequest = PLAN) -> list[ModelEvent]:
    """Return all events of an answer."""
    async with aclosing(model.stream(request)) as events:
        return [event async for event in events]


async def ask_in_vain(
    model: Model, request: ModelRequest = PLAN
) -> tuple[list[ModelEvent], errors.ModelError]:
    """Return the events of an answer that ends with an error, and the error."""
    told: list[ModelEvent] = []
    problem: errors.ModelError | None = None
    try:
        async with aclosing(model.stream(request)) as events:
            async for event in events:
                told.append(event)
    except errors.ModelError as error:
        problem = error
    assert problem is not None, "the answer was complete"
    assert TEST_KEY not in repr(problem) + str(problem)
    return told, problem


async def failure(model: Model, request: ModelRequest = PLAN) -> errors.ModelError:
    """Return the error that a call ends with."""
    return (await ask_in_vain(model, request))[1]


def text_of(events: Sequence[ModelEvent]) -> str:
    """Return the text of an answer."""
    return "".join(event.text for event in events if isinstance(event, ModelText))
