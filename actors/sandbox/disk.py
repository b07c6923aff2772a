"""What sandboxes take on disk. Neither engines nor bubblewrap bound it; so it is measured.

Docker tells the size of every volume; folders of bubblewrap are measured by `du`, which follows no
link and stays on their file system.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actors.addresses import id_digest
from actors.sandbox import engine
from actors.sandbox.container import PROJECT_LABEL, SERVICE_LABEL, service_id
from actors.sandbox.engine import ClientFactory, engine_errors
from actors.sandbox.namespace import HOST_PATH
from actors.sandbox.project_folder import sandboxes_directory
from actors.settings import Settings

MIB = 1024 * 1024
MEASURE_SECONDS = 60.0


async def storage_of(settings: Settings, connect: ClientFactory = engine.connect) -> Path:
    """Return a path of the file system that the sandboxes are on, as near as we can come.

    Raises SandboxUnavailable.
    """
    place = sandboxes_directory(settings)
    if settings.sandbox == "docker":
        with engine_errors():
            async with connect() as docker:
                place = Path((await docker.system.info())["DockerRootDir"])
    return next(path for path in (place, *place.parents) if path.is_dir())


async def disk_use(settings: Settings, connect: ClientFactory = engine.connect) -> dict[str, int]:
    """Return how much every sandbox takes, in MiB, by the digest of its project's id.

    Raises SandboxUnavailable.
    """
    if settings.sandbox == "docker":
        return await _volumes(settings, connect)
    found = sandboxes_directory(settings)
    folders = list(found.iterdir()) if found.is_dir() else []
    return {folder.name: await _measured(folder) for folder in folders}


async def _volumes(settings: Settings, connect: ClientFactory) -> dict[str, int]:
    with engine_errors():
        async with connect() as docker:
            # Engines before API 1.42 do not know the filter, and measure images as well.
            told = await docker._query_json("system/df", params={"type": "volume"})
    volumes: list[Mapping[str, Any]] = told["Volumes"] or []
    own = service_id(settings)
    return {
        id_digest(labels[PROJECT_LABEL]): volume["UsageData"]["Size"] // MIB
        for volume in volumes
        if (labels := volume["Labels"] or {}).get(SERVICE_LABEL) == own
    }


async def _measured(folder: Path) -> int:
    """Return the size of a folder; of what cannot be read, or vanishes meanwhile, it is silent."""
    process = await asyncio.create_subprocess_exec(
        *("nice", "du", "--summarize", "--block-size=1M", "--one-file-system", "--", str(folder)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": HOST_PATH},
    )
    try:
        async with asyncio.timeout(MEASURE_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        output = b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    size = output.partition(b"\t")[0]
    return int(size) if size.isdigit() else 0
