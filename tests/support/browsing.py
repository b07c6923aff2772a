"""Clients of apps: every `*.localhost` name is this machine, as it is to browsers."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

VISIT = {"Sec-Fetch-Mode": "navigate"}
FETCH = {"Sec-Fetch-Mode": "cors"}


class LoopbackResolver(AbstractResolver):
    """Finds every name at 127.0.0.1."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


def browsing(*, auto_decompress: bool = True) -> aiohttp.ClientSession:
    """Return a session that opens apps by their addresses."""
    connector = aiohttp.TCPConnector(resolver=LoopbackResolver(), limit=0)
    return aiohttp.ClientSession(connector=connector, auto_decompress=auto_decompress)


class Wire:
    """A connection of which every byte is seen."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> Wire:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def send(self, text: bytes) -> None:
        self.writer.write(text)
        await self.writer.drain()

    async def head(self) -> bytes:
        """Return what comes up to the next empty line."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):  # the other side was quicker
            await self.writer.wait_closed()
