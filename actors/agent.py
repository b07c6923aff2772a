"""The project agent: what one project does, as a plain asyncio class without any actor system.

It owns the project's state, its sandbox and the abort reason of its run. Requests come in through
`handle`; what it has to say goes out through its `Office`: `ProjectActor` (project.py) in the
service, a test double's worth of lines in tests of this class.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence

from actors import events as ev
from actors import messages as m
from actors.addresses import preview_url
from actors.commands import Commands
from actors.errors import Fenced, ProjectBusy, ServiceError, StorageUnavailable
from actors.feed import Feed
from actors.generation.budget import Budget
from actors.generation.deployment import Deployment
from actors.journal import Journal
from actors.office import Office, Tools
from actors.outage import Patience
from actors.preview import Preview
from actors.runner import AbortReason, Runner
from actors.service_log import last_records
from actors.settings import Settings
from actors.state import ProjectState
from actors.turns import Turns

log = logging.getLogger(__name__)

BUILDING = "building the app"
SAVE_SECONDS = 3.0  # for each call that saves, when the service stops while PostgreSQL is away


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
        self._deployment = Deployment(
            lambda: tools.make_sandbox(self._note_sandbox_log),
            preview_url(settings.preview_base, project_id),
            lambda sandbox: self._preview.watch(sandbox),
        )
        self._journal: Journal | None = None
        self._feed: Feed | None = None
        self._runner: Runner | None = None
        self._preview: Preview
        self._commands: Commands
        self._epoch = 0
        self._is_sandbox_left = False  # by an owner that died
        self._started = asyncio.Event()  # claimed, or waiting for a database that is away
        self._patience = Patience(self._storage_away, self._storage_back)
        self._turns = Turns(self._store, self._patience.outage)
        self._has_left = False

    # --- coming ----------------------------------------------------------------------------------

    async def start(self, crash_report: m.CrashReport | None = None) -> None:
        """Become the project's owner, then go on with its open run, or with its queue.

        After too many crashes it ends the open run, or drops the command that was next.
        """
        async with self._turns.taken():
            try:
                await self._begin(crash_report)
            except StorageUnavailable:
                return  # it was away until we had to leave
        log.info("%s: epoch %d, seq %d", self._project_id, self._epoch, self._state.last_seq)

    async def _begin(self, crash_report: m.CrashReport | None) -> None:
        claim = await self._patience.until_done(lambda: self._store.claim(self._project_id))
        self._epoch = claim.epoch
        self._feed = Feed(self._settings.feed_socket, self._project_id, claim.epoch)
        self._journal = Journal(
            self._store,
            self._feed,
            claim.state,
            claim.epoch,
            patience=self._patience,
            on_fenced=self._leave_fenced,
            on_broken=self._office.crash,
        )
        self._runner = Runner(
            journal=self._journal,
            load_files=self._load_files,
            model=self._model,
            budget=Budget(
                run_usd=self._settings.max_cost_usd,
                day_usd=self._settings.max_daily_cost_usd,
                reserve=self._reserve,
            ),
            deployment=self._deployment,
            max_files=self._settings.max_files_per_phase,
            max_repairs=self._settings.max_repairs,
            chars_since_call=self._chars_since_call,
            on_end=self._run_ended,
        )
        self._preview = Preview(
            journal=self._journal,
            deployment=self._deployment,
            load_files=self._load_files,
            on_end=self._settle,
            rest=self._store.rest,
        )
        self._commands = Commands(
            settings=self._settings,
            store=self._store,
            journal=self._journal,
            stop_run=self._stop_run,
        )
        await self._feed.open(claim.state.last_seq)
        if not claim.was_clean:
            self._journal.skip_unsaved_numbers()
            self._is_sandbox_left = claim.state.sandbox_container_id is not None
        if crash_report is not None:
            lines = last_records(self._settings.log_file, crash_report.pids)
            await self._runner.give_up("\n".join([crash_report.sentence, *lines]))
        await self._runner.look_at_caps()
        self._started.set()
        await self._settle()

    async def _load_files(self, paths: Sequence[str] | None = None) -> dict[str, str]:
        return await self._patience.until_done(
            lambda: self._store.file_contents(self._project_id, paths)
        )

    async def _chars_since_call(self) -> int:
        return await self._patience.until_done(
            lambda: self._store.chars_since_call(self._project_id)
        )

    async def _reserve(self, cost_usd: float, day_usd: float) -> bool:
        return await self._patience.until_done(
            lambda: self._store.reserve(self._project_id, self._epoch, cost_usd, day_usd)
        )

    def _storage_away(self, message: str) -> None:
        self._started.set()  # requests are refused meanwhile
        if self._feed is not None:
            self._feed.storage_away(message)

    def _storage_back(self) -> None:
        if self._feed is not None:
            self._feed.storage_back()

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
            if self._journal is None:
                self._handle_unclaimed(message)
                return
            if isinstance(message, m.FindPreview) and not self._deployment.is_serving:
                self._tell_preview(message)
                return  # no turn: nobody uses the app, so the idle time goes on
            if isinstance(message, m.SaveAndStop):
                self._patience.give_up_in(SAVE_SECONDS)
            async with self._turns.taken(message):
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

    def _handle_unclaimed(self, message: m.Message) -> None:
        """Answer while the project has not been loaded: there is nothing to save yet."""
        match message:
            case m.SaveAndStop():
                self._has_left = True
                self._patience.give_up_in(0)
                self._office.tell_supervisor(m.ProjectGone(project_id=self._project_id))
            case m.LeaveGranted():
                self._office.leave()
            case _:
                problem = self._patience.outage.problem or StorageUnavailable()
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
            if code == StorageUnavailable.code and self._journal is not None:
                self._tell_idle()  # so that it is tried again
        elif isinstance(message, m.Request):
            self._office.answer(
                message, m.Failed(request_id=message.request_id, code=code, message=sentence)
            )

    async def _dispatch(self, message: m.Message) -> None:
        match message:
            case m.StartGeneration():
                self._office.answer(message, await self._commands.generate(message))
            case m.CancelGeneration():
                self._office.answer(message, await self._commands.cancel(message))
            case m.ReportProblem():
                self._office.answer(message, await self._commands.report(message))
            case m.ReviveProject():
                assert self._runner is not None
                await self._runner.look_at_caps()
                self._office.answer(message, self._info(message))
            case m.OpenPreview():
                await self._open_preview(message)
            case m.FindPreview():
                self._tell_preview(message)
            case m.PassivateProject():
                if not self._is_idle:
                    raise ProjectBusy("The project has work to do.")
                await self._preview.stop()
                await self._stop_sandbox()  # takes its time
                await self._store.ping()
                await self._leave(ev.Hibernated())
            case m.RemoveSandbox():
                await self._preview.remove_sandbox()
                self._office.answer(message, await self._commands.report(message))
            case m.RemoveProject():
                await self._remove(message)
            case m.RunDelayed():
                self._note_sandbox_log("progress", message.message)
            case m.RunGranted():
                await self._preview.give_way()
                self._start_run()
                self._preview.accompany()
            case m.SaveAndStop():
                await self._stop_run(AbortReason.SHUTDOWN)
                await self._preview.stop()
                await self._stop_sandbox()
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

    async def _open_preview(self, request: m.OpenPreview) -> None:
        assert self._runner is not None
        if not self._runner.is_active:
            await self._preview.open()
        self._tell_preview(request)

    def _tell_preview(self, request: m.OpenPreview | m.FindPreview) -> None:
        assert self._runner is not None
        stage = BUILDING if self._runner.is_active else self._preview.stage
        opened = m.PreviewOpened(
            request_id=request.request_id,
            url=None if self._preview.is_opening else self._deployment.url,
            stage=stage,
            is_behind=self._deployment.is_behind,
        )
        self._office.answer(request, opened)

    # --- the run ---------------------------------------------------------------------------------

    @property
    def _is_idle(self) -> bool:
        assert self._runner is not None
        return not self._runner.has_work and not self._preview.is_opening

    async def _settle(self) -> None:
        """Ask for a place for the next run, or rest: say so, and soon let go of the database."""
        assert self._runner is not None
        if self._runner.is_active or self._has_left:
            return
        self._tell_idle()
        if self._runner.has_work:
            self._office.tell_supervisor(m.RunWanted(project_id=self._project_id))
        elif self._is_idle:
            self._store.rest()

    def _tell_idle(self) -> None:
        left = self._is_sandbox_left
        idle = m.ProjectIdle(project_id=self._project_id, idle=self._is_idle, is_sandbox_left=left)
        self._office.tell_supervisor(idle)

    def _start_run(self) -> None:
        assert self._runner is not None
        if self._runner.has_work and not self._runner.is_active:
            self._runner.start()
        else:
            self._office.tell_supervisor(m.RunEnded(project_id=self._project_id))

    async def _run_ended(self) -> None:
        self._office.tell_supervisor(m.RunEnded(project_id=self._project_id))
        await self._settle()

    async def _stop_run(self, reason: AbortReason, *also: ev.Event) -> bool:
        """Stop the run; returns whether there was one, see `Runner.stop`."""
        assert self._runner is not None
        was_active = self._runner.is_active
        has_stopped = await self._runner.stop(reason, *also)
        if was_active:
            self._office.tell_supervisor(m.RunEnded(project_id=self._project_id))
            if reason is AbortReason.USER:
                self._preview.accompany()
        return has_stopped

    def _note_sandbox_log(self, stream: str, line: str) -> None:
        if self._journal is not None and not self._has_left:
            self._journal.note(ev.SandboxLog(stream=stream, line=line))

    # --- leaving ---------------------------------------------------------------------------------

    async def _remove(self, request: m.RemoveProject) -> None:
        await self._stop_run(AbortReason.REMOVED)
        await self._preview.remove_sandbox()
        await self._store.remove(self._project_id, self._epoch)
        await self._leave(is_deleted=True)
        self._office.answer(request, m.Done(request_id=request.request_id))

    async def _leave(self, *last_words: ev.Event, is_deleted: bool = False) -> None:
        """Save, and ask the supervisor for leave to end this process."""
        assert self._journal is not None
        assert self._feed is not None
        is_saved = is_deleted
        if not is_deleted:
            with self._whatever_happens("save"):
                if last_words:
                    await self._record(*last_words)
                await self._journal.close()
                await self._patience.until_done(
                    lambda: self._store.mark_clean(
                        self._project_id, self._epoch, self._state.last_seq
                    )
                )
                is_saved = True
        self._has_left = True
        with self._whatever_happens("close its connections"):
            await self._feed.close()
            await self._store.close()
            await self._model.close()
        self._office.tell_supervisor(m.ProjectGone(project_id=self._project_id, is_saved=is_saved))

    async def _stop_sandbox(self) -> None:
        with self._whatever_happens("stop its sandbox"):
            await self._deployment.stop(exists=self._state.sandbox_container_id is not None)

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
            self._preview.cancel()
            self._office.tell_supervisor(m.ProjectGone(project_id=self._project_id))
