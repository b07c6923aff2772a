"""What the errors of a model's server mean: status and body in, one clean sentence out. No I/O.

The format is OpenAI's, with what OpenRouter adds: `metadata.raw` for the words of the provider
behind it, `metadata.reasons` when a moderation rejects the input.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from actors.errors import (
    ModelError,
    ModelNotFound,
    ModelPaymentRequired,
    ModelRateLimited,
    ModelRefused,
    ModelStreamBroken,
    ModelUnauthorized,
    ModelUnavailable,
)

MAX_DETAIL_CHARS = 200  # of the server's own words in our messages

_GARBAGE = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff\u2028\u2029]+")
_UNKNOWN_MODEL = re.compile(r"not a valid model|model .*(not found|not exist|unknown)", re.I)


class Explainer:
    """Turns a server's errors into ours; it knows the key only to keep it out of the messages."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def explain(
        self, status: int | None, error: Any, model: str, retry_after_seconds: float | None = None
    ) -> ModelError:
        """Map a status (None where unknown) and the server's `error` member to our error."""
        said = self._detail(error)
        note = f" ({': '.join(filter(None, [str(status or ''), said]))})" if status or said else ""
        match status:
            case 403 if _is_moderated(error):
                return ModelRefused(
                    f"The model's provider rejects the request{note}; change the description and "
                    "generate again."
                )
            case 401 | 403:
                verb = "refused the key" if self._api_key else "wants a key"
                return ModelUnauthorized(
                    f"The model's server {verb}{note}; check OPENROUTER_API_KEY."
                )
            case 402:
                return ModelPaymentRequired(
                    f"The model's account has no credit left{note}; add credit and generate again."
                )
            case 404:
                return _unknown_model(model, note)
            case 400 if _UNKNOWN_MODEL.search(said):
                return _unknown_model(model, note)
            case 408 | 429:
                pause = f" of {retry_after_seconds:g} seconds" if retry_after_seconds else ""
                return ModelRateLimited(
                    f"The model's server asks for a pause{pause}{note}; try again later.",
                    retry_after_seconds=retry_after_seconds,
                )
            case int() if status >= 500:
                return ModelUnavailable(f"The model's server failed{note}; try again later.")
            case int() if 300 <= status < 400:
                return ModelUnavailable(
                    f"The model's server answered with a redirect{note}; check "
                    "OPENROUTER_BASE_URL.",
                    retryable=False,
                )
            case int():
                return ModelError(
                    f"The model's server refused the request{note}; check CODEGEN_MODEL and "
                    "OPENROUTER_BASE_URL."
                )
            case _:
                return ModelStreamBroken(f"The model's answer broke off{note}.")

    def _detail(self, error: Any) -> str:
        """Return the server's own words, fit for a sentence of ours: short, clean, without key."""
        words = [error] if isinstance(error, str) else []
        if isinstance(error, Mapping):
            metadata = error.get("metadata")
            raw = metadata.get("raw") if isinstance(metadata, Mapping) else None
            words = [text for text in (error.get("message"), raw) if isinstance(text, str)]
        said = ": ".join(words)
        if self._api_key:
            said = said.replace(self._api_key, "[key]")
        said = _GARBAGE.sub(" ", said).strip()
        if said.startswith("<"):  # markup says nothing to a user
            return ""
        return said[:MAX_DETAIL_CHARS].rstrip(" .")


def error_member(body: bytes) -> Any:
    """Return `error` of a JSON body, the body itself if it has a message or is plain text."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode(errors="replace")
    if not isinstance(value, Mapping):
        return None
    return value.get("error", value if "message" in value else None)


def status_in(error: Any) -> int | None:
    """Return the HTTP status that an error member names as its code, if it does."""
    code = error.get("code") if isinstance(error, Mapping) else None
    if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) == 3:
        code = int(code)
    return code if isinstance(code, int) and 300 <= code <= 599 else None


def _is_moderated(error: Any) -> bool:
    """Say whether a 403 is about the input: OpenRouter then names `reasons` in its metadata."""
    metadata = error.get("metadata") if isinstance(error, Mapping) else None
    return isinstance(metadata, Mapping) and bool(metadata.get("reasons"))


def _unknown_model(model: str, note: str) -> ModelNotFound:
    return ModelNotFound(
        f"The model's server does not know the model {model!r}{note}; check CODEGEN_MODEL and "
        "OPENROUTER_BASE_URL."
    )
