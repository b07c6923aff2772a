"""Requests through the proxy, up to a real app."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from tests.support.browsing import Wire
from tests.support.gateway import WAIT_SECONDS
from tests.support.proxied import Heard, House, app, raw_app

LARGE = hashlib.sha256(b"").digest() * 500_000  # 16 MB, far beyond all buffers
PART = b"x" * 65_536


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/a/b.html?q=1",
        "/a%2Fb%20c?q=%26&r=1",
        "/%61?%7e",
        "//evil.example/x",
        "/..%2Findex.html",
        "/a/../b",
        "/./a//b",
        "/@fs/app/x.ts?import&t=1",
        "/q?url=http://x//y",
        "/a;b=c,d!$'()*+",
    ],
)
async def test_the_target_arrives_byte_for_byte(house: House, target: str) -> None:
    heard = Heard()
    async with raw_app(house, heard):
        wire = await house.wire()
        await wire.send(f"GET {target} HTTP/1.1\r\nHost: {house.host}\r\n\r\n".encode())
        assert (await wire.head()).startswith(b"HTTP/1.1 200 OK\r\n")
        await wire.close()
    assert heard.target == target


async def test_an_absolute_target_is_understood_and_others_are_refused(house: House) -> None:
    heard = Heard()
    async with raw_app(house, heard):
        for line, status in (
            (f"GET http://{house.host}/a%2Fb?c HTTP/1.1", b"200"),
            ("OPTIONS * HTTP/1.1", b"400"),
            (f"CONNECT {house.host} HTTP/1.1", b"400"),
        ):
            wire = await house.wire()
            await wire.send(f"{line}\r\nHost: {house.host}\r\n\r\n".encode())
            assert (await wire.head()).split(b" ")[1] == status
            await wire.close()
    assert [head.split(b" ")[1] for head in heard.heads] == [b"/a%2Fb?c"]


async def test_the_app_hears_the_browser_s_own_headers_and_how_it_was_reached(
    house: House,
) -> None:
    heard = Heard()
    async with raw_app(house, heard):
        wire = await house.wire()
        await wire.send(
            f"GET / HTTP/1.1\r\nHost: {house.host}\r\nX-Many: 1\r\nX-Many: 2\r\n"
            "Connection: keep-alive, X-Mine\r\nConnection: X-Other\r\nX-Mine: 1\r\nX-Other: 1\r\n"
            "Keep-Alive: 5\r\nTE: trailers\r\nProxy-Authorization: x\r\nUpgrade: h2c\r\n"
            "Cookie: a=1; b=2\r\nAuthorization: Bearer t\r\nRange: bytes=0-1\r\n"
            "X-Forwarded-For: 10.1.2.3\r\nX-Bytes: caf\xe9\r\n\r\n".encode("latin-1")
        )
        assert b" 200 " in await wire.head()
        await wire.close()
    assert heard.header("Host") == [house.host]
    assert heard.header("X-Many") == ["1", "2"]
    assert heard.header("Cookie") == ["a=1; b=2"]
    assert heard.header("Authorization") == ["Bearer t"]
    assert heard.header("Range") == ["bytes=0-1"]
    assert heard.header("X-Forwarded-For") == ["10.1.2.3", "127.0.0.1"]
    assert heard.header("X-Forwarded-Host") == [house.host]
    assert heard.header("X-Forwarded-Proto") == ["http"]
    assert heard.header("Via") == ["1.1 codegen"]
    assert heard.header("X-Bytes") == ["caf\N{REPLACEMENT CHARACTER}"]
    for name in ("X-Mine", "X-Other", "Keep-Alive", "TE", "Proxy-Authorization", "Upgrade"):
        assert heard.header(name) == []
    for name in ("User-Agent", "Accept", "Accept-Encoding", "Content-Type", "Content-Length"):
        assert heard.header(name) == []  # the proxy adds none of its own


async def test_behind_a_domain_the_app_has_a_name_that_dev_servers_accept(house: House) -> None:
    async def handler(request: web.BaseRequest) -> web.Response:
        assert request.headers["Host"] == f"shop.localhost:{port}"
        assert request.headers["X-Forwarded-Host"] == "shop.apps.example.com"
        assert request.headers["X-Forwarded-Proto"] == "https"
        place = f"http://{request.headers['Host']}/next?q"
        return web.Response(text=request.headers["Origin"], headers={"Location": place})

    port = house.gateway.settings.port
    headers = {"Host": "shop.apps.example.com", "X-Forwarded-Proto": "https"}
    async with app(house, handler):
        for origin, heard in (
            ("https://shop.apps.example.com", f"http://shop.localhost:{port}"),
            ("https://other.apps.example.com", "https://other.apps.example.com"),
        ):
            async with house.http.get(house.url, headers={**headers, "Origin": origin}) as response:
                assert await response.text() == heard
                assert response.headers["Location"] == "/next?q"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PROPFIND"])
@pytest.mark.parametrize("has_length", [True, False])
async def test_a_large_body_arrives_whole_with_and_without_its_length(
    house: House, method: str, has_length: bool
) -> None:
    async def handler(request: web.BaseRequest) -> web.Response:
        digest = hashlib.sha256()
        async for part in request.content.iter_any():
            digest.update(part)
        length = request.headers.get("Content-Length", "none")
        return web.Response(text=f"{request.method} {length} {digest.hexdigest()}")

    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(LARGE), 1_000_000):
            yield LARGE[start : start + 1_000_000]

    headers = {"Content-Length": str(len(LARGE))} if has_length else {}
    async with (
        app(house, handler),
        house.http.request(method, house.url, data=parts(), headers=headers) as response,
    ):
        expected = f"{method} {len(LARGE) if has_length else 'none'} "
        assert await response.text() == expected + hashlib.sha256(LARGE).hexdigest()


async def test_a_body_is_handed_on_while_it_still_comes(house: House) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Expect" not in head
        assert await reader.readexactly(5) == b"first"
        seen.set()
        assert await reader.readexactly(6) == b"second"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    seen = asyncio.Event()
    async with raw_app(house, talk), asyncio.timeout(WAIT_SECONDS):
        wire = await house.wire()
        head = f"POST / HTTP/1.1\r\nHost: {house.host}\r\nContent-Length: 11\r\n"
        await wire.send(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert await wire.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await wire.send(b"first")
        await seen.wait()
        await wire.send(b"second")
        assert (await wire.head()).startswith(b"HTTP/1.1 200")
        await wire.close()


async def test_a_compressed_body_is_not_touched(house: House) -> None:
    async def handler(request: web.BaseRequest) -> web.Response:
        assert request.headers["Content-Encoding"] == "gzip"
        return web.Response(body=await request.read())

    packed = gzip.compress(b"hello")
    headers = {"Content-Encoding": "gzip"}
    async with (
        app(house, handler),
        house.http.post(house.url, data=packed, headers=headers) as response,
    ):
        assert await response.read() == packed


async def test_an_app_that_does_not_read_holds_back_who_sends(house: House) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a ReadTransport, too
        await may_read.wait()
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(count):
            await reader.readexactly(len(PART))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    count = 1_000  # 64 MB
    may_read = asyncio.Event()
    async with raw_app(house, talk), asyncio.timeout(WAIT_SECONDS):
        wire = await house.wire()
        head = f"POST / HTTP/1.1\r\nHost: {house.host}\r\nContent-Length: {count * len(PART)}"
        wire.writer.write(f"{head}\r\n\r\n".encode())
        sent = 0
        while await _drained(wire):
            wire.writer.write(PART)
            sent += 1
            assert sent < count  # all of it is somewhere in between
        may_read.set()
        for _ in range(count - sent):
            await wire.send(PART)
        assert (await wire.head()).startswith(b"HTTP/1.1 200")
        await wire.close()


async def _drained(wire: Wire) -> bool:
    """Say whether what was written went out; after a second that is how it stays."""
    try:
        async with asyncio.timeout(1.0):
            await wire.writer.drain()
    except TimeoutError:
        return False
    return True
