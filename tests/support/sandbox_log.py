"""A log sink that tests can wait on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

WAIT_SECONDS = 60.0


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
        await self._wait(lambda line: re.fullmatch(pattern, line) is not None, pattern)

    async def wait_for(self, text: str) -> None:
        """Return when a line that contains `text` was logged."""
        await self._wait(lambda line: text in line, text)

    async def _wait(self, is_it: Callable[[str], bool], wanted: str) -> None:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while not any(is_it(line) for _, line in self.lines):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            tail = "\n".join(line for _, line in self.lines[-20:])
            raise AssertionError(f"no line {wanted!r}; the last ones:\n{tail}") from None
