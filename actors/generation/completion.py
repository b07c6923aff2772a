"""One streamed chat completion: its chunks, its end, and what its errors mean. No I/O.

The format is OpenAI's, with what OpenRouter adds: `cost` in the usage chunk, error chunks in the
middle of a stream (https://openrouter.ai/docs/api-reference/streaming), `metadata.raw` for the
words of the provider behind it, `metadata.reasons` when a moderation rejects the input.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
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
from actors.generation.model import ModelEvent, ModelFinished, ModelUsage

MAX_DETAIL_CHARS = 200  # of the server's own words in our messages
MAX_ANSWER_CHARS = 8_000_000

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
                    f"The model's server answered with a redirect{note}; check OPENROUTER_BASE_URL."
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


class Completion:
    """Reads the chunks of one answer, without I/O.

    What breaks the answer is kept in `problem`, so that the text before it is still delivered;
    `check` raises it.
    """

    def __init__(self, model: str, explainer: Explainer) -> None:
        self._model = model
        self._explainer = explainer
        self._chars = 0
        self._usage: ModelUsage | None = None
        self.finish_reason: str | None = None
        self.problem: ModelError | None = None
        self.is_done = False

    def feed(self, chunks: Iterable[str]) -> str:
        """Take the data of some SSE events and return their text."""
        texts: list[str] = []
        for data in chunks:
            if self.is_done or self.problem is not None:
                break
            if data == "[DONE]":
                self.is_done = True
            elif data:
                texts.append(self._take(data))
        if self._chars > MAX_ANSWER_CHARS:
            self.problem = ModelStreamBroken(
                f"The model's answer is longer than {MAX_ANSWER_CHARS:,} characters."
            )
        return "".join(texts)

    def check(self) -> None:
        """Raise what broke the answer, if anything did."""
        if self.problem is not None:
            raise self.problem

    def end(self) -> Iterator[ModelEvent]:
        """Yield the closing events; raises if the answer did not end as it should."""
        self.check()
        if self.finish_reason is None:
            raise ModelStreamBroken("The model's answer ended before it was complete.")
        if self._usage is not None:
            yield self._usage
        if self.finish_reason == "content_filter":
            raise ModelRefused(
                "The model's provider filtered the answer; change the description and generate "
                "again."
            )
        yield ModelFinished(reason=self.finish_reason)

    def _take(self, data: str) -> str:
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            chunk = None
        if not isinstance(chunk, dict):
            self.problem = ModelStreamBroken("The model's server sent a chunk that is not JSON.")
            return ""
        if chunk.get("error") or chunk.get("object") == "error":  # the latter is vLLM's way
            self._fail(chunk.get("error") or chunk)
            return ""
        if isinstance(chunk.get("usage"), dict):
            self._usage = _usage(chunk["usage"], str(chunk.get("model") or self._model))
        choices = chunk.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            return self._take_choice(choices[0])
        return ""

    def _take_choice(self, choice: Mapping[str, Any]) -> str:
        reason = choice.get("finish_reason")
        if choice.get("error") or reason == "error":
            self._fail(choice.get("error"))
            return ""
        if isinstance(reason, str) and reason:
            self.finish_reason = reason
        delta = choice.get("delta")
        if not isinstance(delta, Mapping):
            return ""
        text = delta.get("content")
        if not isinstance(text, str):
            return ""
        self._chars += len(text)
        return text

    def _fail(self, error: Any) -> None:
        """Keep an error chunk: before any text as if it were the status, later as a break."""
        status = status_in(error)
        problem = self._explainer.explain(status, error, self._model)
        if problem.retryable and self._chars:
            problem = self._explainer.explain(None, error, self._model)
        self.problem = problem


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


def _usage(usage: Mapping[str, Any], model: str) -> ModelUsage:
    cost = usage.get("cost")
    return ModelUsage(
        model=model,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        cost_usd=float(cost) if isinstance(cost, int | float) else None,
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
