"""Two WebSockets, joined: what one side says the other hears, pings and farewells included."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp import WSCloseCode, WSMsgType, web

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
CLOSE_SECONDS = 1.0  # for a side that does not answer the closing handshake

Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse[Any]
Farewell = tuple[int, bytes]  # a close code and a reason

_PASSED_ON = frozenset({WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.PING, WSMsgType.PONG})


async def exchange(
    socket: Socket, upstream: Socket, on_traffic: Callable[[], None]
) -> Farewell | None:
    """Hand on all that either side says until one says farewell; None if one is lost without."""
    ways = [
        asyncio.create_task(_hand_on(socket, upstream, on_traffic), name="a browser's socket"),
        asyncio.create_task(_hand_on(upstream, socket, on_traffic), name="an app's socket"),
    ]
    try:
        ended, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.wait(ways)
    return ended.pop().result()


async def close_both(socket: Socket, upstream: Socket, farewell: Farewell | None) -> None:
    """Say to both why; the one that has said it itself hears it as an answer."""
    code, reason = farewell or (WSCloseCode.GOING_AWAY, b"")
    await asyncio.gather(
        socket.close(code=code, message=reason), upstream.close(code=code, message=reason)
    )


async def _hand_on(
    source: Socket, target: Socket, on_traffic: Callable[[], None]
) -> Farewell | None:
    try:
        while True:
            message = await source.receive()
            if message.type in _PASSED_ON:
                on_traffic()
                await target.send_frame(message.data, message.type)
            elif message.type is WSMsgType.CLOSE:
                return message.data or WSCloseCode.OK, (message.extra or "").encode()
            elif isinstance(message.data, aiohttp.WebSocketError):
                return message.data.code, b""
            elif message.type is WSMsgType.CLOSING:
                return WSCloseCode.GOING_AWAY, b""  # the service is stopping
            else:
                return None
    except ConnectionError:
        return None
