"""What a request looks like, and how it becomes simpler when a server refuses it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from actors.generation.dialect import Dialect, Dialects, Format
from actors.generation.model import ChatMessage, ModelRequest

PLAN = ModelRequest(
    purpose="plan",
    model="a/model",
    messages=(ChatMessage(role="system", content="Plan."), ChatMessage(role="user", content="It.")),
    description="it",
    phase_number=1,
    json_schema={"type": "object"},
    schema_name="phase_plan",
)
FILES = ModelRequest(
    purpose="implement",
    model="a/model",
    messages=PLAN.messages,
    description="it",
    phase_number=1,
    max_tokens=99,
)
MESSAGES = [{"role": "system", "content": "Plan."}, {"role": "user", "content": "It."}]
SCHEMA = Dialect()
OBJECT = Dialect(Format.JSON_OBJECT)
PROMPT = Dialect(Format.PROMPT_ONLY)
LIMIT = Dialect(limit="max_completion_tokens")
REASONS = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
    "'max_completion_tokens' instead."
)
SILENT = Dialect(Format.PROMPT_ONLY, asks_usage=False)


@pytest.mark.parametrize(
    ("dialect", "members"),
    [
        (
            SCHEMA,
            {
                "stream_options": {"include_usage": True},
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {
                        "name": "phase_plan",
                        "strict": True,
                        "schema": {"type": "object"},
                    },
                },
            },
        ),
        (
            OBJECT,
            {
                "stream_options": {"include_usage": True},
                "response_format": {"type": "json_object"},
            },
        ),
        (PROMPT, {"stream_options": {"include_usage": True}}),
        (SILENT, {}),
    ],
)
def test_a_plan_is_asked_for(dialect: Dialect, members: dict[str, Any]) -> None:
    common = {"model": "a/model", "messages": MESSAGES, "stream": True}
    assert dialect.body(PLAN) == {**common, **members}


def test_files_are_asked_for_without_a_format() -> None:
    assert SCHEMA.body(FILES) == {
        "model": "a/model",
        "messages": MESSAGES,
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 99,
    }


def test_a_bound_is_worded_as_reasoning_models_want_it() -> None:
    body = Dialect(limit="max_completion_tokens").body(FILES)
    assert body["max_completion_tokens"] == 99
    assert "max_tokens" not in body


def ladder(request: ModelRequest, refusal: str) -> list[Dialect]:
    """All that is tried where everything is refused with these words."""
    dialects = Dialects()
    tried: list[Dialect] = []
    dialect: Dialect | None = dialects.first(request.model)
    while dialect is not None:
        tried.append(dialect)
        dialect = dialects.next(request, dialect, refusal)
    return tried


@pytest.mark.parametrize(
    ("request_", "refusal", "expected"),
    [
        (PLAN, "bad request", [SCHEMA, OBJECT, PROMPT, SILENT]),
        (PLAN, "'response_format.type' must be 'text'", [SCHEMA, OBJECT, PROMPT, SILENT]),
        (PLAN, "stream_options and response_format", [SCHEMA, OBJECT, PROMPT, SILENT]),
        (
            PLAN,
            "extra input: include_usage",
            [SCHEMA, Dialect(asks_usage=False), Dialect(Format.JSON_OBJECT, False), SILENT],
        ),
        (FILES, "bad request", [SCHEMA, Dialect(asks_usage=False)]),
        (FILES, "response_format", [SCHEMA, Dialect(asks_usage=False)]),
        (FILES, REASONS, [SCHEMA, LIMIT, replace(LIMIT, asks_usage=False)]),
        (PLAN, REASONS, [SCHEMA, OBJECT, PROMPT, SILENT]),  # it has no bound
    ],
)
def test_a_refused_request_becomes_simpler_until_nothing_is_left(
    request_: ModelRequest, refusal: str, expected: list[Dialect]
) -> None:
    assert ladder(request_, refusal) == expected


def test_what_was_accepted_comes_first_from_then_on() -> None:
    dialects = Dialects()
    dialects.accept(PLAN, OBJECT)

    assert dialects.first("a/model") == OBJECT
    assert dialects.first("another/model") == SCHEMA


def test_what_was_accepted_before_is_refused_for_another_reason() -> None:
    dialects = Dialects()
    dialects.accept(PLAN, SCHEMA)

    assert dialects.next(PLAN, SCHEMA, "the prompt is too long") is None
    assert dialects.next(PLAN, SCHEMA, "json_schema is not supported") == OBJECT
    assert dialects.next(FILES, SCHEMA, "bad request") == Dialect(asks_usage=False)
    bound = replace(PLAN, max_tokens=99)
    assert dialects.next(bound, SCHEMA, REASONS) == LIMIT
    dialects.accept(bound, LIMIT)
    assert dialects.first("a/model") == LIMIT
    assert dialects.next(bound, LIMIT, "max_completion_tokens is too large") is None


def test_files_that_were_accepted_say_nothing_of_formats() -> None:
    dialects = Dialects()
    dialects.accept(FILES, SCHEMA)

    assert dialects.next(PLAN, SCHEMA, "bad request") == OBJECT
