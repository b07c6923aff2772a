"""Prepared installs in the cache: which are kept, and for how long."""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors.sandbox.cache import Cache
from actors.sandbox.templates import REFUSED_SECONDS, USED_SECONDS, Templates


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    cache = Cache(tmp_path / "cache", 1024 * 1024)
    cache.prepare()
    return cache


def packed(size: int = 1000) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("node_modules/a")
        entry.size = size
        tar.addfile(entry, io.BytesIO(b"x" * size))
    return buffer.getvalue()


async def in_parts(content: bytes, size: int = 700) -> AsyncIterator[bytes]:
    for first in range(0, len(content), size):
        yield content[first : first + size]


async def test_what_was_packed_is_kept_as_a_whole(cache: Cache) -> None:
    templates = Templates(cache)
    assert not templates.is_settled("k")
    assert templates.open("k") is None
    assert await templates.keep("k", in_parts(packed()))
    assert templates.is_settled("k")
    file = templates.open("k")
    assert file is not None
    with file:
        assert file.read() == packed()


@pytest.mark.parametrize(
    "content", [b"", packed()[:1200], packed(256 * 1024)], ids=["empty", "cut", "too large"]
)
async def test_what_is_not_whole_or_too_large_is_not_kept(cache: Cache, content: bytes) -> None:
    assert not await Templates(cache).keep("k", in_parts(content))
    assert list(cache.templates.iterdir()) == []
    assert list((cache.templates.parent / "drafts").iterdir()) == []


async def test_one_that_was_cut_on_the_disk_is_prepared_anew(cache: Cache) -> None:
    templates = Templates(cache)
    await templates.keep("k", in_parts(packed()))
    for content in (packed()[:1200], b""):
        (cache.templates / "k.tar").write_bytes(content)
        assert templates.open("k") is None
        assert not templates.is_settled("k")


async def test_after_some_days_an_install_is_prepared_anew(cache: Cache) -> None:
    templates = Templates(cache)
    await templates.keep("k", in_parts(packed()))
    _age(cache.templates / "k.tar", USED_SECONDS)
    assert templates.open("k") is None
    assert not templates.is_settled("k")


async def test_what_cannot_be_had_is_tried_again_after_a_while(cache: Cache) -> None:
    templates = Templates(cache)
    await templates.keep("k", in_parts(packed()))
    templates.refuse("k")
    assert templates.open("k") is None
    assert templates.is_settled("k")
    _age(cache.templates / "k.none", REFUSED_SECONDS)
    assert not templates.is_settled("k")


def _age(path: Path, seconds: float) -> None:
    then = time.time() - seconds - 1
    os.utime(path, (then, then))
