"""The pipeline of one run: design a phase, write its files, install, serve; until the last phase.

It yields events and keeps no state of its own besides the files' texts: where to go on follows
from the project's state, which the consumer folds from the same events before it asks for the
next one. So a run that is resumed after a crash takes the same path as one that just goes on.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from actors import events as ev
from actors.errors import ModelStreamBroken, OutputInvalid, PlanInvalid
from actors.events import Event, RunState
from actors.generation.deployment import Deployment
from actors.generation.model import Model, ModelFinished, ModelRequest, ModelText, ModelUsage
from actors.generation.plan import parse_plan
from actors.generation.prompts import PromptContext, implement_request, plan_request
from actors.generation.writer import FileWriter
from actors.state import Phase, PhaseStatus, ProjectState, Run

log = logging.getLogger(__name__)

MAX_PLAN_TRIES = 3  # calls for one plan, when the answer cannot be used or breaks off
MAX_IMPLEMENT_TRIES = 3  # calls for the files of one phase: the first, and two for what is missing

LoadFiles = Callable[[], Awaitable[dict[str, str]]]


class Pipeline:
    """Carries out `state.run`. Cancelling it ends the model call or install that is under way."""

    def __init__(
        self, *, state: ProjectState, model: Model, deployment: Deployment, load_files: LoadFiles
    ) -> None:
        assert state.run is not None
        self._state = state
        self._run: Run = state.run
        self._model = model
        self._deployment = deployment
        self._load_files = load_files
        self._files: dict[str, str] = {}
        self._answer = ""

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield the run's events short of its completion; raises ServiceError when it fails."""
        self._deployment.begin()
        self._files = await self._load_files()
        while True:
            phase = self._current_phase()
            if phase is not None and phase.status is PhaseStatus.COMPLETE:
                if self._is_last(phase):
                    break
                phase = None
            if phase is None:
                step = self._design()
            elif phase.status is PhaseStatus.DESIGNED:
                step = self._implement(phase)
            else:
                step = self._deploy(phase)
            async with aclosing(step):
                async for event in step:
                    yield event

    def completion(self) -> tuple[Event, Event]:
        """Return what ends the run, once `events` has come to its end."""
        return (
            ev.StateChange(state=RunState.COMPLETE),
            ev.GenerationComplete(
                files=tuple(sorted(self._files)),
                phases=len(self._state.phases) - self._run.first_phase + 1,
            ),
        )

    def _current_phase(self) -> Phase | None:
        """The newest phase if it belongs to this run."""
        phase = self._state.phase
        return phase if phase is not None and phase.number >= self._run.first_phase else None

    def _is_last(self, phase: Phase) -> bool:
        done = phase.number - self._run.first_phase + 1
        return phase.plan.is_last_phase or done >= self._run.command.max_phases

    # --- design ----------------------------------------------------------------------------------

    async def _design(self) -> AsyncGenerator[Event, None]:
        number = len(self._state.phases) + 1
        yield ev.StateChange(state=RunState.DESIGNING_PHASE)
        yield ev.PhaseDesigning(phase_number=number)
        complaint: str | None = None
        for attempt in range(1, MAX_PLAN_TRIES + 1):
            request = plan_request(self._context(number, complaint=complaint))
            try:
                async with aclosing(self._ask(request)) as answer:
                    async for event in answer:
                        yield event
                plan = parse_plan(self._answer)
            except (PlanInvalid, ModelStreamBroken) as error:
                if attempt == MAX_PLAN_TRIES:
                    raise
                complaint = str(error) if isinstance(error, PlanInvalid) else None
                yield ev.ModelWarning(kind=error.code, detail=str(error))
            else:
                yield ev.PhaseDesigned(phase=plan)
                return

    async def _ask(self, request: ModelRequest) -> AsyncGenerator[Event, None]:
        """Make a call whose text is only wanted as a whole: it is in `_answer` afterwards."""
        parts: list[str] = []
        async with aclosing(self._model.stream(request)) as answer:
            async for part in answer:
                match part:
                    case ModelText():
                        parts.append(part.text)
                    case ModelUsage():
                        yield _usage(request, part)
                    case ModelFinished():
                        pass
        self._answer = "".join(parts)

    def _context(
        self, number: int, *, phase: Phase | None = None, complaint: str | None = None
    ) -> PromptContext:
        state, command = self._state, self._run.command
        return PromptContext(
            descriptions=tuple(state.descriptions),
            model=command.model,
            sandbox=self._deployment.kind,
            phase_number=number,
            phases_left=command.max_phases - (number - self._run.first_phase),
            files=self._files,
            earlier_phases=tuple(p.plan for p in state.phases if p.number < number),
            plan=phase.plan if phase else None,
            finished=tuple(phase.finished) if phase else (),
            complaint=complaint,
        )

    # --- implement -------------------------------------------------------------------------------

    async def _implement(self, phase: Phase) -> AsyncGenerator[Event, None]:
        yield ev.StateChange(state=RunState.IMPLEMENTING_PHASE)
        attempt = 0
        while missing := _missing(phase):
            attempt += 1
            if attempt > MAX_IMPLEMENT_TRIES:
                raise OutputInvalid(
                    f"The model left out {len(missing)} planned files, also when asked again: "
                    f"{', '.join(missing)}. Generate again or choose another model."
                )
            if attempt > 1:
                yield ev.ModelWarning(kind="missing_files", detail=", ".join(missing))
            request = implement_request(self._context(phase.number, phase=phase))
            try:
                async with aclosing(self._write_files(request)) as answer:
                    async for event in answer:
                        yield event
            except ModelStreamBroken as error:
                if attempt == MAX_IMPLEMENT_TRIES and _missing(phase):
                    raise
                yield ev.ModelWarning(kind=error.code, detail=str(error))
        async with aclosing(self._synchronise()) as synchronised:
            async for event in synchronised:
                yield event
        yield ev.FilesWritten(count=len(phase.finished))

    async def _write_files(self, request: ModelRequest) -> AsyncGenerator[Event, None]:
        writer = FileWriter(self._files)
        reason = "error"
        try:
            async with aclosing(self._model.stream(request)) as answer:
                async for part in answer:
                    match part:
                        case ModelText():
                            for event in writer.feed(part.text):
                                yield event
                        case ModelUsage():
                            yield _usage(request, part)
                        case ModelFinished():
                            reason = part.reason
        except ModelStreamBroken:
            for event in writer.close(reason):
                yield event
            raise
        for event in writer.close(reason):
            yield event

    # --- deploy ----------------------------------------------------------------------------------

    async def _synchronise(self) -> AsyncGenerator[Event, None]:
        """Have every file of the project in the sandbox."""
        started = await self._deployment.ready()
        state = self._state
        if (state.sandbox_kind, state.sandbox_container_id) != (
            self._deployment.kind,
            started.container_id,
        ):
            yield ev.SandboxStarted(kind=self._deployment.kind, container_id=started.container_id)
        await self._deployment.write(self._files)

    async def _deploy(self, phase: Phase) -> AsyncGenerator[Event, None]:
        async with aclosing(self._synchronise()) as synchronised:
            async for event in synchronised:
                yield event
        is_first = phase.number == self._run.first_phase
        if is_first or self._deployment.needs_install(self._files):
            yield ev.StateChange(state=RunState.INSTALLING_DEPS)
            if self._deployment.needs_install(self._files):
                await self._deployment.install(self._files)
            yield ev.DepsInstalled()
        if is_first or not self._deployment.is_serving:
            yield ev.StateChange(state=RunState.STARTING_SERVER)
            yield ev.ServerStarted(url=await self._deployment.serve())
        yield ev.PhaseCompleted(phase_number=phase.number)


def _missing(phase: Phase) -> list[str]:
    return [file.path for file in phase.plan.files if file.path not in phase.finished]


def _usage(request: ModelRequest, usage: ModelUsage) -> ev.Usage:
    return ev.Usage(
        purpose=request.purpose,
        model=usage.model,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cost_usd=usage.cost_usd,
    )
