"""CPU time and memory of the service's processes, PostgreSQL's apart from the others."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import psutil

DATABASE_GUARDIAN = "codegen-postgres"  # $0 of the shell above the embedded server


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """One sample of all processes: seconds, or bytes."""

    service: float
    database: float

    def __sub__(self, other: Amounts) -> Amounts:
        return Amounts(
            service=self.service - other.service, database=self.database - other.database
        )


def cpu_seconds(pid: int) -> Amounts:
    """User and system time of the processes below `pid`, including those that have ended."""
    service, database = _split(pid)
    return Amounts(
        service=sum(map(_cpu_seconds, service)), database=sum(map(_cpu_seconds, database))
    )


def pss_bytes(pid: int) -> Amounts:
    """Memory of the processes below `pid`; what they share counts once, in equal parts."""
    service, database = _split(pid)
    return Amounts(service=sum(map(_pss_bytes, service)), database=sum(map(_pss_bytes, database)))


def own_cpu_seconds(pid: int) -> float:
    """User and system time of one process."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _split(pid: int) -> tuple[list[psutil.Process], list[psutil.Process]]:
    root = psutil.Process(pid)
    database: list[psutil.Process] = []
    for child in root.children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if DATABASE_GUARDIAN in child.cmdline():
                database += [child, *child.children(recursive=True)]
    service = [root, *(p for p in root.children(recursive=True) if p not in database)]
    return service, database


def _cpu_seconds(process: psutil.Process) -> float:
    """A process that ends adds its time to its parent's `children_*`: the sum misses nothing."""
    with contextlib.suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0


def _pss_bytes(process: psutil.Process) -> int:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
