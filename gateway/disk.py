"""The bound on what a sandbox takes on disk: `CODEGEN_SANDBOX_DISK_MIB`.

The free space of the file system is asked for all the time, which costs nothing; the sandboxes are
measured when it has shrunk by a part of the bound. One that takes more is removed by its project's
actor: its files are in the database, and it is made anew when it is needed.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from actors.errors import ServiceError
from actors.reader import Reader
from actors.sandbox.disk import MIB, disk_use, storage_of
from actors.settings import Settings
from gateway.commands import remove_sandbox
from gateway.context import Actors

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
STEPS = 8  # in which the free space shrinks by the bound


class DiskWatch:
    """Measures the sandboxes of one service, and has the largest removed."""

    def __init__(self, settings: Settings, actors: Actors, reader: Reader) -> None:
        self._settings = settings
        self._actors = actors
        self._reader = reader

    async def run(self) -> None:
        """Keep watch until cancelled."""
        place = await self._storage()
        await when_shrunk(
            lambda: _free_mib(place), self._settings.sandbox_disk_mib / STEPS, self.look
        )

    async def look(self) -> None:
        """Have those removed that take more than they may."""
        try:
            for digest, mib in (await disk_use(self._settings)).items():
                if mib > self._settings.sandbox_disk_mib:
                    await self._remove(digest, mib)
        except ServiceError as error:
            log.warning("what sandboxes take on disk cannot be bounded now: %s", error)

    async def _remove(self, digest: str, mib: int) -> None:
        project_id = await self._reader.project_of_digest(digest)
        if project_id is None:
            return  # a builder's, which goes by itself
        limit = self._settings.sandbox_disk_mib
        sentence = (
            f"The app took {mib:,} MiB on disk; the limit is {limit:,} MiB "
            "(CODEGEN_SANDBOX_DISK_MIB). Its sandbox was removed and is made anew from the "
            "project's files."
        )
        log.warning("%s: %s", project_id, sentence)
        await remove_sandbox(self._actors, project_id, sentence)

    async def _storage(self) -> Path:
        while True:
            try:
                return await storage_of(self._settings)
            except ServiceError as error:
                log.warning("where sandboxes are on disk cannot be asked now: %s", error)
                await asyncio.sleep(LOOK_SECONDS)


async def when_shrunk(
    free_mib: Callable[[], float],
    step_mib: float,
    act: Callable[[], Awaitable[None]],
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Call `act` at once, and whenever the free space has shrunk by a step, until cancelled."""
    most = float("inf")
    while True:
        free = free_mib()
        if most - free >= step_mib:
            await act()
            most = free
        else:
            most = max(most, free)
        await sleep(LOOK_SECONDS)


def _free_mib(place: Path) -> float:
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize / MIB
