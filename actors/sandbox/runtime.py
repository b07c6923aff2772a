"""The port to what runs a project's commands: Docker's engine, or bubblewrap.

Adapters: `docker.py`, `bubblewrap.py`. All that a project needs of a sandbox is made of these few
calls in `workspace.py`, the same for every adapter. They raise `actors.errors.SandboxError` and its
children alone, SandboxUnavailable where the sandbox itself, and not what runs in it, has failed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from actors.sandbox.base import Health


@dataclass(frozen=True, slots=True, kw_only=True)
class Obtained:
    """A sandbox that runs; `is_new` where it holds nothing yet."""

    container_id: str | None
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What can be seen of a sandbox from outside; `note` is a sentence for its user."""

    health: Health
    container_id: str | None = None
    note: str = ""


class RunningTask(Protocol):
    """One command with live output; it lives from `start` to `close`, or on its own."""

    async def start(self) -> None:
        """Start the command; cancelling leaves none behind."""
        ...

    async def read(self) -> tuple[str, bytes] | None:
        """Return more output as ("stdout" or "stderr", bytes), None when the command has ended."""
        ...

    async def exit_code(self) -> int:
        """Return the command's exit code, once `read` has returned None."""
        ...

    async def detach(self) -> None:
        """Let the command go on when `close` is called."""
        ...

    async def close(self) -> None:
        """Kill the command with all that it has started, unless it was detached."""
        ...


class Runtime(Protocol):
    """What holds one project's files and runs its commands, as an unprivileged user."""

    @property
    def kind(self) -> str: ...

    @property
    def has_network(self) -> bool:
        """Whether commands have a network of their own; else installs are let out by a door."""
        ...

    async def obtain(self) -> Obtained:
        """Create the sandbox, or adopt and start the one that exists; idempotent."""
        ...

    async def look(self) -> Seen:
        """Say what there is; nothing is started."""
        ...

    async def check_running(self, *, was_killed: bool) -> None:
        """Raise SandboxUnavailable if the sandbox has gone away under a command that failed.

        `was_killed`: so it looks, and the sandbox may be about to be seen as gone.
        """
        ...

    async def environment(self) -> Mapping[str, str]:
        """Return the variables that say how the network is reached: a registry, a proxy."""
        ...

    async def platform(self) -> str:
        """Name all that decides what an install makes of the same recipe: who installs, for what.

        What was packed by one sandbox may be unpacked by another one of the same platform.
        """
        ...

    def pack(self, path: str) -> AsyncIterator[bytes]:
        """Pack a directory as a tar archive, in parts; its entries begin with the path's last name.

        An archive that does not end as one is not whole.
        """
        ...

    async def unpack_file(self, directory: str, archive: BinaryIO) -> None:
        """Unpack a file that `pack` has made below a directory that exists."""
        ...

    async def unpack(self, archive: bytes) -> None:
        """Unpack a tar archive below `VOLUME_DIR`, its entries in their order.

        What stands at an entry's place is replaced, and no link in there is followed.
        """
        ...

    async def run_short(self, directory: str, script: str, *arguments: str) -> tuple[int, bytes]:
        """Run a small shell script of ours; return its exit code and what it prints, bounded."""
        ...

    def task(
        self,
        directory: str,
        mark: str,
        command: Sequence[str],
        environment: Mapping[str, str],
    ) -> RunningTask:
        """Return a command that is yet to be started; `mark` names what it is for."""
        ...

    async def end_all(self) -> None:
        """End what the app has started, of an earlier owner as well.

        Raises SandboxUnavailable where the sandbox does not run.
        """
        ...

    async def stop(self) -> None:
        """Stop it, keeping its files; absent is no error."""
        ...

    async def remove(self) -> None:
        """Remove it and all it holds; absent is no error."""
        ...

    async def close(self) -> None:
        """Let go of connections; the sandbox itself goes on, where it can."""
        ...
