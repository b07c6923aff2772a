"""The service's PostgreSQL: what DATABASE_URL names, or an embedded one that is kept alive."""

from __future__ import annotations

import asyncio
import logging
import os

from actors.database import apply_schema
from actors.errors import ServiceError
from actors.postgres import EmbeddedPostgres
from actors.settings import Settings

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0  # after the embedded server could not be started again


class Database:
    """Start, look after and stop the database; `url` is known once `start` has returned."""

    def __init__(self, settings: Settings) -> None:
        self.url = settings.database_url
        self.is_embedded = not settings.database_url
        self._server = EmbeddedPostgres(settings.path("postgres"))
        self._starting: asyncio.Future[str] | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def lifeline_fds(self) -> tuple[int, ...]:
        """What the actor system inherits, so that it can save when this process is killed."""
        descriptor = self._server.lifeline_fd
        return () if descriptor is None else (descriptor,)

    async def start(self) -> None:
        """Have a database with the current schema. Raises StorageUnavailable, StateDirUnusable."""
        if self.is_embedded:
            self.url = await self._start_server()
        await apply_schema(self.url)
        if self.is_embedded:
            self._keeper = asyncio.create_task(self._keep(), name="embedded database")

    async def _start_server(self) -> str:
        self._starting = asyncio.ensure_future(asyncio.to_thread(self._server.start))
        # a thread cannot be cancelled: `stop` waits for it before it stops what it has started
        return await asyncio.shield(self._starting)

    async def _keep(self) -> None:
        """Start the server anew as soon as it dies; its data recover by themselves."""
        while True:
            if self._server.is_running:
                await self._ended()
            log.error("the embedded database has died; starting it again")
            try:
                await self._start_server()
            except ServiceError as error:
                log.error("%s", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _ended(self) -> None:
        """Wait for the server's end."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        descriptor = self._server.open_pidfd()
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    async def stop(self) -> None:
        """Stop the embedded server; one that is not ours goes on."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        if self._starting is not None:
            self._server.give_up_start()
            await asyncio.wait([self._starting])
            await asyncio.to_thread(self._server.stop)
