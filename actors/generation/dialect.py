"""What a server understands of OpenAI's chat completions, found out by asking. No I/O.

Servers refuse members of a request that they do not know with 400 or 422 (LM Studio: json_object;
Mistral and Databricks: stream_options; older ones: response_format at all), so a refused request
is sent again in simpler forms. The prompts say in words what a format would enforce, and answers
are checked in any case. Usage that a server does not tell is estimated.

OpenAI's reasoning models refuse `max_tokens` and name the member that they want instead
(https://platform.openai.com/docs/api-reference/chat/create), which other servers do not know.

OpenRouter tells usage and cost at the end of every stream without being asked
(https://openrouter.ai/docs/use-cases/usage-accounting); others need `stream_options`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Literal

from actors.generation.model import ModelRequest


class Format(Enum):
    """How an answer is asked to be JSON, the strictest first."""

    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    PROMPT_ONLY = "prompt"


_SIMPLER = {Format.JSON_SCHEMA: Format.JSON_OBJECT, Format.JSON_OBJECT: Format.PROMPT_ONLY}


@dataclass(frozen=True, slots=True)
class Dialect:
    """One form of a request; `format` matters only to one that has a schema."""

    format: Format = Format.JSON_SCHEMA
    asks_usage: bool = True
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"

    def body(self, request: ModelRequest) -> dict[str, Any]:
        """Return the request as it is sent."""
        body: dict[str, Any] = {
            "model": request.model,
            "messages": [{"role": m.role, "content": m.content} for m in request.messages],
            "stream": True,
        }
        if self.asks_usage:
            body["stream_options"] = {"include_usage": True}
        if request.json_schema is not None and self.format is not Format.PROMPT_ONLY:
            body["response_format"] = self._response_format(request)
        if request.max_tokens is not None:
            body[self.limit] = request.max_tokens
        return body

    def _response_format(self, request: ModelRequest) -> dict[str, Any]:
        if self.format is Format.JSON_OBJECT:
            return {"type": "json_object"}
        schema = {"name": request.schema_name, "strict": True, "schema": request.json_schema}
        return {"type": "json_schema", "json_schema": schema}

    def simpler(self, refusal: str, request: ModelRequest) -> Dialect | None:
        """Return what to try next; None if nothing simpler is left.

        The format goes first, unless the refusal is about another member alone. A bound on the
        answer is worded in the other way only where the refusal names it.
        """
        if self.may_reword_limit(refusal, request):
            return replace(self, limit="max_completion_tokens")
        simpler = _SIMPLER.get(self.format) if request.json_schema is not None else None
        is_about_usage = _names_usage(refusal) and not _names_format(refusal)
        if simpler is not None and not (is_about_usage and self.asks_usage):
            return replace(self, format=simpler)
        return replace(self, asks_usage=False) if self.asks_usage else None

    def may_reword_limit(self, refusal: str, request: ModelRequest) -> bool:
        """Say whether the refusal asks for the other word for a bound that the request has."""
        is_new = self.limit == "max_tokens" and request.max_tokens is not None
        return is_new and "max_completion_tokens" in refusal


class Dialects:
    """What each model of one server has been found to understand."""

    def __init__(self) -> None:
        self._found: dict[str, Dialect] = {}
        self._accepted: set[tuple[str, bool]] = set()  # the model, whether with a schema

    def first(self, model: str) -> Dialect:
        """Return the dialect to begin with."""
        return self._found.get(model, Dialect())

    def next(self, request: ModelRequest, refused: Dialect, refusal: str) -> Dialect | None:
        """Return the dialect to try after a refusal (its text), or None to believe it.

        What a model has accepted before is refused for another reason, unless the refusal names
        it: behind one name there may be several providers.
        """
        is_old = (request.model, request.json_schema is not None) in self._accepted
        names_it = _names_usage(refusal) or _names_format(refusal)
        if is_old and not names_it and not refused.may_reword_limit(refusal, request):
            return None
        return refused.simpler(refusal, request)

    def accept(self, request: ModelRequest, dialect: Dialect) -> None:
        """Keep what has been accepted."""
        self._found[request.model] = dialect
        self._accepted.add((request.model, request.json_schema is not None))


def _names_usage(refusal: str) -> bool:
    return "stream_options" in refusal or "include_usage" in refusal


def _names_format(refusal: str) -> bool:
    return any(word in refusal for word in ("response_format", "json_schema", "json_object"))
