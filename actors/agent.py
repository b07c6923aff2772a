"""The project agent: what one project does, as a plain asyncio class without any actor system.

It owns the project's state, its sandbox and the abort reason of its run. Requests come in through
`handle`; what it has to say goes out through its `Office`: `ProjectActor` (project.py) in the
service, a test double's worth of lines in tests of this class.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from actors import events as ev
from actors import messages as m
from actors.errors import (
    Fenced,
    InvalidDescription,
    InvalidInput,
    NothingRunning,
    ProjectBusy,
    ServiceError,
    StorageUnavailable,
)
from actors.events import RunState
from actors.feed import Feed
from actors.generation.deployment import Deployment
from actors.generation.model import Model
from actors.generation.pipeline import Pipeline
from actors.journal import Journal
from actors.sandbox.base import LogSink, Sandbox
from actors.settings import Settings
from actors.state import ProjectState
from actors.store import Claim, Store

log = logging.getLogger(__name__)

MAX_DESCRIPTION_CHARS = 20_000
CLAIM_RETRY_SECONDS = 1.0  # while PostgreSQL is away


class AbortReason(StrEnum):
    """Why a run is stopped from outside. After SHUTDOWN it stays open and is resumed."""

    USER = "user"
    REPLACED = "replaced"
    REMOVED = "removed"
    SHUTDOWN = "shutdown"


class Office(Protocol):
    """The agent's way out, in the order of the calls."""

    def tell_supervisor(self, message: m.Message) -> None: ...

    def answer(self, request: m.Request, answer: m.Answer) -> None: ...

    def leave(self) -> None:
        """End the process once everything said so far is sent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """The adapters that an agent works with."""

    store: Store
    model: Model
    make_sandbox: Callable[[LogSink], Sandbox]


class ProjectAgent:
    """One project. Its coroutines run on one loop; requests are carried out one after another."""

    def __init__(
        self, project_id: str, *, settings: Settings, tools: Tools, office: Office
    ) -> None:
        self._project_id = project_id
        self._settings = settings
        self._store = tools.store
        self._model = tools.model
        self._office = office
        self._deployment = Deployment(lambda: tools.make_sandbox(self._note_sandbox_log))
        self._journal: Journal | None = None
        self._feed: Feed | None = None
        self._epoch = 0
        self._started = asyncio.Event()
        self._storage_problem: StorageUnavailable | None = None
        self._turn = asyncio.Lock()
        self._run_task: asyncio.Task[None] | None = None
        self._has_left = False

    # --- coming ----------------------------------------------------------------------------------

    async def start(self, crash_reason: str | None = None) -> None:
        """Become the project's owner, then go on with its open run, or with its queue.

        `crash_reason` ends an open run with that sentence instead.
        """
        async with self._turn:
            claim = await self._claim()
            self._epoch = claim.epoch
            self._feed = Feed(self._settings.feed_socket, self._project_id, claim.epoch)
            self._journal = Journal(
                self._store, self._feed, claim.state, claim.epoch, on_fenced=self._leave_fenced
            )
            await self._feed.open(claim.state.last_seq)
            if not claim.was_clean:
                self._journal.skip_unsaved_numbers()
            if crash_reason is not None and claim.state.run is not None:
                await self._record(
                    ev.ErrorRaised(message=crash_reason, code="actor_crashed"),
                    ev.StateChange(state=RunState.ERROR),
                )
            self._storage_problem = None
            self._started.set()
            await self._settle()
        log.info("%s: epoch %d, seq %d", self._project_id, self._epoch, self._state.last_seq)

    async def _claim(self) -> Claim:
        while True:
            try:
                return await self._store.claim(self._project_id)
            except StorageUnavailable as error:
                log.warning("%s cannot be loaded: %s", self._project_id, error)
                self._storage_problem = error
                self._started.set()  # requests are answered with the problem meanwhile
                await asyncio.sleep(CLAIM_RETRY_SECONDS)

    @property
    def _state(self) -> ProjectState:
        assert self._journal is not None
        return self._journal.state

    async def _record(self, *events: ev.Event) -> None:
        assert self._journal is not None
        await self._journal.record(*events)

    async def _settle(self) -> None:
        """Ask for a place for the next run, or rest: say so, and let go of the database."""
        if self._run_task is not None or self._has_left:
            return
        if self._state.run is not None or self._state.queue:
            self._office.tell_supervisor(m.ProjectIdle(project_id=self._project_id, idle=False))
            self._office.tell_supervisor(m.RunWanted(project_id=self._project_id))
        else:
            self._office.tell_supervisor(m.ProjectIdle(project_id=self._project_id, idle=True))
            await self._store.release()

    # --- requests --------------------------------------------------------------------------------

    async def handle(self, message: m.Message) -> None:
        """Carry out one message; a request is answered, whatever happens."""
        await self._started.wait()
        try:
            if self._storage_problem is not None and isinstance(message, m.Request):
                raise self._storage_problem
            async with self._turn:
                if self._has_left:
                    self._hand_back(message)
                else:
                    await self._dispatch(message)
        except ServiceError as error:
            self._refuse(message, error.code, str(error))
        except Exception:
            log.exception("%s failed at %s", self._project_id, type(message).__name__)
            self._refuse(message, "internal_error", "Something went wrong; see the service's log.")

    def _hand_back(self, message: m.Message) -> None:
        """Return what came too late, until the supervisor says that nothing more comes."""
        match message:
            case m.Request():
                self._office.tell_supervisor(message)
            case m.LeaveGranted():
                self._office.leave()

    def _refuse(self, message: m.Message, code: str, sentence: str) -> None:
        if isinstance(message, m.Request):
            self._office.answer(
                message, m.Failed(request_id=message.request_id, code=code, message=sentence)
            )

    async def _dispatch(self, message: m.Message) -> None:
        match message:
            case m.StartGeneration():
                await self._start_generation(message)
            case m.CancelGeneration():
                await self._cancel()
                self._office.answer(message, m.Done(request_id=message.request_id))
            case m.ReviveProject():
                self._office.answer(message, self._info(message))
            case m.PassivateProject():
                await self._passivate(message)
            case m.RemoveProject():
                await self._remove(message)
            case m.RunGranted():
                self._start_run()
            case m.SaveAndStop():
                await self._stop_run(AbortReason.SHUTDOWN)
                await self._leave()
            case _:
                log.warning("%s ignores a %s", self._project_id, type(message).__name__)

    def _info(self, request: m.ReviveProject) -> m.ProjectInfo:
        return m.ProjectInfo(
            request_id=request.request_id,
            project_id=self._project_id,
            stage="live",
            running=self._run_task is not None,
        )

    async def _start_generation(self, request: m.StartGeneration) -> None:
        if request.command_id is not None:
            known = await self._store.find_command(self._project_id, request.command_id)
            if known is not None:
                self._accept(request, request.command_id, known.place, known.seq)
                return
        description = request.description.strip()
        if not 1 <= len(description) <= MAX_DESCRIPTION_CHARS:
            raise InvalidDescription()
        if request.mode not in ("queue", "replace"):
            raise InvalidInput("mode must be queue or replace.")
        state = self._state
        if len(state.queue) >= self._settings.max_queue:
            raise ProjectBusy(
                f"{len(state.queue)} commands wait already; wait for a run to end or cancel it."
            )
        place = len(state.queue) + (state.run is not None)
        if request.mode == "replace":
            await self._stop_run(AbortReason.REPLACED)
            place = 0
        command_id = request.command_id or uuid.uuid4().hex
        await self._record(
            ev.CommandQueued(
                id=command_id,
                description=description,
                model=request.model or self._settings.model_label,
                max_phases=request.max_phases or self._settings.max_phases,
                place=place,
            )
        )
        self._accept(request, command_id, place, state.last_seq)
        await self._settle()

    def _accept(self, request: m.StartGeneration, command_id: str, place: int, seq: int) -> None:
        self._office.answer(
            request,
            m.Accepted(request_id=request.request_id, command_id=command_id, place=place, seq=seq),
        )

    async def _cancel(self) -> None:
        if self._state.run is None and not self._state.queue:
            raise NothingRunning()
        if self._state.run is None:
            dropped = [
                ev.CommandDropped(id=command.id, reason=AbortReason.USER)
                for command in self._state.queue
            ]
            await self._record(*dropped)
        else:
            await self._stop_run(AbortReason.USER)
        await self._settle()

    # --- the run ---------------------------------------------------------------------------------

    def _start_run(self) -> None:
        if self._run_task is not None or (self._state.run is None and not self._state.queue):
            self._office.tell_supervisor(m.RunEnded(project_id=self._project_id))
            return
        self._run_task = asyncio.create_task(self._run(), name=f"run-{self._project_id}")

    async def _run(self) -> None:
        try:
            await self._open_run()
            pipeline = Pipeline(
                state=self._state,
                model=self._model,
                deployment=self._deployment,
                load_files=lambda: self._store.file_contents(self._project_id),
            )
            async with aclosing(pipeline.events()) as events:
                async for event in events:
                    await self._record(event)
            await self._record(*pipeline.completion())  # in one transaction: all or none is seen
        except Fenced:
            return
        except ServiceError as error:
            await self._fail_run(error.code, str(error))
        except Exception:
            log.exception("%s: the run failed", self._project_id)
            await self._fail_run("internal_error", "Something went wrong; see the service's log.")
        self._run_task = None
        self._office.tell_supervisor(m.RunEnded(project_id=self._project_id))
        await self._settle()

    async def _open_run(self) -> None:
        state = self._state
        if state.run is not None:
            number = max(state.designing, state.run.first_phase)
            await self._record(ev.RunResumed(id=state.run.command.id, phase_number=number))
            return
        command = state.queue[0]
        await self._record(
            ev.RunStarted(
                id=command.id,
                description=command.description,
                model=command.model,
                max_phases=command.max_phases,
                first_phase=len(state.phases) + 1,
            )
        )

    async def _fail_run(self, code: str, sentence: str) -> None:
        with contextlib.suppress(Fenced):
            await self._record(
                *await self._restored_file(),
                ev.ErrorRaised(message=sentence, code=code),
                ev.StateChange(state=RunState.ERROR),
            )

    async def _restored_file(self) -> list[ev.Event]:
        """Give up the unfinished file: it has its former content again."""
        open_file = self._state.open_file
        if open_file is None:
            return []
        path = open_file.path
        former = await self._store.file_contents(self._project_id, [path])
        return [ev.FileRestored(path=path, content=former.get(path))]

    async def _stop_run(self, reason: AbortReason) -> None:
        """Cancel the run's task and wait for its end; record why, unless it is to be resumed."""
        task, self._run_task = self._run_task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            self._office.tell_supervisor(m.RunEnded(project_id=self._project_id))
        if self._state.run is not None and reason is not AbortReason.SHUTDOWN:
            await self._record(
                *await self._restored_file(),
                ev.GenerationCancelled(reason=reason),
                ev.StateChange(state=RunState.IDLE),
            )

    def _note_sandbox_log(self, stream: str, line: str) -> None:
        if self._journal is not None and not self._has_left:
            self._journal.note(ev.SandboxLog(stream=stream, line=line))

    # --- leaving ---------------------------------------------------------------------------------

    async def _passivate(self, request: m.PassivateProject) -> None:
        if self._state.run is not None or self._state.queue:
            self._office.tell_supervisor(m.PassivationRefused(project_id=self._project_id))
            raise ProjectBusy("The project has work to do.")
        await self._leave(ev.Hibernated())

    async def _remove(self, request: m.RemoveProject) -> None:
        await self._stop_run(AbortReason.REMOVED)
        await self._deployment.remove()
        if request.delete:
            await self._store.remove(self._project_id, self._epoch)
        await self._leave(is_deleted=request.delete)
        self._office.answer(request, m.Done(request_id=request.request_id))

    async def _leave(self, *last_words: ev.Event, is_deleted: bool = False) -> None:
        """Save, stop the sandbox, and ask the supervisor for leave to end this process."""
        assert self._journal is not None
        assert self._feed is not None
        try:
            await self._deployment.stop()
        except ServiceError as error:
            log.warning("%s: the sandbox could not be stopped: %s", self._project_id, error)
        if not is_deleted:
            if last_words:
                await self._record(*last_words)
            await self._journal.close()
            with contextlib.suppress(ServiceError):
                await self._store.mark_clean(self._project_id, self._epoch)
        self._has_left = True
        await self._feed.close()
        await self._store.close()
        await self._model.close()
        self._office.tell_supervisor(m.ProjectGone(project_id=self._project_id))

    def _leave_fenced(self) -> None:
        """Another owner exists: end at once, write nothing, leave the sandbox to it."""
        if not self._has_left:
            log.error("%s has another owner; epoch %d ends", self._project_id, self._epoch)
            self._has_left = True
            self._office.tell_supervisor(m.ProjectGone(project_id=self._project_id))
