"""The processes of an embedded PostgreSQL, and the end of those that outlived their service.

The server and its children work in the data directory, and nobody else does. So the children are
found also when the server has died: one that stands still, say, holds the memory that the next
server must find free.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

STOP_SECONDS = 5.0  # then the server is ended at once, and recovers at its next start
POLL_SECONDS = 0.02
NO_PROCESS = 2**22 + 1  # Linux numbers its processes up to 2**22


def signal_all(data: Path, number: signal.Signals) -> None:
    """Send a signal to everyone who works in the data directory."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended, or belongs to somebody else
                if os.readlink(entry / "cwd") == str(data):
                    os.kill(int(entry.name), number)


def stop_leftover(data: Path) -> None:
    """End a server that outlived its service (or its stop): in order, or else at once."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        pid = leftover(data)
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        signal_all(data, signal.SIGCONT)  # those that stand still do not even notice
        _wait_until_gone(data)
    kill(data)


def kill(data: Path) -> None:
    """End the server and all its children at once."""
    signal_all(data, signal.SIGKILL)
    _wait_until_gone(data)


def _wait_until_gone(data: Path) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while leftover(data) is not None and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def leftover(data: Path) -> int | None:
    """Return the server of the data, by its pid file and its command line.

    Where the file's number belongs to some other process by now, or to a dead one that nobody
    has collected, PostgreSQL would take that for a server. The file then gets a number that no
    process has; its other lines stay, for they tell the next server which shared memory must
    be free before it may touch the data.
    """
    pid_file = data / "postmaster.pid"
    try:
        first, rest = pid_file.read_text().split("\n", 1)
        pid = int(first)
    except (FileNotFoundError, ValueError):
        return None
    try:
        command_line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if os.fsencode(data) in command_line.split(b"\0"):
        return pid
    pid_file.write_text(f"{NO_PROCESS}\n{rest}")
    return None
