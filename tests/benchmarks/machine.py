"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]


def describe_machine() -> dict[str, Any]:
    """Return cores, processor, memory, versions, the commit, and how busy the machine is now."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memoryGiB": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": _git("rev-parse", "--short", "HEAD") or "unknown",
        "hasLocalChanges": bool(_git("status", "--porcelain")),
        "loadAverage": os.getloadavg()[0],
    }


def in_words(machine: dict[str, Any]) -> str:
    changed = " with local changes" if machine["hasLocalChanges"] else ""
    return (
        f"{machine['cores']} cores of {machine['processor']}, {machine['memoryGiB']} GiB, "
        f"Linux {machine['kernel']}, Python {machine['python']}, "
        f"commit {machine['commit']}{changed}, load average {machine['loadAverage']:.2f} before"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()
