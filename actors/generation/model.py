"""The port to a language model: one streaming call, three kinds of answer events.

Adapters: `openrouter.py` (any OpenAI-compatible server) and `demo.py` (built in, offline).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """One message of the conversation that is sent."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One call. `json_schema` (with `schema_name`) asks for structured output.

    `description` and `phase_number` repeat what the messages say in prose; the demo model reads
    them instead of the prose.
    """

    purpose: Literal["plan", "implement"]
    model: str
    messages: tuple[ChatMessage, ...]
    description: str
    phase_number: int
    json_schema: Mapping[str, Any] | None = None
    schema_name: str = ""
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelText:
    """More text of the answer."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUsage:
    """What the call consumed; `cost_usd` is None where nobody knows.

    `estimated` says that the server has not told: the counts are from `tokens.py`.
    """

    model: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    estimated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFinished:
    """The answer's regular end: the last event. `reason` is the server's word (stop, length)."""

    reason: str


ModelEvent = ModelText | ModelUsage | ModelFinished


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What is known of a model; prices are in USD per token. None is unknown."""

    context_tokens: int | None = None
    max_completion_tokens: int | None = None
    prompt_usd: float | None = None
    completion_usd: float | None = None


class Model(Protocol):
    """A language model. Errors are `actors.errors.ModelError` and its children."""

    @property
    def is_demo(self) -> bool: ...

    async def facts(self, model: str) -> ModelFacts:
        """Return what is known of a model; unknown facts are no error."""
        ...

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Make one call and yield its answer; exactly one `ModelFinished` ends it.

        Cancelling the consumer (or `aclose()`) closes the connection to the server at once.
        A stream that ends without `ModelFinished` has raised an error.
        """
        ...

    async def close(self) -> None:
        """Close idle connections."""
        ...
