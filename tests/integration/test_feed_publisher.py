"""The publisher's side of the feed over a real socket: absent, lost, slow and deaf gateways."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from actors.feed import CONGESTED_BYTES, MAX_UNSENT_BYTES, Feed
from tests.support.feed import WAIT_SECONDS, FeedSink
from tests.support.log import log_line

FRAME = b'{"type":"deps_installed","data":{},"seq":%d}'
LARGE_TEXT = b"x" * (256 * 1024)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "feed.sock"


@pytest.fixture
async def feed(path: Path) -> AsyncIterator[Feed]:
    """A publisher of epoch 3 that is not open yet."""
    feed = Feed(path, "p1", 3)
    yield feed
    await feed.close()


class DeafGateway:
    """A gateway that reads only when told to; `connections` are those that it accepted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.connections: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._accepted = asyncio.Condition()

    async def __aenter__(self) -> DeafGateway:
        self._server = await asyncio.start_unix_server(
            self._accept, str(self._path), limit=64 * 1024
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for _reader, writer in self.connections:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._accepted:
            self.connections.append((reader, writer))
            self._accepted.notify_all()

    async def connection(self, number: int) -> asyncio.StreamReader:
        """Return the `number`-th connection, waiting for it."""
        async with asyncio.timeout(WAIT_SECONDS), self._accepted:
            await self._accepted.wait_for(lambda: len(self.connections) >= number)
        return self.connections[number - 1][0]


def publish(feed: Feed, *seqs: int) -> None:
    for seq in seqs:
        feed.publish(seq, FRAME % seq)


def publish_large(feed: Feed, seq: int) -> None:
    feed.publish(seq, b'{"type":"file_chunk","data":"%b","seq":%d}' % (LARGE_TEXT, seq))


def is_congested(feed: Feed) -> bool:
    """Ask anew: a type checker takes the property for a constant."""
    return feed.is_congested


def hellos(sink: FeedSink) -> list[dict[str, Any]]:
    return [orjson.loads(rest) for kind, rest in sink.lines if kind == "H"]


def seqs(sink: FeedSink) -> list[int]:
    return [frame["seq"] for frame in sink.frames]


async def test_a_connection_begins_with_a_hello_and_keeps_the_order_of_the_lines(
    feed: Feed, path: Path
) -> None:
    async with FeedSink(path) as sink:
        await feed.open(120)
        publish(feed, 121, 122)
        feed.mark_durable(122)
        publish(feed, 123)
        await sink.until(lambda frame: frame["seq"] == 123)
        assert [kind for kind, _ in sink.lines] == ["H", "E", "E", "D", "E"]
        assert hellos(sink) == [{"project": "p1", "epoch": 3, "durable": 120, "pid": os.getpid()}]
        assert sink.lines[1] == ("E", b"121 " + FRAME % 121)
        assert sink.lines[3] == ("D", b"122")


async def test_a_gateway_that_comes_later_is_told_what_is_durable_by_then(
    feed: Feed, path: Path
) -> None:
    with log_line("actors.feed", "cannot be reached yet") as line:
        await feed.open(7)
    assert len(line.records) == 1
    assert not feed.is_congested
    publish(feed, 8, 9)  # dropped: whoever connects reads the journal
    feed.mark_durable(9)
    async with DeafGateway(path) as gateway:
        hello = await (await gateway.connection(1)).readline()
        publish(feed, 10)
        first = await (await gateway.connection(1)).readline()
    assert orjson.loads(hello.removeprefix(b"H "))["durable"] == 9
    assert first == b"E 10 " + FRAME % 10 + b"\n"


async def test_a_lost_connection_is_made_again_and_goes_on_after_what_was_dropped(
    feed: Feed, path: Path
) -> None:
    async with DeafGateway(path) as gateway:
        await feed.open(0)
        reader = await gateway.connection(1)
        await reader.readline()
        publish(feed, 1)
        assert await reader.readline() == b"E 1 " + FRAME % 1 + b"\n"
        gateway.connections[0][1].close()
        await (await gateway.connection(2)).readline()
        publish(feed, 2)
        assert await (await gateway.connection(2)).readline() == b"E 2 " + FRAME % 2 + b"\n"
        assert len(gateway.connections) == 2


async def test_a_gateway_that_connects_while_postgresql_is_away_is_told(
    feed: Feed, path: Path
) -> None:
    async with DeafGateway(path) as gateway:
        await feed.open(0)
        first = await gateway.connection(1)
        await first.readline()
        feed.storage_away('PostgreSQL is "full".\n')
        said = b'S {"message":"PostgreSQL is \\"full\\".\\n"}\n'
        assert await first.readline() == said
        gateway.connections[0][1].close()
        second = await gateway.connection(2)
        assert (await second.readline()).startswith(b"H ")
        assert await second.readline() == said
        feed.storage_back()
        assert await second.readline() == b"S {}\n"
        gateway.connections[1][1].close()
        third = await gateway.connection(3)
        assert (await third.readline()).startswith(b"H ")
        publish(feed, 1)
        assert (await third.readline()).startswith(b"E ")


async def test_a_gateway_that_is_replaced_gets_one_connection_with_the_newest_numbers(
    feed: Feed, path: Path
) -> None:
    async with DeafGateway(path) as gateway:
        await feed.open(0)
        await (await gateway.connection(1)).readline()
    feed.mark_durable(41)  # noticed or not: the line is lost, its number is not
    async with DeafGateway(path) as gateway:
        hello = await (await gateway.connection(1)).readline()
    assert orjson.loads(hello.removeprefix(b"H "))["durable"] == 41


async def test_publishing_to_a_gateway_that_has_just_gone_raises_nothing(
    feed: Feed, path: Path
) -> None:
    async with DeafGateway(path) as gateway:
        await feed.open(0)
        await (await gateway.connection(1)).readline()
        gateway.connections[0][1].transport.abort()
        publish(feed, *range(1, 100))
        reader = await gateway.connection(2)
        assert (await reader.readline()).startswith(b"H ")


async def test_a_slow_gateway_is_congestion_until_it_has_read_everything(
    feed: Feed, path: Path
) -> None:
    async with DeafGateway(path) as gateway:
        await feed.open(0)
        reader = await gateway.connection(1)
        assert not is_congested(feed)
        count = 2 * CONGESTED_BYTES // len(LARGE_TEXT) + 8  # beyond what the sockets hold
        for seq in range(1, count + 1):
            publish_large(feed, seq)
        publish(feed, count + 1)
        assert is_congested(feed)
        last = b"E %d " % (count + 1) + FRAME % (count + 1) + b"\n"
        received = bytearray()
        async with asyncio.timeout(WAIT_SECONDS):
            while not received.endswith(last):
                received += await reader.read(1024 * 1024)
        assert not is_congested(feed)
        numbers = [int(line.split(b" ")[1]) for line in received.splitlines()[1:]]
        assert numbers == list(range(1, count + 2))


async def test_a_gateway_that_never_reads_loses_its_connection_and_may_come_back(
    feed: Feed, path: Path
) -> None:
    async with DeafGateway(path) as gateway:
        await feed.open(0)
        await gateway.connection(1)
        count = MAX_UNSENT_BYTES // len(LARGE_TEXT) + 2
        with log_line("actors.feed", "does not read the feed") as line:
            for seq in range(1, count + 1):
                publish_large(feed, seq)
            feed.mark_durable(count)
        assert len(line.records) == 1
        assert not feed.is_congested
        reader = await gateway.connection(2)
        hello = await reader.readline()
        assert orjson.loads(hello.removeprefix(b"H "))["durable"] == count
        publish(feed, count + 1)
        assert await reader.readline() == b"E %d " % (count + 1) + FRAME % (count + 1) + b"\n"


async def test_closing_sends_what_was_published_and_connects_no_more(
    feed: Feed, path: Path
) -> None:
    async with FeedSink(path) as sink:
        await feed.open(0)
        for seq in range(1, 20):
            publish_large(feed, seq)
        await feed.close()
        await sink.until(lambda frame: frame["seq"] == 19)
        publish(feed, 20)
        await feed.close()
    assert seqs(sink) == list(range(1, 20))
    assert len(hellos(sink)) == 1


async def test_closing_without_a_gateway_ends_the_search_for_one(feed: Feed) -> None:
    await feed.open(0)
    searching = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    await feed.close()
    async with asyncio.timeout(WAIT_SECONDS):
        await asyncio.wait(searching)
    assert all(task.cancelled() for task in searching)
