"""The folder of a project that runs without a container, below the state directory.

`sandboxes/{digest}/node` is the home that the app's user owns. We never follow what is in it: only
commands inside write there, and it is removed by `rm`, which follows no link. The folder above is
ours; whoever uses the sandbox holds a shared lock on it, which the kernel takes back from a process
that was killed, and its modification time says when it was used last.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path

from actors.addresses import id_digest
from actors.errors import SandboxUnavailable, StateDirUnusable
from actors.run_directory import make_private_directory
from actors.sandbox.doors import doors_directory, remove_door_directory
from actors.sandbox.namespace import HOST_PATH
from actors.settings import Settings

HOME_NAME = "node"  # in a project's folder
REMOVALS = 3  # an app may have closed its directories, or have written until it was ended
REMOVE_SECONDS = 60.0
LOCK_PAUSE_SECONDS = 0.05


def sandboxes_directory(settings: Settings) -> Path:
    """Return what holds the folders of all projects."""
    return settings.path("sandboxes")


class ProjectFolder:
    """One project's folder; `user_id` is who its home belongs to, None for ourselves."""

    def __init__(self, project_id: str, settings: Settings, user_id: int | None) -> None:
        self._path = sandboxes_directory(settings) / id_digest(project_id)
        self._user_id = os.getuid() if user_id is None else user_id
        self._descriptor: int | None = None

    @property
    def home(self) -> Path:
        return self._path / HOME_NAME

    @property
    def exists(self) -> bool:
        return self.home.is_dir()

    @property
    def is_held(self) -> bool:
        """Whether we hold the folder, and it is still there."""
        return self._descriptor is not None and _is_at(self._descriptor, self._path)

    async def hold(self) -> bool:
        """Hold the folder, made if need be; return whether it is empty.

        A home that belongs to another user, since the service was another user's, is made anew.
        Raises SandboxUnavailable, StateDirUnusable.
        """
        if self.exists and self.home.lstat().st_uid != self._user_id:
            await self.remove()
        is_new = not self.exists
        if not self.is_held:
            self.release()
            self._descriptor = await self._lock()
        try:
            self.home.mkdir(mode=0o755, exist_ok=True)
            if is_new:
                os.chown(self.home, self._user_id, self._user_id if os.getuid() == 0 else -1)
            os.utime(self._path)
        except OSError as error:
            raise StateDirUnusable(f"{self.home} cannot be made: {error.strerror}.") from error
        return is_new

    def release(self) -> None:
        """Let go of the folder; it stays."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.utime(descriptor)
            os.close(descriptor)

    async def remove(self) -> None:
        """Remove the folder with all that is in it; absent is no error."""
        self.release()
        await remove_tree(self._path)

    async def _lock(self) -> int:
        """Take the lock, once nobody is removing the folder; then it is made anew."""
        for _ in range(int(REMOVE_SECONDS / LOCK_PAUSE_SECONDS)):
            make_private_directory(self._path.parent)
            make_private_directory(self._path)
            with contextlib.suppress(OSError):
                descriptor = _open_directory(self._path)
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    if _is_at(descriptor, self._path):
                        return descriptor
                os.close(descriptor)
            await asyncio.sleep(LOCK_PAUSE_SECONDS)
        raise SandboxUnavailable(f"{self._path} is being removed; generate again.")


async def remove_foreign_folders(settings: Settings, project_ids: Collection[str]) -> int:
    """Remove the folders of all but these projects; return how many."""
    kept = {id_digest(project_id) for project_id in project_ids}
    foreign = [path for path in _folders(settings) if path.name not in kept]
    for path in foreign:
        await remove_tree(path)
    return len(foreign)


async def retire_folders(settings: Settings, oldest: datetime) -> int:
    """Remove the folders that nobody holds and nobody has used since; return how many."""
    removed = 0
    for path in list(_folders(settings)):
        with _held_alone(path) as is_free:
            if is_free and path.stat().st_mtime < oldest.timestamp():
                await remove_tree(path)
                remove_door_directory(doors_directory(settings) / path.name)
                removed += 1
    return removed


async def remove_tree(path: Path) -> None:
    """Remove a directory, however deep and whatever its modes; absent is no error.

    Raises SandboxUnavailable.
    """
    with contextlib.suppress(TimeoutError):
        for _ in range(REMOVALS):
            if not _exists(path) or await _run("rm", "-rf", "--", str(path)) == 0:
                return
            await _run("chmod", "-R", "u+rwx", "--", str(path))
    if _exists(path):
        raise SandboxUnavailable(f"{path} cannot be removed; remove it yourself.")


async def _run(*command: str) -> int:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": HOST_PATH},
    )
    try:
        async with asyncio.timeout(REMOVE_SECONDS):
            return await process.wait()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        raise


def _folders(settings: Settings) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):
        yield from sandboxes_directory(settings).iterdir()


@contextlib.contextmanager
def _held_alone(path: Path) -> Iterator[bool]:
    """Hold a folder so that nobody else can meanwhile; False where somebody does."""
    try:
        descriptor = _open_directory(path)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


def _exists(path: Path) -> bool:
    return os.path.lexists(path)


def _open_directory(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except OSError:
        return False
