"""The way out of a container while an install runs: an HTTP proxy behind a door.

It knows CONNECT alone, for the places that are allowed (`registries.py`). It resolves their names
itself and connects to the very address that it has looked at, so a name that means another address
a moment later gains nothing. An image whose variables name a proxy of the operator's network has
its connections led through that one, which then does the resolving.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from actors.errors import SandboxUnavailable
from actors.registries import Place, Registries, parse_connect
from actors.sandbox.doors import EGRESS_DOOR, listen_at
from actors.sandbox.places import NoRegistryThere, addresses_of
from actors.sandbox.relay import PROXY_PORT

MAX_CONNECTIONS = 64  # at once; npm opens up to 15
MAX_HEAD_BYTES = 8_192
MAX_TOLD = 20  # places that were refused
PART_BYTES = 65_536
HEAD_SECONDS = 10.0
CONNECT_SECONDS = 15.0

_PROXY = f"http://127.0.0.1:{PROXY_PORT}"
#: What makes the package managers of Node, and most other programs, go this way.
PROXIED = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), _PROXY),
    **dict.fromkeys(("NPM_CONFIG_PROXY", "NPM_CONFIG_HTTPS_PROXY"), _PROXY),
    **dict.fromkeys(("YARN_HTTP_PROXY", "YARN_HTTPS_PROXY"), _PROXY),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "localhost,127.0.0.1,::1"),
}

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Refused(Exception):
    """A request that is not carried out: the answer's status line says why."""


@contextlib.asynccontextmanager
async def egress(
    directory: Path,
    registries: Registries,
    upstream: Place | None,
    on_refusal: Callable[[str], None],
) -> AsyncIterator[None]:
    """Have the way out for as long as the context lasts; all that goes over it ends with it.

    `on_refusal` is called once for each place that was refused, with a sentence. Raises
    SandboxUnavailable.
    """
    proxy = _Proxy(registries, upstream, on_refusal)
    try:
        listener = listen_at(directory, EGRESS_DOOR, MAX_CONNECTIONS)
    except OSError as error:
        raise SandboxUnavailable(
            f"The directory of the sandbox's sockets is gone ({error.strerror}); generate again."
        ) from error
    server = await asyncio.start_unix_server(proxy.serve, sock=listener, limit=MAX_HEAD_BYTES)
    try:
        yield
    finally:
        server.close()
        (directory / EGRESS_DOOR).unlink(missing_ok=True)
        await proxy.close()


class _Proxy:
    def __init__(
        self, registries: Registries, upstream: Place | None, on_refusal: Callable[[str], None]
    ) -> None:
        self._registries = registries
        self._upstream = upstream
        self._on_refusal = on_refusal
        self._told: set[Place] = set()
        self._connections: set[asyncio.Task[None]] = set()

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection; beyond the most that there may be it is closed."""
        if len(self._connections) >= MAX_CONNECTIONS:
            writer.close()
            return
        task = asyncio.create_task(self._serve(reader, writer), name="egress")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def close(self) -> None:
        """End every connection."""
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with _closing(writer):
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                try:
                    async with asyncio.timeout(HEAD_SECONDS):
                        head = await reader.readuntil(b"\r\n\r\n")
                    far = await self._connect(head, writer)
                except (Refused, asyncio.LimitOverrunError) as error:
                    reason = str(error) if isinstance(error, Refused) else "431 Too Large"
                    writer.write(f"HTTP/1.1 {reason}\r\nContent-Length: 0\r\n\r\n".encode())
                    await writer.drain()
                    return
                async with _closing(far[1]):
                    await _join((reader, writer), far)

    async def _connect(self, head: bytes, writer: asyncio.StreamWriter) -> Streams:
        """Return the connection that was asked for, when the other side may know that it is there.

        The operator's proxy answers for itself. Raises Refused.
        """
        place = parse_connect(head)
        if place is None:
            raise Refused("405 CONNECT Only")
        if not self._registries.allow(place):
            self._tell(place, "which is not allowed (see CODEGEN_SANDBOX_REGISTRIES)")
            raise Refused("403 Forbidden")
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                if self._upstream is not None:
                    far = await asyncio.open_connection(*self._upstream)
                    far[1].write(f"CONNECT {place.authority} HTTP/1.1\r\n".encode())
                    far[1].write(f"Host: {place.authority}\r\n\r\n".encode())
                else:
                    far = await self._open(place)
                    writer.write(b"HTTP/1.1 200 Connection Established\r\n\r\n")
        except OSError as error:  # a timeout is one as well
            self._tell(place, f"which cannot be reached ({error or type(error).__name__})")
            raise Refused("502 Bad Gateway") from error
        return far

    async def _open(self, place: Place) -> Streams:
        """Connect to the first address of a place that answers; raises OSError or Refused."""
        try:
            allowed = await addresses_of(place, self._registries)
        except NoRegistryThere as error:
            self._tell(place, f"which is at {error.address}, where no registry may be")
            raise Refused("403 Forbidden") from error
        for address in allowed[:-1]:
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(address, place.port)
        return await asyncio.open_connection(allowed[-1], place.port)

    def _tell(self, place: Place, reason: str) -> None:
        if place not in self._told and len(self._told) < MAX_TOLD:
            self._told.add(place)
            self._on_refusal(f"The install wanted {place}, {reason}.")


async def _join(near: Streams, far: Streams) -> None:
    """Copy both ways until both have ended, or one has failed."""
    ways = [
        asyncio.create_task(_copy(near[0], far[1]), name="egress out"),
        asyncio.create_task(_copy(far[0], near[1]), name="egress in"),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(PART_BYTES):
        writer.write(part)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


@contextlib.asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
