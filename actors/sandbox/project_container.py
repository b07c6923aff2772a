"""Finding, creating and starting the container of one project."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import BinaryIO

import aiodocker
import aiohttp
from aiodocker.containers import DockerContainer

from actors.errors import SandboxUnavailable
from actors.sandbox.archive import home_archive
from actors.sandbox.container import (
    container_config,
    container_names,
    is_current,
    is_own,
    network_config,
    network_name,
    volume_name,
)
from actors.sandbox.doors import door_directory, make_door_directory, remove_door_directory
from actors.sandbox.engine import CALL_SECONDS, CONNECT_SECONDS, ClientFactory, reason_of
from actors.sandbox.image import missing, pull_image
from actors.sandbox.layout import VOLUME_DIR
from actors.settings import Settings

STOP_SECONDS = 2  # between the polite and the hard signal
CREATE_ATTEMPTS = 20  # a pull costs one, each look at a container that is being made another
CREATE_PAUSE_SECONDS = 0.1
PART_BYTES = 262_144
STALLED_SECONDS = 30.0  # without a part of an archive
_STREAMING = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=STALLED_SECONDS)


class ProjectContainer:
    """The container of one project of this service, known by its name and labels.

    Each method asks the engine anew, since anyone may have stopped or removed the container.
    They raise what aiodocker raises; callers wrap them in `engine_errors`.
    """

    def __init__(
        self,
        project_id: str,
        settings: Settings,
        connect: ClientFactory,
        on_progress: Callable[[str], None],
    ) -> None:
        self._image = settings.sandbox_image
        self._config = container_config(project_id, settings)
        self._names = container_names(project_id, settings)
        self._volume = volume_name(project_id, settings)
        self._doors = door_directory(project_id, settings)
        self._network = network_config(settings) if network_name(settings) else None
        self._connect = connect
        self._on_progress = on_progress
        self._client: aiodocker.Docker | None = None

    @property
    def usual_name(self) -> str:
        return self._names[0]

    async def find(self) -> DockerContainer | None:
        """Return the container, inspected, or None."""
        for name in self._names:
            container = await self._inspect(name)
            if container is not None and is_own(_labels(container), self._config):
                return container
        return None

    async def get(self) -> DockerContainer:
        """Return the container, inspected; SandboxUnavailable where there is none."""
        container = await self.find()
        if container is None:
            raise SandboxUnavailable("The sandbox's container is gone; generate again.")
        return container

    async def obtain(self) -> tuple[DockerContainer, bool]:
        """Adopt or create the container, start it, and say whether it was created.

        One that was made with other settings is replaced. The image is pulled if need be.
        """
        container = await self.find()
        if container is not None and not is_current(_labels(container), self._config):
            await self.remove()
            container = None
        has_new_doors = make_door_directory(self._doors)
        await self._provide_network()
        is_created = container is None
        if container is None:
            container = await self._create()
        if is_created or not container["State"]["Running"]:
            await container.start()
        elif has_new_doors:
            await container.restart(t=0)
        return container, is_created

    async def stop(self) -> None:
        """Stop the container; absent or stopped is no error."""
        if (container := await self.find()) is not None:
            async with asyncio.timeout(CALL_SECONDS):
                await container.stop(t=STOP_SECONDS)

    async def remove(self) -> None:
        """Remove the container, its volume and its doors; absent is no error."""
        if (container := await self.find()) is not None:
            await delete_container(container)
        await delete_volume(self._docker, self._volume)
        remove_door_directory(self._doors)

    async def close(self) -> None:
        """Close the connection to the engine."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    @property
    def _docker(self) -> aiodocker.Docker:
        if self._client is None:
            self._client = self._connect()
        return self._client

    async def _inspect(self, name: str) -> DockerContainer | None:
        try:
            return await self._docker.containers.get(name)
        except aiodocker.DockerError as error:
            if error.status != 404:
                raise
            return None

    async def _provide_network(self) -> None:
        """Create the sandboxes' network, if they are to have one and there is none."""
        if self._network is not None:
            try:
                await self._docker.networks.create(self._network)
            except aiodocker.DockerError as error:
                if error.status != 409:
                    raise

    async def _create(self) -> DockerContainer:
        """Create the container under the first name that no other service holds."""
        is_pulled = False
        for _ in range(CREATE_ATTEMPTS):
            name = await self._free_name()
            try:
                container = await self._docker.containers.create(self._config, name=name)
            except aiodocker.DockerError as error:
                if error.status == 409:  # somebody was quicker; it can be seen a moment later
                    await asyncio.sleep(CREATE_PAUSE_SECONDS)
                    if (existing := await self.find()) is not None:
                        return existing
                    continue
                await self._mend_image(error, is_pulled)
                is_pulled = True
                continue
            await unpack(container, home_archive())
            return container
        raise self._name_taken()

    async def _free_name(self) -> str:
        for name in self._names:
            if await self._inspect(name) is None:
                return name
        raise self._name_taken()

    async def _mend_image(self, error: aiodocker.DockerError, is_pulled: bool) -> None:
        """Pull the image if that is what `error` asks for; raise otherwise."""
        if error.status == 400 and "reference" in error.message:
            raise missing(self._image, reason_of(error)) from error
        if error.status != 404:
            raise error
        if is_pulled:
            raise missing(self._image, "the engine has lost it again") from error
        await pull_image(self._connect, self._image, self._on_progress)

    def _name_taken(self) -> SandboxUnavailable:
        return SandboxUnavailable(
            f"The container {self.usual_name} cannot be created, since others hold its name; "
            "remove or rename them and generate again."
        )


async def unpack(container: DockerContainer, archive: bytes) -> None:
    """Unpack a tar archive in the container's volume; the container need not run."""
    await container.put_archive(VOLUME_DIR, archive)  # type: ignore[no-untyped-call]  # aiodocker's


async def pack(container: DockerContainer, path: str) -> AsyncIterator[bytes]:
    """Pack a directory of the container's volume as a tar archive, which comes in parts.

    aiodocker's own `get_archive` holds all of it in memory.
    """
    call = container.docker._query(
        f"containers/{container.id}/archive", "GET", params={"path": path}, timeout=_STREAMING
    )
    async with call as response:
        try:
            async for part in response.content.iter_chunked(PART_BYTES):
                yield part
        finally:
            response.close()


async def unpack_file(container: DockerContainer, directory: str, archive: BinaryIO) -> None:
    """Unpack a tar archive from a file, as it is read, below a directory of the volume."""
    call = container.docker._query(
        f"containers/{container.id}/archive",
        "PUT",
        params={"path": directory},
        data=archive,
        headers={"Content-Type": "application/x-tar"},
        timeout=_STREAMING,
    )
    async with call as response:
        response.close()


async def delete_container(container: DockerContainer) -> None:
    """Remove a container, running or not; absent is no error."""
    try:
        async with asyncio.timeout(CALL_SECONDS):
            await container.delete(force=True, v=True)
    except aiodocker.DockerError as error:
        if error.status not in (404, 409):  # 409: somebody else is removing it
            raise


async def delete_volume(docker: aiodocker.Docker, name: str) -> None:
    """Remove a volume; absent is no error, nor is a container that still has it."""
    try:
        async with docker._query(f"volumes/{name}", "DELETE"):
            pass
    except aiodocker.DockerError as error:
        if error.status not in (404, 409):
            raise


def _labels(container: DockerContainer) -> dict[str, str]:
    return container["Config"]["Labels"] or {}
