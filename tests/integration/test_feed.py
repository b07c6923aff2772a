"""The feed server on a real Unix socket: lines in, frames to viewers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors import codec
from actors import events as ev
from actors.errors import StateDirUnusable
from actors.feed import Feed
from actors.reader import Reader
from actors.run_directory import make_private_directory
from gateway import feed as feed_module
from gateway.feed import FeedServer
from gateway.hub import Hub
from tests.support.gateway import Owner, Watcher, frame_of, source_of

PROJECT = "p1"
HELLO = b'H {"project":"p1","epoch":1,"durable":0,"pid":7}\n'


@pytest.fixture
async def hub(database_url: str) -> AsyncIterator[Hub]:
    reader = Reader(database_url)
    yield Hub(source_of(reader))
    await reader.close()


@pytest.fixture
async def path(hub: Hub, tmp_path: Path) -> AsyncIterator[Path]:
    server = FeedServer(hub, tmp_path / "run" / "feed.sock")
    await server.start()
    yield tmp_path / "run" / "feed.sock"
    await server.stop()


@contextlib.asynccontextmanager
async def connection(path: Path) -> AsyncIterator[asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        yield writer
    finally:
        writer.close()
        await reader.read()


def line(seq: int, text: str = "x") -> bytes:
    event = ev.SandboxLog(stream="stdout", line=text)
    return b"E %d %b\n" % (seq, codec.frame(event.type, codec.encode_data(event), seq))


async def test_the_publisher_of_an_actor_reaches_the_viewers(
    hub: Hub, path: Path, database_url: str
) -> None:
    owner = await Owner(database_url, PROJECT).claim()
    watcher = Watcher(hub, PROJECT)
    await watcher.until_count(2)
    feed = Feed(path, PROJECT, owner.epoch)
    await feed.open(0)
    for entry in owner.number(*[ev.FileChunk(path="a.js", chunk=text) for text in "abc"]):
        feed.publish(entry.seq, frame_of(entry))
    await watcher.until_seq(3)
    assert hub.live_feeds == 1
    late = Watcher(hub, PROJECT)
    await late.until_seq(3)
    feed.mark_durable(3)
    feed.publish(4, b'{"type":"hibernated","data":{},"seq":4}')
    await watcher.until_seq(4)
    await feed.close()
    for each in (watcher, late):
        await each.leave()
    await owner.store.close()
    assert [frame["data"].get("chunk") for frame in watcher.frames[2:5]] == ["a", "b", "c"]
    assert late.seqs[:5] == [0, 0, 1, 2, 3]


@pytest.mark.parametrize("size", [1, 2, 7, 4096])
async def test_lines_may_be_cut_anywhere(hub: Hub, path: Path, size: int) -> None:
    data = HELLO + b"".join(line(seq, "é" * seq) for seq in range(1, 20)) + b"D 5\n"
    watcher = Watcher(hub, PROJECT)
    await watcher.until_count(2)
    async with connection(path) as writer:
        for start in range(0, len(data), size):
            writer.write(data[start : start + size])
            await asyncio.sleep(0)
        await watcher.until_seq(19)
        assert watcher.seqs == [0, 0, *range(1, 20)]
        assert watcher.frames[-1]["data"]["line"] == "é" * 19
        await watcher.leave()


async def test_a_frame_of_many_megabytes_passes(hub: Hub, path: Path) -> None:
    watcher = Watcher(hub, PROJECT)
    await watcher.until_count(2)
    async with connection(path) as writer:
        writer.write(HELLO + line(1, "x" * 10_000_000))
        await watcher.until_seq(1)
        assert len(watcher.frames[-1]["data"]["line"]) == 10_000_000
        await watcher.leave()


@pytest.mark.parametrize(
    "data",
    [
        b"E 1 {}\n",
        b"H\n",
        b"H []\n",
        b"H {}\n",
        b"H not json\n",
        b'H {"project":"../p","epoch":1,"durable":0}\n',
        b'H {"project":"p1","epoch":"x","durable":0}\n',
        HELLO + b"\n",
        HELLO + b"X 1\n",
        HELLO + b"E one {}\n",
        HELLO + b"D\n",
        HELLO + b"H {}\n",
        HELLO + b"S\n",
        HELLO + b"S []\n",
        HELLO + b'S {"message":7}\n',
        b"x" * 5000,
        HELLO + b"E 1 " + b"x" * 5000,
    ],
)
async def test_a_connection_that_breaks_the_rules_is_closed(
    path: Path, hub: Hub, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "MAX_LINE_BYTES", 4096)
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(data)
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()
    assert hub.live_feeds == 0
    async with connection(path) as healthy:  # the server lives on
        watcher = Watcher(hub, "other")
        await watcher.until_count(2)
        healthy.write(b'H {"project":"other","epoch":1,"durable":0}\n' + line(1))
        await watcher.until_seq(1)
        await watcher.leave()


async def test_what_an_actor_says_of_postgresql_reaches_the_viewers(hub: Hub, path: Path) -> None:
    watcher = Watcher(hub, PROJECT)
    await watcher.until_count(2)
    async with connection(path) as writer:
        writer.write(HELLO + line(1) + b'S {"message":"It is full."}\n' + b"S {}\n" + line(2))
        writer.write(b'S {"message":"Again."}\n')
        await watcher.until(lambda frames: frames[-1]["data"] == {"message": "Again."})
        writer.write(b"S {}\n" + line(3))
        await watcher.until_seq(3)
        await watcher.leave()
    # away and back at once is not worth a word
    assert watcher.types[2:] == [
        "sandbox_log",
        "sandbox_log",
        "storage_unavailable",
        "storage_restored",
        "sandbox_log",
    ]
    assert watcher.seqs[2:] == [1, 2, 2, 2, 3]


async def test_the_end_of_a_connection_is_the_end_of_the_feed(hub: Hub, path: Path) -> None:
    watcher = Watcher(hub, PROJECT)
    await watcher.until_count(2)
    async with connection(path) as writer:
        writer.write(HELLO + line(1))
        await watcher.until_seq(1)
    await watcher.until(lambda frames: frames[-1]["type"] == "snapshot" and len(frames) > 3)
    await watcher.leave()
    assert hub.live_feeds == 0


async def test_stopping_cuts_the_connections_and_removes_the_socket(
    hub: Hub, tmp_path: Path
) -> None:
    server = FeedServer(hub, tmp_path / "run" / "feed.sock")
    await server.start()
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "run" / "feed.sock"))
    watcher = Watcher(hub, PROJECT)
    writer.write(HELLO + line(1))
    await watcher.until_seq(1)
    await watcher.leave()
    await server.stop()
    await server.stop()
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()
    assert hub.live_feeds == 0
    assert not (tmp_path / "run" / "feed.sock").exists()


async def test_the_socket_is_private_and_replaces_a_stale_one(hub: Hub, tmp_path: Path) -> None:
    path = tmp_path / "run" / "feed.sock"
    path.parent.mkdir(mode=0o755)
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    server = FeedServer(hub, path)
    await server.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    await server.stop()


def test_a_directory_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: me + 1)
    with pytest.raises(StateDirUnusable, match="belongs to another user"):
        make_private_directory(tmp_path)


def test_a_link_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to(tmp_path)
    with pytest.raises(StateDirUnusable, match="belongs to another user"):
        make_private_directory(tmp_path / "run")


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateDirUnusable, match="cannot be created"):
        make_private_directory(tmp_path / "file" / "run")
