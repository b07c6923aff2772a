"""The doors between a container without a network and us: Unix sockets in a directory of the host.

Each project has such a directory below `Settings.run_dir`, mounted read-only into its container. We
listen, the container's relay (`relay.py`) connects and waits, and a request for the app is sent
over a connection that waits. The kernel's queue of such connections is the pool: it costs us one
open file per door, and whoever floods it floods the door of one app.

A door that was unlinked or replaced, its directory made anew, or whose owner was killed: all is
mended by the next `take`, which looks whether the socket is still its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import socket
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp.client_proto import ResponseHandler

from actors.addresses import id_digest
from actors.errors import StateDirUnusable
from actors.run_directory import make_private_directory
from actors.settings import Settings

#: A relay that lives comes within 0.5 s of the door's opening, most times within 0.01 s.
RELAY_SECONDS = 2.0
_DOMAIN = ".sandbox.invalid"  # RFC 2606: no name of the network ends so


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorKind:
    """A socket's name, and how many connections of the relay wait there."""

    name: str
    waiting: int


KNOCK, OPEN = b"?", b"!"  # before the first byte of a connection to the app
APP_DOOR = DoorKind(name="app.sock", waiting=16)  # the gateway's
PROBE_DOOR = DoorKind(name="probe.sock", waiting=2)  # the project's actor's
EGRESS_DOOR = "egress.sock"  # the actor's, while an install runs
PACKAGES_DOOR = "packages.sock"  # likewise


def door_directory(project_id: str, settings: Settings) -> Path:
    """Return the directory of a project's doors."""
    return doors_directory(settings) / id_digest(project_id)


def app_url(project_id: str) -> str:
    """Return the address of an app behind its door; only a `DoorConnector` knows the way."""
    return f"http://{id_digest(project_id)}{_DOMAIN}/"


def make_door_directory(path: Path) -> bool:
    """Create a project's directory: for the container to pass through, for us alone to change.

    Returns whether there was none: a container that runs then has another one mounted, which is
    gone. Raises StateDirUnusable.
    """
    make_private_directory(path.parent.parent)
    make_private_directory(path.parent)
    try:
        is_new = not path.exists()
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
    except OSError as error:
        raise StateDirUnusable(f"{path} cannot be created: {error.strerror}.") from error
    return is_new


def remove_door_directory(path: Path) -> None:
    """Remove a project's directory with all that is in it; absent is no error."""
    shutil.rmtree(path, ignore_errors=True)


def remove_foreign_door_directories(settings: Settings, project_ids: Collection[str]) -> None:
    """Remove the directories of all but these projects."""
    kept = {id_digest(project_id) for project_id in project_ids}
    with contextlib.suppress(FileNotFoundError):
        for path in doors_directory(settings).iterdir():
            if path.name not in kept:
                remove_door_directory(path)


def remove_left_sockets(settings: Settings) -> None:
    """Remove the sockets of processes that were killed; the directories stay, they are mounted."""
    for path in doors_directory(settings).glob("*/*.sock"):
        path.unlink(missing_ok=True)


def doors_directory(settings: Settings) -> Path:
    """Return what holds the directories of all projects."""
    return settings.run_dir / "doors"


def listen_at(directory: Path, name: str, backlog: int) -> socket.socket:
    """Listen at a door, in place of whoever did before; raises OSError.

    The socket is bound by its directory's descriptor, since an address holds 107 bytes, and gets
    its name when it listens, so that nobody who has seen it is refused.
    """
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        draft = f"{name}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=descriptor)
        path = f"/proc/self/fd/{descriptor}/{draft}"
        listener.setblocking(False)
        listener.bind(path)
        os.chmod(path, 0o666)  # noqa: S103  # the relay is another user; above is 0700
        listener.listen(backlog)
        os.rename(draft, name, src_dir_fd=descriptor, dst_dir_fd=descriptor)
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(descriptor)
    return listener


class Door:
    """A door to the app, from our side."""

    def __init__(self, directory: Path, kind: DoorKind) -> None:
        self._directory = directory
        self._kind = kind
        self._listener: socket.socket | None = None
        self._inode: tuple[int, int] | None = None
        self._turn = asyncio.Lock()

    def __str__(self) -> str:
        return str(self._directory / self._kind.name)

    async def take(self) -> socket.socket:
        """Connect to the app; the caller sets the deadline.

        Raises OSError: ConnectionRefusedError where no relay comes within `RELAY_SECONDS`, or finds
        nobody listening; FileNotFoundError where there is no place for the door.
        """
        while True:
            connection = await self._next()
            with _closing_on_error(connection):
                try:
                    await _knock(connection)
                except (ConnectionResetError, BrokenPipeError):  # its relay was killed
                    connection.close()
                    continue
            return connection

    async def _next(self) -> socket.socket:
        try:
            async with asyncio.timeout(RELAY_SECONDS):
                return await self._accept()
        except TimeoutError as error:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "no relay comes") from error

    async def _accept(self) -> socket.socket:
        """Wait for a connection of the relay, alive and unused."""
        async with self._turn:
            while True:
                listener = self._open()
                await _readable(listener)
                with contextlib.suppress(BlockingIOError):  # it has gone meanwhile
                    connection, _ = listener.accept()
                    if _is_silent(connection):
                        return connection
                    connection.close()

    def close(self) -> None:
        """Listen no longer."""
        if self._listener is not None:
            if self._is_own():
                (self._directory / self._kind.name).unlink(missing_ok=True)
            self._listener.close()
            self._listener = None

    def _open(self) -> socket.socket:
        if self._listener is not None and self._is_own():
            return self._listener
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        self._listener = listen_at(self._directory, self._kind.name, 2 * self._kind.waiting)
        self._inode = self._look()
        return self._listener

    def _is_own(self) -> bool:
        return self._look() == self._inode is not None

    def _look(self) -> tuple[int, int] | None:
        try:
            status = (self._directory / self._kind.name).lstat()
        except OSError:
            return None
        return (status.st_dev, status.st_ino) if stat.S_ISSOCK(status.st_mode) else None


class DoorConnector(aiohttp.TCPConnector):
    """Connects to apps behind doors by their `app_url`, and to any other address as usual."""

    def __init__(self, find_door: Callable[[str], Door], **options: object) -> None:
        """`find_door` is given a directory's name."""
        super().__init__(**options)  # type: ignore[arg-type]  # its own options, handed on
        self._find_door = find_door

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[aiohttp.tracing.Trace],
        timeout: aiohttp.ClientTimeout,
    ) -> ResponseHandler:
        host = req.url.host or ""
        if not host.endswith(_DOMAIN):
            return await super()._create_connection(req, traces, timeout)
        door = self._find_door(host.removesuffix(_DOMAIN))
        try:
            async with asyncio.timeout(timeout.sock_connect):
                connection = await door.take()
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(f"no answer at {door}") from error
        except OSError as error:
            raise aiohttp.ClientConnectorError(req.connection_key, error) from error
        with _closing_on_error(connection):
            _, protocol = await self._loop.connect_accepted_socket(self._factory, connection)
        return protocol


@contextlib.contextmanager
def _closing_on_error(connection: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


async def _knock(connection: socket.socket) -> None:
    """Have the relay connect to the app; raises OSError."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, KNOCK)
    if await loop.sock_recv(connection, len(OPEN)) != OPEN:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens in the sandbox")


async def _readable(listener: socket.socket) -> None:
    """Wait until there is something to accept.

    asyncio's own `sock_accept` may lose a connection where it is cancelled at that moment.
    """
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(listener, tell)
    try:
        await ready
    finally:
        loop.remove_reader(listener)


def _is_silent(connection: socket.socket) -> bool:
    """Say whether the other side is there and has sent nothing, as the relay waits for us."""
    connection.setblocking(False)
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
