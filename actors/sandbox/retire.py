"""Removing sandboxes that nobody has used for days: their files are rebuilt from the database."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import aiodocker
from aiodocker.containers import DockerContainer

from actors.sandbox import engine
from actors.sandbox.container import PROJECT_LABEL, SERVICE_LABEL, service_id, volume_name
from actors.sandbox.doors import door_directory, remove_door_directory
from actors.sandbox.engine import ClientFactory, engine_errors
from actors.sandbox.project_container import delete_volume
from actors.sandbox.project_folder import retire_folders
from actors.settings import Settings


async def retire(
    settings: Settings,
    connect: ClientFactory = engine.connect,
    *,
    now: datetime | None = None,
) -> int:
    """Remove what was stopped more than `settings.sandbox_keep_days` ago; return how many.

    One that is being started meanwhile is made anew by its project, as one that vanished. Folders
    are looked at also where sandboxes are containers now.
    """
    oldest = (now or datetime.now(UTC)) - timedelta(days=settings.sandbox_keep_days)
    removed = await retire_folders(settings, oldest)
    if settings.sandbox == "docker":
        removed += await _retire_containers(settings, oldest, connect)
    return removed


async def _retire_containers(settings: Settings, oldest: datetime, connect: ClientFactory) -> int:
    labels = [f"{SERVICE_LABEL}={service_id(settings)}"]
    filters = json.dumps({"label": labels, "status": ["exited"]})
    removed = 0
    with engine_errors():
        async with connect() as docker:
            for listed in await docker.containers.list(all=True, filters=filters):
                project_id = listed["Labels"].get(PROJECT_LABEL)
                if await _ended_before(listed, oldest) and await _delete_if_stopped(listed):
                    await delete_volume(docker, volume_name(project_id, settings))
                    remove_door_directory(door_directory(project_id, settings))
                    removed += 1
    return removed


async def _ended_before(container: DockerContainer, oldest: datetime) -> bool:
    try:
        details = await container.show()
    except aiodocker.DockerError as error:
        if error.status != 404:
            raise
        return False
    ended = datetime.fromisoformat(f"{details['State']['FinishedAt'][:19]}+00:00")
    return ended < oldest


async def _delete_if_stopped(container: DockerContainer) -> bool:
    try:
        await container.delete(v=True)
    except aiodocker.DockerError as error:
        if error.status not in (404, 409):  # 409: it runs again
            raise
        return False
    return True
