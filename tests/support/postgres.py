"""One real embedded PostgreSQL for the test session, and a fresh database for each test."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from actors.database import apply_schema
from actors.postgres import EmbeddedPostgres
from actors.postgres_processes import signal_all

TEMPLATE = "prepared"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """The running server; a test that stops or kills it starts it again."""
    directory = Path(tempfile.mkdtemp(prefix="codegen-test-"))  # short, for the socket
    server = EmbeddedPostgres(directory / "postgres")
    try:
        url = server.start()
        execute(url, f"CREATE DATABASE {TEMPLATE}")
        in_own_loop(lambda: apply_schema(of_database(url, TEMPLATE)))
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url(postgres: EmbeddedPostgres) -> str:
    """The address of the server's own database, to which no schema is applied."""
    return postgres.database_url


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """The address of a fresh database with the schema applied."""
    name = f"test_{next(_numbers)}"
    execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield of_database(postgres_url, name)
    execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_database_url(postgres_url: str) -> Iterator[str]:
    """The address of a fresh database without any schema."""
    name = f"test_{next(_numbers)}"
    execute(postgres_url, f"CREATE DATABASE {name}")
    yield of_database(postgres_url, name)
    execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


def of_database(url: str, name: str) -> str:
    """Return the address of another database of the same server."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{name}"))


def execute(url: str, *statements: str) -> None:
    """Run statements, each in a transaction of its own; from tests with and without a loop."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    in_own_loop(run)


async def wait_until_blocked(url: str) -> None:
    """Return once a statement in this database waits for a lock."""
    connection = await asyncpg.connect(url)
    blocked = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    try:
        while not await connection.fetchval(blocked):
            pass
    finally:
        await connection.close()


@contextlib.contextmanager
def standing_still(server: EmbeddedPostgres) -> Iterator[None]:
    """Let the server and its children do nothing meanwhile."""
    signal_all(server._data, signal.SIGSTOP)
    try:
        yield
    finally:
        signal_all(server._data, signal.SIGCONT)


def in_own_loop(make: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine in a thread's own loop, whether or not this thread has one running."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(make())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="database-fixture")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
