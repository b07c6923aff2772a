"""The signed loopback wire: what Thespian's TCP transport needs to be safe on a shared machine.

Thespian sends plain pickle to whoever connects, and binds every interface. `install(key)` makes
the transport of this process (and of all that it forks):

- bind the address in `THESPIAN_BASE_IPADDR` only (127.0.0.1 here) instead of every interface;
- sign every packet, acks included, with HMAC-SHA256 under a key of this installation, and verify
  it before anything is unpickled;
- survive malformed length prefixes, which otherwise end the actor (measured: a negative length
  raises out of the receive loop) or make it buffer without bound.

A packet that fails is dropped with its connection; Thespian logs it and the actor lives on. The
transport has no seam for any of this, so `install` replaces the module's `serializer`,
`ReceiveBuffer` and pre-pickled acks (`thespian.system.transport.TCPTransport` of Thespian 4.0.1,
which setup.cfg pins).
"""

from __future__ import annotations

import hmac
import os
import pickle
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

LOOPBACK = "127.0.0.1"
os.environ.setdefault("THESPIAN_BASE_IPADDR", LOOPBACK)
# Thespian lets 20 unacknowledged messages, over all addresses, hold up every other one for five
# minutes: one stopped process would make the supervisor mute. Its queue is cut off at 950 anyway.
os.environ.setdefault("THESPIAN_MAX_PENDING_TRANSMITS", "900")
os.environ.setdefault("THESPIAN_TRANSMIT_TIMEOUT_PERIOD", "0:15")  # minutes:seconds

from thespian.system.transport import IPBase, TCPTransport, streamBuffer  # noqa: E402  # reads the address above at import

from actors.errors import StateDirUnusable  # noqa: E402  # after the address, like all imports here

KEY_BYTES = 32
SIGNATURE_BYTES = 32
MAX_PACKET_BYTES = 16 * 1024 * 1024  # far above any command; file contents travel on the feed
MAX_LENGTH_DIGITS = len(str(MAX_PACKET_BYTES))
FIRST_READ_BYTES = 20  # what Thespian's own buffer asks for before it knows the length


class BadPacket(Exception):
    """A packet that is malformed, too large, or not signed with our key."""


def load_or_create_key(path: Path) -> bytes:
    """Return the installation's key, making it (mode 0600) on first use.

    Raises StateDirUnusable where the file cannot be made, or others could read it.
    """
    try:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass
        else:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
                file.flush()
                os.fsync(descriptor)
        if path.stat().st_mode & 0o077:
            raise StateDirUnusable(f"{path} must not be readable by others; run: chmod 600 {path}")
        key = path.read_bytes()
    except OSError as error:
        raise StateDirUnusable(f"The key {path} cannot be used: {error.strerror}.") from error
    if len(key) != KEY_BYTES:
        raise StateDirUnusable(f"The key {path} is damaged; stop the service and delete it.")
    return key


class SignedPickle:
    """Stands in for the `pickle` module in the transport: signs what it dumps, checks the rest."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def dumps(self, value: Any) -> bytes:
        payload = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        return hmac.digest(self._key, payload, "sha256") + payload

    def loads(self, packet: bytes) -> Any:
        """Return the packet's value; raises BadPacket before unpickling what is not ours."""
        view = memoryview(packet)
        signature, payload = view[:SIGNATURE_BYTES], view[SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, hmac.digest(self._key, payload, "sha256")):
            raise BadPacket("a packet was not signed with this installation's key")
        return pickle.loads(payload)  # noqa: S301  # verified above


class BoundedBuffer:
    """Collects one packet, `LENGTH>BODY`, with the interface of Thespian's ReceiveBuffer.

    `addMore` raises BadPacket for a length that is not a plain number within the limit; the
    transport then closes that connection only.
    """

    def __init__(self, deserialize: Callable[[bytes], Any]) -> None:
        self._deserialize = deserialize
        self._head = b""
        self._size: int | None = None
        self._body = bytearray()
        self._extra = b""

    def addMore(self, data: bytes) -> None:  # noqa: N802  # Thespian's name
        data = data or b""
        if self._size is None:
            head, mark, data = (self._head + data).partition(b">")
            self._head = head
            if len(head) > MAX_LENGTH_DIGITS:
                raise BadPacket("a packet's length has too many digits")
            if not mark:
                return
            if not head.isdigit() or int(head) > MAX_PACKET_BYTES:
                raise BadPacket("a packet's length is not a number within the limit")
            self._size = int(head)
        missing = self._size - len(self._body)
        self._body += data[:missing]
        self._extra += data[missing:]

    def is_empty(self) -> bool:
        return self._size is None and not self._head

    def remainingAmount(self) -> int:  # noqa: N802
        return FIRST_READ_BYTES if self._size is None else self._size - len(self._body)

    def isDone(self) -> bool:  # noqa: N802
        return self._size is not None and len(self._body) == self._size

    def removeExtra(self) -> None:  # noqa: N802
        self._extra = b""

    def completed(self) -> tuple[Any, bytes] | None:
        return (self._deserialize(bytes(self._body)), self._extra) if self.isDone() else None


def install(key: bytes) -> None:
    """Make this process's transport signed, bounded and bound to one address; before any actor."""
    signed = SignedPickle(key)
    TCPTransport.serializer = signed
    TCPTransport.ReceiveBuffer = BoundedBuffer
    TCPTransport.ackMsg = streamBuffer.toSendBuffer(streamBuffer.ackPacket, signed.dumps)
    TCPTransport.ackDataErrMsg = streamBuffer.toSendBuffer(
        streamBuffer.ackDataErrPacket, signed.dumps
    )
    # An "external" address is told to bind '' (every interface); its own name is where it is
    # reached, and the only place where it has to listen.
    IPBase.IPActorAddress.bindArgs = property(lambda self: (self.sockname,))
