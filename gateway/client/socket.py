"""A project's WebSocket as one stream of frames, over as many connections as it takes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import aiohttp

from gateway.client.service import CommandFailed, ServiceClient, not_running

MAX_FRAME_BYTES = 64 * 1024 * 1024  # a snapshot's open file and a file_end hold whole files
PING_SECONDS = 20.0
RECONNECT_SECONDS = 60.0  # then the run is left to itself; it goes on without its viewers
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
REFUSING_CLOSE_CODES = (1002, 1003, 1007, 1008, 1009)  # trying again would end the same way


class ProjectSocket:
    """One project's frames. `since` says after which number to go on, None before the first;
    `greet` gives the commands to send at the start of every connection; `say` tells the user.
    """

    def __init__(
        self,
        client: ServiceClient,
        project_id: str,
        *,
        since: Callable[[], int | None],
        greet: Callable[[], Sequence[Mapping[str, Any]]],
        say: Callable[[str], None],
    ) -> None:
        self._client = client
        self._project_id = project_id
        self._since = since
        self._greet = greet
        self._say = say
        self._connection: aiohttp.ClientWebSocketResponse | None = None
        self._lost_at: float | None = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    async def send(self, command: Mapping[str, Any]) -> None:
        """Send a command now; without a connection nothing is sent, `greet` will have to."""
        if self._connection is not None:
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                await self._connection.send_json(command)

    async def texts(self) -> AsyncGenerator[str, None]:
        """Yield every frame's text until the consumer stops.

        A lost connection is opened again after a pause that grows until frames flow again. Raises
        CommandFailed: not_running (at the first connection), connection_lost, or a refusal.
        """
        pause = FIRST_PAUSE_SECONDS
        while True:
            before = self._since()
            try:
                async for text in self._one_connection():
                    yield text
            except aiohttp.WSServerHandshakeError as error:
                if self._lost_at is None or error.status < 500:  # a service that starts: 503
                    await self._raise_refusal(error.status)
            except (aiohttp.ClientError, TimeoutError, ConnectionError):
                if self._since() is None:
                    raise not_running(self._client.url) from None
            if self._since() != before:
                pause = FIRST_PAUSE_SECONDS
            await self._wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _one_connection(self) -> AsyncGenerator[str, None]:
        since = self._since()
        url = f"{self._client.url}/ws/{quote(self._project_id)}"
        if since is not None:
            url += f"?since={since}"
        async with self._client.session.ws_connect(
            url, heartbeat=PING_SECONDS, max_msg_size=MAX_FRAME_BYTES
        ) as connection:
            if self._lost_at is not None:
                self._say("Connected again; nothing was missed")
                self._lost_at = None
            self._connection = connection
            try:
                for command in self._greet():
                    await connection.send_json(command)
                async for message in connection:
                    if message.type is aiohttp.WSMsgType.TEXT:
                        yield message.data
            finally:
                self._connection = None
        if connection.close_code in REFUSING_CLOSE_CODES:
            raise CommandFailed(
                "refused", f"{self._client.url} closed the socket (code {connection.close_code})."
            )

    async def _wait(self, pause_seconds: float) -> None:
        now = time.monotonic()
        if self._lost_at is None:
            self._lost_at = now
            self._say("The connection was lost; connecting again ...")
        if now - self._lost_at > RECONNECT_SECONDS:
            raise CommandFailed(
                "connection_lost",
                f"The service has been out of reach for {RECONNECT_SECONDS:.0f} s; "
                "the run goes on when the service does.",
            )
        await asyncio.sleep(pause_seconds)

    async def _raise_refusal(self, status: int) -> None:
        """Raise the service's own words for a refused handshake: it says them to a plain GET."""
        await self._client.get(f"/ws/{quote(self._project_id)}")
        raise CommandFailed("refused", f"{self._client.url} refused the socket (HTTP {status}).")
