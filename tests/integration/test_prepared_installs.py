"""Installs that are prepared once and unpacked for every other project, on a real engine."""

from __future__ import annotations

import asyncio
import fcntl
import json
import re
import shutil
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiodocker
import aiohttp
import pytest

from actors.errors import SandboxUnavailable
from actors.sandbox.bubblewrap import BubblewrapRuntime
from actors.sandbox.builder import BUILDER_ID, CPU_SHARE, Builder
from actors.sandbox.cache import open_cache
from actors.sandbox.choose import bubblewrap_sandbox, docker_sandbox
from actors.sandbox.container import container_names
from actors.sandbox.docker import DockerRuntime
from actors.sandbox.doors import DoorConnector
from actors.sandbox.layout import APP_DIR, HOME_DIR
from actors.sandbox.reap import reap
from actors.sandbox.recipe import Recipe
from actors.sandbox.runtime import Runtime
from actors.sandbox.workspace import Workspace
from actors.settings import Settings
from gateway.doors import Doors
from tests.support.docker import DockerEngine
from tests.support.sandbox_log import SandboxLines
from tests.support.wait import wait_until

BOUND_SECONDS = 60.0
UNPACKED = r"Dependencies unpacked from a prepared install \(\d+\.\d s\)"
SERVER = """
const isNumber = require('is-number');
require('http').createServer((request, response) => response.end('seven: ' + isNumber(7)))
  .listen(Number(process.env.PORT), process.env.HOST);
"""
#: Does what it can to what others might get, then serves.
HOSTILE = """
const fs = require('fs');
fs.writeFileSync('node_modules/is-number/index.js', 'module.exports = () => "planted"');
fs.writeFileSync('node_modules/.package-lock.json', '{}');
fs.writeFileSync(process.env.HOME + '/.npmrc', 'registry=http://127.0.0.1:1/');
"""
#: Leaves an install that was cut short in the middle of its unpacking.
LEFT_STAGE = "touch node_modules/planted && cp -r . ~/.codegen-template && rm -r node_modules"
#: Has closed the place where an install is unpacked.
CLOSED_STAGE = "mkdir -p .codegen-template/node_modules/x; chmod -R 0 .codegen-template"


def app(server: str = SERVER, **members: object) -> dict[str, str]:
    manifest = {"dependencies": {"is-number": "7.0.0"}} | members
    return {"package.json": json.dumps(manifest), "server.js": server}


class Street:
    """Projects of one service, one after the other."""

    def __init__(self, settings: Settings, make: Callable[..., Workspace] = docker_sandbox) -> None:
        self.settings = settings
        self._make = make
        self.templates = settings.path("cache", "templates")
        self._doors = Doors(settings)
        self._session = aiohttp.ClientSession(connector=DoorConnector(self._doors.find))
        self._made: list[Workspace] = []

    def project(self, name: str, lines: SandboxLines, **changes: object) -> Workspace:
        settings = Settings.read(self.settings.environment(), **changes)
        self._made.append(self._make(name, settings, lines))
        return self._made[-1]

    async def serve(self, sandbox: Workspace, files: dict[str, str]) -> str:
        """Bring a project up as a run does; return what its app answers."""
        await sandbox.start()
        await sandbox.write_files(files)
        await sandbox.install_dependencies(files)
        url = await sandbox.start_dev_server()
        async with asyncio.timeout(BOUND_SECONDS), self._session.get(url) as response:
            return await response.text()

    async def until_prepared(self, suffix: str = "tar") -> Path:
        """Return the file of the one prepared install, once its builder is gone."""
        await wait_until(lambda: any(self.templates.glob(f"*.{suffix}")))
        await self._until(is_building=False)
        [path] = self.templates.glob(f"*.{suffix}")
        return path

    async def until_building(self) -> None:
        await self._until(is_building=True)

    async def _until(self, *, is_building: bool) -> None:
        async with asyncio.timeout(BOUND_SECONDS):
            while bool(await self.builders()) != is_building:  # noqa: ASYNC110  # the engine knows
                await asyncio.sleep(0.01)

    async def builders(self) -> list[str]:
        """The containers and volumes of builders that there are."""
        async with aiodocker.Docker() as docker:
            containers = await docker.containers.list(all=True)
            found = await docker.volumes.list()  # type: ignore[no-untyped-call]  # aiodocker's
        names = [container["Names"][0] for container in containers]
        names += [volume["Name"] for volume in found["Volumes"] or []]
        return [name for name in names if BUILDER_ID in name]

    async def close(self) -> None:
        await self._session.close()
        self._doors.close()
        for sandbox in self._made:
            await sandbox.remove()
            await sandbox.close()
        shutil.rmtree(self.settings.run_dir, ignore_errors=True)


@pytest.fixture
async def street(
    docker_engine: DockerEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Street]:
    monkeypatch.setenv("DOCKER_HOST", docker_engine.url)
    settings = Settings.read(
        {},
        state_dir=str(tmp_path / "s"),
        sandbox="docker",
        sandbox_image=docker_engine.image,
    )
    street = Street(settings)
    yield street
    await street.close()


async def test_the_second_project_gets_the_install_of_a_builder_and_asks_no_registry(
    street: Street,
) -> None:
    """The first one plants what it can in its own; the second one may reach no registry at all."""
    first, second = SandboxLines(), SandboxLines()
    assert await street.serve(street.project("first", first), app(HOSTILE + SERVER)) == (
        "seven: planted"
    )
    assert "$ npm install" in first.texts("progress")
    await street.until_prepared()
    other = street.project("second", second, sandbox_registries="registry.example")
    assert await street.serve(other, app(name="second")) == "seven: true"
    await second.wait_for_line(UNPACKED)
    assert "$ npm install" not in second.texts("progress")
    lines = len(second.lines)
    runtime = DockerRuntime("second", street.settings, lambda line: None)
    code, _ = await runtime.run_short(APP_DIR, LEFT_STAGE)
    assert code == 0
    await other.install_dependencies(app())
    assert re.fullmatch(UNPACKED, second.lines[lines][1])
    assert await runtime.run_short(APP_DIR, "ls node_modules") == (0, b"is-number\n")
    await runtime.close()
    await other.install_dependencies(app())  # by now there is something to keep
    assert "$ npm install" in second.texts("progress")


async def test_a_builder_starts_afresh_and_what_was_cut_is_prepared_anew(
    street: Street,
) -> None:
    first, second = SandboxLines(), SandboxLines()
    cpus = street.settings.sandbox_cpus * CPU_SHARE
    settings = Settings.read(street.settings.environment(), sandbox_cpus=cpus)
    builder = DockerRuntime(BUILDER_ID, settings, lambda line: None)
    await builder.obtain()  # one whose maker was killed
    await builder.run_short(APP_DIR, "mkdir -p node_modules/.planted")
    await builder.close()
    sandbox = street.project("first", first)
    assert await street.serve(sandbox, app()) == "seven: true"
    path = await street.until_prepared()
    with tarfile.open(path) as tar:
        names = {name.split("/")[1] for name in tar.getnames() if "/" in name}
    assert names == {".package-lock.json", "is-number"}
    whole = path.read_bytes()
    path.write_bytes(whole[:-1024])
    assert await street.serve(street.project("second", second), app()) == "seven: true"
    assert "$ npm install" in second.texts("progress")
    assert await street.until_prepared() == path
    with tarfile.open(path) as tar:
        assert {name.split("/")[1] for name in tar.getnames() if "/" in name} == names


async def test_who_leaves_takes_the_builder_along(street: Street) -> None:
    sandbox = street.project("first", SandboxLines())
    await street.serve(sandbox, app(dependencies={"vite": "^7.0.0", "is-number": "7.0.0"}))
    await street.until_building()
    await sandbox.stop()
    assert await street.builders() == []
    assert list(street.templates.iterdir()) == []


async def test_a_builder_that_was_left_is_nobodys_at_the_next_start(street: Street) -> None:
    builder = DockerRuntime(BUILDER_ID, street.settings, lambda line: None)
    await builder.obtain()
    await builder.close()
    assert container_names(BUILDER_ID, street.settings)[0] == "codegen-sandbox-.builder"
    assert await street.builders() != []
    assert await reap(street.settings, {"first"}) == 1
    assert await street.builders() == []


async def test_an_install_whose_packages_look_around_is_prepared_for_nobody(street: Street) -> None:
    files = app(dependencies={"is-number": "7.0.0", "ejs": "2.7.4"})
    assert await street.serve(street.project("first", SandboxLines()), files) == "seven: true"
    await street.until_prepared("none")
    assert list(street.templates.glob("*.tar")) == []


@pytest.mark.parametrize("is_off", [True, False])
async def test_without_a_cache_every_project_installs_for_itself(
    street: Street, *, is_off: bool
) -> None:
    lines = SandboxLines()
    cache = street.settings.path("cache")
    if not is_off:
        cache.parent.mkdir(exist_ok=True)
        cache.write_text("in the way")
    sandbox = street.project("first", lines, cache_mib=0 if is_off else 100)
    assert await street.serve(sandbox, app()) == "seven: true"
    told = [line for line in lines.texts("progress") if "package cache" in line]
    assert len(told) == (0 if is_off else 1)
    assert cache.exists() != is_off


async def test_a_project_with_settings_for_npm_installs_for_itself(street: Street) -> None:
    sandbox = street.project("first", SandboxLines())
    assert await street.serve(sandbox, app() | {".npmrc": "fund=false\n"}) == "seven: true"
    assert list(street.settings.path("cache").rglob("*/*")) == []
    assert await street.builders() == []


async def test_one_builder_at_a_time_is_at_work_in_a_service(tmp_path: Path) -> None:
    settings = Settings.read({}, state_dir=str(tmp_path))
    cache = open_cache(settings)
    assert cache is not None
    cache.prepare()
    made: list[str] = []

    def make(project_id: str, _: Settings) -> Runtime:
        made.append(project_id)
        raise SandboxUnavailable("there is no engine")

    builder = Builder(settings, make)
    with cache.lock_file.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        await _begin_and_end(builder)
        assert made == []
    await _begin_and_end(builder)
    assert made == [BUILDER_ID]


async def _begin_and_end(builder: Builder) -> None:
    before = asyncio.all_tasks()
    builder.begin(Recipe({"package.json": "{}"}))
    await asyncio.wait(asyncio.all_tasks() - before)
    await builder.close()


@pytest.mark.usefixtures("bubblewrap")
async def test_bubblewrap_shares_installs_as_well(tmp_path: Path) -> None:
    street = Street(Settings.read({}, state_dir=str(tmp_path / "s")), bubblewrap_sandbox)
    first, second = SandboxLines(), SandboxLines()
    try:
        sandbox = street.project("first", first)
        assert await street.serve(sandbox, app(HOSTILE + SERVER)) == "seven: planted"
        await wait_until(lambda: any(street.templates.glob("*.tar")))
        other = street.project("second", second, sandbox_registries="registry.example")
        assert await street.serve(other, app(name="second")) == "seven: true"
        await second.wait_for_line(UNPACKED)
        assert "$ npm install" not in second.texts("progress")
    finally:
        await street.close()


@pytest.mark.usefixtures("bubblewrap")
async def test_a_project_that_cannot_unpack_installs_for_itself_and_takes_it_from_nobody(
    tmp_path: Path,
) -> None:
    street = Street(Settings.read({}, state_dir=str(tmp_path / "s")), bubblewrap_sandbox)
    cut, closed = SandboxLines(), SandboxLines()
    try:
        await street.serve(street.project("first", SandboxLines()), app())
        await wait_until(lambda: any(street.templates.glob("*.tar")))
        [path] = street.templates.glob("*.tar")
        whole = path.read_bytes()
        path.write_bytes(b"x" * 1024 + whole[1024:])  # it ends as it should
        assert await street.serve(street.project("second", cut), app()) == "seven: true"
        assert "$ npm install" in cut.texts("progress")
        path.write_bytes(whole)
        sandbox = street.project("third", closed)
        await sandbox.start()
        runtime = BubblewrapRuntime("third", street.settings)
        await runtime.obtain()
        await runtime.run_short(HOME_DIR, CLOSED_STAGE)
        assert await street.serve(sandbox, app()) == "seven: true"
        await closed.wait_for_line(UNPACKED)
        assert list(street.templates.iterdir()) == [path]
        await runtime.close()
    finally:
        await street.close()
