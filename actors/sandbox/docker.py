"""Docker as a runtime: one container per project, through aiodocker.

The container's volume keeps the project while it is stopped; it is found again by its name and
labels. An engine that went away is `SandboxUnavailable` in every call. A cancelled install or
server start is dead inside the container within 50 ms (16 ms measured); `task.py` tells how.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import BinaryIO

from aiodocker.containers import DockerContainer

from actors.errors import SandboxError, SandboxUnavailable
from actors.sandbox import engine
from actors.sandbox.container import image_environment, network_name
from actors.sandbox.engine import ClientFactory, engine_errors
from actors.sandbox.project_container import ProjectContainer, pack, unpack, unpack_file
from actors.sandbox.runtime import Obtained, Seen
from actors.sandbox.task import Task, end_all, run_short
from actors.settings import Settings

SECOND_LOOK_SECONDS = 0.5


class DockerRuntime:
    """A project's container. Each call asks the engine anew for it."""

    kind = "docker"

    def __init__(
        self,
        project_id: str,
        settings: Settings,
        on_progress: Callable[[str], None],
        connect: ClientFactory = engine.connect,
    ) -> None:
        self._container = ProjectContainer(project_id, settings, connect, on_progress)
        self.has_network = network_name(settings) is not None

    async def obtain(self) -> Obtained:
        """Create the container, or adopt and start the one that exists; pulls the image if needed.

        A container that was made with other settings is replaced by a fresh one.
        """
        with engine_errors():
            container, is_created = await self._container.obtain()
        return Obtained(container_id=container.id, is_new=is_created)

    async def look(self) -> Seen:
        """Ask the engine."""
        with engine_errors():
            container = await self._container.find()
        if container is None:
            return Seen(health="absent")
        name = container["Name"].lstrip("/")
        return Seen(
            health="running" if _runs(container) else "stopped",
            container_id=container.id,
            note="" if name == self._container.usual_name else f"The container's name is {name}.",
        )

    async def check_running(self, *, was_killed: bool) -> None:
        """Raise SandboxUnavailable if the container, or the engine, has gone away.

        A container that is being stopped has killed its commands some moments before the engine
        says so, hence the second look.
        """
        for is_last in (False, True) if was_killed else (True,):
            if not _runs(await self._get()):
                raise SandboxUnavailable("The sandbox's container was stopped; generate again.")
            if not is_last:
                await asyncio.sleep(SECOND_LOOK_SECONDS)

    async def environment(self) -> Mapping[str, str]:
        """Return the container's variables, its image's among them."""
        return image_environment((await self._get())._container)

    async def platform(self) -> str:
        """Name the image, by what it is now, and the machine's processor."""
        return f"docker {(await self._get())['Image']} {platform.machine()}"

    async def pack(self, path: str) -> AsyncIterator[bytes]:
        """Have the engine pack it; the container need not run."""
        container = await self._get()
        with engine_errors():
            async for part in pack(container, path):
                yield part

    async def unpack_file(self, directory: str, archive: BinaryIO) -> None:
        """Have the engine unpack it, as it is read; the container need not run."""
        container = await self._get()
        with engine_errors():
            await unpack_file(container, directory, archive)

    async def unpack(self, archive: bytes) -> None:
        """Have the engine unpack it; the container need not run."""
        container = await self._get()
        with engine_errors():
            await unpack(container, archive)

    async def run_short(self, directory: str, script: str, *arguments: str) -> tuple[int, bytes]:
        """Run a small shell script; SandboxUnavailable where that takes too long."""
        container = await self._get()
        with engine_errors():
            return await run_short(container, directory, script, *arguments)

    def task(
        self,
        directory: str,
        mark: str,
        command: Sequence[str],
        environment: Mapping[str, str],
    ) -> Task:
        return Task(self._get, directory, mark, command, environment)

    async def end_all(self) -> None:
        """Kill every process of the app's user, by a restart of the container if need be."""
        container = await self._get()
        if not _runs(container):  # else it would be started
            raise SandboxUnavailable("The sandbox's container is not running; generate again.")
        try:
            with engine_errors():
                is_ended = await end_all(container)
        except SandboxError:
            is_ended = False
        if not is_ended:  # nothing can be started in it any more: too many processes, say
            with engine_errors():
                await container.restart(t=0)

    async def stop(self) -> None:
        with engine_errors():
            await self._container.stop()

    async def remove(self) -> None:
        with engine_errors():
            await self._container.remove()

    async def close(self) -> None:
        await self._container.close()

    async def _get(self) -> DockerContainer:
        with engine_errors():
            return await self._container.get()


def _runs(container: DockerContainer) -> bool:
    return bool(container["State"]["Running"])
