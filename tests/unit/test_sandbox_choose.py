"""Choosing where no engine answers; with an engine, see integration/test_docker_sandbox.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from actors.errors import SandboxUnavailable
from actors.sandbox.choose import choose_sandbox, make_sandbox
from actors.sandbox.static import StaticSandbox
from actors.settings import Settings
from tests.support.sandbox_log import SandboxLines


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither Docker nor bubblewrap; with the latter, see integration/test_bubblewrap_choice.py."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")


@pytest.mark.usefixtures("no_engine")
async def test_auto_is_static_without_an_engine_and_says_why_and_what_to_do(
    tmp_path: Path,
) -> None:
    choice = await choose_sandbox(Settings.read({}, state_dir=str(tmp_path)))
    assert choice.kind == "static"
    for words in ("no dependencies are installed", "absent.sock", "apt-get install docker.io"):
        assert words in choice.note


@pytest.mark.usefixtures("no_engine")
async def test_docker_without_an_engine_is_refused_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailable, match="CODEGEN_SANDBOX=static"):
        await choose_sandbox(Settings.read({}, sandbox="docker", state_dir=str(tmp_path)))


@pytest.mark.usefixtures("no_engine")
async def test_static_is_static_without_asking() -> None:
    choice = await choose_sandbox(Settings.read({}, sandbox="static"))
    assert choice.kind == "static"
    assert "CODEGEN_SANDBOX=static" in choice.note


async def test_another_server_is_not_taken_for_an_engine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="<html>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{runner.addresses[0][1]}")
    try:
        choice = await choose_sandbox(Settings.read({}, state_dir=str(tmp_path)))
    finally:
        await runner.cleanup()
    assert choice.kind == "static"
    assert "not a Docker engine" in choice.note


async def test_the_static_sandbox_says_that_dependencies_are_not_installed() -> None:
    lines = SandboxLines()
    sandbox = make_sandbox("static", "p", Settings.read({}), lines, "http://h:1", "the reason")
    assert isinstance(sandbox, StaticSandbox)
    await sandbox.write_files({"package.json": "{}"})
    await sandbox.install_dependencies({})
    assert lines.lines == [
        ("stderr", "The dependencies in package.json are not installed. the reason")
    ]
    await sandbox.delete_files(["package.json"])
    await sandbox.install_dependencies({})
    assert len(lines.lines) == 1
    assert await sandbox.start_dev_server() == "http://p.h:1/"
    assert (await sandbox.status()).note == "the reason"
