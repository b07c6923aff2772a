"""The feed: a project's events on their way to the gateway, beside the mailbox.

A Unix stream socket carries lines (see `gateway/feed.py`, the other end):

    H {"project":"p1","epoch":3,"durable":120,"pid":77}   once per connection
    E 121 {"type":...,"data":...,"seq":121}                one event's frame
    D 121                                                  durable in PostgreSQL up to here
    S {"message":"PostgreSQL at ... cannot be reached"}    away: the project waits for it
    S {}                                                   back; said after an outage alone

Publishing never waits. A feed that is not connected drops what it is given: whoever connects
next, and every viewer that missed something, reads the journal, which has it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import orjson

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 0.2
CONGESTED_BYTES = 1024 * 1024  # unsent; the gateway is slow, so fewer and larger frames help
MAX_UNSENT_BYTES = 64 * 1024 * 1024  # the gateway has stopped reading: drop the connection


class Feed:
    """The publisher's side of one project's feed."""

    def __init__(self, path: Path, project_id: str, epoch: int) -> None:
        self._path = path
        self._project_id = project_id
        self._epoch = epoch
        self._durable = 0
        self._storage_problem: str | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._is_closed = False

    async def open(self, durable_seq: int) -> None:
        """Connect; when the gateway is not there, go on without it and keep trying."""
        self._durable = durable_seq
        if not await self._connect():
            log.warning("the feed of %s cannot be reached yet", self._project_id)
            self._begin_reconnecting()

    async def _connect(self) -> bool:
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.create_unix_connection(
                lambda: _Ending(self), os.fspath(self._path)
            )
        except OSError:
            return False
        hello = {
            "project": self._project_id,
            "epoch": self._epoch,
            "durable": self._durable,
            "pid": os.getpid(),
        }
        lines = b"H %b\n" % orjson.dumps(hello)
        if self._storage_problem is not None:
            lines += self._storage_line()  # in one piece: between the two PostgreSQL would be back
        transport.write(lines)
        self._transport = transport
        return True

    async def _reconnect(self) -> None:
        while True:
            await asyncio.sleep(RECONNECT_SECONDS)
            if await self._connect():
                return

    def publish(self, seq: int, frame: bytes) -> None:
        """Send one event's frame."""
        self._write(b"E %d %b\n" % (seq, frame))

    def mark_durable(self, seq: int) -> None:
        """Say that every event up to `seq` can be read from the journal."""
        self._durable = seq
        self._write(b"D %d\n" % seq)

    def storage_away(self, message: str) -> None:
        """Say that PostgreSQL is away; repeated to whoever connects before it is back."""
        self._storage_problem = message
        self._write(self._storage_line())

    def storage_back(self) -> None:
        """Say that PostgreSQL is back."""
        self._storage_problem = None
        self._write(self._storage_line())

    def _storage_line(self) -> bytes:
        message = self._storage_problem
        return b"S %b\n" % orjson.dumps({} if message is None else {"message": message})

    def _write(self, line: bytes) -> None:
        if self._transport is None:
            return
        if self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            log.error("the gateway does not read the feed: dropping the connection")
            self._transport.abort()
            return
        self._transport.write(line)

    @property
    def is_congested(self) -> bool:
        transport = self._transport
        return transport is not None and transport.get_write_buffer_size() > CONGESTED_BYTES

    def connection_lost(self) -> None:
        """The gateway closed the connection, or ended; in the latter case we shall, too."""
        self._transport = None
        if not self._is_closed:
            self._begin_reconnecting()

    def _begin_reconnecting(self) -> None:
        self._connecting = asyncio.get_running_loop().create_task(self._reconnect())

    async def close(self) -> None:
        """Send what is buffered, then close."""
        self._is_closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._transport is not None:
            self._transport.close()


class _Ending(asyncio.Protocol):
    """The gateway never sends: only the end of the connection is of interest."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def connection_lost(self, exc: Exception | None) -> None:
        self._feed.connection_lost()
