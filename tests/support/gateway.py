"""The gateway's parts for tests: an owner that writes events, viewers with and without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from actors import codec
from actors import events as ev
from actors.codec import JournalEntry
from actors.reader import Reader
from actors.sandbox.choose import SandboxChoice
from actors.settings import Settings
from actors.snapshot import snapshot_data
from actors.state import ProjectState, apply
from actors.store import Store
from gateway.actor_system import ActorSystem
from gateway.context import Actors, Context
from gateway.feed import FeedServer
from gateway.hub import Hub, LiveFeed
from gateway.listener import listen
from gateway.routes import make_runner
from gateway.viewer import Source
from gateway.websocket import close_sockets

WAIT_SECONDS = 20.0
STATIC = SandboxChoice(kind="static", note="No engine.")

Frame = dict[str, Any]


def describe(state: ProjectState) -> dict[str, Any]:
    return snapshot_data(state, model="demo", is_demo=True, preview_base="http://127.0.0.1:8080")


class Owner:
    """Writes a project's journal as its actor would, each step when the test says so."""

    def __init__(self, database_url: str, project_id: str, **options: int) -> None:
        self.store = Store(database_url, **options)
        self.project_id = project_id
        self.state = ProjectState(project_id=project_id)
        self.epoch = 0

    async def claim(self) -> Owner:
        claim = await self.store.claim(self.project_id)
        self.state, self.epoch = claim.state, claim.epoch
        return self

    def number(self, *events: ev.Event) -> list[JournalEntry]:
        """Give events their numbers without saving them."""
        entries = []
        for event in events:
            seq = self.state.last_seq + 1
            apply(self.state, event, seq)
            entries.append(JournalEntry(seq, event, codec.encode_data(event)))
        return entries

    async def save(self, entries: list[JournalEntry]) -> None:
        await self.store.append(self.project_id, self.epoch, entries, self.state)

    async def write(self, *events: ev.Event) -> list[JournalEntry]:
        entries = self.number(*events)
        await self.save(entries)
        return entries


def publish(feed: LiveFeed, entries: list[JournalEntry]) -> None:
    """Send entries over a live feed."""
    for entry in entries:
        feed.publish(entry.seq, frame_of(entry))


def frame_of(entry: JournalEntry) -> bytes:
    return codec.frame(entry.event.type, entry.data, entry.seq)


class Watcher:
    """A viewer of the hub whose frames are kept; `gate` holds up its socket while it is clear."""

    def __init__(self, hub: Hub, project_id: str, since: int | None = None) -> None:
        self.hub = hub
        self.viewer = hub.join(project_id, since)
        self.frames: list[Frame] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._arrived = asyncio.Condition()
        self.task = asyncio.create_task(self.viewer.run(self._send), name="watcher")

    async def _send(self, frame: bytes) -> None:
        await self.gate.wait()
        async with self._arrived:
            self.frames.append(orjson.loads(frame))
            self._arrived.notify_all()

    async def until(self, is_there: Callable[[list[Frame]], bool]) -> list[Frame]:
        """Wait until the frames so far satisfy `is_there` and return them."""
        try:
            async with asyncio.timeout(WAIT_SECONDS), self._arrived:
                await self._arrived.wait_for(lambda: is_there(self.frames))
        except TimeoutError:
            raise AssertionError(f"not seen; the frames were {self.frames}") from None
        return self.frames

    async def until_seq(self, seq: int) -> list[Frame]:
        """Wait for the frame of this number and return all frames."""
        return await self.until(lambda frames: bool(frames) and frames[-1]["seq"] >= seq)

    async def until_count(self, count: int) -> list[Frame]:
        return await self.until(lambda frames: len(frames) >= count)

    @property
    def types(self) -> list[str]:
        return [frame["type"] for frame in self.frames]

    @property
    def seqs(self) -> list[int]:
        return [frame["seq"] for frame in self.frames]

    async def leave(self) -> None:
        self.hub.leave(self.viewer)
        self.task.cancel()
        await asyncio.wait([self.task])


def source_of(reader: Reader) -> Source:
    return Source(history=reader, describe=describe)


class Gateway:
    """The web server and the feed server over a real database, without an actor system.

    `actors` is what answers in its place, otherwise nobody does.
    """

    def __init__(
        self,
        database_url: str,
        directory: Path,
        *,
        actors: Actors | None = None,
        sandbox: SandboxChoice = STATIC,
        preview_domain: str = "",
    ) -> None:
        self.settings = Settings(
            state_dir=str(directory),
            database_url=database_url,
            sandbox="static",
            preview_domain=preview_domain,
        )
        self.reader = Reader(database_url)
        self.hub = Hub(source_of(self.reader))
        self.feed = FeedServer(self.hub, self.settings.feed_socket)
        self.context = Context(
            settings=self.settings,
            reader=self.reader,
            hub=self.hub,
            actors=actors or ActorSystem(self.settings),
            sandbox=sandbox,
            is_database_embedded=False,
        )
        self._runner = make_runner(self.context, 1.0)
        self.url = ""

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def __aenter__(self) -> Gateway:
        await self._runner.setup()
        listener = listen("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        await web.SockSite(self._runner, listener).start()
        await self.feed.start()
        self.http = aiohttp.ClientSession(self.url)
        return self

    async def end_exchanges(self) -> None:
        """Do what comes first as the web server stops."""
        await self._runner.app.shutdown()

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()
        await self.feed.stop()
        await close_sockets(self.context)
        await self._runner.cleanup()
        await self.reader.close()


class Page:
    """A browser's socket; frames are decoded, waiting is bounded."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    @classmethod
    async def open(cls, gateway: Gateway, project_id: str, query: str = "", **headers: str) -> Page:
        path = f"/ws/{project_id}{query}"
        socket = await gateway.http.ws_connect(path, headers=headers, max_msg_size=0)
        return cls(socket)

    async def next(self) -> Frame:
        """Return the next frame."""
        async with asyncio.timeout(WAIT_SECONDS):
            frame: Frame = orjson.loads(await self.socket.receive_str())
        return frame

    async def take(self, count: int) -> list[Frame]:
        return [await self.next() for _ in range(count)]

    async def ask(self, text: str) -> Frame:
        """Send a text and return the next frame."""
        await self.socket.send_str(text)
        return await self.next()
