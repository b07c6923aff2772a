"""What the load client and the conductor say to each other: lines of JSON over a pipe.

The client says `{"meet": name}` when it has come to a point at which the conductor samples, and
goes on once it is answered; its last line is `{"result": ...}` or `{"failed": sentence}`.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import Any

import orjson

from tests.benchmarks.failure import BenchmarkFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the load client is to do; each case reads what it needs."""

    url: str = ""
    model_url: str = ""
    projects: int = 1
    repeats: int = 1
    tokens: int = 40
    rate: int = 0
    is_asleep: bool = False
    files: int = 0
    since: int | None = None


class Link:
    """The client's end."""

    def __init__(self, stdin: asyncio.StreamReader) -> None:
        self._stdin = stdin

    async def meet(self, name: str) -> None:
        """Have the conductor sample now, and wait until it has."""
        self.say({"meet": name})
        if not await self._stdin.readline():
            raise BenchmarkFailed("the conductor has gone")

    @staticmethod
    def say(line: dict[str, Any]) -> None:
        sys.stdout.buffer.write(orjson.dumps(line) + b"\n")
        sys.stdout.buffer.flush()


async def open_stdin() -> asyncio.StreamReader:
    """Return standard input, which is a pipe, as a stream."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader
