"""Calls that failed before their first text are made again, and by other models after that.

Once text has been seen only the consumer can tell what to do with it, so a later failure is
raised. What waiting cannot mend (a wrong key, no credit, an unknown model) is raised at once.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from actors.errors import ModelError, ModelRateLimited
from actors.generation.budget import answer_bound
from actors.generation.model import (
    Model,
    ModelEvent,
    ModelFacts,
    ModelRequest,
    ModelRetry,
    ModelText,
)

log = logging.getLogger(__name__)

ATTEMPTS = 5  # of one model: the pauses between them are 15 s at most, 7.5 s on average
FIRST_PAUSE_SECONDS = 1.0
PAUSE_FACTOR = 2.0
MAX_RETRY_AFTER_SECONDS = 60.0  # limits are mostly per minute; beyond that a person is asked
PATIENCE_SECONDS = 300.0  # of one model: a server that is silent takes minutes for each failure


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a model is asked, and after which pauses. Durations are in seconds."""

    attempts: int = ATTEMPTS
    first_pause_seconds: float = FIRST_PAUSE_SECONDS
    max_retry_after_seconds: float = MAX_RETRY_AFTER_SECONDS
    patience_seconds: float = PATIENCE_SECONDS

    def pause_seconds(
        self, error: ModelError, failures: int, elapsed_seconds: float, chance: float
    ) -> float | None:
        """Return the pause after the `failures`-th failure of a model, or None to give it up.

        `chance`, from 0 to 1, spreads the clients that failed at the same moment over the whole
        pause ("full jitter", https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
        A server that asks for more patience than we have is not asked again: it would only answer
        the same.
        """
        if failures >= self.attempts or elapsed_seconds >= self.patience_seconds:
            return None
        pause = chance * self.first_pause_seconds * PAUSE_FACTOR ** (failures - 1)
        asked = error.retry_after_seconds if isinstance(error, ModelRateLimited) else None
        if asked is None:
            return pause
        return asked + pause if asked <= self.max_retry_after_seconds else None


class RetryingModel:
    """The `Model` port over a model whose `stream` is one call.

    `fallbacks` are the ids that are tried, in this order, once the requested model is given up.
    """

    def __init__(
        self,
        model: Model,
        *,
        fallbacks: Sequence[str] = (),
        policy: RetryPolicy = RetryPolicy(),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._model = model
        self._fallbacks = tuple(fallbacks)
        self._policy = policy
        self._sleep = sleep

    @property
    def is_demo(self) -> bool:
        return self._model.is_demo

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Yield the events of the first call that gets as far as some text; see `Model.stream`.

        A `ModelRetry` precedes each further call, the usage of a failed one precedes that.
        """
        calls = _Calls(request.model, self._fallbacks, self._policy)
        while True:
            has_begun = False
            try:
                call = await self._request_to(calls.model, request)
                async with aclosing(self._model.stream(call)) as events:
                    async for event in events:
                        has_begun = has_begun or isinstance(event, ModelText)
                        yield event
                return
            except ModelError as error:
                if has_begun or not error.retryable:
                    raise
                retry = calls.after(error)
                if retry is None:
                    raise
            log.warning("%s Asking %s in %.1f s", retry.reason, retry.model, retry.wait_seconds)
            yield retry
            await self._sleep(retry.wait_seconds)

    async def _request_to(self, model: str, request: ModelRequest) -> ModelRequest:
        """Return the request as another model can take it: its answers may have to be shorter."""
        asked = dataclasses.replace(request, model=model)
        if model == request.model or request.max_tokens is None:
            return asked
        bound = answer_bound(request, await self.facts(model), request.max_tokens)
        return dataclasses.replace(asked, max_tokens=bound)

    async def facts(self, model: str) -> ModelFacts:
        """Return what is known of a model."""
        return await self._model.facts(model)

    async def close(self) -> None:
        """Close idle connections."""
        await self._model.close()


class _Calls:
    """The calls for one request: how many there were, and which model is asked next."""

    def __init__(self, model: str, fallbacks: Sequence[str], policy: RetryPolicy) -> None:
        self.model = model
        self._made = 0
        self._waiting = [name for name in fallbacks if name != model]
        self._policy = policy
        self._failures = 0  # of this model
        self._started = time.monotonic()  # with this model

    def after(self, error: ModelError) -> ModelRetry | None:
        """Return what follows a failure; None where every model has been given up."""
        self._made += 1
        self._failures += 1
        elapsed = time.monotonic() - self._started
        chance = random.random()  # noqa: S311  # spreads the load, protects nothing
        pause = self._policy.pause_seconds(error, self._failures, elapsed, chance)
        if pause is None:
            if not self._waiting:
                return None
            self.model = self._waiting.pop(0)
            self._failures, self._started = 0, time.monotonic()
        return ModelRetry(
            attempt=self._made + 1, wait_seconds=pause or 0.0, reason=str(error), model=self.model
        )
