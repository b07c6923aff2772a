"""What a project is told: commands to generate, which wait and run, and cancels of them.

A command's id and its answer are journalled in the transaction that carries it out. So one that
comes again, also after a restart, gets its first answer and does nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable

from actors import events as ev
from actors import messages as m
from actors.errors import (
    InvalidDescription,
    InvalidInput,
    NothingRunning,
    ProjectBusy,
    error_from_code,
)
from actors.journal import Journal
from actors.runner import AbortReason
from actors.settings import Settings
from actors.state import Command
from actors.store import Store, StoredAnswer

MAX_DESCRIPTION_CHARS = 20_000
MODES = ("queue", "steer", "replace")

#: Stop the run; `also` is recorded with its end. Returns whether there was one, see `Runner.stop`.
StopRun = Callable[..., Awaitable[bool]]


class Commands:
    """One project's commands. Calls are made one after the other; errors are ServiceErrors."""

    def __init__(
        self,
        *,
        settings: Settings,
        store: Store,
        journal: Journal,
        stop_run: StopRun,
    ) -> None:
        self._settings = settings
        self._store = store
        self._journal = journal
        self._stop_run = stop_run

    async def generate(self, request: m.StartGeneration) -> m.Accepted:
        """Queue a command, or have it steer the open run; it is durable once this returns."""
        command_id = request.command_id or uuid.uuid4().hex
        known = await self._answer_to(command_id, "generate")
        if known is not None:
            return _accepted(request, command_id, known.place, known.seq)
        description = request.description.strip()
        if not 1 <= len(description) <= MAX_DESCRIPTION_CHARS:
            raise InvalidDescription()
        if request.mode not in MODES:
            raise InvalidInput(f"mode must be one of {', '.join(MODES)}.")
        state = self._journal.state
        if request.mode == "steer" and state.run is not None:
            steered = ev.RunSteered(
                id=command_id,
                description=description,
                model=request.model or state.run.command.model,
                max_phases=request.max_phases or self._settings.max_phases,
            )
            if seq := await self._journal.record_if(lambda: state.run is not None, steered):
                return _accepted(request, command_id, 0, seq)
        if len(state.queue) >= self._settings.max_queue:
            raise ProjectBusy(
                f"{len(state.queue)} commands wait already; wait for a run to end or cancel one."
            )
        place = 0 if request.mode == "replace" else len(state.queue) + (state.run is not None)
        queued = ev.CommandQueued(
            id=command_id,
            description=description,
            model=request.model or self._settings.model_label,
            max_phases=request.max_phases or self._settings.max_phases,
            place=place,
        )
        # In one transaction: one that came again after a crash in between would stop another run.
        if request.mode == "replace" and await self._stop_run(AbortReason.REPLACED, queued):
            known = await self._answer_to(command_id, "generate")
            assert known is not None
            return _accepted(request, command_id, known.place, known.seq)
        return _accepted(request, command_id, place, await self._journal.record(queued))

    async def cancel(self, request: m.CancelGeneration) -> m.Done:
        """Stop the run, or take what waits from the queue; `target` names one command of them.

        Raises NothingRunning, for good: a cancel that comes again must not hit a later run.
        """
        command_id = request.command_id or uuid.uuid4().hex
        known = await self._answer_to(command_id, "cancel")
        if known is not None and known.code is not None:
            raise error_from_code(known.code, "")
        if known is None:
            await self._cancel(command_id, request.target)
        return m.Done(request_id=request.request_id)

    async def report(self, request: m.ReportProblem | m.RemoveSandbox) -> m.Done:
        """Keep a problem of the running app for the next plan, unless it is known."""
        if request.message not in self._journal.state.problems:
            await self._journal.record(ev.ProblemReported(message=request.message))
        return m.Done(request_id=request.request_id)

    async def _cancel(self, command_id: str, target: str | None) -> None:
        done = ev.CommandAnswered(id=command_id, kind="cancel", code=None)
        had_run = self._journal.state.run is not None
        if self._is_next(target) and await self._stop_run(AbortReason.USER, done):
            return
        dropped = [
            ev.CommandDropped(id=command.id, reason=AbortReason.USER)
            for command in self._journal.state.queue
            if target in (None, command.id)
        ]
        if not dropped or (target is None and had_run):  # the run came to its end just now
            code = NothingRunning.code
            await self._journal.record(ev.CommandAnswered(id=command_id, kind="cancel", code=code))
            raise NothingRunning()
        await self._journal.record(*dropped, done)

    def _is_next(self, target: str | None) -> bool:
        """Say whether the target is what runs, or what a run that just begins will take up."""
        state = self._journal.state
        first: Command | None = state.queue[0] if state.queue else None
        runs = first if state.run is None else state.run.command
        return target is None or (runs is not None and runs.id == target)

    async def _answer_to(self, command_id: str, kind: str) -> StoredAnswer | None:
        known = await self._store.find_command(self._journal.state.project_id, command_id)
        if known is not None and known.kind != kind:
            raise InvalidInput("The id has been used for another kind of command; choose another.")
        return known


def _accepted(request: m.StartGeneration, command_id: str, place: int, seq: int) -> m.Accepted:
    return m.Accepted(request_id=request.request_id, command_id=command_id, place=place, seq=seq)
