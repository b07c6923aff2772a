"""Logging of every process of the service: one file, one line format, secrets never in it."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Collection
from pathlib import Path

from actors.settings import Settings

FORMAT = "%(asctime)s %(levelname)-7s %(process)d %(name)s: %(message)s"
_RECORD = re.compile(r"\S+ (?P<time>[\d:]+),\d+ (?P<level>[A-Z]+) +(?P<pid>\d+) \S+ (?P<text>.*)")
TAIL_BYTES = 256 * 1024
MAX_LOG_BYTES = 16 * 1024 * 1024  # at the next start a larger file is set aside as .old

# The tree that every module's logger belongs to. In an actor process Thespian puts a root and a
# manager of its own in its place, which mail each record through the transport; that is not safe
# from a second thread, and loggers made before the fork would not take part in it.
_ROOT = logging.root
_MANAGER = logging.Logger.manager


def rotate_log(settings: Settings) -> None:
    """Set a large log aside; called once per service start, before any process opens it."""
    path = settings.log_file
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
        path.replace(path.with_suffix(".log.old"))


def configure_logging(settings: Settings, *, console: bool = False) -> None:
    """Send this process's log records to the service's log file, and to stderr if `console`.

    Appending one line to one file from several processes is atomic on a local file system.
    """
    logging.root = _ROOT
    logging.Logger.root = _ROOT
    logging.Logger.manager = _MANAGER
    for old in list(_ROOT.handlers):
        _ROOT.removeHandler(old)
    _ROOT.setLevel(settings.log_level)
    handlers: list[logging.Handler] = [logging.FileHandler(settings.log_file, delay=True)]
    handlers[0].setFormatter(logging.Formatter(FORMAT))
    if console:
        handlers.append(logging.StreamHandler(sys.stderr))
        handlers[1].setFormatter(
            logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
        )
    for handler in handlers:
        _ROOT.addHandler(handler)


def last_records(path: Path, pids: Collection[int], count: int = 5) -> list[str]:
    """Return the newest records of these processes, without tracebacks: "12:34:56 INFO text"."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    records = [match for line in lines if (match := _RECORD.fullmatch(line))]
    found = [f"{r['time']} {r['level']} {r['text']}" for r in records if int(r["pid"]) in pids]
    return found[-count:]
