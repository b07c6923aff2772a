"""The meter: every model call is announced before it is made, and accounted for whatever becomes
of it.

A server tells what a call consumed at the end of its answer. Where it does not get there (the run
is cancelled, the process dies) the next `usage` is an estimate.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from actors import events as ev
from actors.generation.budget import Budget, answer_bound, prompt_tokens_of
from actors.generation.model import (
    Model,
    ModelEvent,
    ModelFacts,
    ModelRequest,
    ModelRetry,
    ModelText,
    ModelUsage,
)
from actors.generation.tokens import CHARS_PER_TOKEN
from actors.state import Run

#: Of an answer, by its purpose, where a cap on cost is set; a longer one is asked to go on.
MAX_TOKENS = {"plan": 8_000, "implement": 32_000}


class Meter:
    """One run's calls, one at a time."""

    def __init__(self, model: Model, budget: Budget) -> None:
        self._model = model
        self._budget = budget
        self._facts = ModelFacts()
        self._received_chars = 0
        self._usage: ModelUsage | None = None
        self._is_broken_off = False  # by us: the last call has not come to its end, nor failed
        self._is_made = False

    async def facts(self, model: str) -> ModelFacts:
        """Return what is known of a model."""
        return await self._model.facts(model)

    async def announce(self, request: ModelRequest, run: Run) -> tuple[ModelRequest, ev.ModelCall]:
        """Return the request as it is to be made, and what is to be durable before.

        Raises BudgetExceeded and PriceUnknown, having reserved nothing.
        """
        self._received_chars, self._usage, self._is_broken_off = 0, None, False
        announced = await self._announce(request, run)
        self._is_broken_off, self._is_made = True, False  # so far
        return announced

    async def _announce(self, request: ModelRequest, run: Run) -> tuple[ModelRequest, ev.ModelCall]:
        self._facts = await self._model.facts(request.model)
        if self._budget.is_capped:  # a call without a bound has no worst case
            bound = answer_bound(request, self._facts, MAX_TOKENS[request.purpose])
            request = replace(request, max_tokens=bound)
            await self._budget.allow(request, self._facts, run)
        return request, ev.ModelCall(
            purpose=request.purpose,
            model=request.model,
            prompt_tokens=prompt_tokens_of(request),
            prompt_usd=self._facts.prompt_usd,
            completion_usd=self._facts.completion_usd,
        )

    async def announce_again(
        self, request: ModelRequest, retry: ModelRetry, run: Run
    ) -> tuple[ev.ModelRetry, ev.ModelCall]:
        """Return what viewers are told before a call is made again, maybe by another model.

        Raises BudgetExceeded and PriceUnknown.
        """
        _, call = await self._announce(replace(request, model=retry.model), run)
        return retry_event(retry), call

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Make the announced call; usage without a cost gets that of the known prices.

        After a `ModelRetry` another call follows, which is to be announced as well.
        """
        self._received_chars, self._usage, self._is_broken_off = 0, None, True
        self._is_made = True
        try:
            async with aclosing(self._model.stream(request)) as answer:
                async for part in answer:
                    match part:
                        case ModelText():
                            self._received_chars += len(part.text)
                            yield part
                        case ModelUsage():
                            self._usage = self._priced(part)
                            yield self._usage
                        case ModelRetry():
                            self._received_chars, self._usage = 0, None
                            yield part
                        case _:
                            yield part
        except Exception:
            self._is_broken_off = False
            raise
        self._is_broken_off = False

    def _priced(self, usage: ModelUsage) -> ModelUsage:
        if usage.cost_usd is not None:
            return usage
        facts = self._facts
        cost = cost_usd(
            usage.prompt_tokens, usage.completion_tokens, facts.prompt_usd, facts.completion_usd
        )
        return replace(usage, cost_usd=cost, estimated=usage.estimated or cost is not None)

    def unsettled(self, run: Run) -> list[ev.Usage]:
        """Return the usage of the call that was broken off, if one was and it is not yet told."""
        if run.call is None:
            return []
        if self._usage is not None:
            return [usage_event(run.call.purpose, self._usage)]
        if not self._is_broken_off:
            return []
        call = run.call if self._is_made else replace(run.call, prompt_tokens=0)
        return [estimated_usage(call, round(self._received_chars / CHARS_PER_TOKEN))]


def usage_event(purpose: str, usage: ModelUsage) -> ev.Usage:
    """Return what viewers are told of a call's usage."""
    return ev.Usage(
        purpose=purpose,
        model=usage.model,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cost_usd=usage.cost_usd,
        estimated=usage.estimated,
    )


def retry_event(retry: ModelRetry) -> ev.ModelRetry:
    """Return what viewers are told before a call is made again."""
    return ev.ModelRetry(
        attempt=retry.attempt,
        wait_seconds=round(retry.wait_seconds, 1),
        reason=retry.reason,
        model=retry.model,
    )


def usage_of_lost_call(call: ev.ModelCall, saved_chars: int) -> ev.Usage:
    """Return the usage of a call whose process died: of its answer so much was saved."""
    return estimated_usage(call, round(saved_chars / CHARS_PER_TOKEN))


def estimated_usage(call: ev.ModelCall, completion_tokens: int) -> ev.Usage:
    """Return the estimated usage of a call."""
    return ev.Usage(
        purpose=call.purpose,
        model=call.model,
        prompt_tokens=call.prompt_tokens,
        completion_tokens=completion_tokens,
        cost_usd=cost_usd(
            call.prompt_tokens, completion_tokens, call.prompt_usd, call.completion_usd
        ),
        estimated=True,
    )


def cost_usd(
    prompt_tokens: int,
    completion_tokens: int,
    prompt_usd: float | None,
    completion_usd: float | None,
) -> float | None:
    """Return the cost at these prices; None where one is not known."""
    if prompt_usd is None or completion_usd is None:
        return None
    return prompt_tokens * prompt_usd + completion_tokens * completion_usd
