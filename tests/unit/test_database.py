"""Naming what went wrong: one sentence, the right kind of error, never a password."""

from __future__ import annotations

import asyncpg
import pytest

from actors.database import address_errors, place, schema_file, storage_errors
from actors.errors import StorageUnavailable

URL = "postgresql://ada:sesame@db.example:5433/codegen"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (asyncpg.DiskFullError("could not extend file"), "has no disk space left"),
        (asyncpg.TooManyConnectionsError("sorry"), "has no free connection"),
        (asyncpg.OutOfMemoryError("out of memory"), "refuses to serve (out of memory)"),
        (asyncpg.CannotConnectNowError("starting up"), "refuses to serve (starting up)"),
        (asyncpg.InvalidPasswordError("no"), "refuses to serve (no)"),
        (asyncpg.PostgresIOError("read failed"), "refuses to serve (read failed)"),
        (asyncpg.AdminShutdownError("shutting down"), "cannot be reached (shutting down)"),
        (asyncpg.ConnectionDoesNotExistError("gone\nat once"), "cannot be reached (gone)"),
        (asyncpg.InterfaceError("connection is closed"), "cannot be reached"),
        (asyncpg.InternalClientError("wrong state"), "cannot be reached"),
        (ConnectionRefusedError(111, "refused"), "cannot be reached ([Errno 111] refused)"),
        (TimeoutError(), "does not answer"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_world_does_is_storage_unavailable(error: Exception, words: str) -> None:
    with pytest.raises(StorageUnavailable) as caught, storage_errors(URL):
        raise error
    sentence = str(caught.value)
    assert "PostgreSQL at db.example:5433, database codegen" in sentence
    assert words in sentence
    assert "sesame" not in sentence
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.UniqueViolationError("x"),
        asyncpg.PostgresSyntaxError("x"),
        asyncpg.DataError("a wrong argument"),
    ],
)
def test_our_own_bugs_pass_through(error: Exception) -> None:
    with pytest.raises(type(error)), storage_errors(URL):
        raise error


@pytest.mark.parametrize("error", [asyncpg.ClientConfigurationError(URL), ValueError(URL)])
def test_an_address_that_cannot_be_read_is_not_repeated(error: Exception) -> None:
    with pytest.raises(StorageUnavailable) as caught, address_errors():
        raise error
    assert "sesame" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (URL, "db.example:5433, database codegen"),
        ("postgresql://h", "h, database by default"),
        ("postgresql://postgres@/x?host=/run", "the local socket, database x"),
        ("postgresql://u:sesame@h:port/db", "DATABASE_URL"),
    ],
)
def test_a_place_has_no_user_and_no_password(url: str, words: str) -> None:
    assert place(url) == words


def test_the_schema_is_where_it_is_looked_for() -> None:
    assert schema_file().is_file()
