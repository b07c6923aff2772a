"""The load client's WebSocket: keeps each frame with the time of its arrival and parses later."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson

from tests.benchmarks.failure import BenchmarkFailed
from tests.benchmarks.script import PATH, Script

WAIT_SECONDS = 90.0  # longer than any stream
ASLEEP_SECONDS = 20.0  # for an actor to leave, with an idle time of far less
POLL_SECONDS = 0.02
ERROR = '{"type":"error"'

Arrived = tuple[int, str]  # time.monotonic_ns(), the frame's text


class Viewer:
    """One socket on one project."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, project_id: str) -> None:
        self._socket = socket
        self.project_id = project_id
        self.frames: list[Arrived] = []
        self._seen = 0
        self._wanted = ""
        self._found = asyncio.Event()
        self._reader = asyncio.create_task(self._read(), name=f"reads {project_id}")

    async def _read(self) -> None:
        async for message in self._socket:
            self.frames.append((time.monotonic_ns(), message.data))
            if message.data.startswith((self._wanted, ERROR)):
                self._found.set()
        self._found.set()

    async def generate(self, script: Script) -> int:
        """Send the command; return when, in ns. Frames that came before are not waited for."""
        self._seen = len(self.frames)
        command = {"type": "generate", "description": script.key, "model": script.model}
        text = orjson.dumps(command).decode()
        sent_ns = time.monotonic_ns()
        await self._socket.send_str(text)
        return sent_ns

    async def until(self, type_: str) -> Arrived:
        """Wait for the next frame of this type, after those returned before."""
        self._wanted = f'{{"type":"{type_}"'
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while (frame := self._next_wanted()) is None:
                    if self._reader.done():
                        raise BenchmarkFailed(f"the socket of {self.project_id} was closed")
                    self._found.clear()
                    await self._found.wait()
        except TimeoutError:
            last = self.frames[-1][1][:300]
            raise BenchmarkFailed(
                f"{self.project_id} got no {type_} in {WAIT_SECONDS:.0f} s; its last frame: {last}"
            ) from None
        return frame

    def _next_wanted(self) -> Arrived | None:
        while self._seen < len(self.frames):
            frame = self.frames[self._seen]
            self._seen += 1
            if frame[1].startswith(self._wanted):
                return frame
            if frame[1].startswith(ERROR):
                raise BenchmarkFailed(f"{self.project_id} got {frame[1]}")
        return None

    def of_type(self, type_: str) -> list[dict[str, Any]]:
        """Return every frame of this type so far."""
        start = f'{{"type":"{type_}"'
        return [orjson.loads(raw) for _, raw in self.frames if raw.startswith(start)]

    async def close(self) -> None:
        await self._socket.close()
        await asyncio.wait([self._reader])


@contextlib.asynccontextmanager
async def open_session(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A session for any number of sockets on the service."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=connector) as session:
        yield session


@contextlib.asynccontextmanager
async def open_viewers(
    session: aiohttp.ClientSession, names: list[str]
) -> AsyncIterator[list[Viewer]]:
    """One viewer on each project, past its snapshot; all are closed in the end."""
    viewers: list[Viewer] = []
    try:
        for name in names:
            socket = await session.ws_connect(f"/ws/{name}", max_msg_size=0)
            viewers.append(Viewer(socket, name))
            await viewers[-1].until("snapshot")
        yield viewers
    finally:
        for viewer in viewers:
            await viewer.close()


async def stored_text(session: aiohttp.ClientSession, project_id: str) -> str:
    """Return the file as the service has saved it."""
    async with session.get(f"/api/projects/{project_id}/files/{PATH}") as answer:
        return await answer.text()


async def wait_until_asleep(session: aiohttp.ClientSession) -> None:
    """Return when no actor is in memory any more."""
    deadline = time.monotonic() + ASLEEP_SECONDS
    while (status := await service_status(session))["liveActors"]:
        if time.monotonic() > deadline:
            raise BenchmarkFailed(f"actors do not go to sleep: {status}")
        await asyncio.sleep(POLL_SECONDS)


async def service_status(session: aiohttp.ClientSession) -> dict[str, Any]:
    """Return what the service says of itself."""
    async with session.get("/api/status") as answer:
        status: dict[str, Any] = orjson.loads(await answer.read())
        return status
