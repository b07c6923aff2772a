"""A reverse proxy to a project's app: HTTP in both directions as it comes, and WebSockets.

Nothing is buffered beyond a socket's own buffers: what one side does not read, the other cannot
send.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import aiohttp
from aiohttp import hdrs, web
from yarl import URL

from actors.sandbox.doors import DoorConnector
from gateway.banner import ask_for_whole, for_one_look, takes_footer
from gateway.departure import ClientGone, Leave, while_connected
from gateway.doors import Doors
from gateway.proxy_headers import (
    HANDSHAKE,
    Headers,
    request_headers,
    response_headers,
    target_of,
)
from gateway.proxy_socket import CLOSE_SECONDS, MAX_MESSAGE_BYTES, close_both, exchange

CONNECT_SECONDS = 5.0
KEPT_SECONDS = 5.0  # a connection that nobody uses; an address may be another app's later
MAX_HEADER_BYTES = 32 * 1024  # of one header of the app's; Node allows 16 KiB for all
_AUTOMATIC = (hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE)
#: One more of these does no harm where a kept connection turns out to be closed.
_REPEATABLE = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})
#: What aiohttp says of an answer of which nothing is said.
_ADDED = (hdrs.SERVER, hdrs.CONTENT_TYPE)
_ADDS = web.ResponseKey("adds", tuple[str, ...])

#: In the subprotocol or the path of a dev server's own socket (vite-hmr, /_next/webpack-hmr): what
#: its page says there by itself, as long as it is open, is no use of the app.
_HOT_RELOAD = "hmr"

Traffic = Callable[[], None]  # called whenever something has passed


class AppUnreachable(Exception):
    """Nobody answered, and nothing has been sent to the client yet.

    `may_repeat`: the app cannot have acted on the request.
    """

    def __init__(self, *, may_repeat: bool) -> None:
        self.may_repeat = may_repeat


class BadAnswer(Exception):
    """What came was no HTTP; nothing has been sent to the client yet."""


class Proxy:
    """The connections to all apps."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._keeping = _session(DoorConnector(doors.find, limit=0, keepalive_timeout=KEPT_SECONDS))
        # For what must not be sent twice: a kept connection may just be about to be closed.
        self._fresh = _session(DoorConnector(doors.find, limit=0, force_close=True))
        self._leaves: set[Leave] = set()
        self._sockets: set[web.WebSocketResponse] = set()

    async def end_exchanges(self) -> None:
        """End what goes on: answers are cut off, sockets are told that the service goes away."""
        for leave in list(self._leaves):
            leave()
        closing = [
            asyncio.ensure_future(socket.close(code=aiohttp.WSCloseCode.GOING_AWAY))
            for socket in self._sockets
        ]
        if closing:
            await asyncio.wait(closing)  # each has its own deadline

    async def close(self) -> None:
        """Close the connections to the apps."""
        await self._keeping.close()
        await self._fresh.close()
        self._doors.close()

    async def forward(
        self,
        request: web.Request,
        app_url: str,
        host: str,
        on_traffic: Traffic,
        footer: bytes = b"",
    ) -> web.StreamResponse:
        """Have the app, which is told that `host` is its name, answer a request.

        `footer` is added to an answer that is a page.

        Raises AppUnreachable and BadAnswer where it does not.
        """
        target = target_of(request)
        if target is None:
            raise web.HTTPBadRequest
        url = URL(f"{app_url.rstrip('/')}{target}", encoded=True)
        try:
            if is_socket(request):
                return await self._join(request, url, host, on_traffic)
            async with while_connected(request, self._leaves):
                return await self._relay(request, url, host, on_traffic, footer)
        except ClientGone:
            cut(request)
            return web.Response()  # nobody is there to read it

    # --- HTTP ------------------------------------------------------------------------------------

    async def _relay(
        self, request: web.Request, url: URL, host: str, on_traffic: Traffic, footer: bytes
    ) -> web.StreamResponse:
        headers = request_headers(request, host)
        if footer:
            ask_for_whole(headers)
        upstream = await self._ask(request, url, headers, on_traffic)
        try:
            return await _answer(request, upstream, host, on_traffic, footer)
        finally:
            upstream.close()  # where it has ended, its connection is kept all the same

    async def _ask(
        self, request: web.Request, url: URL, headers: Headers, on_traffic: Traffic
    ) -> aiohttp.ClientResponse:
        is_repeatable = request.method in _REPEATABLE and not request.body_exists
        session = self._keeping if is_repeatable else self._fresh
        try:
            return await session.request(
                request.method,
                url,
                headers=headers,
                data=_body(request, on_traffic) if request.body_exists else None,
                allow_redirects=False,
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise AppUnreachable(may_repeat=True) from error  # the body has not been touched
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            raise AppUnreachable(may_repeat=is_repeatable) from error
        except aiohttp.ClientError as error:
            raise BadAnswer from error

    # --- WebSockets ------------------------------------------------------------------------------

    async def _join(
        self, request: web.Request, url: URL, host: str, on_traffic: Traffic
    ) -> web.StreamResponse:
        async with while_connected(request, self._leaves):
            try:
                upstream = await self._shake_hands(request, url, host)
            except aiohttp.WSServerHandshakeError as refusal:
                return web.Response(status=refusal.status if refusal.status >= 400 else 502)
        socket = web.WebSocketResponse(
            protocols=[upstream.protocol] if upstream.protocol else [],
            autoping=False,
            autoclose=False,
            decode_text=False,
            compress=False,
            max_msg_size=MAX_MESSAGE_BYTES,
            timeout=CLOSE_SECONDS,
        )
        try:
            await socket.prepare(request)
            self._sockets.add(socket)
            is_tool = _HOT_RELOAD in f"{upstream.protocol} {url.path}"
            farewell = await exchange(socket, upstream, _nothing if is_tool else on_traffic)
            if farewell is None:
                cut(request)
            await close_both(socket, upstream, farewell)
        finally:
            self._sockets.discard(socket)
            await upstream.close()
        return socket

    async def _shake_hands(
        self, request: web.Request, url: URL, host: str
    ) -> aiohttp.ClientWebSocketResponse[bool]:
        offered = request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, [])
        names = [name.strip() for text in offered for name in text.split(",")]
        try:
            return await self._fresh.ws_connect(
                url,
                headers=request_headers(request, host, HANDSHAKE),
                protocols=[name for name in names if name],
                autoping=False,
                autoclose=False,
                decode_text=False,
                max_msg_size=MAX_MESSAGE_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
            )
        except aiohttp.WSServerHandshakeError:
            raise
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise AppUnreachable(may_repeat=True) from error


def _nothing() -> None:
    """Take no note."""


def is_socket(request: web.Request) -> bool:
    return request.headers.get(hdrs.UPGRADE, "").lower() == "websocket"


async def drop_automatic_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Drop what aiohttp has added to an app's answer; a `Date` is ours to add (RFC 9110, 6.6.1)."""
    for name in response.get(_ADDS, ()):
        response.headers.pop(name, None)


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=_AUTOMATIC,
        auto_decompress=False,
        max_field_size=MAX_HEADER_BYTES,
    )


async def _body(request: web.Request, on_traffic: Traffic) -> AsyncIterator[bytes]:
    async for part in request.content.iter_any():
        on_traffic()
        yield part


async def _answer(
    request: web.Request,
    upstream: aiohttp.ClientResponse,
    host: str,
    on_traffic: Traffic,
    footer: bytes,
) -> web.StreamResponse:
    if upstream.status < 200:
        raise BadAnswer
    headers: Headers = response_headers(upstream.headers, host)
    has_footer = footer and takes_footer(request.method, upstream.status, headers)
    if has_footer:
        for_one_look(headers)
    response = web.StreamResponse(status=upstream.status, reason=upstream.reason, headers=headers)
    response[_ADDS] = tuple(name for name in _ADDED if name not in headers)
    try:
        await response.prepare(request)
        while part := await upstream.content.readany():
            on_traffic()
            await response.write(part)
        await response.write_eof(footer if has_footer else b"")
    except (aiohttp.ClientError, ConnectionError):  # either side has gone in the middle of it
        cut(request)
    return response


def cut(request: web.Request) -> None:
    """Cut the client's connection: what it has is not the whole answer."""
    if request.transport is not None:
        request.transport.abort()
