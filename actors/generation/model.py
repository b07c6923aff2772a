"""The port to a language model: one streaming call, four kinds of answer events.

Adapters: `openrouter.py` (any OpenAI-compatible server, or a recording of one) and `demo.py` (built
in, offline); `retry.py` wraps one and repeats calls that failed before their first text.
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
class ModelFacts:
    """What is known of a model; None is unknown. Prices are in USD per token."""

    context_tokens: int | None = None  # prompt and answer together
    max_completion_tokens: int | None = None
    prompt_usd: float | None = None
    completion_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRetry:
    """A call failed before its first text; `model` is asked next, after `wait_seconds`.

    `attempt` counts the calls made for this request, that next one included; `reason` is a
    sentence. It comes before the pause.
    """

    attempt: int
    wait_seconds: float
    reason: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelText:
    """More text of the answer."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUsage:
    """What one call consumed; `cost_usd` is None where nobody knows.

    There is one for each answer that has begun, also if it breaks off. `estimated` says that the
    server has not told: the counts are from `tokens.py`, or (`meter.py`) the cost from the prices.
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


ModelEvent = ModelRetry | ModelText | ModelUsage | ModelFinished


class Model(Protocol):
    """A language model. Errors are `actors.errors.ModelError` and its children."""

    @property
    def is_demo(self) -> bool: ...

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Make one call and yield its answer; exactly one `ModelFinished` ends it.

        Cancelling the consumer (or `aclose()`) closes the connection to the server at once; what
        the call has consumed by then is not told. A stream that ends without `ModelFinished` has
        raised an error.
        """
        ...

    async def facts(self, model: str) -> ModelFacts:
        """Return what is known of a model; never raises ServiceError."""
        ...

    async def close(self) -> None:
        """Close idle connections."""
        ...
