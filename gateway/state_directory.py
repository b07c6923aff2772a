"""The state directory: created private, checked to be usable, and held by one service at a time."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import orjson

from actors.errors import StateDirUnusable
from actors.settings import Settings

#: An embedded PostgreSQL with its write-ahead log, and room to work.
MIN_FREE_BYTES = 128 * 1024 * 1024


class StateDirectory:
    """The lock on a state directory. The kernel lets go of it when the process ends, however."""

    def __init__(self, settings: Settings) -> None:
        self._path = Path(settings.state_dir)
        self._lock_file = settings.path("service.lock")
        self._descriptor: int | None = None

    def hold(self) -> None:
        """Create the directory (mode 0700) and take the lock.

        Raises StateDirUnusable: no permission, no space, not a directory, or held by another.
        """
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_space()
            self._descriptor = os.open(
                self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._descriptor, 0)  # what an earlier service wrote
        except BlockingIOError:
            holder = self._holder()
            self.release()
            raise StateDirUnusable(
                f"The state directory {self._path} is held by {holder}; "
                "stop that service, or choose another directory with CODEGEN_STATE_DIR."
            ) from None
        except OSError as error:
            self.release()
            raise self._unusable(error) from error

    def _check_space(self) -> None:
        file_system = os.statvfs(self._path)
        if file_system.f_bavail * file_system.f_frsize < MIN_FREE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def note(self, url: str) -> None:
        """Write down who holds the directory, for the one that comes second."""
        assert self._descriptor is not None
        try:
            os.pwrite(self._descriptor, orjson.dumps({"pid": os.getpid(), "url": url}), 0)
        except OSError as error:
            raise self._unusable(error) from error

    def release(self) -> None:
        """Let go of the lock; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _holder(self) -> str:
        assert self._descriptor is not None
        try:
            holder = orjson.loads(os.pread(self._descriptor, 4096, 0))
            return f"the service at {holder['url']} (pid {holder['pid']})"
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return "a service that is just starting"

    def _unusable(self, error: OSError) -> StateDirUnusable:
        match error.errno:
            case errno.ENOSPC | errno.EDQUOT:
                advice = f"free at least {MIN_FREE_BYTES // 2**20} MiB"
            case errno.EACCES | errno.EPERM | errno.EROFS:
                advice = "give this user write permission"
            case _:
                advice = "check the path"
        return StateDirUnusable(
            f"The state directory {self._path} cannot be used ({error.strerror}): "
            f"{advice}, or choose another with CODEGEN_STATE_DIR."
        )
