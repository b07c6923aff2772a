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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from actors.journal import Journal
from actors.runner import AbortReason, Runner
from actors.sandbox.base import LogSink, Sandbox
from actors.settings import Settings
from actors.state import ProjectState
from actors.store import Claim, Store

log = logging.getLogger(__name__)

MAX_DESCRIPTION_CHARS = 20_000
CLAIM_RETRY_SECONDS = 1.0  # while PostgreSQL is away


class Office(Protocol):
    """The agent's way out, in the order of the calls."""

    def tell_supervisor(self, message: m.Message) -> None: ...

    def answer(self, request: m.Request, answer: m.Answer) -> None: ...

    def leave(self) -> None:
        """End the process once everything said so far is sent."""
        ...

    def crash(self) -> None:
        """End the process at once: what it has in memory is of no use; a successor will come."""
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
        self._runner: Runner | None = None
        self._epoch = 0
        self._started = asyncio.Event()  # claimed, or waiting for a database that is away
        self._storage_problem: StorageUnavailable | None = None
        self._turn = asyncio.Lock()
        self._has_left = False

    # --- coming ----------------------------------------------------------------------------------

    async def start(self, crash_reason: str | None = None) -> None:
        """Become the project's owner, then go on with its open run, or with its queue.

        `crash_reason` ends an open run with that sentence instead.
        """
        async with self._turn:
            claim = await self._claim()
            if claim is None:
                return
            self._epoch = claim.epoch
            self._feed = Feed(self._settings.feed_socket, self._project_id, claim.epoch)
            self._journal = Journal(
                self._store,
                self._feed,
                claim.state,
                claim.epoch,
                on_fenced=self._leave_fenced,
                on_broken=self._office.crash,
            )
            self._runner = Runner(
                journal=self._journal,
                store=self._store,
                model=self._model,
                deployment=self._deployment,
                on_end=self._run_ended,
            )
            await self._feed.open(claim.state.last_seq)
            if not claim.was_clean:
                self._journal.skip_unsaved_numbers()
            if crash_reason is not None and claim.state.run is not None:
                await self._runner.close(
                    ev.ErrorRaised(message=crash_reason, code="actor_crashed"),
                    ev.StateChange(state=RunState.ERROR),
                )
            self._started.set()
            await self._settle()
        log.info("%s: epoch %d, seq %d", self._project_id, self._epoch, self._state.last_seq)

    async def _claim(self) -> Claim | None:
        """Take the project over; None when there was no database until we had to leave."""
        while not self._has_left:
            try:
                claim = await self._store.claim(self._project_id)
            except StorageUnavailable as error:
                log.warning("%s cannot be loaded: %s", self._project_id, error)
                self._storage_problem = error
                self._started.set()  # requests are answered with the problem meanwhile
                await asyncio.sleep(CLAIM_RETRY_SECONDS)
            else:
                self._storage_problem = None
                return claim
        return None

    @property
    def _state(self) -> ProjectState:
        assert self._journal is not None
        return self._journal.state

    async def _record(self, *events: ev.Event) -> int:
        assert self._journal is not None
        return await self._journal.record(*events)

    # --- requests --------------------------------------------------------------------------------

    async def handle(self, message: m.Message) -> None:
        """Carry out one message; a request is answered, whatever happens."""
        await self._started.wait()
        try:
            if self._storage_problem is not None:
                self._handle_without_storage(message, self._storage_problem)
                return
            async with self._turn:
                if self._has_left:
                    self._hand_back(message)
                    return
                try:
                    await self._dispatch(message)
                finally:
                    await self._settle()
        except Fenced:
            self._hand_back(message)
        except ServiceError as error:
            self._refuse(message, error.code, str(error))
        except Exception:
            log.exception("%s failed at %s", self._project_id, type(message).__name__)
            self._refuse(message, "internal_error", "Something went wrong; see the service's log.")

    def _handle_without_storage(self, message: m.Message, problem: StorageUnavailable) -> None:
        """Answer while the project has not been loaded: there is nothing to save yet."""
        match message:
            case m.SaveAndStop():
                self._has_left = True
                self._office.tell_supervisor(m.ProjectGone(project_id=self._project_id))
            case m.LeaveGranted():
                self._office.leave()
            case _:
                self._refuse(message, problem.code, str(problem))

    def _hand_back(self, message: m.Message) -> None:
        """Return what came too late, until the supervisor says that nothing more comes."""
        match message:
            case m.PassivateProject():
                pass  # the supervisor answers it when we are gone
            case m.Request():
                self._office.tell_supervisor(message)
            case m.LeaveGranted():
                self._office.leave()

    def _refuse(self, message: m.Message, code: str, sentence: str) -> None:
        if isinstance(message, m.PassivateProject):
            refused = m.PassivationRefused(project_id=self._project_id, code=code, message=sentence)
            self._office.tell_supervisor(refused)
        elif isinstance(message, m.Request):
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
                if self._has_work:
                    raise ProjectBusy("The project has work to do.")
                await self._leave(ev.Hibernated())
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
            running=self._runner is not None and self._runner.is_active,
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
        if request.mode == "replace":
            await self._stop_run(AbortReason.REPLACED)
        place = 0 if request.mode == "replace" else len(state.queue) + (state.run is not None)
        command_id = request.command_id or uuid.uuid4().hex
        seq = await self._record(
            ev.CommandQueued(
                id=command_id,
                description=description,
                model=request.model or self._settings.model_label,
                max_phases=request.max_phases or self._settings.max_phases,
                place=place,
            )
        )
        self._accept(request, command_id, place, seq)

    def _accept(self, request: m.StartGeneration, command_id: str, place: int, seq: int) -> None:
        self._office.answer(
            request,
            m.Accepted(request_id=request.request_id, command_id=command_id, place=place, seq=seq),
        )

    async def _cancel(self) -> None:
        """Stop the run; without one, drop what waits for its turn."""
        had_run = self._state.run is not None
        if await self._stop_run(AbortReason.USER):
            return
        if had_run or not self._state.queue:  # it came to its end just now
            raise NothingRunning()
        await self._record(
            *(
                ev.CommandDropped(id=command.id, reason=AbortReason.USER)
                for command in self._state.queue
            )
        )

    # --- the run ---------------------------------------------------------------------------------

    @property
    def _has_work(self) -> bool:
        return self._state.run is not None or bool(self._state.queue)

    async def _settle(self) -> None:
        """Ask for a place for the next run, or rest: say so, and let go of the database."""
        assert self._runner is not None
        if self._runner.is_active or self._has_left:
            return
        is_idle = not self._has_work
        self._office.tell_supervisor(m.ProjectIdle(project_id=self._project_id, idle=is_idle))
        if is_idle:
            await self._store.release()
        else:
            self._office.tell_supervisor(m.RunWanted(project_id=self._project_id))

    def _start_run(self) -> None:
        assert self._runner is not None
        if self._has_work and not self._runner.is_active:
            self._runner.start()
        else:
            self._office.tell_supervisor(m.RunEnded(project_id=self._project_id))

    async def _run_ended(self) -> None:
        self._office.tell_supervisor(m.RunEnded(project_id=self._project_id))
        await self._settle()

    async def _stop_run(self, reason: AbortReason) -> bool:
        """Stop the run; returns whether there was one, see `Runner.stop`."""
        assert self._runner is not None
        was_active = self._runner.is_active
        has_stopped = await self._runner.stop(reason)
        if was_active:
            self._office.tell_supervisor(m.RunEnded(project_id=self._project_id))
        return has_stopped

    def _note_sandbox_log(self, stream: str, line: str) -> None:
        if self._journal is not None and not self._has_left:
            self._journal.note(ev.SandboxLog(stream=stream, line=line))

    # --- leaving ---------------------------------------------------------------------------------

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
        with self._whatever_happens("stop its sandbox"):
            if not is_deleted:
                await self._deployment.stop(exists=self._state.sandbox_container_id is not None)
        if not is_deleted:
            with self._whatever_happens("save"):
                if last_words:
                    await self._record(*last_words)
                await self._journal.close()
                await self._store.mark_clean(self._project_id, self._epoch)
        self._has_left = True
        with self._whatever_happens("close its connections"):
            await self._feed.close()
            await self._store.close()
            await self._model.close()
        self._office.tell_supervisor(m.ProjectGone(project_id=self._project_id))

    @contextlib.contextmanager
    def _whatever_happens(self, purpose: str) -> Iterator[None]:
        """Log what goes wrong: leaving, once begun, must come to its end."""
        try:
            yield
        except ServiceError as error:
            log.warning("%s could not %s: %s", self._project_id, purpose, error)
        except Exception:
            log.exception("%s could not %s", self._project_id, purpose)

    def _leave_fenced(self) -> None:
        """Another owner exists: end at once, write nothing, leave the sandbox to it."""
        if not self._has_left:
            log.error("%s has another owner; epoch %d ends", self._project_id, self._epoch)
            self._has_left = True
            self._office.tell_supervisor(m.ProjectGone(project_id=self._project_id))
