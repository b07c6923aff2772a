"""Playing back: recorded exchanges instead of a model's server.

A request gets the oldest exchange that was not played yet with its purpose and its
phase number, of those with its description where there are some. So a project can be played for
any description, and an actor that begins again plays the phase that it is in.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from actors.errors import ModelNotFound, ModelStreamBroken
from actors.generation.cassette import Cassette, read_cassette
from actors.generation.model import ModelRequest
from actors.generation.recording import SUFFIX
from actors.generation.transport import Exchange

log = logging.getLogger(__name__)


class PlaybackTransport:
    """The `Transport` port over a directory of recordings.

    `speed` is how many times as fast they are played; 0 is without any pause.
    """

    def __init__(
        self,
        directory: Path,
        *,
        speed: float = 1.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._directory = directory
        self._speed = speed
        self._sleep = sleep
        self._waiting: list[Cassette] | None = None

    async def post(self, request: ModelRequest, body: bytes) -> Exchange:
        """Play the next exchange for the request; ModelNotFound where there is none left."""
        if self._waiting is None:
            self._waiting = await asyncio.to_thread(self._load)
        cassette = self._choose(self._waiting, request)
        await self.pause(cassette.head_at if cassette.status is not None else cassette.end_at)
        if cassette.status is None:
            assert cassette.problem is not None  # others are not loaded
            raise cassette.problem
        return PlayedExchange(cassette, cassette.status, self.pause)

    async def pause(self, seconds: float) -> None:
        """Wait for so long of the recording's time."""
        await self._sleep(seconds / self._speed if self._speed else 0.0)

    async def close(self) -> None:
        """Do nothing: there are no connections."""

    def _choose(self, waiting: list[Cassette], request: ModelRequest) -> Cassette:
        fitting = [
            cassette
            for cassette in waiting
            if (cassette.purpose, cassette.phase_number) == (request.purpose, request.phase_number)
        ]
        same = [c for c in fitting if c.description == request.description]
        chosen = next(iter(same or fitting), None)
        if chosen is None:
            raise ModelNotFound(
                f"The recording in {self._directory} has no answer left for the {request.purpose} "
                f"of phase {request.phase_number}; check CODEGEN_MODEL."
            )
        waiting[:] = [cassette for cassette in waiting if cassette is not chosen]
        return chosen

    def _load(self) -> list[Cassette]:
        """Read all recordings, without those that were given up before there was an answer."""
        cassettes: list[Cassette] = []
        for path in sorted(self._directory.glob(f"*{SUFFIX}")):
            try:
                cassette = read_cassette(path.read_bytes())
            except (OSError, ValueError) as error:
                log.warning("%s is not played: %s", path, error)
                continue
            if cassette.status is not None or cassette.problem is not None:
                cassettes.append(cassette)
        return cassettes


class PlayedExchange:
    """The `Exchange` port over a recording."""

    def __init__(
        self, cassette: Cassette, status: int, pause: Callable[[float], Awaitable[None]]
    ) -> None:
        self._cassette = cassette
        self._status = status
        self._pause = pause
        self._played = 0
        self._at = cassette.head_at

    @property
    def status(self) -> int:
        return self._status

    @property
    def content_type(self) -> str:
        return self._cassette.content_type

    @property
    def retry_after(self) -> str:
        return self._cassette.retry_after

    async def read(self) -> bytes:
        """Return the next piece when its time has come; see `Exchange.read`."""
        cassette = self._cassette
        if self._played < len(cassette.pieces):
            at, data = cassette.pieces[self._played]
            await self._wait_until(at)
            self._played += 1
            return data
        await self._wait_until(cassette.end_at)
        if cassette.problem is not None:
            raise cassette.problem
        if cassette.end == "closed":
            raise ModelStreamBroken("The recording of the answer ends here.")
        return b""

    def close(self) -> None:
        """Do nothing: there is no connection."""

    async def _wait_until(self, at: float) -> None:
        await self._pause(max(0.0, at - self._at))
        self._at = at
