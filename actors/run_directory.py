"""Directories that are this user's alone: those of the service's sockets."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from actors.errors import StateDirUnusable


def make_private_directory(path: Path) -> None:
    """Create `path` with mode 0700, or check that it is ours and nobody else's.

    Raises StateDirUnusable. The check matters for the directory below /tmp, where another user
    could have made it first.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise StateDirUnusable(f"{path} cannot be created: {error.strerror}.") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise StateDirUnusable(f"{path} belongs to another user; remove it and start again.")
    if status.st_mode & 0o077:
        path.chmod(0o700)
