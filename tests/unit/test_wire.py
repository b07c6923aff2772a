"""The wire: what is not ours is refused before it is unpickled, whatever it looks like."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from actors.errors import StateDirUnusable
from actors.wire import (
    KEY_BYTES,
    MAX_PACKET_BYTES,
    BadPacket,
    BoundedBuffer,
    SignedPickle,
    load_or_create_key,
)

KEY = bytes(range(KEY_BYTES))


class Evil:
    """Unpickling this would leave a trace."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.putenv, ("CODEGEN_EVIL=1",))


def test_what_is_signed_comes_back() -> None:
    wire = SignedPickle(KEY)
    assert wire.loads(wire.dumps({"a": [1, "ä"]})) == {"a": [1, "ä"]}


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"x",
        pickle.dumps("plain"),
        pickle.dumps(Evil()),
        b"\0" * 32 + pickle.dumps(Evil()),
        SignedPickle(b"another key" * 3).dumps("foreign"),
        SignedPickle(KEY).dumps("changed")[:-1] + b"!",
        SignedPickle(KEY).dumps("cut")[:-1],
    ],
)
def test_what_is_not_signed_with_our_key_is_refused(packet: bytes) -> None:
    with pytest.raises(BadPacket):
        SignedPickle(KEY).loads(packet)


def fed(*pieces: bytes) -> BoundedBuffer:
    buffer = BoundedBuffer(bytes)
    for piece in pieces:
        buffer.addMore(piece)
    return buffer


def test_a_packet_is_collected_however_it_is_cut() -> None:
    whole = b"5>hello"
    for cut in range(len(whole) + 1):
        assert fed(whole[:cut], whole[cut:]).completed() == (b"hello", b"")
    assert fed(*[bytes([byte]) for byte in whole]).completed() == (b"hello", b"")


def test_what_follows_a_packet_is_extra_until_it_is_removed() -> None:
    buffer = fed(b"2>ab", b"cd")
    assert buffer.completed() == (b"ab", b"cd")
    buffer.removeExtra()
    assert buffer.completed() == (b"ab", b"")


def test_an_unfinished_packet_says_how_much_is_missing() -> None:
    assert fed().is_empty()
    assert fed().remainingAmount() == 20
    buffer = fed(b"10>abc")
    assert not buffer.is_empty()
    assert buffer.remainingAmount() == 7
    assert not buffer.isDone()
    assert buffer.completed() is None


@pytest.mark.parametrize(
    "garbage",
    [
        b"-5>abc",
        b"abc>",
        b">",
        b"1e3>",
        b" 5>hello",
        b"+5>hello",
        b"\xd9\xa3>abc",
        b"999999999>",
        str(MAX_PACKET_BYTES + 1).encode() + b">",
        b"GET / HTTP/1.1\r\n",
        b"\0" * 9,
    ],
)
def test_a_malformed_length_is_refused(garbage: bytes) -> None:
    with pytest.raises(BadPacket):
        fed(garbage)
    with pytest.raises(BadPacket):
        fed(*[bytes([byte]) for byte in garbage])


def test_the_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "wire.key"
    key = load_or_create_key(path)
    assert len(key) == KEY_BYTES
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_or_create_key(path) == key


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wire.key"
    load_or_create_key(path)
    path.chmod(0o644)
    with pytest.raises(StateDirUnusable, match="chmod 600"):
        load_or_create_key(path)


def test_a_damaged_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wire.key"
    path.touch(mode=0o600)
    with pytest.raises(StateDirUnusable, match="damaged"):
        load_or_create_key(path)


def test_a_key_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StateDirUnusable, match="cannot be used"):
        load_or_create_key(tmp_path / "missing" / "wire.key")
