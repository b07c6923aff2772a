"""The containers of one service, killed and held up behind its back."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import aiodocker
import orjson
import psutil
from aiodocker.containers import DockerContainer

from actors.sandbox.container import PROJECT_LABEL, SERVICE_LABEL, service_id
from actors.settings import Settings


class Containers:
    """Those of the service that owns a state directory, on one engine."""

    def __init__(self, engine_url: str, state_dir: Path) -> None:
        self._engine_url = engine_url
        self._label = f"{SERVICE_LABEL}={service_id(Settings(state_dir=str(state_dir)))}"

    async def running(self) -> list[str]:
        """Return the projects whose container runs."""
        async with aiodocker.Docker(self._engine_url) as docker:
            return sorted(
                container["Labels"][PROJECT_LABEL]
                for container in await self._list(docker)
                if container["State"] == "running"
            )

    async def kill(self, project_id: str) -> None:
        """Send SIGKILL to everything in a project's container."""
        async with aiodocker.Docker(self._engine_url) as docker:
            for container in await self._list(docker, project_id):
                with contextlib.suppress(aiodocker.DockerError):  # it has just ended
                    await container.kill(signal="KILL")

    async def hold(self, project_id: str, seconds: float) -> None:
        """Let nothing in a project's container run for so long.

        Not by the engine's pause: where that meets an exec that is just starting, the engine
        itself locks up for good (20.10).
        """
        async with aiodocker.Docker(self._engine_url) as docker:
            ids = [container.id for container in await self._list(docker, project_id)]
        processes = [process for id_ in ids for process in _processes_in(id_)]
        try:
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    process.suspend()
            await asyncio.sleep(seconds)
        finally:
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    process.resume()

    async def remove_all(self) -> None:
        """Leave none behind."""
        async with aiodocker.Docker(self._engine_url) as docker:
            for container in await self._list(docker):
                with contextlib.suppress(aiodocker.DockerError):
                    await container.delete(force=True, v=True)

    async def _list(
        self, docker: aiodocker.Docker, project_id: str | None = None
    ) -> list[DockerContainer]:
        labels = [self._label]
        if project_id is not None:
            labels.append(f"{PROJECT_LABEL}={project_id}")
        filters = orjson.dumps({"label": labels}).decode()
        return list(await docker.containers.list(all=True, filters=filters))


def _processes_in(container_id: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):
            if container_id in Path(f"/proc/{process.pid}/cgroup").read_text():
                found.append(process)
    return found
