"""Where bubblewrap is chosen, and what is said where it cannot be."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from actors.errors import SandboxUnavailable
from actors.sandbox.choose import bubblewrap_sandbox, choose_sandbox
from actors.sandbox.doors import door_directory
from actors.sandbox.reap import reap
from actors.sandbox.retire import retire
from actors.settings import Settings
from tests.support.bubblewrap import open_way

LATER = datetime.now(UTC) + timedelta(days=2)

pytestmark = pytest.mark.usefixtures("bubblewrap", "no_engine")


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")


def settings_of(tmp_path: Path, **flags: object) -> Settings:
    return Settings.read({}, state_dir=str(tmp_path / "state"), **flags)


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: str) -> None:
    """Put a program that anybody may run before the others on the PATH."""
    directory = tmp_path / "programs"
    directory.mkdir(exist_ok=True)
    open_way(directory)
    program = directory / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


def without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Have a PATH with bubblewrap, node and npm but for one of them."""
    directory = tmp_path / "few"
    directory.mkdir()
    for program in {"bwrap", "node", "npm"} - {name}:
        (directory / program).symlink_to(shutil.which(program) or "")
    monkeypatch.setenv("PATH", str(directory))


async def test_auto_is_bubblewrap_without_an_engine_and_says_what_is_weaker(
    tmp_path: Path,
) -> None:
    settings = settings_of(tmp_path)
    choice = await choose_sandbox(settings)
    assert choice.kind == "bubblewrap"
    for words in ("memory limit", "processors", "apt-get install docker.io"):
        assert words in choice.note
    assert list((tmp_path / "state" / "sandboxes").iterdir()) == []  # what was tried is gone


async def test_it_can_be_asked_for(tmp_path: Path) -> None:
    assert (await choose_sandbox(settings_of(tmp_path, sandbox="bubblewrap"))).kind == "bubblewrap"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("bwrap", "apt-get install bubblewrap"),
        ("node", "`node` is not on the PATH"),
        ("npm", "`npm` is not on the PATH"),
    ],
)
async def test_what_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, told: str
) -> None:
    without(tmp_path, monkeypatch, name)
    with pytest.raises(SandboxUnavailable, match=told):
        await choose_sandbox(settings_of(tmp_path, sandbox="bubblewrap"))
    choice = await choose_sandbox(settings_of(tmp_path))
    assert choice.kind == "static"
    for words in (told, "no Docker engine answers", "no dependencies are installed"):
        assert words in choice.note


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo bwrap: Unknown option --disable-userns >&2; exit 1", "0.8 or newer"),
        ("echo bwrap: setting up uid map: Permission denied >&2; exit 1", "apparmor"),
        ("echo bwrap: No permissions to create new namespace >&2; exit 1", "max_user_namespaces"),
        ("echo bwrap: something else >&2; exit 1", "failed: bwrap: something else"),
    ],
)
async def test_why_bubblewrap_does_not_run_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, told: str
) -> None:
    stand_in(tmp_path, monkeypatch, "bwrap", script)
    with pytest.raises(SandboxUnavailable, match=told):
        await choose_sandbox(settings_of(tmp_path, sandbox="bubblewrap"))


async def test_a_first_command_that_does_not_end_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.sandbox.probe.PROBE_SECONDS", 0.5)
    stand_in(tmp_path, monkeypatch, "bwrap", "exec sleep 4242")
    with pytest.raises(SandboxUnavailable, match=r"did not end within 0\.5 s"):
        await choose_sandbox(settings_of(tmp_path, sandbox="bubblewrap"))


async def test_a_node_that_is_too_old_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-in is a version manager's: it leads to itself, which is then shown inside."""
    real = tmp_path / "programs" / "node"
    stand_in(tmp_path, monkeypatch, "node", f'[ "$1" = --version ] && echo v18.20.4 || echo {real}')
    with pytest.raises(SandboxUnavailable, match=r"node 20 or newer is needed.*v18\.20\.4"):
        await choose_sandbox(settings_of(tmp_path, sandbox="bubblewrap"))


async def test_an_open_network_is_not_to_be_had(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, sandbox="bubblewrap", sandbox_egress="always")
    with pytest.raises(SandboxUnavailable, match="CODEGEN_SANDBOX_EGRESS=always"):
        await choose_sandbox(settings)


async def test_what_nobody_has_used_for_days_and_nobody_holds_is_removed(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, sandbox_keep_days=1)
    used, unused = (bubblewrap_sandbox(n, settings, lambda *_: None) for n in ("used", "unused"))
    try:
        for sandbox in (used, unused):
            await sandbox.start()
            await sandbox.write_files({"a.txt": "1"}, note="kept")
        await unused.stop()
        assert await retire(settings) == 0
        assert (await unused.status()).health == "stopped"
        assert await retire(settings, now=LATER) == 1
        assert (await unused.status()).health == "absent"
        assert not door_directory("unused", settings).exists()
        assert (await used.start()).note == "kept"
        assert (await unused.start()).note == ""
    finally:
        for sandbox in (used, unused):
            await sandbox.remove()


async def test_what_no_project_owns_is_removed(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    kept, gone = (bubblewrap_sandbox(name, settings, lambda *_: None) for name in ("kept", "gone"))
    for sandbox in (kept, gone):
        await sandbox.start()
        await sandbox.stop()
    assert await reap(settings, {"kept"}) == 1
    assert (await kept.status()).health == "stopped"
    assert (await gone.status()).health == "absent"
    assert not door_directory("gone", settings).exists()
    await kept.remove()
