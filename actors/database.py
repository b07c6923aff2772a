"""Reaching PostgreSQL: one way to connect, one way to name what went wrong, and the schema."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import asyncpg

from actors.errors import StorageUnavailable

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"  # its class takes no parameter

CONNECT_SECONDS = 10.0
#: Deadline of one statement: a server that is silent for so long counts as lost.
STATEMENT_SECONDS = 30.0
CLOSE_SECONDS = 2.0

#: What `connect` and a pool are given beside the address.
CONNECT_OPTIONS: dict[str, Any] = {
    "timeout": CONNECT_SECONDS,
    "command_timeout": STATEMENT_SECONDS,
    "max_cached_statement_lifetime": 0,  # what is prepared stays prepared, however long it waits
    "server_settings": {"application_name": "codegen"},
}

#: The connection is gone or was never made; another one may work. OSError includes TimeoutError;
#: InternalClientError is what asyncpg raises where the server ended the connection while it idled.
LOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

#: The server answers but cannot serve: full, overloaded, starting, read-only, or not ours to use.
_REFUSED = (
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.UndefinedTableError,
)
_SCHEMA_LOCK = 0x636F6465  # any number that is ours: "code"
_SCHEMA_VERSION = re.compile(r"INSERT INTO schema_version \(version\) VALUES \((\d+)\)")


def schema_file() -> Path:
    """Return where schema.sql is: the top level of the repository, beside `actors`."""
    return Path(__file__).resolve().parent.parent / "schema.sql"


@contextmanager
def storage_errors(database_url: str) -> Iterator[None]:
    """Turn what the world does to a connection into StorageUnavailable, never with a password.

    Our own bugs (a wrong statement, a wrong argument) pass through as they are.
    """
    try:
        yield
    except asyncpg.DiskFullError as error:
        raise StorageUnavailable(
            f"PostgreSQL at {place(database_url)} has no disk space left; free some."
        ) from error
    except asyncpg.TooManyConnectionsError as error:
        raise StorageUnavailable(
            f"PostgreSQL at {place(database_url)} has no free connection; raise max_connections."
        ) from error
    except TimeoutError as error:
        raise StorageUnavailable(
            f"PostgreSQL at {place(database_url)} does not answer; check that it runs."
        ) from error
    except LOST as error:
        raise StorageUnavailable(
            f"PostgreSQL at {place(database_url)} cannot be reached ({_reason(error)}); "
            "check that it runs and that DATABASE_URL is right."
        ) from error
    except _REFUSED as error:
        raise StorageUnavailable(
            f"PostgreSQL at {place(database_url)} refuses to serve ({_reason(error)}); "
            "check its log and DATABASE_URL."
        ) from error


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def place(database_url: str) -> str:
    """Say which database an address means, without user and password."""
    try:
        url = urlsplit(database_url)
        host, port = url.hostname or "the local socket", f":{url.port}" if url.port else ""
    except ValueError:
        return "DATABASE_URL"
    return f"{host}{port}, database {url.path.lstrip('/') or 'by default'}"


@contextmanager
def address_errors() -> Iterator[None]:
    """Turn an address that cannot be read into StorageUnavailable."""
    try:
        yield
    except (asyncpg.ClientConfigurationError, ValueError):
        # The cause may quote the address, and with it the password: it is left out.
        raise StorageUnavailable(
            "DATABASE_URL cannot be read; it looks like postgresql://user:password@host:5432/name."
        ) from None


async def connect(database_url: str) -> Connection:
    """Open a connection; but for a bad address the errors are asyncpg's own."""
    with address_errors():
        return await asyncpg.connect(database_url, **CONNECT_OPTIONS)


async def disconnect(connection: Connection) -> None:
    """Close in order where the server answers in time, at once where it does not."""
    try:
        await connection.close(timeout=CLOSE_SECONDS)
    except LOST:
        connection.terminate()
    except asyncio.CancelledError:
        connection.terminate()
        raise


async def apply_schema(database_url: str) -> None:
    """Bring the database to the schema of this version; services that start at once take turns.

    Raises StorageUnavailable, also for a database that a newer version has been using.
    """
    sql = schema_file().read_text(encoding="utf-8")
    match = _SCHEMA_VERSION.search(sql)
    assert match is not None, "schema.sql names its version"
    ours = int(match[1])
    with storage_errors(database_url):
        connection = await connect(database_url)
        try:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", _SCHEMA_LOCK)
                theirs = await _version(connection)
                if theirs > ours:
                    raise StorageUnavailable(
                        f"The database at {place(database_url)} belongs to a newer version of this "
                        f"service (schema {theirs}, this version knows {ours}); "
                        "start that version, or use another database."
                    )
                await connection.execute(sql)
        finally:
            await disconnect(connection)


async def _version(connection: Connection) -> int:
    if await connection.fetchval("SELECT to_regclass('schema_version')") is None:
        return 0
    return int(await connection.fetchval("SELECT coalesce(max(version), 0) FROM schema_version"))
