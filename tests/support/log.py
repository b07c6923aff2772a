"""Waiting for a log line, where that is the only sign of what a test needs to have happened."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterator

WAIT_SECONDS = 20.0


class LogLine(logging.Handler):
    """Happens when a record with `text` is logged; `records` are all of them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text
        self._happened = threading.Event()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if self._text in record.getMessage():
            self.records.append(record)
            self._happened.set()

    def wait(self) -> None:
        """Block until it is logged."""
        assert self._happened.wait(WAIT_SECONDS), f"never logged: {self._text}"

    async def logged(self) -> None:
        """Wait until it is logged, without blocking the loop."""
        await asyncio.to_thread(self.wait)


@contextlib.contextmanager
def log_line(logger_name: str, text: str) -> Iterator[LogLine]:
    """Watch one logger for a text, in whichever thread it is logged."""
    line = LogLine(text)
    logger = logging.getLogger(logger_name)
    logger.addHandler(line)
    try:
        yield line
    finally:
        logger.removeHandler(line)
