"""The meter: what it has of one call says nothing of the next."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from actors import events as ev
from actors.generation.budget import Budget
from actors.generation.meter import Meter
from actors.generation.model import (
    ChatMessage,
    ModelEvent,
    ModelFacts,
    ModelFinished,
    ModelRequest,
    ModelRetry,
    ModelText,
    ModelUsage,
)
from actors.state import Command, Run

REQUEST = ModelRequest(
    purpose="plan",
    model="m",
    messages=(ChatMessage(role="user", content="x" * 35),),
    description="d",
    phase_number=1,
)


class Model:
    is_demo = False
    retry: ModelRetry | None = None
    told: ModelUsage | None = None

    async def facts(self, model: str) -> ModelFacts:
        return ModelFacts(prompt_usd=0.5, completion_usd=1.0)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        if self.retry is not None:
            yield self.retry
        yield ModelText(text="x" * 70)
        if self.told is not None:
            yield self.told
        yield ModelFinished(reason="stop")

    async def close(self) -> None:
        pass


async def refuse(needed: float, cap: float) -> bool:
    return False


def run(call: ev.ModelCall | None = None) -> Run:
    command = Command(id="1", description="d", model="m", max_phases=1)
    return Run(command=command, first_phase=1, call=call)


async def test_a_call_that_was_announced_and_never_made_is_not_taken_for_the_one_before() -> None:
    meter = Meter(Model(), Budget(run_usd=0.0, day_usd=0.0, reserve=refuse))
    request, call = await meter.announce(REQUEST, run())
    stream = meter.stream(request)
    assert isinstance(await anext(stream), ModelText)
    await stream.aclose()
    (usage,) = meter.unsettled(run(call))
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cost_usd) == (10, 20, 25.0)
    assert usage.estimated
    _, call = await meter.announce(REQUEST, run())
    (usage,) = meter.unsettled(run(call))
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cost_usd) == (0, 0, 0.0)


async def test_what_the_server_told_of_a_call_counts_until_it_is_recorded() -> None:
    model = Model()
    model.told = ModelUsage(model="m", prompt_tokens=7, completion_tokens=3, cost_usd=0.5)
    meter = Meter(model, Budget(run_usd=0.0, day_usd=0.0, reserve=refuse))
    request, call = await meter.announce(REQUEST, run())
    async for _ in meter.stream(request):
        pass
    (usage,) = meter.unsettled(run(call))
    assert (usage.prompt_tokens, usage.cost_usd, usage.estimated) == (7, 0.5, False)
    assert meter.unsettled(run()) == []


async def test_a_call_that_was_made_again_and_then_broken_off_is_accounted_for() -> None:
    model = Model()
    model.retry = ModelRetry(attempt=2, wait_seconds=0.0, reason="busy", model="m")
    meter = Meter(model, Budget(run_usd=0.0, day_usd=0.0, reserve=refuse))
    request, _ = await meter.announce(REQUEST, run())
    stream = meter.stream(request)
    retry = await anext(stream)
    assert isinstance(retry, ModelRetry)
    _, call = await meter.announce_again(request, retry, run())
    assert isinstance(await anext(stream), ModelText)
    await stream.aclose()
    (usage,) = meter.unsettled(run(call))
    assert (usage.prompt_tokens, usage.completion_tokens) == (10, 20)
