"""Sandboxes that nobody has used for days are removed, with what they hold; all others stay."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from actors.errors import SandboxUnavailable
from actors.sandbox.choose import docker_sandbox
from actors.sandbox.retire import retire
from actors.settings import Settings
from tests.support.docker import DockerEngine

LATER = datetime.now(UTC) + timedelta(days=2)


@pytest.fixture
def settings(
    docker_engine: DockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    monkeypatch.setenv("DOCKER_HOST", docker_engine.url)
    return Settings.read(
        {},
        sandbox="docker",
        state_dir=str(tmp_path),
        sandbox_image=docker_engine.image,
        sandbox_keep_days=1,
    )


async def test_what_was_stopped_long_ago_is_removed_and_can_be_made_anew(
    settings: Settings,
) -> None:
    used, unused = (docker_sandbox(name, settings, lambda *_: None) for name in ("used", "unused"))
    try:
        for sandbox in (used, unused):
            await sandbox.start()
            await sandbox.write_files({"a.txt": "1"}, note="kept")
        await unused.stop()
        assert await retire(settings) == 0
        assert (await unused.status()).health == "stopped"
        assert await retire(settings, now=LATER) == 1
        assert (await unused.status()).health == "absent"
        assert (await used.status()).health == "running"
        assert (await unused.start()).note == ""
    finally:
        for sandbox in (used, unused):
            await sandbox.remove()
            await sandbox.close()


async def test_another_service_s_sandboxes_are_none_of_ours(
    settings: Settings, tmp_path: Path
) -> None:
    theirs = replace(settings, state_dir=str(tmp_path / "x"))
    sandbox = docker_sandbox("theirs", theirs, lambda *_: None)
    try:
        await sandbox.start()
        await sandbox.stop()
        assert await retire(settings, now=LATER) == 0
        assert (await sandbox.status()).health == "stopped"
    finally:
        await sandbox.remove()
        await sandbox.close()


async def test_an_engine_that_is_away_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    with pytest.raises(SandboxUnavailable):
        await retire(settings)
