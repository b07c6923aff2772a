"""Noticing at once that a client has left: aiohttp tells a handler of it only when it writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

from aiohttp import web

Leave = Callable[[], None]


class ClientGone(Exception):
    """The client has left, or is to be left, before its answer was complete."""


class _Lookout(asyncio.Protocol):
    """Stands before a connection's protocol for a while and hears first of the connection's end."""

    def __init__(self, protocol: asyncio.Protocol, leave: Leave) -> None:
        self._protocol = protocol
        self._leave = leave

    def data_received(self, data: bytes) -> None:
        self._protocol.data_received(data)

    def eof_received(self) -> bool | None:
        """The web server closes then, but what it still has to write could take for ever."""
        self._leave()
        return self._protocol.eof_received()

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self._protocol.connection_lost(exc)


@asynccontextmanager
async def while_connected(request: web.Request, leaves: set[Leave]) -> AsyncIterator[None]:
    """Cancel the block as soon as the client's connection ends; ClientGone is raised then.

    Meanwhile `leaves` holds a function that does the same.
    """
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ClientGone
    protocol = cast(asyncio.Protocol, transport.get_protocol())
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as scope:

            def leave() -> None:
                if not scope.expired():
                    scope.reschedule(loop.time())

            lookout = _Lookout(protocol, leave)
            leaves.add(leave)
            transport.set_protocol(lookout)
            try:
                yield
            finally:
                leaves.discard(leave)
                if transport.get_protocol() is lookout:  # a lost connection has none any more
                    transport.set_protocol(protocol)
    except TimeoutError:
        if not scope.expired():
            raise
        raise ClientGone from None
