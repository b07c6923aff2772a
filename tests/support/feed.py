"""A gateway's end of the feed that keeps what it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

WAIT_SECONDS = 20.0
MAX_LINE_BYTES = 64 * 1024 * 1024


class FeedSink:
    """Listens on a Unix socket; `lines` are (kind, rest), `frames` the decoded events."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lines: list[tuple[str, bytes]] = []
        self._arrived = asyncio.Condition()
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> FeedSink:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._server = await asyncio.start_unix_server(
            self._read, str(self._path), limit=MAX_LINE_BYTES
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        while line := await reader.readline():
            kind, _, rest = line.rstrip(b"\n").partition(b" ")
            async with self._arrived:
                self.lines.append((kind.decode(), rest))
                self._arrived.notify_all()

    @property
    def frames(self) -> list[dict[str, Any]]:
        return [orjson.loads(rest.partition(b" ")[2]) for kind, rest in self.lines if kind == "E"]

    @property
    def storage(self) -> list[dict[str, Any]]:
        """What was said of PostgreSQL."""
        return [orjson.loads(rest) for kind, rest in self.lines if kind == "S"]

    def types(self) -> list[str]:
        """The events' types in order, a run of chunks as one."""
        types: list[str] = []
        for frame in self.frames:
            if frame["type"] != "file_chunk" or types[-1:] != ["file_chunk"]:
                types.append(frame["type"])
        return types

    async def until(self, matches: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the first frame that matches, waiting for it."""
        try:
            async with asyncio.timeout(WAIT_SECONDS), self._arrived:
                while True:
                    for frame in self.frames:
                        if matches(frame):
                            return frame
                    await self._arrived.wait()
        except TimeoutError:
            tail = [str(frame)[:200] for frame in self.frames[-8:]]
            raise AssertionError("no such frame; the last ones:\n" + "\n".join(tail)) from None

    async def until_line(self, kind: str, count: int = 1) -> None:
        """Wait until there are `count` lines of this kind."""
        async with asyncio.timeout(WAIT_SECONDS), self._arrived:
            await self._arrived.wait_for(lambda: [k for k, _ in self.lines].count(kind) >= count)

    async def expect(self, type_: str, count: int = 1) -> dict[str, Any]:
        """Return the `count`-th frame of this type, waiting for it."""
        return await self.until(
            lambda frame: (
                frame["type"] == type_
                and sum(f["type"] == type_ and f["seq"] <= frame["seq"] for f in self.frames)
                >= count
            )
        )
