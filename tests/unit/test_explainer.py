"""What the errors of a model's server mean: one clean sentence each, and which may be retried."""

from __future__ import annotations

from typing import Any

import pytest

from actors import errors
from actors.generation.explainer import Explainer, error_member, status_in

KEY = "sk-or-v1-secret"


def explain(status: int | None, error: Any = None, **values: Any) -> errors.ModelError:
    return Explainer(KEY).explain(status, error, "some/model", **values)


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


@pytest.mark.parametrize("status", [301, 400, 401, 402, 403, 404, 409, 413, 422])
def test_what_a_second_try_would_meet_again_is_not_retryable(status: int) -> None:
    assert not explain(status).retryable


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529, None])
def test_what_passes_is_retryable(status: int | None) -> None:
    assert explain(status).retryable
