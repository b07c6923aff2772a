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
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from actors import events as ev
from actors.errors import (
    BuildFailed,
    InstallFailed,
    SandboxUnavailable,
    ServerFailed,
    ServiceError,
)
from actors.events import Event, RunState
from actors.generation.deployment import Deployment
from actors.generation.design import design
from actors.generation.implement import implement
from actors.generation.meter import Meter
from actors.generation.package_json import with_installs
from actors.generation.plan import MAX_FILES_PER_PHASE
from actors.generation.work import Batches, Work
from actors.state import Phase, PhaseStatus, ProjectState, completed_phases

log = logging.getLogger(__name__)

SANDBOX_RETRY_SECONDS = (0.0, 1.0, 3.0)  # where it was lost, in one life of a run; then it ends

LoadFiles = Callable[[], Awaitable[dict[str, str]]]
Settle = Callable[[], Awaitable[None]]


class Pipeline:
    """Carries out `state.run`. Cancelling it ends the model call or install that is under way."""

    def __init__(
        self,
        *,
        state: ProjectState,
        meter: Meter,
        deployment: Deployment,
        load_files: LoadFiles,
        settled: Settle,
        max_repairs: int,
        max_files: int = MAX_FILES_PER_PHASE,
    ) -> None:
        """`settled` waits until all that was yielded is in the state, the last chunks included."""
        self._load_files = load_files
        self._max_repairs = max_repairs
        self._work = Work(
            state=state,
            meter=meter,
            deployment=deployment,
            settled=settled,
            max_files=max_files,
        )

    async def events(self) -> Batches:
        """Yield the run's events short of its completion; raises ServiceError when it fails."""
        self._work.deployment.begin()
        self._work.files = await self._load_files()
        losses = 0
        while True:
            phase = self._current_phase()
            if phase is not None and phase.status is PhaseStatus.COMPLETE and self._is_last(phase):
                break
            try:
                async with aclosing(self._step(phase)) as step:
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
        work = self._work
        return (
            ev.StateChange(state=RunState.COMPLETE),
            ev.GenerationComplete(
                files=tuple(sorted(work.files)),
                phases=len(work.state.phases) - work.run.first_phase + 1,
            ),
        )

    def _current_phase(self) -> Phase | None:
        """The newest phase if it belongs to this run."""
        phase = self._work.state.phase
        return phase if phase is not None and phase.number >= self._work.run.first_phase else None

    def _is_last(self, phase: Phase) -> bool:
        run = self._work.run
        if run.is_steered:
            return False
        is_enough = completed_phases(self._work.state) >= run.command.max_phases
        return phase.plan.is_last_phase or is_enough

    def _step(self, phase: Phase | None) -> Batches:
        match phase.status if phase is not None else PhaseStatus.COMPLETE:
            case PhaseStatus.DESIGNED:
                assert phase is not None
                return self._write(phase)
            case PhaseStatus.WRITTEN:
                assert phase is not None
                return self._deploy(phase)
        return design(self._work)

    async def _write(self, phase: Phase) -> Batches:
        async with aclosing(implement(self._work, phase)) as step:
            async for batch in step:
                yield batch
        yield with_installs(self._work.files, phase.installs)
        if self._work.run.is_steered:
            yield (ev.PhaseCut(phase_number=phase.number),)
            return
        async with self._work.deployment.turn, aclosing(self._synchronise()) as step:
            async for batch in step:
                yield batch
        yield (ev.FilesWritten(count=len(phase.finished)),)

    async def _synchronise(self) -> Batches:
        """Have every file of the project in the sandbox."""
        deployment, state = self._work.deployment, self._work.state
        started = await deployment.ready()
        if (state.sandbox_kind, state.sandbox_container_id) != (
            deployment.kind,
            started.container_id,
        ):
            yield (ev.SandboxStarted(kind=deployment.kind, container_id=started.container_id),)
        await deployment.write(self._work.files, state.deleted_paths)

    async def _deploy(self, phase: Phase) -> Batches:
        """Have the app run; where that fails for a reason of its own, a phase is to repair it."""
        deployment = self._work.deployment
        async with deployment.turn:
            try:
                async with aclosing(self._run_app(phase)) as step:
                    async for batch in step:
                        yield batch
            except (InstallFailed, BuildFailed, ServerFailed) as error:
                await deployment.note_failure(self._work.files)
                run = self._work.run
                may_repair = run.repairs < self._max_repairs or run.is_steered
                if may_repair:
                    yield (_failure(phase, error),)
                starts = deployment.starts
                await deployment.fall_back()
                if deployment.starts != starts:
                    yield (ev.ServerStarted(url=deployment.address),)
                if not may_repair:
                    raise

    async def _run_app(self, phase: Phase) -> Batches:
        deployment, files = self._work.deployment, self._work.files
        await deployment.look()  # it may have ended since the last phase
        async with aclosing(self._synchronise()) as step:
            async for batch in step:
                yield batch
        done: list[Event] = []
        is_first = phase.number == self._work.run.first_phase
        if is_first or deployment.needs_install(files):
            done.append(ev.StateChange(state=RunState.INSTALLING_DEPS))
            if deployment.needs_install(files):
                yield done
                await deployment.install(files)
                done = []
            done.append(ev.DepsInstalled())
        if deployment.needs_check(files):
            yield [*done, ev.StateChange(state=RunState.CHECKING_BUILD)]
            done = []
            await deployment.check(files)
        if deployment.needs_start:
            yield [*done, ev.StateChange(state=RunState.STARTING_SERVER)]
            done = []
        starts = deployment.starts
        url = await deployment.serve()
        if deployment.starts != starts or is_first:  # else it shows the changes by itself
            done.append(ev.ServerStarted(url=url))
        yield [*done, ev.PhaseCompleted(phase_number=phase.number)]


def _failure(phase: Phase, error: ServiceError) -> ev.PhaseFailed:
    return ev.PhaseFailed(phase_number=phase.number, code=error.code, message=str(error))
