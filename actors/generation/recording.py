"""Recording: every exchange with a model's server goes through and is stored, a file each.

The names of the files sort in the order in which the requests were sent; `cassette.py` has their
format. A recording that cannot be stored ends no run.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from actors.errors import ModelError
from actors.generation.atomic_file import replace_file
from actors.generation.cassette import MAX_RECORDED_BYTES, Tape
from actors.generation.model import ModelRequest
from actors.generation.transport import Exchange, Transport

log = logging.getLogger(__name__)

SUFFIX = ".exchange"

_numbers = itertools.count(1)


class RecordingTransport:
    """The `Transport` port over another one, whose exchanges it stores."""

    def __init__(self, transport: Transport, directory: Path, *, api_key: str) -> None:
        self._transport = transport
        self._directory = directory
        self._api_key = api_key.strip().encode()

    async def post(self, request: ModelRequest, body: bytes) -> Exchange:
        """Send it; see `Transport.post`."""
        name = _file_name()
        tape = Tape(request, body, secret=self._api_key, clock=time.monotonic)
        store = partial(self._store, name, tape)
        try:
            exchange = await self._transport.post(request, body)
        except BaseException as error:
            tape.end(error)
            store()
            raise
        tape.head(exchange)
        return RecordedExchange(exchange, tape, store)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    def _store(self, name: str, tape: Tape) -> None:
        if tape.is_too_long:
            log.warning("an answer of more than %d bytes is not recorded", MAX_RECORDED_BYTES)
            return
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self._directory / name, tape.text())
        except OSError as error:
            log.warning("an exchange with the model is not recorded: %s", error)


class RecordedExchange:
    """Passes an answer through and keeps it."""

    def __init__(self, exchange: Exchange, tape: Tape, store: Callable[[], None]) -> None:
        self._exchange = exchange
        self._tape = tape
        self._store = store
        self._is_closed = False

    @property
    def status(self) -> int:
        return self._exchange.status

    @property
    def content_type(self) -> str:
        return self._exchange.content_type

    @property
    def retry_after(self) -> str:
        return self._exchange.retry_after

    async def read(self) -> bytes:
        """Return the next bytes; see `Exchange.read`."""
        try:
            data = await self._exchange.read()
        except ModelError as error:
            self._tape.end(error)
            raise
        if data:
            self._tape.add(data)
        else:
            self._tape.end(None)
        return data

    def close(self) -> None:
        """Close the connection, then store the exchange."""
        self._exchange.close()
        if not self._is_closed:
            self._is_closed = True
            self._store()


def _file_name() -> str:
    began = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    return f"{began}-{os.getpid()}-{next(_numbers):06d}{SUFFIX}"
