"""The first step of a phase: its plan, asked for until it can be used."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field

from actors import events as ev
from actors.errors import ModelStreamBroken, PlanInvalid, ServiceError
from actors.events import Event, RunState
from actors.generation.meter import usage_event
from actors.generation.model import (
    ModelFinished,
    ModelRequest,
    ModelRetry,
    ModelText,
    ModelUsage,
)
from actors.generation.plan import parse_plan, plan_rules
from actors.generation.prompts import plan_request
from actors.generation.work import Batches, Work

MAX_PLAN_TRIES = 3  # calls for one plan, when the answer cannot be used or breaks off


async def design(work: Work) -> Batches:
    """Have the next phase designed; raises ServiceError where no usable plan comes.

    A wish that comes meanwhile (the run is steered) makes the plan out of date: it is made anew.
    """
    number = len(work.state.phases) + 1
    told: list[Event] = [
        ev.StateChange(state=RunState.DESIGNING_PHASE),
        ev.PhaseDesigning(phase_number=number),
    ]
    # A plan that mends a problem may list the same files for the same purposes.
    earlier = [] if work.state.problems else [phase.plan for phase in work.state.phases]
    rules = plan_rules(work.files, earlier, work.max_files)
    complaint: str | None = None
    failures = 0
    while True:
        wishes, problems = len(work.state.descriptions), len(work.state.problems)
        request, call = await work.meter.announce(
            plan_request(
                work.context(
                    number, complaint=complaint, context_tokens=await work.context_tokens()
                )
            ),
            work.run,
        )
        yield (*told, call)
        answer = _Answer()
        told = answer.told
        try:
            async with aclosing(_ask(work, request, answer)) as batches:
                async for batch in batches:
                    yield batch
            plan = parse_plan(answer.text, rules)
        except ServiceError as error:
            failures += 1
            is_over = failures == MAX_PLAN_TRIES
            if is_over or not isinstance(error, PlanInvalid | ModelStreamBroken):
                yield told  # what was paid for counts, whatever became of it
                raise
            complaint = str(error) if isinstance(error, PlanInvalid) else None
            told.append(ev.ModelWarning(kind=error.code, detail=str(error)))
        else:
            if len(work.state.descriptions) == wishes:
                # In one transaction: a plan that was paid for is not asked for again.
                yield (*told, ev.PhaseDesigned(phase=plan, wishes=wishes, problems=problems))
                return
        yield told  # before the next call is announced: it counts for its budget
        told = []


@dataclass(slots=True)
class _Answer:
    """One answer as a whole, and what it cost."""

    text: str = ""
    told: list[Event] = field(default_factory=list)


async def _ask(work: Work, request: ModelRequest, answer: _Answer) -> Batches:
    """Have the request answered; only what cannot wait for the answer's end is yielded."""
    parts: list[str] = []
    async with aclosing(work.meter.stream(request)) as stream:
        async for part in stream:
            match part:
                case ModelText():
                    parts.append(part.text)
                case ModelRetry():
                    yield tuple(answer.told)
                    answer.told.clear()
                    yield await work.meter.announce_again(request, part, work.run)
                case ModelUsage():
                    answer.told.append(usage_event(request.purpose, part))
                case ModelFinished():
                    answer.text = "".join(parts)
