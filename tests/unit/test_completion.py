"""What the chunks and the errors of a chat completion mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors import errors
from actors.generation import completion as module
from actors.generation.completion import Completion, Explainer, error_member, status_in
from actors.generation.model import ModelFinished, ModelUsage

KEY = "sk-or-v1-secret"


def chunk(text: str | None = None, reason: str | None = None, **members: Any) -> str:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    return json.dumps({"id": "gen-1", "model": "served/model", "choices": [choice], **members})


def new() -> Completion:
    return Completion("asked/model", Explainer(KEY))


def explain(status: int | None, error: Any = None, **values: Any) -> errors.ModelError:
    return Explainer(KEY).explain(status, error, "some/model", **values)


# --- chunks --------------------------------------------------------------------------------------


def test_text_comes_first_then_usage_then_the_end() -> None:
    answer = new()
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "cost": 0.5}

    assert answer.feed([chunk("Hel"), chunk("lo")]) == "Hello"
    assert answer.feed([chunk("!", "stop"), chunk(usage=usage, choices=[]), "[DONE]"]) == "!"

    assert answer.is_done
    assert list(answer.end()) == [
        ModelUsage(model="served/model", prompt_tokens=3, completion_tokens=2, cost_usd=0.5),
        ModelFinished(reason="stop"),
    ]


def test_nothing_is_read_after_done() -> None:
    answer = new()

    assert answer.feed([chunk("a", "stop"), "[DONE]", chunk("b")]) == "a"
    assert answer.feed([chunk("c")]) == ""


@pytest.mark.parametrize(
    "data",
    [
        "",
        "{}",
        '{"choices": null}',
        '{"choices": []}',
        '{"choices": ["x"]}',
        '{"choices": [{"delta": null}]}',
        '{"choices": [{"delta": {"role": "assistant", "content": null}}]}',
        '{"choices": [{"delta": {"content": ["x"]}}]}',
        '{"choices": [{"delta": {"reasoning": "hm"}, "finish_reason": ""}]}',
    ],
)
def test_a_chunk_without_text_is_no_text(data: str) -> None:
    answer = new()

    assert answer.feed([data, chunk("x", "stop")]) == "x"
    assert list(answer.end()) == [ModelFinished(reason="stop")]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({}, (0, 0, None)),
        ({"prompt_tokens": 5, "completion_tokens": 7}, (5, 7, None)),
        ({"prompt_tokens": None, "completion_tokens": -1, "cost": "free"}, (0, 0, None)),
        ({"prompt_tokens": 1, "completion_tokens": 1, "cost": 0}, (1, 1, 0.0)),
    ],
)
def test_usage_is_read_as_far_as_it_goes(usage: dict[str, Any], expected: Any) -> None:
    answer = new()
    answer.feed([json.dumps({"usage": usage}), chunk("x", "length")])

    first, last = answer.end()

    assert isinstance(first, ModelUsage)
    assert (first.prompt_tokens, first.completion_tokens, first.cost_usd) == expected
    assert first.model == "asked/model"
    assert last == ModelFinished(reason="length")


def test_an_answer_without_a_finish_reason_is_broken() -> None:
    answer = new()
    answer.feed([chunk("x"), "[DONE]"])

    with pytest.raises(errors.ModelStreamBroken, match="before it was complete"):
        list(answer.end())


def test_a_filtered_answer_is_refused_after_its_usage() -> None:
    answer = new()
    answer.feed([chunk("x", "content_filter"), json.dumps({"usage": {"prompt_tokens": 9}})])

    end = answer.end()

    assert isinstance(next(end), ModelUsage)
    with pytest.raises(errors.ModelRefused, match="filtered"):
        next(end)


@pytest.mark.parametrize("data", ["{", "[]", "null", "text"])
def test_a_chunk_that_is_no_json_object_breaks_the_answer(data: str) -> None:
    answer = new()

    assert answer.feed([chunk("x"), data, chunk("y")]) == "x"
    with pytest.raises(errors.ModelStreamBroken, match="not JSON"):
        answer.check()


ERROR_CHUNKS: dict[str, Any] = {
    "top level": {"error": {"code": 502, "message": "gone"}},
    "code as text": {"error": {"code": "502", "message": "gone"}},
    "code as a word": {"error": {"code": "server_error", "message": "gone"}},
    "a string": {"error": "gone"},
    "vLLM": {"object": "error", "message": "gone", "code": 500},
    "in the choice": {"choices": [{"error": {"code": 429, "message": "gone"}}]},
    "finish reason error": {"choices": [{"finish_reason": "error", "error": {"message": "gone"}}]},
}


@pytest.mark.parametrize("error", ERROR_CHUNKS.values(), ids=ERROR_CHUNKS)
def test_an_error_after_some_text_breaks_the_answer(error: Any) -> None:
    answer = new()

    assert answer.feed([chunk("x"), json.dumps(error), chunk("y")]) == "x"
    with pytest.raises(errors.ModelStreamBroken, match=r"broke off \(gone\)"):
        answer.check()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (429, errors.ModelRateLimited),
        (502, errors.ModelUnavailable),
        (402, errors.ModelPaymentRequired),
        (401, errors.ModelUnauthorized),
        (True, errors.ModelStreamBroken),
        (None, errors.ModelStreamBroken),
        (12, errors.ModelStreamBroken),
    ],
)
def test_an_error_before_any_text_is_what_its_code_says(
    code: Any, expected: type[errors.ModelError]
) -> None:
    answer = new()
    answer.feed([json.dumps({"error": {"code": code, "message": "m"}})])

    with pytest.raises(errors.ModelError) as caught:
        answer.check()

    assert type(caught.value) is expected


def test_an_error_that_no_retry_mends_keeps_its_kind_in_the_middle() -> None:
    answer = new()
    answer.feed([chunk("x"), json.dumps({"error": {"code": 402, "message": "m"}})])

    with pytest.raises(errors.ModelPaymentRequired):
        answer.check()


def test_an_endless_answer_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ANSWER_CHARS", 10)
    answer = new()

    answer.feed([chunk("x" * 11)])

    with pytest.raises(errors.ModelStreamBroken, match="longer than 10 characters"):
        answer.check()


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error", "expected", "message"),
    [
        (
            401,
            {"message": "No auth credentials found"},
            errors.ModelUnauthorized,
            "The model's server refused the key (401: No auth credentials found); check "
            "OPENROUTER_API_KEY.",
        ),
        (403, {}, errors.ModelUnauthorized, "refused the key (403)"),
        (
            403,
            {"message": "flagged", "metadata": {"reasons": ["violence"]}},
            errors.ModelRefused,
            "rejects the request (403: flagged)",
        ),
        (402, {"message": "Insufficient credits."}, errors.ModelPaymentRequired, "no credit left"),
        (404, {"message": "No endpoints found"}, errors.ModelNotFound, "'some/model'"),
        (400, {"message": "x/y is not a valid model ID"}, errors.ModelNotFound, "CODEGEN_MODEL"),
        (400, {"message": "bad"}, errors.ModelError, "refused the request (400: bad)"),
        (408, None, errors.ModelRateLimited, "asks for a pause (408)"),
        (429, {"message": "slow"}, errors.ModelRateLimited, "asks for a pause (429: slow)"),
        (500, {"message": "oops"}, errors.ModelUnavailable, "failed (500: oops)"),
        (503, "busy", errors.ModelUnavailable, "failed (503: busy)"),
        (307, None, errors.ModelUnavailable, "OPENROUTER_BASE_URL"),
        (None, None, errors.ModelStreamBroken, "The model's answer broke off."),
    ],
)
def test_a_status_becomes_one_clean_sentence(
    status: int | None, error: Any, expected: type[errors.ModelError], message: str
) -> None:
    problem = explain(status, error)

    assert type(problem) is expected
    assert message in str(problem)
    assert str(problem).endswith(".")
    assert "\n" not in str(problem)


def test_the_asked_pause_is_kept_and_told() -> None:
    problem = explain(429, {"message": "slow"}, retry_after_seconds=7.0)

    assert isinstance(problem, errors.ModelRateLimited)
    assert problem.retry_after_seconds == 7.0
    assert "a pause of 7 seconds" in str(problem)


def test_without_a_key_the_sentence_says_so() -> None:
    assert "wants a key (401)" in str(Explainer("").explain(401, None, "m"))


@pytest.mark.parametrize(
    ("error", "note"),
    [
        ({"message": "a\x00b\r\n\tc\u2028d"}, "(500: a b c d)"),
        ({"message": "m" * 500}, "(500: " + "m" * 200 + ")"),
        ("<html><h1>Bad gateway</h1></html>", "(500)"),
        ("  <!doctype html>", "(500)"),
        ({"message": ["odd"]}, "(500)"),
        (["odd"], "(500)"),
        (
            {"message": "Provider returned error", "metadata": {"raw": "overloaded."}},
            "(500: Provider returned error: overloaded)",
        ),
        ({"message": f"bad key {KEY}!"}, "(500: bad key [key]!)"),
        ({"message": "x" * 195 + KEY}, "(500: " + "x" * 195 + "[key])"),
    ],
)
def test_the_servers_words_are_short_and_clean_and_without_the_key(error: Any, note: str) -> None:
    assert str(explain(500, error)) == f"The model's server failed {note}; try again later."


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"error": {"message": "m"}}', {"message": "m"}),
        (b'{"message": "m"}', {"message": "m"}),
        (b"[1]", None),
        (b'{"choices": []}', None),
        (b"plain \xff", "plain \ufffd"),
        (b"", ""),
    ],
)
def test_the_error_is_found_in_any_body(body: bytes, expected: Any) -> None:
    assert error_member(body) == expected


def test_a_status_is_read_from_an_error_only_where_it_is_one() -> None:
    codes = [502, "429", "x", 12, None, 2.5]
    assert [status_in({"code": code}) for code in codes] == [502, 429, None, None, None, None]
    assert status_in("text") is None
