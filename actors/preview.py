"""The preview: an idle project's app is started when somebody asks for it, and kept alive.

A project that comes back from hibernation has a stopped sandbox, or none any more. Its files are
in the store, so that nothing but the time of a start is lost. An app that has been started, here or
by a run, is watched over until the sandbox is stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping

from actors import events as ev
from actors.errors import (
    BuildFailed,
    Fenced,
    InstallFailed,
    InternalError,
    NotFound,
    ServerFailed,
    ServiceError,
)
from actors.generation.deployment import Deployment
from actors.journal import Journal
from actors.sandbox.base import Sandbox
from actors.vigil import Vigil

log = logging.getLogger(__name__)

LoadFiles = Callable[[], Awaitable[dict[str, str]]]


class Preview:
    """Starts the app as a task, one at a time; never beside a run, which has the sandbox then.

    `on_end` is awaited when that task has come to its end by itself, also by an error; not after
    `stop`, whose caller goes on. `rest` lets go of the database, after what nobody asked for.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        deployment: Deployment,
        load_files: LoadFiles,
        on_end: Callable[[], Awaitable[None]],
        rest: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._deployment = deployment
        self._load_files = load_files
        self._on_end = on_end
        self._rest = rest
        self._vigil = Vigil(deployment, tell=self._tell, start_app=self._start_again)
        self._task: asyncio.Task[None] | None = None
        self._problem: ServiceError | None = None
        self._stage = ""

    @property
    def stage(self) -> str:
        """What is being done to start the app, in a few words; empty where nothing is."""
        return self._stage if self.is_opening else ""

    @property
    def is_opening(self) -> bool:
        return self._task is not None

    async def open(self) -> None:
        """Begin to start the app, unless that is under way or done; never waits for it.

        Raises, once, what the last start failed with; the call after that one starts it again.
        """
        if self._task is not None:
            return
        if self._problem is not None:
            problem, self._problem = self._problem, None
            raise problem
        await self._deployment.look()
        if not self._deployment.is_serving:
            self._begin("reading the files", self._open())

    def accompany(self) -> None:
        """Have the last good state up beside a run, or behind one that was stopped."""
        if self._task is None and not self._deployment.is_serving:
            self._begin("starting the app as it was", self._bring_back())

    def _begin(self, stage: str, work: Coroutine[None, None, None]) -> None:
        self._stage = stage
        project_id = self._journal.state.project_id
        self._task = asyncio.create_task(work, name=f"preview-{project_id}")

    def watch(self, sandbox: Sandbox) -> None:
        """Keep the app alive whose dev server this sandbox has started."""
        self._vigil.watch(sandbox)

    def cancel(self) -> None:
        """Keep the app alive no longer: it is somebody else's."""
        self._vigil.cancel()

    async def stop(self) -> None:
        """Start nothing more: the sandbox is to be stopped."""
        await self.give_way()
        await self._vigil.stop()

    async def remove_sandbox(self) -> None:
        """Remove what the app runs in; whoever uses it meanwhile finds it gone."""
        await self.stop()
        await self._deployment.remove()

    async def give_way(self) -> None:
        """Leave the sandbox to a run: try no files beside it.

        The task is cancelled and its end waited for; a failure that nobody was told is forgotten.
        """
        task, self._task = self._task, None
        self._problem = None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            await self._journal.settled()  # what the task had begun to record counts

    async def _open(self) -> None:
        with contextlib.suppress(Fenced):  # the agent is leaving
            self._problem = await self._start(self._start_app)
            await self._end()

    async def _bring_back(self) -> None:
        with contextlib.suppress(Fenced):  # the agent is leaving
            await self._start(self._serve_good)
            await self._end()

    async def _start(self, start: Callable[[], Awaitable[None]]) -> ServiceError | None:
        """Start the app in our turn; returns what it has failed with.

        Only cancelling leaves what follows to whoever cancelled.
        """
        project_id = self._journal.state.project_id
        try:
            async with self._deployment.turn:
                if not self._deployment.is_serving:  # by the vigil, a moment ago
                    await start()
        except Fenced:
            raise
        except ServiceError as error:
            log.warning("%s: its app cannot be started: %s", project_id, error)
            return error
        except Exception:
            log.exception("%s: its app cannot be started", project_id)
            return InternalError()
        return None

    async def _end(self) -> None:
        self._task = None
        await self._on_end()

    async def _tell(self, stopped: ev.ServerStopped) -> None:
        await self._journal.record(stopped)
        self._rest()

    async def _start_again(self) -> None:
        """Start the app for the vigil; in a run, whose phase is half written, as it was."""
        if self._journal.state.run is None:
            await self._start_app()
        else:
            await self._serve_good()
        self._rest()

    async def _start_app(self) -> None:
        """Bring the sandbox up to the stored files, as a run does behind a phase's last file."""
        deployment, state = self._deployment, self._journal.state
        files = await self._load_files()
        if not files:
            raise NotFound("The project has no files yet.")
        self._stage = "starting the sandbox"
        started = await deployment.ready()
        if (state.sandbox_kind, state.sandbox_container_id) != (
            deployment.kind,
            started.container_id,
        ):
            await self._journal.record(
                ev.SandboxStarted(kind=deployment.kind, container_id=started.container_id)
            )
        self._stage = "starting the dev server"
        if not deployment.have_failed(files) or not await deployment.fall_back():
            await self._try(files)
        await self._journal.record(ev.ServerStarted(url=deployment.address))

    async def _try(self, files: Mapping[str, str]) -> None:
        """Have the app answer with these files, or else with the last that have been good."""
        deployment, deleted = self._deployment, self._journal.state.deleted_paths
        try:
            self._stage = "writing the files"
            await deployment.write(files, deleted)
            if deployment.needs_install(files):
                self._stage = "installing dependencies"
                await deployment.install(files)
            if deployment.is_drafting and deployment.needs_check(files):
                self._stage = "checking the build"
                await deployment.check(files)
            self._stage = "starting the dev server"
            await deployment.serve()
        except (InstallFailed, BuildFailed, ServerFailed):
            await deployment.note_failure(files)
            if not await deployment.fall_back():
                raise

    async def _serve_good(self) -> None:
        """Start the app's last good state, if there is one; what else there is a run brings up."""
        await self._deployment.ready()
        if self._deployment.is_good:
            await self._deployment.start_server()
            await self._journal.record(ev.ServerStarted(url=self._deployment.address))
