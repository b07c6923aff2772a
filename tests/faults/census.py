"""Which processes a service has, by what they are; nothing is asked of the service itself."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil

GUARD_MODULE = "actors.system"
STOPPER = "codegen-postgres"  # the shell above an embedded server (actors/postgres.py)


class Census:
    """The processes of the service that owns a state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = str(state_dir)

    def all(self) -> list[psutil.Process]:
        """Return every living process of the service, wherever it hangs.

        Those of the service have the state directory in their environment; PostgreSQL's, which do
        not, work inside it.
        """
        return [process for process in psutil.process_iter() if self.is_ours(process)]

    def is_ours(self, process: psutil.Process) -> bool:
        """Say whether a process is alive and of this service."""
        with contextlib.suppress(psutil.Error, OSError):  # of a directory too deep for a name
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                return False
            if process.environ().get("CODEGEN_STATE_DIR") == self._state_dir:
                return True
            return process.cwd().startswith(f"{self._state_dir}/")
        return False

    def guard(self, gateway_pid: int) -> psutil.Process | None:
        """Return the process that guards the actor system."""
        return next((p for p in _children(gateway_pid) if GUARD_MODULE in _command(p)), None)

    def supervisor(self, gateway_pid: int, noted_pid: int) -> psutil.Process | None:
        """Return the supervisor that the service has noted, if it is the living one."""
        guard = self.guard(gateway_pid)
        with contextlib.suppress(psutil.Error):
            supervisor = psutil.Process(noted_pid)
            admin = supervisor.parent()
            if guard is not None and admin is not None and admin.ppid() == guard.pid:
                return supervisor
        return None

    def nurseries(self, supervisor: psutil.Process) -> list[psutil.Process]:
        return _children(supervisor.pid)

    def loggers(self, supervisor: psutil.Process) -> list[psutil.Process]:
        """Return the admin's other child, which writes Thespian's log."""
        return [process for process in _children(supervisor.ppid()) if process != supervisor]

    def postmaster(self) -> psutil.Process | None:
        """Return the process that accepts PostgreSQL's connections."""
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            file = Path(self._state_dir, "postgres", "data", "postmaster.pid")
            process = psutil.Process(int(file.read_text().split("\n")[0]))
            return process if self.is_ours(process) else None
        return None

    def backends(self) -> list[psutil.Process]:
        """Return PostgreSQL's other processes: a client's each, and the few of its own."""
        postmaster = self.postmaster()
        return [] if postmaster is None else _children(postmaster.pid)

    def outside(self, gateway_pid: int) -> list[psutil.Process]:
        """Return what does not hang below the gateway any more.

        PostgreSQL is not left to itself while the shell that stops it is there: to write all it
        has may take it a while, and the next start waits for it.
        """
        below = {gateway_pid} | _below(gateway_pid)
        postmaster = self.postmaster()
        if postmaster is not None and STOPPER in _command_of_parent(postmaster):
            below |= {postmaster.pid} | _below(postmaster.pid)
        return [process for process in self.all() if process.pid not in below]


def _below(pid: int) -> set[int]:
    with contextlib.suppress(psutil.Error):
        return {process.pid for process in psutil.Process(pid).children(recursive=True)}
    return set()


def _command_of_parent(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        parent = process.parent()
        return [] if parent is None else _command(parent)
    return []


def _children(pid: int) -> list[psutil.Process]:
    """Return the living children, oldest first."""
    with contextlib.suppress(psutil.Error):
        children = psutil.Process(pid).children()
        return sorted((p for p in children if is_alive(p)), key=lambda p: (p.create_time(), p.pid))
    return []


def is_alive(process: psutil.Process) -> bool:
    """Say whether a process has not ended; who is to collect it does not matter."""
    with contextlib.suppress(psutil.Error):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def in_words(process: psutil.Process) -> str:
    """Describe a process for a report."""
    with contextlib.suppress(psutil.Error):
        return f"{process.pid} {process.status()} below {process.ppid()}: {process.cmdline()}"
    return f"{process.pid}, gone meanwhile"
