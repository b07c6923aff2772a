"""The first step of a phase: its plan, asked for until it can be used."""

from __future__ import annotations

from contextlib import aclosing

from actors import events as ev
from actors.errors import ModelStreamBroken, PlanInvalid, ServiceError
from actors.events import Event, RunState
from actors.generation.model import ModelFinished, ModelRequest, ModelText, ModelUsage
from actors.generation.plan import parse_plan, plan_rules
from actors.generation.prompts import plan_request
from actors.generation.work import Batches, Work, usage_event

MAX_PLAN_TRIES = 3  # calls for one plan, when the answer cannot be used or breaks off


async def design(work: Work) -> Batches:
    """Have the next phase designed; raises ServiceError where no usable plan comes."""
    number = len(work.state.phases) + 1
    yield (
        ev.StateChange(state=RunState.DESIGNING_PHASE),
        ev.PhaseDesigning(phase_number=number),
    )
    earlier = [phase.plan for phase in work.state.phases]
    rules = plan_rules(work.files, earlier, work.max_files)
    complaint: str | None = None
    for attempt in range(1, MAX_PLAN_TRIES + 1):
        request = plan_request(work.context(number, complaint=complaint))
        told: list[Event] = []
        try:
            plan = parse_plan(await _ask(work, request, told), rules)
        except ServiceError as error:
            is_over = attempt == MAX_PLAN_TRIES
            if is_over or not isinstance(error, PlanInvalid | ModelStreamBroken):
                yield told  # what was paid for counts, whatever became of it
                raise
            complaint = str(error) if isinstance(error, PlanInvalid) else None
            yield (*told, ev.ModelWarning(kind=error.code, detail=str(error)))
        else:
            # In one transaction: a plan that was paid for is not asked for again.
            yield (*told, ev.PhaseDesigned(phase=plan))
            return


async def _ask(work: Work, request: ModelRequest, told: list[Event]) -> str:
    """Return the answer as a whole; what it cost is appended to `told`, also if it fails."""
    parts: list[str] = []
    async with aclosing(work.model.stream(request)) as answer:
        async for part in answer:
            match part:
                case ModelText():
                    parts.append(part.text)
                case ModelUsage():
                    told.append(usage_event(request, part))
                case ModelFinished():
                    pass
    return "".join(parts)
