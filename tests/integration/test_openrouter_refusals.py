"""What a server refuses, over real HTTP: simpler requests, and one clean sentence."""

from __future__ import annotations

from dataclasses import replace

import aiohttp
import pytest

from actors import errors
from tests.support.model_client import PLAN, Make, ask, ask_in_vain, failure, implement, text_of
from tests.support.openrouter import DEFAULT_PHASE, TEST_KEY, Answer, ScriptedOpenRouter

# --- simpler requests ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unsupported", "format_", "asks_usage", "refused"),
    [
        ({"json_schema"}, {"type": "json_object"}, True, 1),
        ({"response_format"}, None, True, 2),
        ({"json_schema", "stream_options"}, {"type": "json_object"}, False, 2),
        ({"response_format", "stream_options"}, None, False, 3),
    ],
)
async def test_a_plain_server_is_asked_more_simply_and_that_is_remembered(
    openrouter: ScriptedOpenRouter,
    make: Make,
    unsupported: set[str],
    format_: dict[str, str] | None,
    asks_usage: bool,
    refused: int,
) -> None:
    openrouter.unsupported = unsupported
    model = make(api_key="")

    for _ in range(2):
        assert text_of(await ask(model)) == DEFAULT_PHASE.plan_text()
    assert text_of(await ask(model, implement()))

    plans = openrouter.received("plan")
    assert len(plans) == refused + 2
    for plan in plans[refused:]:
        assert plan.body.get("response_format") == format_
        assert ("stream_options" in plan.body) is asks_usage


async def test_a_reasoning_model_is_bound_in_its_own_words_from_then_on(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    said = "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    openrouter.answer_next(Answer(status=400, message=said))
    model = make()

    for _ in range(2):
        assert text_of(await ask(model, replace(PLAN, max_tokens=321)))

    words = [
        {name: value for name, value in request.body.items() if name.startswith("max_")}
        for request in openrouter.requests
    ]
    assert words == [{"max_tokens": 321}, *[{"max_completion_tokens": 321}] * 2]
    assert all("response_format" in request.body for request in openrouter.requests)


@pytest.mark.parametrize(
    "refusal",
    [
        Answer(status=400, body=b""),
        Answer(status=422, body=b'{"detail": []}'),
        Answer(body=b'{"error": {"code": 400, "message": "no"}}'),
    ],
)
async def test_a_refusal_without_a_reason_is_met_by_simpler_requests(
    openrouter: ScriptedOpenRouter, make: Make, refusal: Answer
) -> None:
    for _ in range(3):
        openrouter.answer_next(refusal)

    assert text_of(await ask(make())) == DEFAULT_PHASE.plan_text()

    *_, last = openrouter.requests
    assert len(openrouter.requests) == 4
    assert last.body.keys() == {"model", "messages", "stream"}


async def test_a_refusal_for_another_reason_is_reported_in_the_end(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(Answer(status=400, message="prompt too long"), always=True)

    told, problem = await ask_in_vain(make())

    assert type(problem) is errors.ModelError
    assert "prompt too long" in str(problem)
    assert len(openrouter.requests) == 4
    assert told == []  # what was refused has used nothing


async def test_what_worked_before_is_refused_once(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    model = make()
    await ask(model)
    openrouter.answer_next(Answer(status=400, message="prompt too long"), always=True)

    assert "prompt too long" in str(await failure(model))
    assert len(openrouter.requests) == 2


async def test_an_unknown_model_is_not_asked_twice(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(Answer(status=400, message="x/y is not a valid model ID"))

    assert isinstance(await failure(make()), errors.ModelNotFound)
    assert len(openrouter.requests) == 1


# --- errors --------------------------------------------------------------------------------------

HTML = b"<html><head><title>502 Bad Gateway</title></head><body>\n<h1>nginx</h1></body></html>"

REFUSALS = [
    (Answer(status=401), errors.ModelUnauthorized, "401: scripted error"),
    (Answer(status=403), errors.ModelUnauthorized, "OPENROUTER_API_KEY"),
    (
        Answer(status=403, metadata={"reasons": ["violence"]}),
        errors.ModelRefused,
        "change the description",
    ),
    (Answer(status=402), errors.ModelPaymentRequired, "add credit"),
    (Answer(status=404), errors.ModelNotFound, "'test/model'"),
    (Answer(status=408), errors.ModelRateLimited, "try again later"),
    (Answer(status=429), errors.ModelRateLimited, "try again later"),
    (Answer(status=500), errors.ModelUnavailable, "500: scripted error"),
    (Answer(status=502, body=HTML, content_type="text/html"), errors.ModelUnavailable, "(502)"),
    (Answer(status=503, body=b""), errors.ModelUnavailable, "(503)"),
    (Answer(status=500, body=b"x" * 200_000), errors.ModelUnavailable, "x" * 200),
    (
        Answer(status=302, headers={"Location": "/elsewhere"}, body=b""),
        errors.ModelUnavailable,
        "redirect",
    ),
    (Answer(body=HTML, content_type="text/html"), errors.ModelUnavailable, "text/html"),
    (Answer(body=b'{"choices": []}'), errors.ModelUnavailable, "application/json"),
    (Answer(body=b'{"error": {"code": 402}}'), errors.ModelPaymentRequired, "credit"),
    (Answer(status=401, message=f"bad key {TEST_KEY}"), errors.ModelUnauthorized, "bad key [key]"),
]


@pytest.mark.parametrize(("answer", "expected", "words"), REFUSALS)
async def test_a_refusal_is_one_clean_sentence(
    openrouter: ScriptedOpenRouter,
    make: Make,
    answer: Answer,
    expected: type[errors.ModelError],
    words: str,
) -> None:
    openrouter.answer_next(answer)

    told, problem = await ask_in_vain(make())

    assert type(problem) is expected
    assert told == []
    assert words in str(problem)
    assert len(str(problem)) < 400
    assert str(problem).isprintable()
    assert "<" not in str(problem)
    assert len(openrouter.requests) == 1


async def test_a_key_that_cannot_be_sent_is_reported(make: Make) -> None:
    assert isinstance(await failure(make(api_key="sk\nor")), errors.ModelUnauthorized)


async def test_an_unknown_path_is_an_error_of_the_base_url(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    problem = await failure(make(base_url=openrouter.base_url + "/wrong"))

    assert isinstance(problem, errors.ModelNotFound)
    assert "OPENROUTER_BASE_URL" in str(problem)
    assert aiohttp.__version__ not in str(problem)
