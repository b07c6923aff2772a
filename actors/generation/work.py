"""What the steps of a run share: the project's state, its files' texts, the model, the sandbox."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from actors.events import Event
from actors.generation.deployment import Deployment
from actors.generation.meter import Meter
from actors.generation.plan import MAX_FILES_PER_PHASE
from actors.generation.prompts import DEFAULT_CONTEXT_TOKENS, PromptContext
from actors.generation.seam import UnfinishedFile
from actors.state import Phase, ProjectState, Run, completed_phases

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
    meter: Meter
    deployment: Deployment
    settled: Callable[[], Awaitable[None]]
    files: dict[str, str] = field(default_factory=dict)
    max_files: int = MAX_FILES_PER_PHASE
    new_nonce: Callable[[], str] = field(default=lambda: secrets.token_hex(NONCE_BYTES))

    @property
    def run(self) -> Run:
        """The run as it is now."""
        assert self.state.run is not None
        return self.state.run

    async def context_tokens(self) -> int:
        """Return how many tokens the model of the run takes, as far as is known."""
        facts = await self.meter.facts(self.run.command.model)
        return facts.context_tokens or DEFAULT_CONTEXT_TOKENS

    def context(
        self,
        number: int,
        *,
        phase: Phase | None = None,
        unfinished: UnfinishedFile | None = None,
        complaint: str | None = None,
        context_tokens: int = DEFAULT_CONTEXT_TOKENS,
    ) -> PromptContext:
        """Return what a prompt for the phase of this number is made of."""
        state, command = self.state, self.run.command
        return PromptContext(
            descriptions=tuple(state.descriptions),
            model=command.model,
            sandbox=self.deployment.kind,
            phase_number=number,
            phases_left=max(1, command.max_phases - completed_phases(state)),
            files=self.files,
            earlier_phases=tuple(p.plan for p in state.phases if p.number < number),
            plan=phase.plan if phase else None,
            finished=tuple(phase.finished) if phase else (),
            unfinished=unfinished,
            problems=tuple(state.problems),
            complaint=complaint,
            context_tokens=context_tokens,
            max_files=self.max_files,
            nonce=self.new_nonce(),
        )
