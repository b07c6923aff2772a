"""The port to a model's server: a request goes out, its raw answer comes back.

Adapters: `http_transport.py` (a server) and `cassette.py` (a recording of one).
"""

from __future__ import annotations

from typing import Protocol

from actors.generation.model import ModelRequest


class Exchange(Protocol):
    """One answer as it arrives; whoever has it closes it."""

    @property
    def status(self) -> int: ...

    @property
    def content_type(self) -> str:
        """The media type alone, in small letters."""
        ...

    @property
    def retry_after(self) -> str:
        """The header Retry-After, empty where there is none."""
        ...

    async def read(self) -> bytes:
        """Return the next bytes of the body, b"" at its end.

        Raises ModelStreamBroken if the connection breaks. Cancelling loses nothing.
        """
        ...

    def close(self) -> None:
        """Close the connection, now, also in the middle of the answer: the server stops then."""
        ...


class Transport(Protocol):
    """The way to a model's server. Errors are ModelError and its children."""

    async def post(self, request: ModelRequest, body: bytes) -> Exchange:
        """Send `body`, which is `request` as JSON, and wait for the answer's head."""
        ...

    async def close(self) -> None:
        """Close all connections, those in use included."""
        ...
