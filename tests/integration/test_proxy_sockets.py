"""WebSockets through the proxy: a browser's socket joined to one of the app."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from asyncio.trsock import TransportSocket
from contextlib import suppress
from socket import SHUT_RDWR

import aiohttp
import pytest
from aiohttp import web

from gateway import apps
from tests.support.gateway import WAIT_SECONDS
from tests.support.proxied import House, app, raw_app, until_still

LARGE = hashlib.sha256(b"").digest() * 500_000  # 16 MB, far beyond all buffers
PART = b"x" * 65_536


# --- WebSockets ----------------------------------------------------------------------------------


class Echo:
    """An app that sends back what it hears; `close:N:reason` has it close with that."""

    def __init__(self) -> None:
        self.requests: list[web.BaseRequest] = []
        self.close_code: int | None = None
        self.ended = asyncio.Event()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        socket = web.WebSocketResponse(protocols=["vite-hmr"], max_msg_size=0)
        await socket.prepare(request)
        async for message in socket:
            if message.type is aiohttp.WSMsgType.BINARY:
                await socket.send_bytes(message.data)
            elif message.data.startswith("close:"):
                _, code, reason = message.data.split(":")
                await socket.close(code=int(code), message=reason.encode())
            else:
                await socket.send_str(message.data)
        self.close_code = socket.close_code
        self.ended.set()
        return socket


async def test_sockets_carry_text_bytes_pings_and_their_subprotocol(house: House) -> None:
    echo = Echo()
    async with (
        app(house, echo),
        asyncio.timeout(WAIT_SECONDS),
        house.http.ws_connect(
            f"{house.url}/hmr?token=a%2Fb",
            protocols=["other", "vite-hmr"],
            headers={"Origin": house.url, "Cookie": "a=1"},
            max_msg_size=0,
            autoping=False,
        ) as socket,
    ):
        assert socket.protocol == "vite-hmr"
        await socket.send_str("höllo")
        assert (await socket.receive()).data == "höllo"
        await socket.send_bytes(LARGE[:8_000_000])
        assert (await socket.receive()).data == LARGE[:8_000_000]
        await socket.ping(b"are you there")
        message = await socket.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.PONG, b"are you there")
    request = echo.requests[0]
    assert request.path_qs == "/hmr?token=a/b"
    assert request.headers["Origin"] == house.url
    assert request.headers["Cookie"] == "a=1"
    assert request.headers["Host"] == house.host


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4321])
async def test_a_farewell_is_heard_on_the_other_side(house: House, code: int) -> None:
    echo = Echo()
    async with app(house, echo), asyncio.timeout(WAIT_SECONDS):
        async with house.http.ws_connect(house.url, autoclose=False) as socket:
            await socket.send_str(f"close:{code}:enough")
            message = await socket.receive()
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, code)
            assert message.extra == "enough"
        echo.ended.clear()
        async with house.http.ws_connect(house.url) as socket:
            await socket.close(code=code, message=b"bye")
            assert socket.close_code == code
            await echo.ended.wait()
        assert echo.close_code == code


async def test_a_socket_that_breaks_breaks_on_the_other_side(house: House) -> None:
    echo = Echo()
    async with app(house, echo), asyncio.timeout(WAIT_SECONDS):
        socket = await house.http.ws_connect(house.url)
        await socket.send_str("x")
        await socket.receive()
        transport = socket.get_extra_info("socket")
        assert isinstance(transport, TransportSocket)
        transport.shutdown(SHUT_RDWR)  # as a crash does
        await echo.ended.wait()
        assert echo.close_code == 1001

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(li for li in head.split("\r\n") if li.lower().startswith("sec-websocket-key"))
        writer.write(_accepted(key.partition(": ")[2]))
        await writer.drain()

    async with raw_app(house, break_off), house.http.ws_connect(house.url) as socket:
        message = await socket.receive(timeout=WAIT_SECONDS)
        assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
        assert socket.close_code == 1006


def _accepted(key: str) -> bytes:
    guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(f"{key}{guid}".encode()).digest()).decode()
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ).encode()


@pytest.mark.parametrize(("status", "seen"), [(401, 401), (404, 404), (200, 502)])
async def test_a_handshake_that_the_app_refuses_is_refused(
    house: House, status: int, seen: int
) -> None:
    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(status=status)

    async with app(house, handler):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await house.http.ws_connect(house.url)
    assert refusal.value.status == seen


async def test_a_message_that_is_too_large_ends_the_socket_on_both_sides(house: House) -> None:
    echo = Echo()
    async with app(house, echo), asyncio.timeout(WAIT_SECONDS):
        async with house.http.ws_connect(house.url) as socket:
            with suppress(ConnectionError):  # it may be refused before it is out
                await socket.send_bytes(LARGE + LARGE[:2_000_000])
            await echo.ended.wait()
        assert echo.close_code == 1009


async def test_a_socket_whose_reader_is_slow_holds_back_the_app(house: House) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for number in range(count):
            await socket.send_bytes(PART)
            sent.append(number)
        await socket.close()
        return socket

    count = 1_000
    sent: list[int] = []
    async with app(house, handler), house.http.ws_connect(house.url) as socket:
        assert await until_still(lambda: len(sent)) < count
        for _ in range(count):
            assert len(await socket.receive_bytes(timeout=WAIT_SECONDS)) == len(PART)


@pytest.mark.parametrize(
    "origin", ["http://localhost:{}", "http://other.localhost:{}", "http://evil.example", "null"]
)
async def test_a_foreign_page_opens_no_socket_to_an_app(house: House, origin: str) -> None:
    echo = Echo()
    headers = {"Origin": origin.format(house.port)}
    async with app(house, echo):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await house.http.ws_connect(house.url, headers=headers)
    assert refusal.value.status == 403
    assert echo.requests == []


async def test_what_passes_keeps_the_project_awake_but_not_a_dev_server_s_own_socket(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apps, "FRESH_SECONDS", 0.0)
    echo = Echo()
    async with app(house, echo), asyncio.timeout(WAIT_SECONDS):
        for path, protocols, counts in (
            ("/", ["vite-hmr"], False),
            ("/_next/webpack-hmr", [], False),
            ("/chat", [], True),
        ):
            async with house.http.ws_connect(house.url + path, protocols=protocols) as socket:
                before = len(house.actors.asked)
                await socket.send_str("x")
                await socket.receive()
                assert (len(house.actors.asked) > before) is counts
