"""The service's parts in the order of their start; stopping is the reverse.

    state directory, log, listening socket        told at once where something is wrong
    database, schema, reader                      nothing works without
    sandbox choice
    web server (not yet accepting), feed server   so that actors find where to report
    actor system
    accept connections, revive open projects

Stopping first refuses new connections, then has the actors save while viewers still see it, then
says goodbye to the viewers.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import socket
from contextlib import AsyncExitStack
from uuid import uuid4

from aiohttp import web

from actors.errors import ServiceError, StateDirUnusable, StorageUnavailable
from actors.messages import ReviveProject
from actors.reader import MAX_PAGE_ROWS, Reader
from actors.sandbox.base import runs_commands
from actors.sandbox.choose import choose_sandbox
from actors.sandbox.doors import remove_left_sockets
from actors.sandbox.reap import reap
from actors.sandbox.retire import retire
from actors.service_log import configure_logging, rotate_log
from actors.settings import Settings
from actors.snapshot import snapshot_data
from gateway.actor_system import ActorSystem
from gateway.context import Context
from gateway.database import Database
from gateway.day import on_each_new_day
from gateway.disk import DiskWatch
from gateway.feed import FeedServer
from gateway.hub import Hub
from gateway.listener import BACKLOG, listen
from gateway.routes import make_runner
from gateway.state_directory import StateDirectory
from gateway.viewer import Source
from gateway.websocket import close_sockets

log = logging.getLogger(__name__)

REVIVALS_AT_ONCE = 8
REVIVE_SECONDS = 30.0
DATABASE_RETRY_SECONDS = 2.0  # when it is away as the actor system is replaced
HANDLER_SECONDS = 1.0  # for requests that are under way when the service stops
RESERVED_SECONDS = 4.0  # of the deadline: for what is stopped after the actors


class Service:
    """The running service; `context` and `url` are known once `start` has returned."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._has_actors = False
        self._reviving: set[asyncio.Task[None]] = set()
        self.context: Context
        self.url = ""

    async def start(self) -> None:
        """Start everything; when that fails or is cancelled, what was started is undone.

        Raises a ServiceError with a sentence for the user.
        """
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()

    async def stop(self) -> None:
        """Save and stop everything within `settings.shutdown_seconds`."""
        log.info("stopping")
        await self._stack.aclose()
        log.info("stopped")

    async def ended(self) -> None:
        """Wait until an admin message has shut the actor system down."""
        await self._actors.closed.wait()

    # --- start, and what undoes it ---------------------------------------------------------------

    async def _start(self, stack: AsyncExitStack) -> None:
        listener = self._occupy(stack)
        database = Database(self._settings)
        stack.push_async_callback(database.stop)
        await database.start()
        reader = Reader(database.url)
        stack.push_async_callback(reader.close)
        sandbox = await choose_sandbox(self._settings)
        self._settings = dataclasses.replace(
            self._settings,
            database_url=database.url,
            sandbox=sandbox.kind,  # decided once, for every actor
        )
        if runs_commands(sandbox.kind):
            await self._remove_leftover_sandboxes(reader)
            await self._retire_sandboxes()
        self._actors = ActorSystem(
            self._settings,
            on_restart=self._revive_in_background,
            inherited_fds=database.lifeline_fds,
        )
        self.context = Context(
            settings=self._settings,
            reader=reader,
            hub=Hub(Source(history=reader, describe=self._describe())),
            actors=self._actors,
            sandbox=sandbox,
            is_database_embedded=database.is_embedded,
        )
        await self._serve(stack, listener)
        log.info(
            "serving at %s: model %s, sandbox %s, database %s",
            self.url,
            self._settings.model_label,
            sandbox.kind,
            "embedded" if database.is_embedded else "external",
        )
        await self._revive_in_background()
        daily = asyncio.create_task(
            on_each_new_day(reader.today, self._begin_day), name="what is done each day"
        )
        stack.callback(daily.cancel)
        if runs_commands(sandbox.kind) and self._settings.sandbox_disk_mib > 0:
            watch = DiskWatch(self._settings, self._actors, reader)
            disk = asyncio.create_task(watch.run(), name="what sandboxes take on disk")
            stack.callback(disk.cancel)

    async def _begin_day(self) -> None:
        """Have runs go on that wait for the day's cap; remove sandboxes that nobody uses."""
        if self._settings.max_daily_cost_usd > 0:
            await self._revive_in_background()
        if runs_commands(self.context.sandbox.kind):
            await self._retire_sandboxes()

    def _occupy(self, stack: AsyncExitStack) -> socket.socket:
        """Take the state directory and the port, and open the log."""
        settings = self._settings
        directory = StateDirectory(settings)
        directory.hold()
        stack.callback(directory.release)
        listener = listen(settings.host, settings.port)
        stack.callback(listener.close)
        self._settings = dataclasses.replace(settings, port=listener.getsockname()[1])
        self.url = self._settings.url
        directory.note(self.url)
        try:
            rotate_log(settings)
        except OSError as error:
            raise StateDirUnusable(
                f"The log cannot be written ({error.strerror}): {settings.log_file}."
            ) from error
        configure_logging(settings, console=True)
        return listener

    async def _serve(self, stack: AsyncExitStack, listener: socket.socket) -> None:
        context = self.context
        stack.callback(remove_left_sockets, self._settings)  # last: nobody listens any more
        runner = make_runner(context, HANDLER_SECONDS)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        stack.push_async_callback(close_sockets, context)
        feed = FeedServer(context.hub, self._settings.feed_socket)
        stack.push_async_callback(feed.stop)
        await feed.start()
        stack.push_async_callback(self._stop_actors)
        await self._actors.start()
        self._has_actors = True
        site = web.SockSite(runner, listener, backlog=BACKLOG)
        await site.start()
        stack.push_async_callback(site.stop)

    async def _stop_actors(self) -> None:
        self.context.hub.close()
        for task in self._reviving:
            task.cancel()
        # half a start has nothing to save
        seconds = self._settings.shutdown_seconds - RESERVED_SECONDS if self._has_actors else 0
        await self._actors.stop(max(1.0, seconds))

    def _describe(self) -> functools.partial[dict[str, object]]:
        settings = self._settings
        return functools.partial(
            snapshot_data,
            model=settings.model_label,
            is_demo=settings.is_demo,
            preview_base=settings.preview_base,
        )

    # --- what a start finds ----------------------------------------------------------------------

    async def _retire_sandboxes(self) -> None:
        try:
            removed = await retire(self._settings)
        except ServiceError as error:
            log.warning("unused sandboxes stay: %s", error)
        else:
            if removed:
                log.info("removed %d sandboxes that nobody has used lately", removed)

    async def _remove_leftover_sandboxes(self, reader: Reader) -> None:
        """Remove the sandboxes of projects that were deleted while they could not be."""
        known: set[str] = set()
        cursor: str | None = None
        try:
            while True:
                page = await reader.list_projects(cursor, MAX_PAGE_ROWS)
                known.update(project.id for project in page.projects)
                cursor = page.cursor
                if cursor is None:
                    break
            removed = await reap(self._settings, known)
        except ServiceError as error:
            log.warning("leftover sandboxes stay: %s", error)
        else:
            if removed:
                log.info("removed %d sandboxes of deleted projects", removed)

    async def _revive_in_background(self) -> None:
        """Have the projects with an open run or a queue go on, after a start or a crash."""
        task = asyncio.create_task(self._revive_open_projects(), name="revive open projects")
        self._reviving.add(task)
        task.add_done_callback(self._revived)

    def _revived(self, task: asyncio.Task[None]) -> None:
        self._reviving.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("reviving failed", exc_info=error)

    async def _revive_open_projects(self) -> None:
        project_ids = await self._open_projects()
        if project_ids:
            log.info("reviving %d projects with work to do", len(project_ids))
        turns = asyncio.Semaphore(REVIVALS_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for project_id in project_ids:
                await turns.acquire()
                revival = group.create_task(self._revive(project_id))
                revival.add_done_callback(lambda _: turns.release())

    async def _open_projects(self) -> list[str]:
        """Return the projects with work to do, waiting for a database that is away."""
        while True:
            try:
                return await self.context.reader.open_projects()
            except StorageUnavailable as error:
                log.error("open projects cannot be revived yet: %s", error)
            await asyncio.sleep(DATABASE_RETRY_SECONDS)

    async def _revive(self, project_id: str) -> None:
        revival = ReviveProject(request_id=uuid4().hex, project_id=project_id)
        try:
            await self._actors.ask(revival, REVIVE_SECONDS)
        except ServiceError as error:
            log.error("project %s is not revived: %s", project_id, error)
