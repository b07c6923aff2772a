"""The caps on cost: what the next model call can cost at most is reserved before it is made.

A run that would pass a cap pauses. The run's own cost is in its state; what all projects cost in
a day is in PostgreSQL, where a reservation is one row per project (`Store.reserve`). It is settled
by the `usage` that follows every `model_call`.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from actors.errors import BudgetExceeded, PriceUnknown
from actors.generation.model import ModelFacts, ModelRequest
from actors.generation.tokens import ESTIMATE_MARGIN, estimated_tokens
from actors.state import Run

PROMPT_MARGIN = 1.5  # estimates are for the usual; a cap is for the worst
MIN_ANSWER_TOKENS = 1_000  # asked for even where the context may have no room: it may have

#: Reserve so many USD of the day's cap; returns whether they are left.
Reserve = Callable[[float, float], Awaitable[bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The caps in USD, 0 for none, and how to reserve a part of the day's."""

    run_usd: float
    day_usd: float
    reserve: Reserve

    @property
    def is_capped(self) -> bool:
        return self.run_usd > 0 or self.day_usd > 0

    async def allow(self, request: ModelRequest, facts: ModelFacts, run: Run) -> None:
        """Reserve what the call can cost; raises BudgetExceeded or PriceUnknown."""
        await self.reserve_usd(worst_case_usd(request, facts), run)

    async def reserve_usd(self, needed: float, run: Run) -> None:
        """Reserve so many USD for a call of the run; raises BudgetExceeded."""
        spent = run.totals.cost_usd
        if self.run_usd > 0 and spent + needed > self.run_usd:
            raise BudgetExceeded(
                f"The run has cost ${spent:.4f}, and its next model call could cost "
                f"${needed:.4f}: more than CODEGEN_MAX_COST_USD ({self.run_usd:g}). Raise it and "
                "restart the service; the run then goes on.",
                needed_usd=needed,
            )
        if self.day_usd > 0 and not await self.reserve(needed, self.day_usd):
            raise BudgetExceeded(
                f"The next model call could cost ${needed:.4f}, and the day (UTC) would pass "
                f"CODEGEN_MAX_DAILY_COST_USD ({self.day_usd:g}). The run goes on tomorrow, or once "
                "it is raised and the service restarted.",
                needed_usd=needed,
            )


def worst_case_usd(request: ModelRequest, facts: ModelFacts) -> float:
    """Return what a call can cost at most; raises PriceUnknown."""
    if facts.prompt_usd is None or facts.completion_usd is None:
        raise PriceUnknown(
            f"The price of the model {request.model!r} is not known, so the cap on cost cannot be "
            "kept; set CODEGEN_PRICES, or take the cap away."
        )
    assert request.max_tokens is not None, "a call without a bound has no worst case"
    prompt_tokens = prompt_tokens_of(request) * PROMPT_MARGIN
    return prompt_tokens * facts.prompt_usd + request.max_tokens * facts.completion_usd


def answer_bound(request: ModelRequest, facts: ModelFacts, most: int) -> int:
    """Return the `max_tokens` of a request: at most so many, and what the model can write.

    A server refuses a request whose prompt and `max_tokens` are more than its context.
    """
    bounds = [most]
    if facts.max_completion_tokens is not None:
        bounds.append(facts.max_completion_tokens)
    if facts.context_tokens is not None:
        prompt_tokens = math.ceil(prompt_tokens_of(request) * ESTIMATE_MARGIN)
        bounds.append(max(facts.context_tokens - prompt_tokens, MIN_ANSWER_TOKENS))
    return min(bounds)


def prompt_tokens_of(request: ModelRequest) -> int:
    """Return about how many tokens the request's messages are."""
    return estimated_tokens(*(message.content for message in request.messages))
