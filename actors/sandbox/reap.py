"""Removing sandboxes of projects that do not exist any more."""

from __future__ import annotations

import json
from collections.abc import Collection

from actors.sandbox import engine
from actors.sandbox.container import PROJECT_LABEL, SERVICE_LABEL, service_id
from actors.sandbox.doors import remove_foreign_door_directories
from actors.sandbox.engine import ClientFactory, engine_errors
from actors.sandbox.project_container import delete_container, delete_volume
from actors.sandbox.project_folder import remove_foreign_folders
from actors.settings import Settings


async def reap(
    settings: Settings,
    known_project_ids: Collection[str],
    connect: ClientFactory = engine.connect,
) -> int:
    """Remove this service's sandboxes whose project does not exist any more; return how many.

    The directories of their doors go with them, and folders also where sandboxes are containers
    now. Call it at the start, before any project gets a sandbox.
    """
    removed = await remove_foreign_folders(settings, known_project_ids)
    if settings.sandbox == "docker":
        removed += await _reap_containers(settings, known_project_ids, connect)
    remove_foreign_door_directories(settings, known_project_ids)
    return removed


async def _reap_containers(
    settings: Settings, known_project_ids: Collection[str], connect: ClientFactory
) -> int:
    """Remove containers with their volumes; return how many."""
    removed = 0
    filters = {"label": [f"{SERVICE_LABEL}={service_id(settings)}"]}
    with engine_errors():
        async with connect() as docker:
            for container in await docker.containers.list(all=True, filters=json.dumps(filters)):
                if container["Labels"].get(PROJECT_LABEL) not in known_project_ids:
                    await delete_container(container)
                    removed += 1
            found = await docker.volumes.list(filters=filters)  # type: ignore[no-untyped-call]  # aiodocker's
            for volume in found["Volumes"] or []:
                if volume["Labels"].get(PROJECT_LABEL) not in known_project_ids:
                    await delete_volume(docker, volume["Name"])
    return removed
