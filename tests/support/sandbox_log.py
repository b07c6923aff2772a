"""A log sink that tests can wait on."""

from __future__ import annotations

import asyncio
import re


class SandboxLines:
    """Collects what a sandbox logs; hand it over as `on_log`."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self._changed = asyncio.Event()

    def __call__(self, stream: str, line: str) -> None:
        self.lines.append((stream, line))
        self._changed.set()

    def texts(self, stream: str) -> list[str]:
        return [line for kind, line in self.lines if kind == stream]

    async def wait_for_line(self, pattern: str) -> None:
        """Return when a line that matches `pattern` as a whole was logged."""
        while not any(re.fullmatch(pattern, line) for _, line in self.lines):
            self._changed.clear()
            await self._changed.wait()

    async def wait_for(self, text: str) -> None:
        """Return when a line that contains `text` was logged."""
        while not any(text in line for _, line in self.lines):
            self._changed.clear()
            await self._changed.wait()
