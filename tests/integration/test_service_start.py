"""What a start refuses, each in one sentence, with nothing left behind."""

from __future__ import annotations

import errno
import logging
import os
import resource
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from actors.errors import (
    InvalidSetting,
    PortTaken,
    SandboxUnavailable,
    ServiceError,
    StateDirUnusable,
    StorageUnavailable,
)
from actors.settings import Settings
from gateway.app import MAX_OPEN_FILES, allow_open_files, run_service
from gateway.listener import listen
from gateway.service import Service
from gateway.state_directory import StateDirectory

NO_DATABASE = "postgresql://nobody:secret@/nothing?host=/nonexistent"


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """Take back that a start sends this process's log records to the service's files."""
    handlers, level = list(logging.root.handlers), logging.root.level
    yield
    for handler in logging.root.handlers:
        if handler not in handlers:
            handler.close()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a service that gets as far as its database and no further."""
    return Settings(
        state_dir=str(tmp_path / "state"), port=0, database_url=NO_DATABASE, sandbox="static"
    )


# --- the state directory -----------------------------------------------------------------------


def test_the_state_directory_is_made_for_us_alone(settings: Settings) -> None:
    directory = StateDirectory(settings)
    directory.hold()
    directory.note("http://127.0.0.1:1")
    directory.release()
    directory.release()
    assert stat.S_IMODE(Path(settings.state_dir).stat().st_mode) == 0o700
    assert stat.S_IMODE(settings.path("service.lock").stat().st_mode) == 0o600


def test_the_second_service_is_told_who_holds_the_directory(settings: Settings) -> None:
    first, second = StateDirectory(settings), StateDirectory(settings)
    first.hold()
    with pytest.raises(StateDirUnusable, match="a service that is just starting"):
        second.hold()
    first.note("http://127.0.0.1:4711")
    with pytest.raises(StateDirUnusable) as refusal:
        second.hold()
    assert f"the service at http://127.0.0.1:4711 (pid {os.getpid()})" in str(refusal.value)
    first.release()
    second.hold()
    second.release()


def test_what_a_dead_service_wrote_is_not_told(settings: Settings) -> None:
    Path(settings.state_dir).mkdir()
    settings.path("service.lock").write_bytes(orjson.dumps({"pid": 1, "url": "http://old"}))
    first, second = StateDirectory(settings), StateDirectory(settings)
    first.hold()
    with pytest.raises(StateDirUnusable, match="just starting"):
        second.hold()
    first.release()


def test_a_file_in_place_of_the_directory_is_refused(settings: Settings) -> None:
    Path(settings.state_dir).write_text("")
    with pytest.raises(StateDirUnusable, match="CODEGEN_STATE_DIR"):
        StateDirectory(settings).hold()


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EACCES, "give this user write permission"),
        (errno.EROFS, "give this user write permission"),
        (errno.ENOSPC, "free at least 128 MiB"),
        (errno.EIO, "check the path"),
    ],
)
def test_a_directory_that_cannot_be_written_is_refused_with_advice(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)  # tests may run as root, whom nothing refuses
    with pytest.raises(StateDirUnusable, match=advice):
        StateDirectory(settings).hold()


def test_a_full_disk_is_told_before_anything_is_started(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.state_directory.MIN_FREE_BYTES", 2**63)
    with pytest.raises(StateDirUnusable, match="No space left on device"):
        StateDirectory(settings).hold()


# --- the port ----------------------------------------------------------------------------------


def test_a_taken_port_is_refused() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(PortTaken, match=f"Port {port} on 127.0.0.1 is taken"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["no such host", "192.0.2.1", "host.invalid", "0.0.0.0", "::", ""])
def test_a_host_that_others_can_reach_is_refused(host: str) -> None:
    with pytest.raises(InvalidSetting, match="CODEGEN_HOST"):
        listen(host, 0)


# --- the whole start ---------------------------------------------------------------------------


async def test_an_unreachable_database_is_told_and_everything_is_undone(
    settings: Settings,
) -> None:
    with pytest.raises(StorageUnavailable) as refusal:
        await Service(settings).start()
    assert "cannot be reached" in str(refusal.value)
    assert "secret" not in str(refusal.value)
    again = StateDirectory(settings)
    again.hold()
    again.release()


async def test_a_taken_port_leaves_the_state_directory_free(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        blocked = Settings(
            state_dir=settings.state_dir, port=taken.getsockname()[1], database_url=NO_DATABASE
        )
        with pytest.raises(PortTaken):
            await Service(blocked).start()
    again = StateDirectory(settings)
    again.hold()
    again.release()


async def test_a_forced_docker_without_an_engine_is_refused(
    settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    forced = Settings(
        state_dir=settings.state_dir, port=0, database_url=database_url, sandbox="docker"
    )
    with pytest.raises(SandboxUnavailable, match="CODEGEN_SANDBOX=static"):
        await Service(forced).start()


@pytest.fixture
def failing(settings: Settings) -> Settings:
    Path(settings.state_dir).write_text("")
    return settings


def test_a_failed_start_is_one_sentence_on_stderr_and_status_1(
    failing: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_service(failing) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("codegen: The state directory")
    assert captured.err.endswith(f"({StateDirUnusable.code})\n")
    assert issubclass(StateDirUnusable, ServiceError)


# --- open files ----------------------------------------------------------------------------------


def test_as_many_files_may_be_open_as_the_system_allows() -> None:
    _, hard = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        allow_open_files()
        raised = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert raised == (MAX_OPEN_FILES if hard < 0 else min(hard, MAX_OPEN_FILES), hard)
        allow_open_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == raised
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
