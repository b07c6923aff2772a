"""Answers through the proxy, down from a real app, and from apps that misbehave."""

from __future__ import annotations

import asyncio
import gzip
import hashlib

import aiohttp
import pytest
from aiohttp import web

from tests.support.browsing import FETCH
from tests.support.gateway import WAIT_SECONDS
from tests.support.proxied import House, answering, app, raw_app, until_still

LARGE = hashlib.sha256(b"").digest() * 500_000  # 16 MB, far beyond all buffers
PART = b"x" * 65_536


async def test_an_answer_arrives_as_it_was_given(house: House) -> None:
    packed = gzip.compress(b"hello")
    answer = (
        b"HTTP/1.1 207 Quite So\r\nX-Many: 1\r\nX-Many: 2\r\nX-Bytes: caf\xe9\r\n"
        b"Set-Cookie: a=1; Domain=localhost; Path=/\r\nSet-Cookie: b=2;domain=.localhost;Secure\r\n"
        b"Content-Encoding: gzip\r\nContent-Length: %d\r\nConnection: X-Mine\r\nX-Mine: 1\r\n"
        b"Content-Security-Policy: default-src 'self'\r\nDate: today\r\n\r\n" % len(packed)
    ) + packed
    async with raw_app(house, answering(answer)):
        wire = await house.wire()
        await wire.send(f"GET / HTTP/1.1\r\nHost: {house.host}\r\n\r\n".encode())
        head = (await wire.head()).decode()
        assert await wire.reader.readexactly(len(packed)) == packed
        await wire.close()
    assert sorted(head.rstrip().split("\r\n")) == sorted(
        [
            "HTTP/1.1 207 Quite So",
            "X-Many: 1",
            "X-Many: 2",
            "X-Bytes: caf\N{REPLACEMENT CHARACTER}",
            "Set-Cookie: a=1; Path=/",
            "Set-Cookie: b=2;Secure",
            "Content-Encoding: gzip",
            f"Content-Length: {len(packed)}",
            "Content-Security-Policy: default-src 'self'",
            "Date: today",
        ]
    )


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("GET", b"204 No Content\r\n"),
        ("GET", b'304 Not Modified\r\nETag: "x"\r\n'),
        ("HEAD", b"200 OK\r\nContent-Length: 12\r\n"),
        ("HEAD", b"200 OK\r\nTransfer-Encoding: chunked\r\n"),
        ("GET", b"200 OK\r\nContent-Length: 0\r\n"),
    ],
)
async def test_an_answer_without_a_body_leaves_the_connection_in_order(
    house: House, method: str, answer: bytes
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 " + answer + b"\r\n")
            await writer.drain()

    async with raw_app(house, talk), asyncio.timeout(WAIT_SECONDS):
        wire = await house.wire()
        for _ in range(3):
            await wire.send(f"{method} / HTTP/1.1\r\nHost: {house.host}\r\n\r\n".encode())
            head = await wire.head()
            assert head.startswith(b"HTTP/1.1 " + answer.partition(b"\r\n")[0])
            for line in answer.split(b"\r\n")[1:]:
                assert line.lower() in head.lower() or b"chunked" in line
            assert b"Content-Type" not in head
        await wire.close()


async def test_events_arrive_one_by_one(house: House) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number in range(3):
            await response.write(b"data: %d\n\n" % number)
            await turns.get()
        return response

    turns: asyncio.Queue[None] = asyncio.Queue()
    async with (
        app(house, handler),
        asyncio.timeout(WAIT_SECONDS),
        house.http.get(house.url, headers=FETCH) as response,
    ):
        assert response.headers["Content-Type"] == "text/event-stream"
        for number in range(3):
            assert await response.content.readany() == b"data: %d\n\n" % number
            turns.put_nowait(None)
        assert await response.content.read() == b""


async def test_who_reads_slowly_holds_back_the_app(house: House) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for number in range(count):
            await response.write(PART)
            sent.append(number)
        return response

    count = 1_000
    sent: list[int] = []
    async with app(house, handler), house.http.get(house.url) as response:
        assert await until_still(lambda: len(sent)) < count
        assert len(await response.read()) == count * len(PART)


async def test_an_app_that_dies_in_the_middle_is_seen_to_have_done_so(house: House) -> None:
    for head in (
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"Content-Length: 9\r\n\r\nh",
    ):
        async with (
            raw_app(house, answering(b"HTTP/1.1 200 OK\r\n" + head)),
            house.http.get(house.url) as response,
        ):
            assert response.status == 200
            with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientOSError)):
                await response.read()


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_client_that_leaves_closes_its_request_at_once(house: House, method: str) -> None:
    """Whether the app has answered in part, as an event stream has, or not at all."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answers:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n")
            await writer.drain()
        asked.set()
        await reader.read()  # to the end
        gone.set()

    body = "Content-Length: 9\r\n\r\nabc" if method == "POST" else "\r\n"
    for answers in (False, True):
        asked, gone = asyncio.Event(), asyncio.Event()
        async with raw_app(house, talk), asyncio.timeout(WAIT_SECONDS):
            wire = await house.wire()
            await wire.send(f"{method} / HTTP/1.1\r\nHost: {house.host}\r\n{body}".encode())
            await asked.wait()
            if answers:
                await wire.head()
            await wire.close()
            await gone.wait()


@pytest.mark.parametrize(
    "answer",
    [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"],
)
async def test_what_is_no_answer_is_said_in_a_page(house: House, answer: bytes) -> None:
    async with (
        raw_app(house, answering(answer)),
        asyncio.timeout(WAIT_SECONDS),
        house.http.post(house.url, data=b"x") as response,
    ):
        html = await response.text()
        assert (response.status, response.content_type) == (502, "text/html")
        assert "Traceback" not in html
        assert "<p>The app ended the" in html or "<p>What the app answered is not HTTP.</p>" in html


async def test_a_request_that_may_have_been_carried_out_is_not_sent_twice(house: House) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))

    heads: list[bytes] = []
    async with raw_app(house, talk):
        for method in ("POST", "PATCH"):
            async with house.http.request(method, house.url) as response:
                assert response.status == 502
    assert len(heads) == 2


async def test_a_kept_connection_that_has_ended_is_replaced(house: House) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")  # and ends without an answer

    async with raw_app(house, talk):
        for method in ("GET", "GET", "HEAD", "POST", "DELETE"):
            async with house.http.request(method, house.url) as response:
                assert response.status == 200


async def test_an_open_stream_does_not_hold_up_the_end(house: House) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if "Upgrade" in request.headers:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await socket.receive()
            return socket
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x")
        await over.wait()
        return response

    over = asyncio.Event()
    async with (
        app(house, handler),
        asyncio.timeout(WAIT_SECONDS),
        house.http.get(house.url) as response,
        house.http.ws_connect(house.url) as socket,
    ):
        assert await response.content.readany() == b"x"
        await house.gateway.end_exchanges()
        with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientOSError)):
            await response.content.read()
        message = await socket.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
        over.set()
