"""What the chunks of a chat completion mean, and what the call has consumed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors import errors
from actors.generation import completion as module
from actors.generation.completion import Completion
from actors.generation.explainer import Explainer
from actors.generation.model import (
    ChatMessage,
    ModelEvent,
    ModelFinished,
    ModelRequest,
    ModelUsage,
)
from actors.generation.tokens import estimated_tokens

KEY = "sk-or-v1-secret"
PROMPT = "Plan a page that says hello to everybody."
REQUEST = ModelRequest(
    purpose="plan",
    model="asked/model",
    messages=(ChatMessage(role="user", content=PROMPT),),
    description="a page",
    phase_number=1,
)


def chunk(text: str | None = None, reason: str | None = None, **members: Any) -> str:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    return json.dumps({"id": "gen-1", "model": "served/model", "choices": [choice], **members})


def new() -> Completion:
    return Completion(REQUEST, Explainer(KEY))


def ended_by(
    answer: Completion, broken: errors.ModelError | None = None
) -> tuple[list[ModelEvent], errors.ModelError]:
    """Return the closing events and the error that they end with."""
    events: list[ModelEvent] = []
    try:
        for event in answer.end(broken):
            events.append(event)  # what came before the error counts
    except errors.ModelError as error:
        return events, error
    raise AssertionError("it ended as it should")


def guess(*received: str, model: str = "served/model") -> ModelUsage:
    """The usage that is estimated where these texts have come."""
    return ModelUsage(
        model=model,
        prompt_tokens=estimated_tokens(PROMPT),
        completion_tokens=estimated_tokens(*received),
        cost_usd=None,
        estimated=True,
    )


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
    assert list(answer.end())[-1] == ModelFinished(reason="stop")


# --- usage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 7}, (5, 7, None)),
        ({"prompt_tokens": 1, "completion_tokens": 0, "cost": 0}, (1, 0, 0.0)),
        ({"prompt_tokens": 1, "completion_tokens": 1, "cost": True}, (1, 1, None)),
        ({"prompt_tokens": 1, "completion_tokens": 1, "cost": -1}, (1, 1, None)),
        ({"prompt_tokens": 1, "completion_tokens": 1, "cost": 1e13}, (1, 1, None)),
        ({"prompt_tokens": 1, "completion_tokens": 1, "cost": "free"}, (1, 1, None)),
    ],
)
def test_usage_is_what_the_server_tells(usage: dict[str, Any], expected: Any) -> None:
    answer = new()
    answer.feed([json.dumps({"usage": usage}), chunk("x", "length")])

    first, last = answer.end()

    assert isinstance(first, ModelUsage)
    assert (first.prompt_tokens, first.completion_tokens, first.cost_usd) == expected
    assert (first.model, first.estimated) == ("served/model", False)
    assert last == ModelFinished(reason="length")


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        [],
        {"prompt_tokens": 5},
        {"prompt_tokens": None, "completion_tokens": 1},
        {"prompt_tokens": True, "completion_tokens": 1},
        {"prompt_tokens": 5, "completion_tokens": -1},
        {"prompt_tokens": 5, "completion_tokens": 10**13},
    ],
)
def test_usage_that_is_not_told_is_estimated(usage: Any) -> None:
    answer = new()
    answer.feed([chunk("const x"), chunk(" = 1;", "stop", usage=usage)])

    assert next(answer.end()) == guess("const x", " = 1;")


def test_a_cost_without_counts_is_kept() -> None:
    answer = new()
    answer.feed([chunk("x", "stop", usage={"cost": 0.5})])

    usage = next(answer.end())

    assert isinstance(usage, ModelUsage)
    assert (usage.cost_usd, usage.estimated) == (0.5, True)


def test_thoughts_are_not_shown_but_counted() -> None:
    answer = new()
    deltas = [{"reasoning": "let me think"}, {"reasoning_content": "about it", "content": "x"}]
    chunks = [json.dumps({"choices": [{"delta": delta}]}) for delta in deltas]

    assert answer.feed([*chunks, chunk(None, "stop")]) == "x"
    assert next(answer.end()) == guess("let me think", "about it", "x")


@pytest.mark.parametrize("texts", [[], ["const x"]])
def test_an_answer_that_breaks_off_has_used_what_came(texts: list[str]) -> None:
    answer = new()
    answer.feed([chunk(), *map(chunk, texts)])
    broken = errors.ModelStreamBroken("It broke.")

    assert ended_by(answer, broken) == ([guess(*texts)], broken)
    assert answer.has_text is bool(texts)


def test_an_answer_that_never_began_has_used_its_prompt() -> None:
    events, error = ended_by(new())

    assert events == [guess(model="asked/model")]
    assert isinstance(error, errors.ModelStreamBroken)


def test_an_answer_that_is_refused_has_used_nothing() -> None:
    answer = new()
    answer.feed([json.dumps({"error": {"code": 502, "message": "m"}})])

    events, error = ended_by(answer)

    assert events == []
    assert isinstance(error, errors.ModelUnavailable)


@pytest.mark.parametrize(
    "before", [chunk("x"), '{"choices": [{"delta": {"reasoning": "hm"}}]}', '{"usage": {}}']
)
def test_an_answer_that_fails_after_it_began_has_used_something(before: str) -> None:
    answer = new()
    answer.feed([before, json.dumps({"error": {"code": 502, "message": "m"}})])

    events, _ = ended_by(answer)

    assert [type(event) for event in events] == [ModelUsage]


# --- breaks --------------------------------------------------------------------------------------


def test_an_answer_without_a_finish_reason_is_broken() -> None:
    answer = new()
    answer.feed([chunk("x"), "[DONE]"])

    events, error = ended_by(answer)

    assert events == [guess("x")]
    assert isinstance(error, errors.ModelStreamBroken)
    assert "before it was complete" in str(error)


def test_a_filtered_answer_is_refused_after_its_usage() -> None:
    answer = new()
    answer.feed([chunk("x", "content_filter")])

    events, error = ended_by(answer)

    assert events == [guess("x")]
    assert isinstance(error, errors.ModelRefused)
    assert "filtered" in str(error)


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
