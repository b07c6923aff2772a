"""The pipeline of one run: design a phase, write its files, install, serve; until the last phase.

It yields events in batches: those of one batch belong together and are recorded in one
transaction. It keeps no state of its own besides the files' texts: where to go on follows from the
project's state, which the consumer folds from the same events before it asks for the next batch.
So a run that is resumed after a crash takes the same path as one that just goes on; a file that
was open then is continued, as one is whose stream breaks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

from actors import events as ev
from actors.errors import (
    ModelStreamBroken,
    OutputInvalid,
    PlanInvalid,
    SandboxUnavailable,
    ServiceError,
)
from actors.events import Event, RunState
from actors.generation.deployment import Deployment
from actors.generation.model import Model, ModelFinished, ModelRequest, ModelText, ModelUsage
from actors.generation.plan import parse_plan
from actors.generation.prompts import PromptContext, implement_request, plan_request
from actors.generation.seam import UnfinishedFile, continuable
from actors.generation.writer import FileWriter
from actors.state import Phase, PhaseStatus, ProjectState, Run

log = logging.getLogger(__name__)

MAX_PLAN_TRIES = 3  # calls for one plan, when the answer cannot be used or breaks off
MAX_IMPLEMENT_TRIES = 3  # calls in a row that bring a phase no further than it was
MAX_IMPLEMENT_CALLS = 12  # for the files of one phase, in one life; 40 files of 5 KB, 20 KB a call
SANDBOX_RETRY_SECONDS = (0.0, 1.0, 3.0)  # where it was lost, in one life of a run; then it ends

LoadFiles = Callable[[], Awaitable[dict[str, str]]]
Settle = Callable[[], Awaitable[None]]
Batches = AsyncGenerator[Sequence[Event], None]


class Pipeline:
    """Carries out `state.run`. Cancelling it ends the model call or install that is under way."""

    def __init__(
        self,
        *,
        state: ProjectState,
        model: Model,
        deployment: Deployment,
        load_files: LoadFiles,
        settled: Settle,
    ) -> None:
        """`settled` waits until all that was yielded is in the state, the last chunks included."""
        assert state.run is not None
        self._state = state
        self._run: Run = state.run
        self._model = model
        self._deployment = deployment
        self._load_files = load_files
        self._settled = settled
        self._files: dict[str, str] = {}

    async def events(self) -> Batches:
        """Yield the run's events short of its completion; raises ServiceError when it fails."""
        self._deployment.begin()
        self._files = await self._load_files()
        losses = 0
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
            try:
                async with aclosing(step):
                    async for batch in step:
                        if batch:
                            yield batch
            except SandboxUnavailable as error:  # killed, removed or held up by somebody
                if losses == len(SANDBOX_RETRY_SECONDS):
                    raise
                log.warning("the sandbox was lost, and is started anew: %s", error)
                await asyncio.sleep(SANDBOX_RETRY_SECONDS[losses])
                losses += 1

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

    async def _design(self) -> Batches:
        number = len(self._state.phases) + 1
        yield (
            ev.StateChange(state=RunState.DESIGNING_PHASE),
            ev.PhaseDesigning(phase_number=number),
        )
        complaint: str | None = None
        for attempt in range(1, MAX_PLAN_TRIES + 1):
            request = plan_request(self._context(number, complaint=complaint))
            told: list[Event] = []
            try:
                plan = parse_plan(await self._ask(request, told))
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

    async def _ask(self, request: ModelRequest, told: list[Event]) -> str:
        """Return the answer as a whole; what it cost is appended to `told`, also if it fails."""
        parts: list[str] = []
        async with aclosing(self._model.stream(request)) as answer:
            async for part in answer:
                match part:
                    case ModelText():
                        parts.append(part.text)
                    case ModelUsage():
                        told.append(_usage(request, part))
                    case ModelFinished():
                        pass
        return "".join(parts)

    def _context(
        self,
        number: int,
        *,
        phase: Phase | None = None,
        unfinished: UnfinishedFile | None = None,
        complaint: str | None = None,
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
            unfinished=unfinished,
            complaint=complaint,
        )

    # --- implement -------------------------------------------------------------------------------

    async def _implement(self, phase: Phase) -> Batches:
        unfinished = self._unfinished(phase)
        yield (ev.StateChange(state=RunState.IMPLEMENTING_PHASE),)
        calls = _Calls(self._reached(phase))
        told: list[Event] = []
        while missing := _missing(phase):
            if unfinished is None:
                told += self._restored()
            if calls.made:
                told.append(ev.ModelWarning(kind="missing_files", detail=", ".join(missing)))
            yield told
            told = []
            broken: ModelStreamBroken | None = None
            try:
                async with aclosing(self._write_files(phase, unfinished)) as answer:
                    async for batch in answer:
                        yield batch
            except ModelStreamBroken as error:
                broken = error
                told.append(ev.ModelWarning(kind=error.code, detail=str(error)))
            await self._settled()
            calls.count(self._reached(phase))
            if calls.are_over and (missing := _missing(phase)):
                raise broken or _left_out(missing)
            unfinished = self._unfinished(phase)
        yield [*told, *self._restored()]
        async with aclosing(self._synchronise()) as synchronised:
            async for batch in synchronised:
                yield batch
        yield (ev.FilesWritten(count=len(phase.finished)),)

    def _unfinished(self, phase: Phase) -> UnfinishedFile | None:
        """The open file, if it is one of the phase's and the model can go on with it."""
        file = self._state.open_file
        if file is None or file.path not in _missing(phase):
            return None
        return continuable(file.path, file.text)

    def _restored(self) -> list[Event]:
        """Give up the open file, if there is one."""
        file = self._state.open_file
        if file is None:
            return []
        return [ev.FileRestored(path=file.path, content=self._files.get(file.path))]

    def _reached(self, phase: Phase) -> tuple[int, int]:
        """How far the phase is, as something that grows."""
        file = self._state.open_file
        return -len(_missing(phase)), len(file.text) if file is not None else 0

    async def _write_files(self, phase: Phase, unfinished: UnfinishedFile | None) -> Batches:
        """Ask for what is missing. A file that the answer breaks off in stays open."""
        request = implement_request(self._context(phase.number, phase=phase, unfinished=unfinished))
        writer = FileWriter(self._files, unfinished)
        reason = "error"
        broken: ModelStreamBroken | None = None
        try:
            async with aclosing(self._model.stream(request)) as answer:
                async for part in answer:
                    match part:
                        case ModelText():
                            if told := writer.feed(part.text):
                                yield told
                            writer.check()
                        case ModelUsage():
                            yield (_usage(request, part),)
                        case ModelFinished():
                            reason = part.reason
        except ModelStreamBroken as error:
            broken = error
        yield writer.close(reason)
        writer.check()
        if broken is not None:
            raise broken

    # --- deploy ----------------------------------------------------------------------------------

    async def _synchronise(self) -> Batches:
        """Have every file of the project in the sandbox."""
        started = await self._deployment.ready()
        state = self._state
        if (state.sandbox_kind, state.sandbox_container_id) != (
            self._deployment.kind,
            started.container_id,
        ):
            yield (
                ev.SandboxStarted(kind=self._deployment.kind, container_id=started.container_id),
            )
        await self._deployment.write(self._files)

    async def _deploy(self, phase: Phase) -> Batches:
        async with aclosing(self._synchronise()) as synchronised:
            async for batch in synchronised:
                yield batch
        done: list[Event] = []
        is_first = phase.number == self._run.first_phase
        if is_first or self._deployment.needs_install(self._files):
            done.append(ev.StateChange(state=RunState.INSTALLING_DEPS))
            if self._deployment.needs_install(self._files):
                yield done
                await self._deployment.install(self._files)
                done = []
            done.append(ev.DepsInstalled())
        if is_first or not self._deployment.is_serving:
            yield [*done, ev.StateChange(state=RunState.STARTING_SERVER)]
            done = [ev.ServerStarted(url=await self._deployment.serve())]
        yield [*done, ev.PhaseCompleted(phase_number=phase.number)]


class _Calls:
    """Counts the calls for one phase in one life, and bounds them."""

    def __init__(self, reached: tuple[int, int]) -> None:
        self.made = 0
        self._furthest = reached
        self._in_vain = 0

    def count(self, reached: tuple[int, int]) -> None:
        """Count a call that got so far; only to be further than ever counts as progress."""
        self.made += 1
        self._in_vain = 0 if reached > self._furthest else self._in_vain + 1
        self._furthest = max(self._furthest, reached)

    @property
    def are_over(self) -> bool:
        return self._in_vain >= MAX_IMPLEMENT_TRIES or self.made >= MAX_IMPLEMENT_CALLS


def _left_out(missing: Sequence[str]) -> OutputInvalid:
    return OutputInvalid(
        f"The model left out {len(missing)} planned files, also when asked again: "
        f"{', '.join(missing)}. Generate again or choose another model."
    )


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
