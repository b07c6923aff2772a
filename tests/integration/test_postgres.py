"""The embedded server: where it listens, who may enter, how it ends, how it recovers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from actors import events as ev
from actors.database import apply_schema, connect
from actors.errors import StateDirUnusable, StorageUnavailable
from actors.postgres import EmbeddedPostgres
from actors.postgres_processes import signal_all
from actors.reader import Reader
from actors.state import OpenFile
from actors.store import Store, StoredAnswer
from tests.support.history import record

REPOSITORY = Path(__file__).parents[2]

#: Runs a server until its standard input ends; prints the address, or the error.
CHILD = """
import sys
from pathlib import Path
from actors.errors import ServiceError
from actors.postgres import EmbeddedPostgres
from actors.postgres_processes import signal_all
server = EmbeddedPostgres(Path(sys.argv[1]))
try:
    print(server.start(), flush=True)
except ServiceError as error:
    print(f"{error.code}: {error}", flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """A private state directory with a short path and a secret of the service in it."""
    path = Path(tempfile.mkdtemp(prefix="codegen-state-"))
    (path / "wire.key").write_text("secret")
    (path / "wire.key").chmod(0o600)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def server(state_dir: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(state_dir / "postgres")
    yield server
    server.stop()


def service(directory: Path, *prefix: str) -> subprocess.Popen[str]:
    """Start another service process that runs a server below `directory`."""
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", CHILD, str(directory)],
        cwd=REPOSITORY,
        env={**os.environ, "OPENROUTER_API_KEY": "sesame", "PGPORT": "1", "PGUSER": "who"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def first_line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def end(child: subprocess.Popen[str]) -> None:
    with contextlib.suppress(BrokenPipeError):
        child.communicate("")
    child.wait()


def postmaster(directory: Path) -> int:
    return int((directory / "data" / "postmaster.pid").read_text().splitlines()[0])


def wait_until_gone(pid: int) -> None:
    """Return once the process is dead; whoever started it has yet to collect it."""
    while True:
        try:
            status = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return
        if status.rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.01)


def ask(url: str, *statements: str) -> str:
    """Run statements and return the first value of the last one."""

    async def run() -> str:
        connection = await connect(url)
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return str(await connection.fetchval(statements[-1]))
        finally:
            await connection.close()

    return asyncio.run(run())


WRITE = ("CREATE TABLE kept (v int)", "INSERT INTO kept VALUES (42) RETURNING v")
READ = "SELECT v FROM kept"


def test_it_stops_and_starts_again_with_its_data(server: EmbeddedPostgres) -> None:
    url = server.start()
    assert server.start() == url
    ask(url, *WRITE)
    server.stop()
    assert not server.is_running
    with pytest.raises(OSError, match=r"No such file|refused"):
        ask(url, "SELECT 1")
    assert ask(server.start(), READ) == "42"
    server.stop()
    server.stop()


def test_it_listens_on_a_private_unix_socket_alone(
    server: EmbeddedPostgres, state_dir: Path
) -> None:
    url = server.start()
    assert ask(url, "SHOW listen_addresses") == ""
    assert (state_dir / "postgres/data/postmaster.pid").read_text().splitlines()[5] == ""
    sockets = list((state_dir / "postgres/socket").glob(".s.PGSQL.*[0-9]"))
    assert [stat.filemode(path.stat().st_mode) for path in sockets] == ["srwx------"]
    listening = ask(url, "SELECT count(*) FROM pg_stat_activity WHERE client_port > 0")
    assert listening == "0"
    inodes = _sockets_of(postmaster(state_dir / "postgres"))
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
        assert not inodes & {row[9] for row in rows if row[3] == "0A"}


def _sockets_of(pid: int) -> set[str]:
    links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
    return {link[8:-1] for link in links if link.startswith("socket:[")}


def test_nobody_else_gets_in_and_nothing_around_it_is_opened(
    server: EmbeddedPostgres, state_dir: Path
) -> None:
    around = [state_dir, state_dir / "wire.key", *state_dir.parents]
    before = [path.stat().st_mode for path in around]
    server.start()
    assert [path.stat().st_mode for path in around] == before
    assert stat.S_IMODE((state_dir / "postgres").stat().st_mode) == 0o700
    for path in ("data", "socket"):
        assert stat.S_IMODE((state_dir / "postgres" / path).stat().st_mode) == 0o700
    assert ask(server.database_url, "SELECT system_user").startswith("peer:")
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        ask(server.database_url.replace("postgres@", "somebody@"), "SELECT 1")


def test_the_server_sees_nothing_of_our_environment(state_dir: Path) -> None:
    directory = state_dir / "postgres"
    child = service(directory)
    try:
        assert "port=5432" in first_line(child)
        seen = Path(f"/proc/{postmaster(directory)}/environ").read_bytes()
        assert b"sesame" not in seen
    finally:
        end(child)


def test_it_is_out_of_reach_of_the_terminal(server: EmbeddedPostgres, state_dir: Path) -> None:
    server.start()
    pid = postmaster(state_dir / "postgres")
    assert os.getsid(pid) != os.getsid(0)
    assert os.getpgid(pid) != os.getpgid(0)


def test_what_is_durable_survives_a_kill_of_the_server(
    server: EmbeddedPostgres, state_dir: Path
) -> None:
    url = server.start()
    ask(url, *WRITE)
    pid = postmaster(state_dir / "postgres")
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)
    while server.is_running:
        time.sleep(0.01)
    assert ask(server.start(), READ) == "42"


def test_a_server_that_was_killed_leaves_no_socket_behind(
    server: EmbeddedPostgres, state_dir: Path
) -> None:
    server.start()
    signal_all(state_dir / "postgres" / "data", signal.SIGKILL)
    server.stop()
    assert not list((state_dir / "postgres" / "socket").iterdir())


async def test_a_store_goes_on_after_the_server_was_killed_and_started_again(
    server: EmbeddedPostgres, state_dir: Path
) -> None:
    url = await asyncio.to_thread(server.start)
    await apply_schema(url)
    store = Store(url)
    claim = await store.claim("p")
    pid = postmaster(state_dir / "postgres")
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(wait_until_gone, pid)
    with pytest.raises(StorageUnavailable):
        await store.claim("p")
    while server.is_running:
        await asyncio.to_thread(time.sleep, 0.01)
    await asyncio.to_thread(server.start)
    assert (await store.claim("p")).epoch > claim.epoch
    await store.close()


def test_a_killed_service_leaves_no_server_and_its_data_is_there(
    server: EmbeddedPostgres, state_dir: Path
) -> None:
    child = service(state_dir / "postgres")
    ask(first_line(child), *WRITE)
    pid = postmaster(state_dir / "postgres")
    child.kill()
    end(child)
    wait_until_gone(pid)
    assert ask(server.start(), READ) == "42"


def test_a_server_that_outlived_everything_is_stopped_and_its_data_is_there(
    server: EmbeddedPostgres, state_dir: Path
) -> None:
    child = service(state_dir / "postgres")
    ask(first_line(child), *WRITE)
    pid = postmaster(state_dir / "postgres")
    child.send_signal(signal.SIGSTOP)
    for number in _guardians(state_dir):
        os.kill(number, signal.SIGKILL)
    child.kill()
    end(child)
    assert Path(f"/proc/{pid}").exists()
    assert ask(server.start(), READ) == "42"
    assert postmaster(state_dir / "postgres") != pid
    wait_until_gone(pid)


def test_a_leftover_server_that_stands_still_is_stopped_in_order(
    server: EmbeddedPostgres, state_dir: Path
) -> None:
    child = service(state_dir / "postgres")
    ask(first_line(child), *WRITE)
    for number in _guardians(state_dir):
        os.kill(number, signal.SIGKILL)
    signal_all(state_dir / "postgres/data", signal.SIGSTOP)
    child.kill()
    end(child)
    assert ask(server.start(), READ) == "42"
    assert "database system was not properly shut down" not in log_of(state_dir)


def test_a_server_that_stands_still_is_stopped_in_order(
    server: EmbeddedPostgres, state_dir: Path
) -> None:
    ask(server.start(), *WRITE)
    signal_all(state_dir / "postgres/data", signal.SIGSTOP)
    server.stop()
    assert ask(server.start(), READ) == "42"
    assert "database system was not properly shut down" not in log_of(state_dir)


def test_children_that_stand_still_do_not_keep_a_killed_server_from_coming_back(
    server: EmbeddedPostgres, state_dir: Path
) -> None:
    ask(server.start(), *WRITE)
    pid = postmaster(state_dir / "postgres")
    signal_all(state_dir / "postgres/data", signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    while server.is_running:
        time.sleep(0.01)
    lifeline = server.lifeline_fd
    assert ask(server.start(), READ) == "42"
    assert server.lifeline_fd == lifeline


def test_a_server_that_cannot_be_started_again_may_be_later_and_keeps_its_lifeline(
    server: EmbeddedPostgres, state_dir: Path
) -> None:
    ask(server.start(), *WRITE)
    lifeline = server.lifeline_fd
    os.kill(postmaster(state_dir / "postgres"), signal.SIGKILL)
    while server.is_running:
        time.sleep(0.01)
    version = state_dir / "postgres/data/PG_VERSION"
    ours = version.read_text()
    version.write_text("9.6\n")
    with pytest.raises(StateDirUnusable, match="incompatible with server"):
        server.start()
    assert not server.is_running
    version.write_text(ours)
    assert ask(server.start(), READ) == "42"
    assert server.lifeline_fd == lifeline


def test_a_start_that_takes_long_is_given_up_when_the_service_stops(
    server: EmbeddedPostgres, state_dir: Path
) -> None:
    server.start()
    server.stop()
    starting = threading.Thread(target=lambda: _start_and_fail(server))
    pid_file = state_dir / "postgres/data/postmaster.pid"
    starting.start()
    try:
        while not pid_file.exists():
            time.sleep(0.001)
        signal_all(state_dir / "postgres/data", signal.SIGSTOP)
        server.give_up_start()
    finally:
        starting.join()
    server.stop()
    assert not server.is_running
    assert ask(server.start(), "SELECT 1") == "1"


def _start_and_fail(server: EmbeddedPostgres) -> None:
    with contextlib.suppress(StateDirUnusable):
        server.start()


def log_of(state_dir: Path) -> str:
    return (state_dir / "postgres/postgres.log").read_text()


def _guardians(state_dir: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if words[0] == b"/bin/sh" and os.fsencode(state_dir / "postgres/data") in words:
                found.append(int(process.name))
    assert found
    return found


FORKING_CHILD = """
import os, signal, sys
from pathlib import Path
from actors.postgres import EmbeddedPostgres
from actors.postgres_processes import signal_all
server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
child = os.fork()
if child == 0:
    signal.pause()
server.stop()
print(server.is_running, Path(sys.argv[1], "data", "postmaster.pid").exists())
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
"""


def test_a_forked_process_that_lives_on_does_not_keep_the_server_from_stopping(
    state_dir: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKING_CHILD, str(state_dir / "postgres")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False False\n"


def test_a_second_service_is_refused_and_told_who_holds_the_directory(
    server: EmbeddedPostgres, state_dir: Path
) -> None:
    url = server.start()
    with pytest.raises(StateDirUnusable, match="in use already"):
        EmbeddedPostgres(state_dir / "." / "postgres").start()
    child = service(state_dir / "postgres")
    try:
        answer = first_line(child)
    finally:
        end(child)
    assert answer.startswith("state_dir_unusable: ")
    assert f"(process {os.getpid()})" in answer
    assert ask(url, "SELECT 1") == "1"


@pytest.mark.parametrize("is_alive", [True, False])
def test_a_stale_pid_file_is_no_obstacle(
    server: EmbeddedPostgres, state_dir: Path, is_alive: bool
) -> None:
    ask(server.start(), *WRITE)
    pid_file = state_dir / "postgres/data/postmaster.pid"
    text = pid_file.read_text()
    server.stop()
    sleeper = subprocess.Popen(["sleep", "600"])
    try:
        if not is_alive:
            sleeper.kill()  # and is not collected: a zombie
        pid_file.write_text(f"{sleeper.pid}\n" + text.split("\n", 1)[1])
        assert ask(server.start(), READ) == "42"
    finally:
        sleeper.kill()
        sleeper.wait()


@pytest.mark.parametrize("junk", ["", "not a number\n"])
def test_an_unreadable_pid_file_is_told(
    server: EmbeddedPostgres, state_dir: Path, junk: str
) -> None:
    server.start()
    server.stop()
    (state_dir / "postgres/data/postmaster.pid").write_text(junk)
    with pytest.raises(StateDirUnusable, match=r"postmaster\.pid"):
        server.start()


def test_a_long_path_gets_a_private_socket_elsewhere(state_dir: Path) -> None:
    server = EmbeddedPostgres(state_dir / ("long" * 25) / "postgres")
    try:
        url = server.start()
        assert ask(url, "SELECT 1") == "1"
        directory = Path(url.split("host=")[1].split("&")[0])
        assert directory.parent == Path("/tmp")
        found = directory.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o700, os.geteuid())
    finally:
        server.stop()
    assert not directory.exists()


def test_a_path_with_odd_characters_works(state_dir: Path) -> None:
    server = EmbeddedPostgres(state_dir / "a b,c'd\"é&=%41#" / "postgres")
    try:
        assert ask(server.start(), "SELECT 1") == "1"
    finally:
        server.stop()


def test_an_unfinished_creation_is_begun_anew(server: EmbeddedPostgres, state_dir: Path) -> None:
    unfinished = state_dir / "postgres/data.new"
    unfinished.mkdir(parents=True)
    (unfinished / "half").write_text("")
    assert ask(server.start(), "SELECT 1") == "1"
    assert not unfinished.exists()


def test_no_space_is_told_in_a_sentence_and_leaves_nothing_half_done(
    server: EmbeddedPostgres, state_dir: Path
) -> None:
    # A limit on the size of files stands in for a full disk: the same refusal of the same writes.
    child = service(state_dir / "postgres", "/bin/sh", "-c", 'ulimit -f 200; exec "$@"', "limited")
    try:
        answer = first_line(child)
    finally:
        end(child)
    assert answer.startswith("state_dir_unusable: The database in ")
    assert not (state_dir / "postgres/data").exists()
    assert ask(server.start(), "SELECT 1") == "1"


@pytest.mark.parametrize("parent", ["a-file", "/proc/nowhere"])
def test_a_directory_that_cannot_be_made_is_told_in_a_sentence(
    state_dir: Path, parent: str
) -> None:
    (state_dir / "a-file").write_text("")
    server = EmbeddedPostgres(state_dir / parent / "postgres")
    with pytest.raises(StateDirUnusable, match="cannot be started"):
        server.start()
    assert not server.is_running


def test_damaged_data_is_told_with_the_servers_own_words(
    server: EmbeddedPostgres, state_dir: Path
) -> None:
    server.start()
    server.stop()
    (state_dir / "postgres/data/PG_VERSION").write_text("9.6\n")
    with pytest.raises(StateDirUnusable, match="incompatible with server"):
        server.start()
    assert not server.is_running


def test_a_large_log_is_begun_anew(server: EmbeddedPostgres, state_dir: Path) -> None:
    server.start()
    server.stop()
    log = state_dir / "postgres/postgres.log"
    os.truncate(log, 6 * 1024 * 1024)
    server.start()
    assert log.stat().st_size < 1024 * 1024
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_an_ordinary_user_runs_it_as_himself(state_dir: Path) -> None:
    mine = state_dir / "mine"
    mine.mkdir()
    prefix: list[str] = []
    uid = os.geteuid()
    if uid == 0:
        # The capability is for the way to an interpreter below /root, no more.
        uid = 1
        os.chown(mine, uid, -1)
        keep = "-all,+dac_override"
        prefix = ["setpriv", "--reuid=1", "--regid=1", "--clear-groups"]
        prefix += [f"--inh-caps={keep}", f"--ambient-caps={keep}"]
    child = service(mine / "postgres", *prefix)
    try:
        assert first_line(child).startswith("postgresql://")
        assert Path(f"/proc/{postmaster(mine / 'postgres')}").stat().st_uid == uid
        assert (mine / "postgres/data").stat().st_uid == uid
    finally:
        end(child)
    assert not (mine / "postgres/data/postmaster.pid").exists()


def test_the_server_never_runs_as_root(server: EmbeddedPostgres, state_dir: Path) -> None:
    server.start()
    status = Path(f"/proc/{postmaster(state_dir / 'postgres')}/status").read_text()
    uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
    assert "0" not in uids


def test_somebody_elses_data_is_refused(state_dir: Path) -> None:
    directory = state_dir / "postgres"
    directory.mkdir()
    (directory / "socket").symlink_to(state_dir)
    with pytest.raises(StateDirUnusable, match="belongs to another user"):
        EmbeddedPostgres(directory).start()


async def test_the_schema_may_be_applied_again_and_by_many_at_once(
    empty_database_url: str,
) -> None:
    await asyncio.gather(*(apply_schema(empty_database_url) for _ in range(4)))
    store = Store(empty_database_url)
    claim = await store.claim("p")
    await apply_schema(empty_database_url)
    assert (await store.claim("p")).epoch > claim.epoch
    await store.close()


@pytest.mark.parametrize("version", [1, 2])
async def test_a_database_of_an_earlier_version_is_brought_forward_with_all_that_it_holds(
    empty_database_url: str, version: int
) -> None:
    data = Path(__file__).parent.parent / "data"
    connection = await connect(empty_database_url)
    for name in (f"schema_v{version}.sql", "project_v1.sql"):
        await connection.execute((data / name).read_text())
    assert await connection.fetchval("SELECT version FROM schema_version") == version
    await apply_schema(empty_database_url)
    assert await connection.fetchval("SELECT version FROM schema_version") == 3
    await connection.close()
    reader, store = Reader(empty_database_url), Store(empty_database_url)
    found = await reader.state("old")
    claim = await store.claim("old")
    assert found is not None
    assert list(found.files) == ["index.html"]
    assert claim.state == replace(found, files={})  # which an owner does without
    assert not claim.was_clean
    assert claim.state.run is not None
    assert [command.id for command in claim.state.queue] == ["c2"]
    assert claim.state.open_file == OpenFile(path="app.js", chunks=["let x"])
    assert await store.file_contents("old") == {"index.html": "<h1>Hello</h1>"}
    assert [seq for seq, _, _ in await reader.events_since("old", 0, 10)] == [4, 6, 7, 8]
    cancelled = ev.CommandAnswered(id="stop", kind="cancel", code=None)
    paused = ev.RunPaused(code="budget_exceeded", message="Too dear.", needed_usd=1.0)
    await store.append("old", claim.epoch, record(claim.state, [cancelled, paused]), claim.state)
    again = await reader.state("old")
    assert again is not None
    assert again.status == "paused"
    assert await store.find_command("old", "stop") == StoredAnswer(kind="cancel", seq=9)
    await reader.close()
    await store.close()


async def test_each_schema_of_a_database_is_brought_forward_by_itself(
    empty_database_url: str,
) -> None:
    old = (Path(__file__).parent.parent / "data" / "schema_v2.sql").read_text()
    await apply_schema(empty_database_url)
    connection = await connect(empty_database_url)
    await connection.execute("CREATE SCHEMA other; SET search_path TO other")
    await connection.execute(old)

    await apply_schema(f"{empty_database_url}&search_path=other")

    await connection.execute("INSERT INTO projects (id, status) VALUES ('p', 'paused')")
    await connection.close()


async def test_a_database_of_a_newer_version_is_refused_and_left_alone(
    empty_database_url: str,
) -> None:
    await apply_schema(empty_database_url)
    connection = await connect(empty_database_url)
    try:
        await connection.execute("UPDATE schema_version SET version = 999")
        await connection.execute("DROP TABLE usage")
        with pytest.raises(StorageUnavailable, match="schema 999, this version knows"):
            await apply_schema(empty_database_url)
        assert await connection.fetchval("SELECT to_regclass('usage')") is None
    finally:
        await connection.close()


async def test_a_database_that_is_away_at_start_is_storage_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"postgresql://u:sesame@127.0.0.1:{taken.getsockname()[1]}/db"
        with pytest.raises(StorageUnavailable) as caught:
            await apply_schema(url)
    assert "sesame" not in str(caught.value)
