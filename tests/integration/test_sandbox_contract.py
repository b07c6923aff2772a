"""What every sandbox promises, over each adapter: Docker with a real engine, bubblewrap, static."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors.errors import InvalidInput
from actors.sandbox.base import Sandbox, SandboxKind
from actors.sandbox.choose import make_sandbox
from actors.settings import Settings
from tests.support.docker import DockerEngine
from tests.support.sandbox_log import SandboxLines

BASE_URL = "http://127.0.0.1:8080"
WAIT_SECONDS = 30.0


@pytest.fixture
def lines() -> SandboxLines:
    return SandboxLines()


@pytest.fixture(params=["docker", "bubblewrap", "static"])
async def sandbox(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    lines: SandboxLines,
) -> AsyncIterator[Sandbox]:
    kind: SandboxKind = request.param
    settings = Settings.read({}, state_dir=str(tmp_path))
    if kind == "docker":
        engine: DockerEngine = request.getfixturevalue("docker_engine")
        monkeypatch.setenv("DOCKER_HOST", engine.url)
        settings = Settings.read({}, state_dir=str(tmp_path), sandbox_image=engine.image)
    elif kind == "bubblewrap":
        request.getfixturevalue("bubblewrap")
    sandbox = make_sandbox(kind, "contract", settings, lines, BASE_URL)
    yield sandbox
    await sandbox.remove()
    await sandbox.close()


async def test_a_project_goes_from_start_to_removal(sandbox: Sandbox) -> None:
    assert sandbox.kind in ("docker", "bubblewrap", "static")
    started = await sandbox.start()
    await sandbox.write_files({"index.html": "<h1>hi</h1>", "src/a.js": "1"})
    await sandbox.install_dependencies({})
    await sandbox.write_files({"package.json": '{"scripts": {"build": "node src/a.js"}}'})
    await sandbox.run_check("build")
    url = await sandbox.start_dev_server()
    status = await sandbox.status()
    assert status.kind == sandbox.kind
    assert status.health == "serving"
    assert status.preview_url == url
    assert status.container_id == started.container_id
    await sandbox.delete_files(["src/a.js"])
    await sandbox.stop()
    await sandbox.remove()


async def test_starting_twice_is_one_sandbox_that_keeps_its_files(sandbox: Sandbox) -> None:
    first = await sandbox.start()
    await sandbox.write_files({"index.html": "<h1>hi</h1>"})
    second = await sandbox.start()
    assert second.container_id == first.container_id


async def test_a_note_holds_until_something_else_begins(sandbox: Sandbox) -> None:
    kept = "" if sandbox.kind == "static" else '{"what": "is \'here\'"}\n'

    async def note() -> str:
        return (await sandbox.start()).note

    assert await note() == ""
    for change in (
        sandbox.write_files({"b.txt": "1"}),
        sandbox.delete_files(["b.txt"]),
        sandbox.install_dependencies({}),
    ):
        await sandbox.write_files({"a.txt": "1"}, note='{"what": "is \'here\'"}\n')
        assert await note() == kept
        await sandbox.stop()
        assert await note() == kept
        await change
        assert await note() == ""


async def test_stopping_and_removing_what_is_absent_is_no_error(sandbox: Sandbox) -> None:
    await sandbox.stop()
    await sandbox.remove()
    await sandbox.remove()


async def test_deleting_a_file_that_does_not_exist_is_no_error(sandbox: Sandbox) -> None:
    await sandbox.start()
    await sandbox.delete_files(["never/was.txt"])
    await sandbox.delete_files([])


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../up", "", "a\0b", ".git/hooks/x"])
async def test_an_unsafe_path_is_refused_and_nothing_is_written(
    sandbox: Sandbox, path: str
) -> None:
    await sandbox.start()
    await sandbox.write_files({}, note="kept")
    note = (await sandbox.start()).note
    with pytest.raises(InvalidInput):
        await sandbox.write_files({"good.txt": "text", path: "text"})
    with pytest.raises(InvalidInput):
        await sandbox.delete_files([path])
    assert (await sandbox.start()).note == note


async def test_without_a_manifest_an_install_is_silent(
    sandbox: Sandbox, lines: SandboxLines
) -> None:
    await sandbox.start()
    await sandbox.write_files({"index.html": "<h1>hi</h1>"})
    await sandbox.install_dependencies({})
    assert lines.lines == []
    assert await sandbox.logs(10) == []


async def test_the_newest_lines_can_be_asked_for(sandbox: Sandbox, lines: SandboxLines) -> None:
    await sandbox.start()
    await sandbox.write_files({"package.json": '{"name": "a", "version": "1.0.0"}'})
    await sandbox.install_dependencies({})
    assert lines.lines
    assert await sandbox.logs(500) == lines.lines
    assert await sandbox.logs(1) == lines.lines[-1:]
    assert await sandbox.logs(0) == []


async def test_a_served_app_answers_and_a_server_that_we_replace_has_not_ended_by_itself(
    sandbox: Sandbox,
) -> None:
    await sandbox.start()
    assert not await sandbox.wait_until_ended()  # there is none
    await sandbox.write_files({"index.html": "<h1>hi</h1>"})
    await sandbox.start_dev_server()
    end = asyncio.create_task(sandbox.wait_until_ended())
    assert await sandbox.is_answering(WAIT_SECONDS)
    report = sandbox.server_report()
    assert (report.exit_code, report.limit) == (None, "")
    await sandbox.start_dev_server()
    assert not await asyncio.wait_for(end, WAIT_SECONDS)


async def test_a_closed_sandbox_goes_on_and_can_be_used_again(sandbox: Sandbox) -> None:
    await sandbox.start()
    await sandbox.write_files({"index.html": "<h1>hi</h1>"})
    await sandbox.start_dev_server()
    await sandbox.close()
    await sandbox.close()
    assert (await sandbox.status()).health == "serving"
