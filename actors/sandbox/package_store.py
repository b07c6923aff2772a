"""What registries have answered, kept in the cache: each answer a file of a head and the body."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import orjson

from actors.sandbox.cache import Cache, Draft, mark_used
from actors.sandbox.packages import Wanted

HEAD_BYTES = 1024
MAX_FIELD_CHARS = 300  # of an ETag or a media type; a longer one is not kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An answer that is kept, its file at the body's beginning; the caller closes it."""

    path: Path
    file: BinaryIO
    length: int
    etag: str
    media_type: str
    age_seconds: float

    def parts(self, size: int) -> Iterator[bytes]:
        while part := self.file.read(size):
            yield part


class PackageStore:
    """The answers of one registry. All methods raise OSError."""

    def __init__(self, cache: Cache, registry_url: str) -> None:
        self._cache = cache
        self._registry_url = registry_url

    @property
    def largest_bytes(self) -> int:
        return self._cache.largest_bytes

    def find(self, wanted: Wanted) -> Stored | None:
        """Return what is kept of it. A file that is not whole, as after a loss of power, is not."""
        path = self._path(wanted)
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return None
        with contextlib.ExitStack() as stack:
            stack.callback(file.close)
            status = os.fstat(file.fileno())
            match _read_head(file.read(HEAD_BYTES)):
                case {"length": int(length), "etag": str(etag), "type": str(media_type)} if (
                    status.st_size == HEAD_BYTES + length
                ):
                    mark_used(path)
                    stack.pop_all()
                    return Stored(
                        path=path,
                        file=file,
                        length=length,
                        etag=etag,
                        media_type=media_type,
                        age_seconds=time.time() - status.st_mtime,
                    )
            path.unlink(missing_ok=True)
        return None

    def confirm(self, stored: Stored) -> None:
        """Note that the registry has still the same answer."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(stored.path)

    def begin(self) -> Draft:
        """Begin an answer: its body is to be written to the draft's file."""
        draft = self._cache.draft()
        draft.file.write(bytes(HEAD_BYTES))
        return draft

    def keep(self, draft: Draft, wanted: Wanted, *, etag: str, media_type: str) -> None:
        """Keep an answer whose body has been written as a whole."""
        head = {
            "length": draft.file.tell() - HEAD_BYTES,
            "etag": etag if len(etag) <= MAX_FIELD_CHARS else "",
            "type": media_type if len(media_type) <= MAX_FIELD_CHARS else "",
        }
        draft.file.seek(0)
        draft.file.write(orjson.dumps(head))
        draft.keep(self._path(wanted))

    def prune(self) -> None:
        self._cache.prune()

    def _path(self, wanted: Wanted) -> Path:
        return self._cache.packages / wanted.file_name(self._registry_url)


def _read_head(head: bytes) -> object:
    try:
        return orjson.loads(head.rstrip(b"\0"))
    except orjson.JSONDecodeError:
        return None
