"""A gate before a command in namespaces: the app's own runs once nothing can be left behind.

While bubblewrap sets namespaces up, its processes are not yet bound to end with each other: one
that is killed then may leave the others, the command among them, to run on without an owner. So a
shell of ours comes first. It says that it is there, waits for a word of ours, and leaves where our
end of the socket is closed instead, which the kernel does for an owner that was killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Self

_READY = b"ready\n"
_GO = b"go\n"
_READ_BYTES = 4096

# The shell can only name descriptors of one digit, so the socket takes the place of one of the
# three that everything has, until the command gets its own there.
_AT_INPUT = 'echo ready >&0; read -r go && exec "$@" </dev/null'
_AT_ERRORS = 'echo ready >&2; read -r go <&2 && exec "$@" 2>/dev/null'


class Gate:
    """One command's gate, made before it starts; leaving the context closes it for good.

    Without an input the command has an empty one, and the gate is where that will be. With one, it
    is where errors go, and what the command says there is dropped.
    """

    def __init__(self, stdin: int) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        has_input = stdin != asyncio.subprocess.DEVNULL
        self._script = _AT_ERRORS if has_input else _AT_INPUT
        self.stdin = stdin if has_input else self._theirs.fileno()
        self.stderr = self._theirs.fileno() if has_input else asyncio.subprocess.PIPE

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ours.close()
        self._theirs.close()

    def before(self, command: Sequence[str]) -> list[str]:
        """Return the command with the gate before it."""
        return ["sh", "-c", self._script, "sh", *command]

    async def until_reached(self) -> None:
        """Wait until the command stands before the gate, or has failed to get there.

        What was started has inherited the other end of the socket, which we close.
        """
        self._theirs.close()
        said = b""
        with contextlib.suppress(ConnectionResetError):
            while not said.endswith(_READY):
                part = await asyncio.get_running_loop().sock_recv(self._ours, _READ_BYTES)
                if not part:
                    return
                said = (said + part)[-len(_READY) :]

    def open(self) -> None:
        """Let the command run; one that is gone already is no error."""
        with contextlib.suppress(OSError):
            self._ours.send(_GO)
