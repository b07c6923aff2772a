"""The Docker sandbox against a real engine: installs, dev servers, limits, and what goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiodocker
import aiohttp
import pytest
from yarl import URL

from actors.errors import (
    BuildFailed,
    InstallFailed,
    SandboxError,
    SandboxImageMissing,
    SandboxUnavailable,
    ServerFailed,
)
from actors.sandbox.choose import choose_sandbox, docker_sandbox, make_sandbox
from actors.sandbox.container import container_names, network_name, volume_name
from actors.sandbox.doors import DoorConnector, door_directory, remove_door_directory
from actors.sandbox.layout import APP_DIR
from actors.sandbox.output import BURST_LINES, KEPT_LINES, LAST_LINES, MAX_LINE_CHARS
from actors.sandbox.reap import reap
from actors.sandbox.task import run_short
from actors.sandbox.workspace import Workspace
from actors.settings import Settings
from gateway.doors import Doors
from tests.support.docker import DockerEngine
from tests.support.fetch import Fetch
from tests.support.registry import Registry
from tests.support.sandbox_log import SandboxLines

HELLO = """
const http = require('http');
http.createServer((request, response) => {
  console.log('asked for ' + request.url);
  response.end('hello from ' + process.pid);
}).listen(Number(process.env.PORT), process.env.HOST);
console.log('listening');
"""
MakeSandbox = Callable[..., Workspace]


@pytest.fixture
async def make(
    docker_engine: DockerEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[MakeSandbox]:
    """Make sandboxes on the test engine; all are removed at the end."""
    monkeypatch.setenv("DOCKER_HOST", docker_engine.url)
    made: list[Workspace] = []

    def make_one(
        on_log: SandboxLines | None = None, project_id: str = "demo", **flags: object
    ) -> Workspace:
        defaults = {"state_dir": str(tmp_path), "sandbox_image": docker_engine.image}
        settings = Settings.read({}, **{**defaults, **flags})
        made.append(docker_sandbox(project_id, settings, on_log or SandboxLines()))
        return made[-1]

    yield make_one
    for sandbox in made:
        try:
            await sandbox.remove()
        finally:
            await sandbox.close()
    shutil.rmtree(Settings.read({}, state_dir=str(tmp_path)).run_dir, ignore_errors=True)


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    registry = Registry()
    await registry.start()
    yield registry
    await registry.stop()


def package(**members: object) -> dict[str, str]:
    return {"package.json": json.dumps({"name": "app", "version": "1.0.0", **members})}


async def inside(script: str, name: str = "codegen-sandbox-demo") -> str:
    """Run a script in the container, as its user."""
    async with aiodocker.Docker() as docker:
        _, output = await run_short(await docker.containers.get(name), APP_DIR, script)
        return output.decode().strip()


async def volume_names() -> set[str]:
    async with aiodocker.Docker() as docker:
        found = await docker.volumes.list()  # type: ignore[no-untyped-call]  # aiodocker's
        return {volume["Name"] for volume in found["Volumes"] or []}


async def until_gone(word: str) -> None:
    """Return when no process in the container has `word` in its command line.

    The engine has no event for the end of a process, so it is asked again and again.
    """
    async with aiodocker.Docker() as docker:
        container = await docker.containers.get("codegen-sandbox-demo")
        while True:
            rows = (await container.top())["Processes"]
            if not any(word in " ".join(row) for row in rows):
                return
            await asyncio.sleep(0.01)


# --- files ---------------------------------------------------------------------------------------


async def test_files_belong_to_the_sandbox_user_and_can_be_replaced_and_deleted(
    make: MakeSandbox,
) -> None:
    sandbox = make()
    await sandbox.start()
    await sandbox.write_files({"src/deep/a.txt": "one ü", "run.sh": "#!/bin/sh\necho hi\n"})
    await sandbox.write_files({"src/deep/a.txt": "two"})
    assert await inside("cat src/deep/a.txt; ./run.sh; touch src/deep/b") == "twohi"
    await sandbox.delete_files(["src/deep/a.txt", "never-was.txt"])
    assert await inside("ls src/deep") == "b"


async def test_a_link_out_of_the_project_is_replaced_not_followed(make: MakeSandbox) -> None:
    sandbox = make()
    await sandbox.start()
    await inside("mkdir /tmp/outside ~/outside; ln -s /tmp/outside src")
    await sandbox.write_files({"src/a.txt": "text"})
    assert await inside("ls /tmp/outside; cat src/a.txt") == "text"
    await inside("cd; rm -r app; ln -s outside app")
    await sandbox.write_files({"b.txt": "text"})
    assert await inside("ls ~/outside; cat b.txt") == "text"


@pytest.mark.parametrize(
    "harm", ["cd; rm -rf app", "cd; rm -rf app; echo x > app", "cd; chmod 0 .", "chmod 0 ."]
)
async def test_an_app_that_breaks_its_own_directory_can_be_mended(
    make: MakeSandbox, harm: str
) -> None:
    sandbox = make()
    await sandbox.start()
    await sandbox.write_files({"a.txt": "text"})
    await inside(harm)
    await sandbox.start()
    await sandbox.delete_files(["a.txt"])
    await sandbox.write_files({"b.txt": "text"})
    assert await inside("ls; cat b.txt") == "b.txt\ntext"


async def test_a_directory_cannot_be_deleted_as_a_file(make: MakeSandbox) -> None:
    sandbox = make()
    await sandbox.start()
    await sandbox.write_files({"src/a.txt": "text"})
    with pytest.raises(SandboxError, match="cannot be deleted"):
        await sandbox.delete_files(["src"])


# --- installing ----------------------------------------------------------------------------------


async def test_an_npm_package_is_installed_and_used(make: MakeSandbox) -> None:
    lines = SandboxLines()
    sandbox = make(lines)
    await sandbox.start()
    await sandbox.write_files(package(dependencies={"is-number": "7.0.0"}))
    await sandbox.install_dependencies({})
    assert await inside("node -p 'require(\"is-number\")(7)'") == "true"
    assert ("progress", "$ npm install") in lines.lines
    assert any("added 1 package" in line for line in lines.texts("stdout"))


async def test_an_install_reaches_the_registries_alone_and_says_what_else_it_wanted(
    make: MakeSandbox,
) -> None:
    lines = SandboxLines()
    sandbox = make(lines, sandbox_registries="registry.example")
    await sandbox.start()
    await sandbox.write_files(package(dependencies={"is-number": "7.0.0"}))
    with pytest.raises(InstallFailed):
        await sandbox.install_dependencies({})
    told = "The install wanted registry.npmjs.org, which is not allowed"
    assert any(told in line for line in lines.texts("stderr"))


async def test_a_container_whose_doors_were_removed_gets_others(
    make: MakeSandbox, fetch: Fetch, tmp_path: Path
) -> None:
    sandbox = make()
    await sandbox.start()
    await sandbox.write_files({"server.js": HELLO})
    remove_door_directory(door_directory("demo", Settings.read({}, state_dir=str(tmp_path))))
    await sandbox.start()
    assert (await fetch(await sandbox.start_dev_server())).startswith("hello")


async def test_an_open_network_is_shared_by_the_service_and_told(
    make: MakeSandbox, tmp_path: Path
) -> None:
    settings = Settings.read({}, state_dir=str(tmp_path), sandbox_egress="always")
    assert "CODEGEN_SANDBOX_EGRESS=always" in (await choose_sandbox(settings)).note
    sandboxes = [make(project_id=name, sandbox_egress="always") for name in ("demo", "other")]
    name = network_name(settings) or ""
    async with aiodocker.Docker() as docker:
        for sandbox in sandboxes:
            started = await sandbox.start()
            details = await (await docker.containers.get(started.container_id or "")).show()
            assert set(details["NetworkSettings"]["Networks"]) == {name}
        network = await docker.networks.get(name)
        details = await network.show()
        assert details["Options"] == {"com.docker.network.bridge.enable_icc": "false"}
        for sandbox in sandboxes:
            await sandbox.remove()
        await network.delete()


async def test_without_a_manifest_nothing_is_installed(make: MakeSandbox) -> None:
    lines = SandboxLines()
    sandbox = make(lines)
    await sandbox.start()
    await sandbox.install_dependencies({})
    assert lines.lines == []


async def test_a_failed_install_carries_its_last_lines(make: MakeSandbox) -> None:
    sandbox = make()
    await sandbox.start()
    await sandbox.write_files(package(scripts={"preinstall": "echo before; exit 3"}))
    with pytest.raises(InstallFailed, match="failed with exit code 3") as failure:
        await sandbox.install_dependencies({})
    assert "npm error code 3" in failure.value.output
    assert 0 < len(failure.value.output) <= LAST_LINES


#: Starts a process that leaves its session, says so, and stays.
CLINGING = """
const { spawn } = require('child_process');
spawn('sleep', ['4242'], { detached: true, stdio: 'ignore' }).unref();
console.log('clinging');
setInterval(() => 0, 1000);
"""


async def test_a_cancelled_install_is_dead_and_the_sandbox_goes_on(make: MakeSandbox) -> None:
    lines = SandboxLines()
    sandbox = make(lines)
    await sandbox.start()
    await sandbox.write_files(package(scripts={"preinstall": "node c.js"}) | {"c.js": CLINGING})
    install = asyncio.create_task(sandbox.install_dependencies({}))
    await lines.wait_for("clinging")
    install.cancel()
    with pytest.raises(asyncio.CancelledError):
        await install
    await until_gone("npm")
    await until_gone("4242")
    await sandbox.write_files(package())
    await sandbox.install_dependencies({})


async def test_an_install_beyond_its_deadline_is_dead(make: MakeSandbox) -> None:
    sandbox = make(install_seconds=5)
    await sandbox.start()
    await sandbox.write_files(package(scripts={"preinstall": "node c.js"}) | {"c.js": CLINGING})
    with pytest.raises(InstallFailed, match="did not finish within 5 s") as failure:
        await sandbox.install_dependencies({})
    assert "clinging" in failure.value.output
    await until_gone("npm")
    await until_gone("4242")


OWNER = """
import asyncio, sys
from actors.sandbox.container import container_names, network_name, volume_name
from actors.sandbox.choose import docker_sandbox
from actors.sandbox.workspace import Workspace
from actors.sandbox.doors import DoorConnector, door_directory, remove_door_directory
from actors.settings import Settings

settings = Settings.read({}, state_dir=sys.argv[1], sandbox_image=sys.argv[2])
sandbox = docker_sandbox("demo", settings, lambda stream, line: print(line, flush=True))
asyncio.run(sandbox.install_dependencies({}))
"""


async def test_an_install_does_not_outlive_a_killed_owner(
    make: MakeSandbox, docker_engine: DockerEngine, tmp_path: Path
) -> None:
    sandbox = make()
    await sandbox.start()
    await sandbox.write_files(package(scripts={"preinstall": "node c.js"}) | {"c.js": CLINGING})
    owner = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OWNER, str(tmp_path), docker_engine.image),
        stdout=asyncio.subprocess.PIPE,
    )
    assert owner.stdout is not None
    while b"clinging" not in await owner.stdout.readline():
        assert not owner.stdout.at_eof()
    owner.kill()
    await owner.wait()
    await until_gone("npm")
    await until_gone("4242")


async def test_hostile_output_is_bounded_and_clean(make: MakeSandbox) -> None:
    flood = """
    for (let i = 0; i < 10000; i++) console.log('\\x1b[31mline ' + i + '\\x1b[0m\\x00');
    process.stdout.write('x'.repeat(1000000));
    process.exitCode = 1;
    """
    lines = SandboxLines()
    sandbox = make(lines)
    await sandbox.start()
    await sandbox.write_files(package(scripts={"preinstall": "node f.js"}) | {"f.js": flood})
    with pytest.raises(InstallFailed) as failure:
        await sandbox.install_dependencies({})
    assert len(lines.lines) < 2 * BURST_LINES
    assert any("lines of output are not shown" in line for line in lines.texts("progress"))
    assert "line 5" in lines.texts("stdout")
    kept = await sandbox.logs(KEPT_LINES * 2)
    assert len(kept) == KEPT_LINES
    for _, line in [*lines.lines, *kept]:
        assert line.isprintable()
        assert len(line) <= MAX_LINE_CHARS
    assert len(failure.value.output) <= LAST_LINES


# --- checking ------------------------------------------------------------------------------------

BUILD = "require('fs').copyFileSync('page.txt', 'built.txt'); console.log('built');"


async def test_a_build_is_run_logged_live_and_has_the_container_for_itself(
    make: MakeSandbox,
) -> None:
    lines = SandboxLines()
    sandbox = make(lines)
    await sandbox.start()
    scripts = {"dev": "node server.js", "build": "node build.js"}
    await sandbox.write_files(
        package(scripts=scripts) | {"server.js": HELLO, "build.js": BUILD, "page.txt": "page"}
    )
    url = await sandbox.start_dev_server()
    await sandbox.run_check("build")
    assert await inside("cat built.txt") == "page"
    assert ("progress", "$ npm run build") in lines.lines
    assert "built" in lines.texts("stdout")
    assert (await sandbox.status()).health == "running"
    assert await sandbox.start_dev_server() == url


async def test_a_failed_check_carries_its_last_lines(make: MakeSandbox) -> None:
    sandbox = make()
    await sandbox.start()
    await sandbox.write_files(package(scripts={"typecheck": "echo 'a.ts(1,1): error'; exit 2"}))
    with pytest.raises(BuildFailed, match="`npm run typecheck` failed with exit code 2") as failure:
        await sandbox.run_check("typecheck")
    assert "a.ts(1,1): error" in failure.value.output
    assert str(failure.value).count("\n") == len(failure.value.output)


async def test_a_check_beyond_its_deadline_is_dead(make: MakeSandbox) -> None:
    sandbox = make(build_seconds=5)
    await sandbox.start()
    await sandbox.write_files(package(scripts={"build": "node c.js"}) | {"c.js": CLINGING})
    with pytest.raises(BuildFailed, match="did not finish within 5 s") as failure:
        await sandbox.run_check("build")
    assert "clinging" in failure.value.output
    await until_gone("npm")
    await until_gone("4242")


# --- serving -------------------------------------------------------------------------------------


async def test_a_node_app_answers_and_its_output_is_logged_live(
    make: MakeSandbox, fetch: Fetch
) -> None:
    lines = SandboxLines()
    sandbox = make(lines)
    await sandbox.start()
    await sandbox.write_files(package(scripts={"start": "node server.js"}) | {"server.js": HELLO})
    url = await sandbox.start_dev_server()
    assert not sandbox.reloads_files  # no watcher runs it
    assert (await fetch(url + "page")).startswith("hello from")
    await lines.wait_for("asked for /page")
    status = await sandbox.status()
    assert (status.health, status.preview_url) == ("serving", url)
    assert ("stdout", "listening") in await sandbox.logs(50)


async def test_starting_again_ends_the_previous_dev_server(make: MakeSandbox, fetch: Fetch) -> None:
    sandbox = make()
    await sandbox.start()
    await sandbox.write_files(package(scripts={"dev": "node server.js"}) | {"server.js": HELLO})
    first = await fetch(await sandbox.start_dev_server())
    second = await fetch(await sandbox.start_dev_server())
    assert first != second


async def test_a_vite_app_is_served_and_does_not_build_while_an_import_is_broken(
    make: MakeSandbox, fetch: Fetch
) -> None:
    page = '<!doctype html><script type="module" src="/main.js"></script>'
    sandbox = make()
    await sandbox.start()
    await sandbox.write_files(
        package(scripts={"dev": "vite", "build": "vite build"}, devDependencies={"vite": "^7.0.0"})
        | {"index.html": page, "main.js": "import './missing.js'; console.log('ready')"}
    )
    await sandbox.install_dependencies({})
    assert "/@vite/client" in await fetch(await sandbox.start_dev_server())
    with pytest.raises(BuildFailed, match=r"missing\.js"):
        await sandbox.run_check("build")
    await sandbox.write_files({"missing.js": "console.log('here')"})
    await sandbox.run_check("build")
    url = await sandbox.start_dev_server()  # a build has the container for itself
    assert "ready" in await fetch(url + "main.js")
    await sandbox.write_files({"main.js": "console.log('changed')"})
    while "changed" not in await fetch(url + "main.js"):  # Vite's watcher has seen the write
        pass


async def test_a_folder_without_a_manifest_is_served_as_it_is(
    make: MakeSandbox, tmp_path: Path
) -> None:
    sandbox = make()
    await sandbox.start()
    await sandbox.write_files({"index.html": "<h1>top</h1>", "docs/a.css": "b {}"})
    url = await sandbox.start_dev_server()
    doors = Doors(Settings.read({}, state_dir=str(tmp_path)))
    connector = DoorConnector(doors.find)
    async with aiohttp.ClientSession(url, connector=connector) as session:
        for path, status, kind, text in (
            ("/", 200, "text/html", "<h1>top</h1>"),
            ("/docs/a.css", 200, "text/css", "b {}"),
            ("/some/route", 200, "text/html", "<h1>top</h1>"),
            ("/missing.js", 404, "text/plain", "not found\n"),
            ("/%2e%2e/etc/passwd.txt", 404, "text/plain", "not found\n"),
            ("/%zz", 400, "text/plain", "bad path\n"),
        ):
            async with session.get(URL(path, encoded=True)) as response:
                assert (response.status, response.content_type) == (status, kind), path
                assert await response.text() == text
    doors.close()


async def test_a_dev_server_that_ends_fails_at_once_with_its_last_lines(make: MakeSandbox) -> None:
    sandbox = make()
    await sandbox.start()
    await sandbox.write_files({"server.js": "console.error('no database'); process.exit(7)"})
    with pytest.raises(ServerFailed, match="ended before it answered") as failure:
        await sandbox.start_dev_server()
    assert failure.value.output == ("no database",)
    assert ("progress", "The dev server ended with exit code 7") in await sandbox.logs(10)


async def test_a_dev_server_that_never_answers_fails_and_is_dead(make: MakeSandbox) -> None:
    sandbox = make(server_seconds=1)
    await sandbox.start()
    await sandbox.write_files({"server.js": CLINGING})
    with pytest.raises(ServerFailed, match="did not answer within 1 s") as failure:
        await sandbox.start_dev_server()
    assert failure.value.output == ("clinging",)
    await until_gone("4242")
    assert (await sandbox.status()).health == "running"


async def test_a_cancelled_start_of_the_dev_server_kills_it(make: MakeSandbox) -> None:
    lines = SandboxLines()
    sandbox = make(lines)
    await sandbox.start()
    await sandbox.write_files({"server.js": CLINGING})
    start = asyncio.create_task(sandbox.start_dev_server())
    await lines.wait_for("clinging")
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    await until_gone("4242")


async def test_a_container_full_of_processes_is_restarted_for_the_next_server(
    make: MakeSandbox, fetch: Fetch
) -> None:
    bomb = HELLO + (
        "const { spawn } = require('child_process');\n"
        "for (let i = 0; i < 100; i++) spawn('sleep', ['4242'],"
        " { detached: true, stdio: 'ignore', env: {} }).on('error', () => 0);\n"
    )
    sandbox = make(sandbox_pids=60)
    await sandbox.start()
    await sandbox.write_files({"server.js": bomb})
    await sandbox.start_dev_server()
    await sandbox.write_files({"server.js": HELLO})
    assert (await fetch(await sandbox.start_dev_server())).startswith("hello")


# --- a life longer than ours ---------------------------------------------------------------------


async def test_a_container_is_adopted_with_its_files_and_its_running_server(
    make: MakeSandbox, fetch: Fetch
) -> None:
    first = make()
    started = await first.start()
    assert not started.note
    files = {"server.js": HELLO.replace("'asked for '", "'x'.repeat(2000)")}
    await first.write_files(files, note="both")
    url = await first.start_dev_server()
    before = await fetch(url)
    await first.close()

    lines = SandboxLines()
    second = make(lines)
    adopted = await second.start()
    assert (adopted.container_id, adopted.note) == (started.container_id, "both")
    assert (await second.status()).health == "serving"
    for _ in range(100):  # its output goes nowhere now, and must not block it
        assert await fetch(url) == before
    assert await fetch(await second.start_dev_server()) != before
    await lines.wait_for("listening")


async def test_a_stopped_container_keeps_its_files_and_serves_again(
    make: MakeSandbox, fetch: Fetch
) -> None:
    sandbox = make()
    await sandbox.start()
    await sandbox.write_files({"server.js": HELLO}, note="kept")
    await sandbox.start_dev_server()
    await sandbox.stop()
    await sandbox.stop()
    status = await sandbox.status()
    assert (status.health, status.preview_url) == ("stopped", None)
    with pytest.raises(SandboxUnavailable):
        await sandbox.start_dev_server()
    assert (await sandbox.start()).note == "kept"
    assert (await sandbox.status()).health == "running"
    assert (await fetch(await sandbox.start_dev_server())).startswith("hello")


async def test_a_container_made_with_other_settings_is_replaced(make: MakeSandbox) -> None:
    former = make(sandbox_memory_mib=256)
    before = await former.start()
    await former.write_files({}, note="of the former")
    after = await make(sandbox_memory_mib=512).start()
    assert not after.note
    assert after.container_id != before.container_id


async def test_two_services_on_one_engine_keep_their_containers_apart(
    make: MakeSandbox, tmp_path: Path
) -> None:
    ours, theirs = make(), make(state_dir=str(tmp_path / "other"))
    first, second = await ours.start(), await theirs.start()
    assert first.container_id != second.container_id
    assert (await ours.status()).note == ""
    assert "codegen-sandbox-demo." in (await theirs.status()).note
    await ours.remove()
    assert (await theirs.start()).container_id == second.container_id
    assert (await ours.status()).health == "absent"


async def test_two_starts_at_once_end_with_one_container(make: MakeSandbox) -> None:
    first, second = await asyncio.gather(make().start(), make().start())
    assert first.container_id == second.container_id


async def test_a_name_that_strangers_hold_is_told_and_left_alone(
    make: MakeSandbox, docker_engine: DockerEngine, tmp_path: Path
) -> None:
    names = container_names("demo", Settings.read({}, state_dir=str(tmp_path)))
    async with aiodocker.Docker() as docker:
        strangers = [
            await docker.containers.create({"Image": docker_engine.image, "Cmd": ["sh"]}, name=name)
            for name in names
        ]
        sandbox = make()
        with pytest.raises(SandboxUnavailable, match="others hold its name"):
            await sandbox.start()
        await sandbox.remove()
        for stranger in strangers:
            await stranger.show()
            await stranger.delete(force=True)


async def test_sandboxes_of_unknown_projects_are_reaped(make: MakeSandbox, tmp_path: Path) -> None:
    kept, gone = make(project_id="kept"), make(project_id="gone")
    foreign = make(project_id="gone", state_dir=str(tmp_path / "other"))
    for sandbox in (kept, gone, foreign):
        await sandbox.start()
    settings = Settings.read({}, state_dir=str(tmp_path), sandbox="docker")
    assert await reap(settings, {"kept"}) == 1
    healths = [(await sandbox.status()).health for sandbox in (kept, gone, foreign)]
    assert healths == ["running", "absent", "running"]
    names = await volume_names()
    services = [Settings.read({}, state_dir=str(tmp_path / name)) for name in ("", "other")]
    assert volume_name("kept", services[0]) in names
    assert volume_name("gone", services[0]) not in names
    assert volume_name("gone", services[1]) in names


# --- isolation -----------------------------------------------------------------------------------


async def test_limits_are_set_on_the_container(make: MakeSandbox) -> None:
    sandbox = make(sandbox_memory_mib=256, sandbox_cpus=0.5, sandbox_pids=200)
    started = await sandbox.start()
    async with aiodocker.Docker() as docker:
        details = await (await docker.containers.get(started.container_id or "")).show()
    host = details["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == 256 * 1024 * 1024
    assert (host["NanoCpus"], host["PidsLimit"]) == (500_000_000, 200)
    assert (host["CapDrop"], host["SecurityOpt"]) == (["ALL"], ["no-new-privileges"])
    assert not host["Privileged"]
    assert not host["Binds"]
    assert host["ReadonlyRootfs"]
    mounts = {mount["Destination"]: mount["RW"] for mount in details["Mounts"]}
    assert mounts == {"/run/codegen": False, "/home": True}
    assert host["Init"]
    assert host["NetworkMode"] == "none"
    assert not host["PortBindings"]


async def test_nothing_of_our_environment_and_no_privilege_is_inside(
    make: MakeSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-secret")
    lines = SandboxLines()
    sandbox = make(lines)
    await sandbox.start()
    script = "env; id -u; grep -E 'CapEff|NoNewPrivs' /proc/self/status; ulimit -n"
    await sandbox.write_files(package(scripts={"preinstall": script}))
    await sandbox.install_dependencies({})
    output = lines.texts("stdout")
    assert not any("sk-secret" in line or "DOCKER_HOST" in line for line in output)
    for expected in ("1000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "16384"):
        assert expected in output


# --- trouble -------------------------------------------------------------------------------------


async def test_an_engine_that_stops_in_mid_install_is_sandbox_unavailable(
    make: MakeSandbox, fetch: Fetch, docker_engine: DockerEngine
) -> None:
    lines = SandboxLines()
    sandbox = make(lines)
    started = await sandbox.start()
    await sandbox.write_files(package(scripts={"preinstall": "node c.js"}) | {"c.js": CLINGING})
    install = asyncio.create_task(sandbox.install_dependencies({}))
    await lines.wait_for("clinging")
    await asyncio.to_thread(docker_engine.stop)
    try:
        with pytest.raises(SandboxUnavailable):
            await install
        for call in (
            sandbox.start,
            lambda: sandbox.install_dependencies({}),
            lambda: sandbox.run_check("build"),
            sandbox.start_dev_server,
            sandbox.status,
            sandbox.stop,
            sandbox.remove,
        ):
            with pytest.raises(SandboxUnavailable, match="No Docker engine answers"):
                await call()
        with pytest.raises(SandboxUnavailable):
            await sandbox.write_files({"a.txt": "text"})
        with pytest.raises(SandboxUnavailable):
            await sandbox.delete_files(["a.txt"])
    finally:
        await asyncio.to_thread(docker_engine.start)
    again = await sandbox.start()
    assert again.container_id == started.container_id
    await sandbox.delete_files(["package.json"])
    await sandbox.write_files({"server.js": HELLO})
    assert (await fetch(await sandbox.start_dev_server())).startswith("hello")


async def test_a_container_that_was_lost_is_made_anew_around_its_volume(make: MakeSandbox) -> None:
    sandbox = make()
    started = await sandbox.start()
    await sandbox.write_files({"a.txt": "text"}, note="of the former")
    async with aiodocker.Docker() as docker:
        await (await docker.containers.get(started.container_id or "")).delete(force=True)
    again = await sandbox.start()
    assert again.container_id != started.container_id
    assert again.note == ""  # nobody knows why it was lost
    assert await inside("cat a.txt") == "text"


async def test_a_relay_that_the_kernel_has_killed_is_started_again(
    make: MakeSandbox, fetch: Fetch
) -> None:
    sandbox = make()
    await sandbox.start()
    await sandbox.write_files({"server.js": HELLO})
    url = await sandbox.start_dev_server()
    before = await fetch(url)
    async with aiodocker.Docker() as docker:
        rows = (await (await docker.containers.get("codegen-sandbox-demo")).top())["Processes"]
    [relay] = [int(row[1]) for row in rows if row[-1].startswith("node --v8-pool-size")]
    os.kill(relay, signal.SIGKILL)
    with contextlib.suppress(aiohttp.ClientError):  # over a connection that it carried
        await fetch(url)
    assert await fetch(url) == before


async def test_a_container_that_was_removed_under_us_is_sandbox_unavailable(
    make: MakeSandbox,
) -> None:
    lines = SandboxLines()
    sandbox = make(lines)
    await sandbox.start()
    await sandbox.write_files(package(scripts={"preinstall": "node c.js"}) | {"c.js": CLINGING})
    install = asyncio.create_task(sandbox.install_dependencies({}))
    await lines.wait_for("clinging")
    await make().remove()
    with pytest.raises(SandboxUnavailable):
        await install
    with pytest.raises(SandboxUnavailable, match="generate again"):
        await sandbox.write_files({"a.txt": "text"})
    await sandbox.start()


# --- the image -----------------------------------------------------------------------------------


async def test_a_missing_image_is_pulled_and_its_progress_told(
    make: MakeSandbox, registry: Registry
) -> None:
    lines = SandboxLines()
    sandbox = make(lines, sandbox_image=registry.image)
    await sandbox.start()
    told = lines.texts("progress")
    assert told[0] == f"Pulling the image {registry.image}"
    assert told[-1] == f"Pulled the image {registry.image}"


@pytest.mark.parametrize("image", ["{registry}/tiny:missing", "127.0.0.1:9/none:1", "Not An Image"])
async def test_an_image_that_cannot_be_had_is_told(
    make: MakeSandbox, registry: Registry, image: str
) -> None:
    sandbox = make(sandbox_image=image.format(registry=registry.image.split("/")[0]))
    with pytest.raises(SandboxImageMissing, match="check CODEGEN_SANDBOX_IMAGE"):
        await sandbox.start()


async def test_a_cancelled_pull_leaves_nothing_and_can_be_repeated(
    make: MakeSandbox, registry: Registry
) -> None:
    registry.is_open.clear()
    sandbox = make(sandbox_image=registry.image)
    start = asyncio.create_task(sandbox.start())
    await registry.layer_asked.wait()
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert (await sandbox.status()).health == "absent"
    registry.is_open.set()
    await sandbox.start()


# --- choosing ------------------------------------------------------------------------------------


async def test_auto_and_docker_choose_docker_where_an_engine_answers(
    docker_engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker_engine.url)
    for word in ("auto", "docker"):
        settings = Settings.read({}, sandbox=word)
        choice = await choose_sandbox(settings)
        assert (choice.kind, choice.note) == ("docker", "")
        sandbox = make_sandbox(choice.kind, "demo", settings, SandboxLines(), "http://x")
        assert isinstance(sandbox, Workspace)


async def test_a_runtime_that_the_engine_does_not_have_is_told(
    docker_engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker_engine.url)
    choice = await choose_sandbox(Settings.read({}, sandbox="docker", sandbox_runtime="nowhere"))
    assert choice.note.startswith("This engine has no runtime nowhere (CODEGEN_SANDBOX_RUNTIME)")
