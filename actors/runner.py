"""The runner: one project's run as a task, with its beginning, its abort and its one ending."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from enum import StrEnum

from actors import events as ev
from actors.errors import ActorCrashed, BudgetExceeded, Fenced, ServiceError, StorageUnavailable
from actors.events import RunState
from actors.generation.budget import Budget
from actors.generation.deployment import Deployment
from actors.generation.meter import Meter, usage_of_lost_call
from actors.generation.model import Model
from actors.generation.pipeline import Pipeline
from actors.journal import Journal
from actors.state import OpenFile

log = logging.getLogger(__name__)

#: Return the finished files' texts by path: all, or those of the paths given that exist.
LoadFiles = Callable[..., Awaitable[dict[str, str]]]


class AbortReason(StrEnum):
    """Why a run is stopped from outside. After SHUTDOWN it stays open and is resumed."""

    USER = "user"
    REPLACED = "replaced"
    REMOVED = "removed"
    SHUTDOWN = "shutdown"


class Runner:
    """Carries out the open run, or else the first command of the queue, one at a time.

    `max_files` is how many files one phase may list.

    `on_end` is awaited when a run has come to its end by itself, also by an error; not after
    `stop`, whose caller goes on.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        load_files: LoadFiles,
        model: Model,
        budget: Budget,
        deployment: Deployment,
        max_files: int,
        max_repairs: int,
        chars_since_call: Callable[[], Awaitable[int]],
        on_end: Callable[[], Awaitable[None]],
    ) -> None:
        self._journal = journal
        self._load_files = load_files
        self._budget = budget
        self._meter = Meter(model, budget)
        self._deployment = deployment
        self._max_files = max_files
        self._max_repairs = max_repairs
        self._chars_since_call = chars_since_call
        self._on_end = on_end
        self._task: asyncio.Task[None] | None = None
        self._is_pause_over = False
        run = journal.state.run
        self._inherited_call = None if run is None else run.call

    @property
    def is_active(self) -> bool:
        return self._task is not None

    @property
    def has_work(self) -> bool:
        """Whether there is a run to go on with, or to begin; a paused one waits for its cap."""
        state = self._journal.state
        if state.run is None:
            return bool(state.queue)
        return state.run.pause is None or self._is_pause_over

    async def look_at_caps(self) -> None:
        """Find out whether the run that is paused may go on."""
        run = self._journal.state.run
        if run is None or run.pause is None:
            return
        with contextlib.suppress(BudgetExceeded):
            await self._budget.reserve_usd(run.pause.needed_usd, run)
            self._is_pause_over = True

    def start(self) -> None:
        """Begin; there is work, and nothing is active."""
        assert self._task is None
        project_id = self._journal.state.project_id
        self._task = asyncio.create_task(self._work(), name=f"run-{project_id}")

    async def stop(self, reason: AbortReason, *also: ev.Event) -> bool:
        """Cancel the task and wait for its end; record why, unless the run is to be resumed.

        `also` is recorded in the same transaction as the reason.

        Returns whether there was a run to stop: it may have come to its end before, and a command
        that the task had not yet made its run is still in the queue.
        """
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        await self._journal.settled()  # what the task had begun to record counts
        run = self._journal.state.run
        if run is None:
            return False
        if reason is not AbortReason.SHUTDOWN:
            await self.close(
                *also,
                ev.GenerationCancelled(reason=reason),
                ev.StateChange(state=RunState.IDLE),
                first=await self._unsettled(),
            )
        elif paid := self._meter.unsettled(run):
            with contextlib.suppress(StorageUnavailable):  # then the next life accounts for it
                await self._journal.record(*paid)
        return True

    async def close(self, *endings: ev.Event, first: Sequence[ev.Event] = ()) -> None:
        """End the open run with these events; an unfinished file gets its former content back."""
        state = self._journal.state
        restored = list(first)
        if state.open_file is not None:
            path = state.open_file.path
            former = await self._load_files([path])
            restored.append(ev.FileRestored(path=path, content=former.get(path)))
        await self._journal.record(*restored, *endings)

    async def give_up(self, sentence: str) -> None:
        """Set aside what this project's actors died of: the open run, or else what was next."""
        state = self._journal.state
        culprits = state.queue[:1] if state.run is None else []
        await self.close(
            *(ev.CommandDropped(id=command.id, reason="crashed") for command in culprits),
            ev.ErrorRaised(message=sentence, code=ActorCrashed.code),
            ev.StateChange(state=RunState.ERROR),
            first=await self.lost_usage(),
        )

    async def _work(self) -> None:
        """Run to an end; only cancelling leaves the ending to whoever cancelled."""
        try:
            await self._carry_out()
        except Fenced:
            return  # the agent is leaving
        except BudgetExceeded as error:
            await self._pause(error)
        except ServiceError as error:
            await self._fail(error.code, str(error))
        except Exception:
            log.exception("%s: the run failed", self._journal.state.project_id)
            await self._fail("internal_error", "Something went wrong; see the service's log.")
        self._task = None
        await self._on_end()

    async def _pause(self, error: BudgetExceeded) -> None:
        self._is_pause_over = False
        with contextlib.suppress(Fenced, StorageUnavailable):  # the agent is leaving
            await self._journal.record(
                ev.RunPaused(code=error.code, message=str(error), needed_usd=error.needed_usd),
                ev.StateChange(state=RunState.PAUSED),
            )

    async def _fail(self, code: str, sentence: str) -> None:
        with contextlib.suppress(Fenced, StorageUnavailable):  # the agent is leaving
            await self.close(
                ev.ErrorRaised(message=sentence, code=code),
                ev.StateChange(state=RunState.ERROR),
                first=await self._unsettled(),
            )

    async def _carry_out(self) -> None:
        await self._open()
        state = self._journal.state
        pipeline = Pipeline(
            state=state,
            meter=self._meter,
            deployment=self._deployment,
            load_files=self._load_files,
            settled=self._journal.settled,
            max_files=self._max_files,
            max_repairs=self._max_repairs,
        )
        is_complete = 0
        while not is_complete:  # a wish that steers the run may come as it ends
            async with aclosing(pipeline.events()) as batches:
                async for batch in batches:
                    await self._journal.record(*batch)
            is_complete = await self._journal.record_if(
                lambda: state.run is not None and not state.run.is_steered, *pipeline.completion()
            )

    async def _unsettled(self) -> list[ev.Usage]:
        """Return the usage of the run's last call, if that is not told yet: of whichever life."""
        run = self._journal.state.run
        if run is None:
            return []
        if run.call is not None and run.call is self._inherited_call:
            return await self.lost_usage()
        return self._meter.unsettled(run)

    async def lost_usage(self) -> list[ev.Usage]:
        """Return the usage of the call that an earlier life had under way, by what is saved."""
        run = self._journal.state.run
        if run is None or run.call is None:
            return []
        return [usage_of_lost_call(run.call, await self._chars_since_call())]

    async def _open(self) -> None:
        """Resume the open run, or make the first command of the queue the run."""
        state = self._journal.state
        if state.run is not None:
            number = max(state.designing, state.run.first_phase)
            await self._journal.record(
                *await self.lost_usage(),
                ev.RunResumed(id=state.run.command.id, phase_number=number),
                *_shown_again(state.open_file),
            )
            return
        command = state.queue[0]
        await self._journal.record(
            ev.RunStarted(
                id=command.id,
                description=command.description,
                model=command.model,
                max_phases=command.max_phases,
                first_phase=len(state.phases) + 1,
            )
        )


def _shown_again(file: OpenFile | None) -> tuple[ev.Event, ...]:
    """Show what is saved of the open file: viewers may have seen some that was lost in a crash."""
    if file is None:
        return ()
    return ev.FileStart(path=file.path), ev.FileChunk(path=file.path, chunk=file.text)
