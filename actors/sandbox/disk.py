"""What sandboxes take on disk. Neither engines nor bubblewrap bound it; so it is measured.

Docker tells the size of every volume; folders of bubblewrap are measured by `du`, which follows no
link and stays on their file system, and sees no file that is deleted and still in use.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from actors.addresses import id_digest
from actors.sandbox import engine
from actors.sandbox.container import PROJECT_LABEL, SERVICE_LABEL, service_id
from actors.sandbox.engine import ClientFactory, engine_errors
from actors.sandbox.namespace import FIRST_USER_ID, HOST_PATH
from actors.sandbox.project_folder import HOME_NAME, sandboxes_directory
from actors.settings import Settings

log = logging.getLogger(__name__)

MIB = 1024 * 1024
BLOCK_BYTES = 512  # of st_blocks, on every file system: stat(2)
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
    if os.getuid() != 0 or not folders:
        return {folder.name: await _measured(folder, settings) for folder in folders}
    deleted = await asyncio.to_thread(deleted_mib, found.stat().st_dev)
    return {
        folder.name: await _measured(folder, settings) + deleted.get(_owner_of(folder), 0)
        for folder in folders
    }


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


async def _measured(folder: Path, settings: Settings) -> int:
    """Return the size of a folder in MiB; above the bound where it cannot be told in time.

    Directories that the app has closed, and that we are no root to look into, are opened first.
    """
    try:
        async with asyncio.timeout(MEASURE_SECONDS):
            size, is_whole = await _du(folder)
            if not is_whole and os.getuid() != 0:
                await _run("chmod", "-R", "u+rwX", "--", str(folder))
                size, _ = await _du(folder)
    except TimeoutError:
        log.warning("%s cannot be measured in %g s", folder, MEASURE_SECONDS)
        return settings.sandbox_disk_mib + 1
    return size


def _owner_of(folder: Path) -> int:
    """Return the user of a project by its folder; root where that is gone."""
    try:
        return (folder / HOME_NAME).lstat().st_uid
    except OSError:
        return 0


async def _du(folder: Path) -> tuple[int, bool]:
    """Return a folder's size in MiB, and whether nothing in it was closed or has vanished."""
    code, output = await _run(
        *("du", "--summarize", "--block-size=1M", "--one-file-system", "--", str(folder))
    )
    size = output.partition(b"\t")[0]
    return int(size) if size.isdigit() else 0, code == 0


async def _run(*command: str) -> tuple[int, bytes]:
    """Run a program in the background; return its exit code and what it prints."""
    process = await asyncio.create_subprocess_exec(
        *("nice", *command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": HOST_PATH},
    )
    try:
        output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def deleted_mib(device: int) -> dict[int, int]:
    """Return what deleted files of a file system take that are still in use, in MiB by their user.

    Only root can see to that, and only there projects have users of their own.
    """
    found: dict[int, dict[int, int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            user_id = _user_of(process)
            if user_id >= FIRST_USER_ID:
                found.setdefault(user_id, {}).update(_deleted_files(process, device))
    return {user_id: sum(files.values()) // MIB for user_id, files in found.items()}


def _user_of(process: Path) -> int:
    """Return a process's user, whom the owner of its directory hides where it asks for that."""
    [line] = re.findall(r"^Uid:\t(\d+)", (process / "status").read_text(), re.MULTILINE)
    return int(line)


def _deleted_files(process: Path, device: int) -> Iterator[tuple[int, int]]:
    """Yield the deleted files that a process has open or in its memory, as (number, bytes)."""
    for uses in ("fd", "map_files"):
        for use in (process / uses).iterdir():
            with contextlib.suppress(OSError):
                status = use.stat()
                is_file = stat.S_ISREG(status.st_mode) and status.st_dev == device
                if is_file and status.st_nlink == 0:
                    yield status.st_ino, status.st_blocks * BLOCK_BYTES
