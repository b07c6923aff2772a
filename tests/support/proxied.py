"""The gateway before an app that is a real server of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

import aiohttp
import pytest
from aiohttp import web

from actors import events as ev
from actors import messages as m
from actors.sandbox.choose import SandboxChoice
from tests.support.browsing import Wire, browsing
from tests.support.gateway import WAIT_SECONDS, Gateway, Owner

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
STILL_SECONDS = 0.5  # what has not moved for so long is held up
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Place(Protocol):
    """Where an app can be put."""

    def serve(self, port: int) -> None:
        """Take note of the app's port on this machine."""
        ...


class OneApp:
    """An actor system that knows where one app answers."""

    is_up = True
    restarts = 0

    def __init__(self) -> None:
        self.url: str | None = None
        self.is_behind = False
        self.asked: list[m.Request] = []

    async def ask(self, request: m.Request, timeout_seconds: float) -> m.Answer:
        self.asked.append(request)
        return m.PreviewOpened(
            request_id=request.request_id, url=self.url, is_behind=self.is_behind
        )


class House:
    """The gateway, the app behind it, and a browser before it."""

    def __init__(self, gateway: Gateway, actors: OneApp, http: aiohttp.ClientSession) -> None:
        self.gateway = gateway
        self.actors = actors
        self.http = http
        self.port = int(gateway.url.rpartition(":")[2])
        self.host = f"shop.localhost:{self.port}"
        self.url = f"http://{self.host}"

    def serve(self, port: int) -> None:
        self.actors.url = f"http://127.0.0.1:{port}/"

    async def wire(self) -> Wire:
        return await Wire.open(self.port)


@pytest.fixture
async def house(database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    owner = await Owner(database_url, "shop").claim()
    await owner.write(ev.FileEnd(path="index.html", content="x"))
    actors = OneApp()
    choice = SandboxChoice(kind="docker")
    domain = "https://apps.example.com"
    async with (
        Gateway(
            database_url, tmp_path, actors=actors, sandbox=choice, preview_domain=domain
        ) as gateway,
        browsing(auto_decompress=False) as http,
    ):
        yield House(gateway, actors, http)
    await owner.store.close()
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not left


async def until_still(count: Callable[[], int]) -> int:
    """Wait until a count does not grow any more, and return it."""
    async with asyncio.timeout(WAIT_SECONDS):
        last = -1
        while (now := count()) != last:
            last = now
            await asyncio.sleep(STILL_SECONDS)
    return last


@asynccontextmanager
async def app(place: Place, handler: Handler) -> AsyncIterator[None]:
    """Have the app be an aiohttp server."""
    runner = web.ServerRunner(
        web.Server(handler, auto_decompress=False),
        shutdown_timeout=1.0,
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    place.serve(runner.addresses[0][1])
    try:
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw_app(place: Place, talk: Talk) -> AsyncIterator[None]:
    """Have the app be whatever `talk` says on each connection."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    place.serve(server.sockets[0].getsockname()[1])
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()


def answering(answer: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return talk


class Heard:
    """A raw app that keeps the head of each request and answers with nothing in it."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()

    @property
    def target(self) -> str:
        return self.heads[-1].split(b" ")[1].decode()

    def header(self, name: str) -> list[str]:
        lines = self.heads[-1].decode().split("\r\n")[1:]
        pairs = [line.partition(": ") for line in lines if line]
        return [text for found, _, text in pairs if found.lower() == name.lower()]
