"""What the steps of a run share: the project's state, its files' texts, the model, the sandbox."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from actors import events as ev
from actors.events import Event
from actors.generation.deployment import Deployment
from actors.generation.model import Model, ModelRequest, ModelUsage
from actors.generation.plan import MAX_FILES_PER_PHASE
from actors.generation.prompts import PromptContext
from actors.generation.seam import UnfinishedFile
from actors.state import Phase, ProjectState, Run

NONCE_BYTES = 4

#: What a step yields: the events of one batch belong together, in one transaction.
Batches = AsyncGenerator[Sequence[Event], None]


@dataclass(slots=True, kw_only=True)
class Work:
    """One run's work. `state` is the fold of all that was yielded, once `settled` has returned.

    `files` holds the texts of all finished files by path. `new_nonce` gives what makes a marker a
    fresh one.
    """

    state: ProjectState
    run: Run
    model: Model
    deployment: Deployment
    settled: Callable[[], Awaitable[None]]
    files: dict[str, str] = field(default_factory=dict)
    max_files: int = MAX_FILES_PER_PHASE
    new_nonce: Callable[[], str] = field(default=lambda: secrets.token_hex(NONCE_BYTES))

    def context(
        self,
        number: int,
        *,
        phase: Phase | None = None,
        unfinished: UnfinishedFile | None = None,
        complaint: str | None = None,
    ) -> PromptContext:
        """Return what a prompt for the phase of this number is made of."""
        state, command = self.state, self.run.command
        return PromptContext(
            descriptions=tuple(state.descriptions),
            model=command.model,
            sandbox=self.deployment.kind,
            phase_number=number,
            phases_left=command.max_phases - (number - self.run.first_phase),
            files=self.files,
            earlier_phases=tuple(p.plan for p in state.phases if p.number < number),
            plan=phase.plan if phase else None,
            finished=tuple(phase.finished) if phase else (),
            unfinished=unfinished,
            complaint=complaint,
            max_files=self.max_files,
            nonce=self.new_nonce(),
        )


def usage_event(request: ModelRequest, usage: ModelUsage) -> ev.Usage:
    """Return what viewers are told of a call's cost."""
    return ev.Usage(
        purpose=request.purpose,
        model=usage.model,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cost_usd=usage.cost_usd,
        estimated=usage.estimated,
    )
