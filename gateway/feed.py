"""The feed server: project actors write their events here, one Unix stream connection each.

Lines end in LF. The gateway never decodes the JSON of an event; it passes the bytes on.

    H {"project":"p1","epoch":3,"durable":120}     hello, the first line of a connection
    E 121 {"type":...,"data":...,"seq":121}        an event's frame
    D 121                                          everything up to this seq is in PostgreSQL
    S {"message":"PostgreSQL at ..."}              PostgreSQL is away, and the project waits for it
    S {}                                           it is back

The end of a connection says that the actor left or died. A connection that breaks these rules is
closed with a line in the log; its actor's events still reach viewers through the journal.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import cast

import orjson

from actors.errors import InvalidProjectId
from actors.run_directory import make_private_directory
from gateway.frames import check_project_id
from gateway.hub import Hub, LiveFeed

log = logging.getLogger(__name__)

MAX_LINE_BYTES = 64 * 1024 * 1024  # a whole file in one file_end frame, with room for escapes
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, InvalidProjectId)
BACKLOG = 1024  # actors connect all at once after a restart


class FeedServer:
    """Listens on a Unix socket of mode 0600 and turns connections into the hub's live feeds."""

    def __init__(self, hub: Hub, socket_path: Path) -> None:
        self._hub = hub
        self._path = socket_path
        self._server: asyncio.Server | None = None
        self._connections: set[FeedConnection] = set()

    async def start(self) -> None:
        """Listen. Raises StateDirUnusable where the socket's directory is not private to us."""
        make_private_directory(self._path.parent)
        self._path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: FeedConnection(self._hub, self),
            os.fspath(self._path),
            backlog=BACKLOG,
        )
        self._path.chmod(0o600)

    async def stop(self) -> None:
        """Stop listening, cut the connections that are left and remove the socket."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for connection in list(self._connections):
            connection.cut()
        await server.wait_closed()
        self._path.unlink(missing_ok=True)

    def opened(self, connection: FeedConnection) -> None:
        """Note a connection; one that was being accepted while we stopped is cut."""
        self._connections.add(connection)
        if self._server is None:
            connection.cut()

    def ended(self, connection: FeedConnection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)


class FeedConnection(asyncio.Protocol):
    """One actor's connection: splits the bytes into lines and hands them to its `LiveFeed`."""

    def __init__(self, hub: Hub, server: FeedServer) -> None:
        self._hub = hub
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._feed: LiveFeed | None = None
        self._unfinished: list[bytes] = []  # pieces of a line whose LF is still to come
        self._unfinished_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.opened(self)

    def data_received(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        if lines and self._unfinished:
            lines[0] = b"".join([*self._unfinished, lines[0]])
            self._unfinished.clear()
            self._unfinished_bytes = 0
        if rest:
            self._unfinished.append(rest)
            self._unfinished_bytes += len(rest)
        try:
            for line in lines:
                self._take(line)
            if self._unfinished_bytes > MAX_LINE_BYTES:
                raise ValueError(f"a line of more than {MAX_LINE_BYTES} bytes")
        except _MALFORMED as error:
            log.error("closing a feed that breaks the rules: %r", error)
            self.cut()

    def _take(self, line: bytes) -> None:
        """Carry out one line; raises one of `_MALFORMED` where it breaks the rules."""
        kind, _, rest = line.partition(b" ")
        if self._feed is None:
            if kind != b"H":
                raise ValueError("the first line is no hello")
            self._feed = self._open(rest)
        elif kind == b"E":
            seq, _, frame = rest.partition(b" ")
            self._feed.publish(int(seq), frame)
        elif kind == b"D":
            self._feed.mark_durable(int(rest))
        elif kind == b"S":
            self._feed.tell_storage(_storage_problem(rest))
        else:
            raise ValueError(f"an unknown kind of line: {kind[:20]!r}")

    def _open(self, hello: bytes) -> LiveFeed:
        members = orjson.loads(hello)
        return self._hub.attach(
            check_project_id(members["project"]),
            epoch=int(members["epoch"]),
            durable=int(members["durable"]),
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.ended(self)
        if self._feed is not None:
            self._feed.detach()

    def cut(self) -> None:
        """Close the connection without waiting for anything."""
        if self._transport is not None:
            self._transport.abort()


def _storage_problem(members: bytes) -> str | None:
    message = orjson.loads(members).get("message")
    if not isinstance(message, str | None):
        raise ValueError(f"a message that is no text: {message!r}")
    return message
