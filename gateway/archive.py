"""A project's files as a zip, made while it is sent: memory holds one file at a time."""

from __future__ import annotations

import asyncio
import io
import time
import zipfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

SMALL_FILE_CHARS = 32 * 1024  # compressing more than this would hold up the event loop


async def write_archive(
    files: AsyncGenerator[tuple[str, str], None], write: Callable[[bytes], Awaitable[None]]
) -> None:
    """Write the zip of (path, text) pairs piece by piece, then close `files`."""
    pieces = _Pieces()
    date = time.gmtime()[:6]
    async with aclosing(files):
        with zipfile.ZipFile(pieces, "w", zipfile.ZIP_DEFLATED) as archive:
            async for path, text in files:
                entry = zipfile.ZipInfo(path, date)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                if len(text) <= SMALL_FILE_CHARS:
                    archive.writestr(entry, text)
                else:
                    await asyncio.to_thread(archive.writestr, entry, text)
                await write(pieces.take())
        await write(pieces.take())


class _Pieces(io.RawIOBase):
    """A file that cannot seek: what is written is taken out at once."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]  # zipfile writes bytes-like objects
        self._written.append(piece)
        return len(piece)

    def take(self) -> bytes:
        """Return what has been written since the last call."""
        taken = b"".join(self._written)
        self._written.clear()
        return taken
