"""A hostile app: what it tries fails or is contained, and another project's app goes on answering.

It tries from an install script, which may do what the app may and has the way to the registries
open besides, or from its running server; in a container and in bubblewrap.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from actors.errors import InstallFailed, SandboxUnavailable
from actors.sandbox.base import SandboxKind
from actors.sandbox.choose import make_sandbox
from actors.sandbox.doors import DoorConnector
from actors.settings import Settings
from gateway.doors import Doors
from tests.support.docker import DockerEngine
from tests.support.sandbox_log import SandboxLines

BOUND_SECONDS = 60.0
HELLO = """
const http = require('http');
http.createServer((request, response) => response.end('hello'))
  .listen(Number(process.env.PORT), process.env.HOST);
"""
#: Tries to connect to `[host, port]` or `[path]`, and says from where it got how far.
REACH = """
const net = require('net');
for (const target of %(targets)s) {
  const name = target.join(':').replace('\\0', '@');
  const place = target.length > 1 ? { host: target[0], port: target[1] } : { path: target[0] };
  const there = net.connect(place);
  const end = (word) => { console.log('%(from)s ' + word + ' ' + name); there.destroy(); };
  there.setTimeout(3000, () => end('silent'));
  there.on('connect', () => end('reached')).on('error', (error) => end(error.code));
}
"""
#: Asks the proxy for places, and says what it answers; again where the relay has yet to begin.
CONNECT = """
const net = require('net');
function ask(place) {
  const there = net.connect(3128, '127.0.0.1');
  let answer = '';
  there.on('data', (part) => { answer += part; there.end(); });
  there.on('error', (error) => { answer = error.code; });
  there.on('close', () => answer === 'ECONNREFUSED' ? setTimeout(ask, 20, place)
    : console.log(place + ' ' + (answer.split('\\r')[0] || 'closed')));
  there.write('CONNECT ' + place + ' HTTP/1.1\\r\\n\\r\\n');
}
%s.forEach(ask);
"""


class Town:
    """Two projects of one service: `hostile` and a harmless neighbour that serves."""

    def __init__(self, kind: SandboxKind, settings: Settings) -> None:
        self.settings = settings
        self.lines = SandboxLines()
        self.hostile = make_sandbox(kind, "hostile", settings, self.lines, "")
        self.neighbour = make_sandbox(kind, "neighbour", settings, SandboxLines(), "")
        self._doors = Doors(settings)
        self._session = aiohttp.ClientSession(connector=DoorConnector(self._doors.find))
        self._url = ""

    async def start(self) -> None:
        await asyncio.gather(self.hostile.start(), self.neighbour.start())
        await self.neighbour.write_files({"server.js": HELLO})
        self._url = await self.neighbour.start_dev_server()
        await self.neighbour_answers()

    async def stop(self) -> None:
        await self._session.close()
        self._doors.close()
        for sandbox in (self.hostile, self.neighbour):
            await sandbox.remove()
            await sandbox.close()
        shutil.rmtree(self.settings.run_dir, ignore_errors=True)

    async def neighbour_answers(self) -> None:
        assert await self._ask(self._url) == "hello"

    async def _ask(self, url: str) -> str:
        async with asyncio.timeout(BOUND_SECONDS), self._session.get(url) as response:
            return await response.text()

    async def install(self, script: str) -> list[str]:
        """Run a script of Node as an install script; return the lines that it printed."""
        manifest = {"name": "a", "version": "1.0.0", "scripts": {"preinstall": "node try.js"}}
        await self.hostile.write_files({"package.json": json.dumps(manifest), "try.js": script})
        before = len(self.lines.texts("stdout"))
        await self.hostile.install_dependencies({})
        return self.lines.texts("stdout")[before:]

    async def serve(self, script: str = "") -> None:
        """Have a server in the hostile app that answers, and does this besides."""
        await self.hostile.delete_files(["package.json"])
        await self.hostile.write_files({"server.js": HELLO + script})
        assert await self._ask(await self.hostile.start_dev_server()) == "hello"


@pytest.fixture(params=["docker", "bubblewrap"])
def kind(
    request: pytest.FixtureRequest,
    docker_engine: DockerEngine,
    bubblewrap: None,
    monkeypatch: pytest.MonkeyPatch,
) -> SandboxKind:
    monkeypatch.setenv("DOCKER_HOST", docker_engine.url)
    found: SandboxKind = request.param
    return found


@contextlib.asynccontextmanager
async def town_of(
    kind: SandboxKind, engine: DockerEngine, path: Path, **flags: object
) -> AsyncIterator[Town]:
    """Two projects with low limits."""
    settings = Settings.read(
        {},
        state_dir=str(path),
        sandbox_image=engine.image,
        sandbox_memory_mib=256,
        sandbox_pids=100,
        sandbox_file_mib=20,
        **flags,
    )
    town = Town(kind, settings)
    try:
        await town.start()
        yield town
    finally:
        await town.stop()


@pytest.fixture
async def town(
    kind: SandboxKind, docker_engine: DockerEngine, tmp_path: Path
) -> AsyncIterator[Town]:
    async with town_of(kind, docker_engine, tmp_path) as town:
        yield town


class Listener:
    """Services of the host: one on every address, one on the loopback, one abstract."""

    def __init__(self) -> None:
        self.visits = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        def visited(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.visits += 1
            writer.close()

        abstract = socket.socket(socket.AF_UNIX)
        self.abstract = f"codegen-test-{os.getpid()}"
        abstract.bind(f"\0{self.abstract}")
        async with (
            await asyncio.start_server(visited, "0.0.0.0", 0) as public,  # on purpose
            await asyncio.start_server(visited, "127.0.0.1", 0) as private,
            await asyncio.start_unix_server(visited, sock=abstract),
        ):
            self.ports = [server.sockets[0].getsockname()[1] for server in (public, private)]
            yield


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    listener = Listener()
    async with listener.running():
        yield listener


def host_addresses() -> list[str]:
    """Every IPv4 address of this machine, and what stands for it in some networks."""
    found = {a.address for nic in psutil.net_if_addrs().values() for a in nic if a.family == 2}
    return sorted(found | {"172.17.0.1", "127.0.0.1", "host.docker.internal"})


async def test_no_service_of_the_host_or_of_any_network_is_reached(
    town: Town, listener: Listener, docker_engine: DockerEngine
) -> None:
    targets: list[list[object]] = [
        [address, port] for address in host_addresses() for port in listener.ports
    ]
    targets += [["169.254.169.254", 80], ["1.1.1.1", 443], ["8.8.8.8", 53]]
    targets += [["codegen-sandbox-neighbour", 5173], ["registry.npmjs.org", 443]]
    targets += [[f"\0{listener.abstract}"], ["/var/run/docker.sock"]]
    targets += [[docker_engine.url.removeprefix("unix://")], [str(town.settings.feed_socket)]]
    names = {":".join(map(str, target)).replace("\0", "@") for target in targets}
    await town.install(REACH % {"from": "install", "targets": json.dumps(targets)})
    await town.serve(REACH % {"from": "server", "targets": json.dumps(targets)})
    for origin in ("install", "server"):
        for name in names:
            await town.lines.wait_for_line(rf"{origin} \S+ {re.escape(name)}")
        told = [line for line in town.lines.texts("stdout") if line.startswith(f"{origin} ")]
        assert {line.split()[2] for line in told} == names
        assert all(line.split()[1].startswith("E") for line in told)
    assert listener.visits == 0
    await town.neighbour_answers()


async def test_the_way_to_the_registries_leads_nowhere_else(town: Town, listener: Listener) -> None:
    places = [f"{address}:{port}" for address in host_addresses() for port in listener.ports]
    places += ["169.254.169.254:80", "1.1.1.1:443", "registry.npmjs.org:22", "[::1]:443"]
    places += [
        f"localhost:{listener.ports[0]}",
        "127.0.0.1.nip.io:443",
        "codegen-sandbox-neighbour:5173",
    ]
    lines = await town.install(CONNECT % json.dumps(places))
    for place in places:
        assert f"{place} HTTP/1.1 403 Forbidden" in lines
    assert listener.visits == 0
    await town.serve(CONNECT % json.dumps(["registry.npmjs.org:443"]))
    # no install, no way out: hung up, whether or not the request had been read
    await town.lines.wait_for_line(r"registry\.npmjs\.org:443 (closed|ECONNRESET|EPIPE)")
    await town.neighbour_answers()


async def test_a_listed_name_that_means_this_machine_leads_nowhere(
    kind: SandboxKind, docker_engine: DockerEngine, tmp_path: Path, listener: Listener
) -> None:
    place = f"localhost:{listener.ports[1]}"  # what a name may mean a moment after it was checked
    async with town_of(kind, docker_engine, tmp_path, sandbox_registries=place) as town:
        lines = await town.install(CONNECT % json.dumps([place]))
        assert f"{place} HTTP/1.1 403 Forbidden" in lines
        assert any("where no registry may be" in line for line in town.lines.texts("stderr"))
        assert listener.visits == 0


WRITE = """
const fs = require('fs'), net = require('net');
const attempt = (name, act) => {
  try { act(); console.log('done ' + name); }
  catch (error) { console.log(error.code + ' ' + name); }
};
for (const name of ['/x', '/etc/x', '/usr/bin/x', '/run/x', '/run/codegen/x', '/var/x', '/home/x',
  '/proc/sys/kernel/hostname', '/sys/x', '/etc/passwd', '/run/codegen/app.sock/x', '/app/x'])
  attempt('write ' + name, () => fs.writeFileSync(name, 'x'));
attempt('link', () => fs.symlinkSync('/etc/passwd', '/run/codegen/link'));
attempt('unlink', () => fs.unlinkSync('/run/codegen/probe.sock'));
attempt('rename', () => fs.renameSync('/run/codegen/probe.sock', '/run/codegen/app.sock'));
attempt('chmod', () => fs.chmodSync('/run/codegen', 0o777));
net.createServer().on('error', (error) => console.log(error.code + ' listen'))
  .listen('/run/codegen/mine.sock', () => console.log('done listen'));
setTimeout(() => process.exit(), 500);
"""


async def test_nothing_is_written_outside_the_volume_and_nothing_is_planted_at_the_doors(
    town: Town,
) -> None:
    lines = await town.install(WRITE)
    assert not [line for line in lines if line.startswith("done")]
    assert sum(line.startswith(("EROFS", "EACCES", "EPERM", "ENO")) for line in lines) == 17
    await town.serve()
    await town.neighbour_answers()


HOST_PATHS = """
const fs = require('fs');
for (const name of %s) console.log((fs.existsSync(name) ? 'seen ' : 'absent ') + name);
console.log(fs.readdirSync('/run/codegen').join());
console.log('uid ' + process.getuid() + ' environment ' + JSON.stringify(process.env));
for (const name of fs.readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name)))
  try { console.log(fs.readFileSync('/proc/' + name + '/environ', 'utf8')); } catch (error) {}
"""


async def test_the_hosts_files_keys_and_environment_are_not_there(
    town: Town, docker_engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-secret")
    settings = town.settings
    settings.path("wire.key").write_text("key")
    names = [settings.state_dir, str(settings.key_file), str(settings.run_dir), __file__]
    names += [docker_engine.url.removeprefix("unix://"), "/var/run/docker.sock", "/work"]
    names += [f"/proc/1/root{settings.key_file}"]
    lines = await town.install(HOST_PATHS % json.dumps(names))
    for name in names:
        assert f"absent {name}" in lines
    assert not any("sk-secret" in line for line in lines)
    assert any(line.startswith("uid 1000") for line in lines)


#: Ends all that it may: one process after the other, then everything at once.
KILL = """
const fs = require('fs');
for (const name of fs.readdirSync('/proc')) {
  if (!/^[0-9]+$/.test(name) || Number(name) === process.pid) continue;
  const of = fs.readFileSync('/proc/' + name + '/cmdline', 'utf8');
  if (!of.includes('/run/codegen')) continue;
  try { process.kill(Number(name), 'SIGKILL'); console.log('killed ' + name); }
  catch (error) { console.log(error.code + ' ' + name); }
}
process.kill(-1, 'SIGKILL');
"""


@pytest.mark.parametrize("kind", ["docker"], indirect=True)  # the other's is the app's own
async def test_the_relay_cannot_be_killed(town: Town) -> None:
    with pytest.raises((InstallFailed, SandboxUnavailable)):
        await town.install(KILL)
    told = town.lines.texts("stdout")
    assert any(line.startswith("EPERM") for line in told)
    assert not [line for line in told if line.startswith("killed")]
    await town.serve()
    await town.neighbour_answers()


BOMB = """
const { spawn } = require('child_process');
const bomb = () => spawn('sh', ['-c', 'f() { f | f & }; f; sleep 4242'],
  { detached: true, stdio: 'ignore', env: { PATH: process.env.PATH } }).on('error', () => 0);
for (let i = 0; i < 200; i++) bomb();
console.log('bombs away');
setInterval(bomb, 50);
"""


async def test_a_fork_bomb_fills_its_own_sandbox_alone(town: Town) -> None:
    await town.serve(BOMB)
    await town.lines.wait_for("bombs away")
    await town.neighbour_answers()
    await town.serve()


HOG = """
const { spawn } = require('child_process');
console.log('filling');
const many = () => spawn('node', ['-e', 'let a = []; for (;;) a.push(Buffer.alloc(1e6, 1))'],
  { stdio: 'ignore' }).on('exit', many);
for (let i = 0; i < 4; i++) many();
"""


async def test_memory_is_filled_in_its_own_sandbox_alone(town: Town) -> None:
    with pytest.raises(InstallFailed, match="failed with exit code"):
        await town.install("const a = []; for (;;) a.push(Buffer.alloc(1e6, 1))")
    await town.neighbour_answers()
    await town.serve(HOG)
    await town.lines.wait_for("filling")
    await town.neighbour_answers()
    await town.serve()


FILL = """
const fs = require('fs');
const part = Buffer.alloc(1e6, 1);
for (const name of ['/tmp/big', process.env.HOME + '/big']) {
  let count = 0;
  process.on('SIGXFSZ', () => 0);
  try {
    const file = fs.openSync(name, 'w');
    for (; count < 2000; count++) fs.writeSync(file, part);
  } catch (error) { console.log(error.code + ' ' + name + ' after ' + count); }
}
let files = 0;
try { for (; files < 500; files++) fs.writeFileSync('/tmp/' + files, part); }
catch (error) { console.log(error.code + ' files after ' + files); }
"""


async def test_a_file_and_the_temporary_directory_are_bounded(town: Town) -> None:
    lines = await town.install(FILL)
    assert any(line.startswith("EFBIG /tmp/big") for line in lines)
    assert any(line.startswith("EFBIG /home/node/big") for line in lines)
    assert any(line.startswith("ENOSPC files after") for line in lines)
    await town.serve()
    await town.neighbour_answers()


HOLD = """
const { spawn } = require('child_process');
const script = "require('http').createServer((q, r) => r.end('stale')).listen(5173, '0.0.0.0')";
spawn('node', ['-e', script], { detached: true, stdio: 'ignore', env: {} }).unref();
setTimeout(() => console.log('holding'), 500);
"""


async def test_a_process_that_left_everything_does_not_keep_the_port(town: Town) -> None:
    await town.hostile.write_files({"server.js": HOLD})
    await town.hostile.start_dev_server()
    await town.lines.wait_for("holding")
    await town.serve()  # asks who answers there
    await town.neighbour_answers()


FLOOD = """
const net = require('net');
for (let i = 0; i < 5000; i++) net.connect('/run/codegen/app.sock').on('error', () => 0);
setTimeout(() => console.log('flooded'), 500);
"""


async def test_a_flood_at_its_own_door_costs_the_service_nothing(town: Town) -> None:
    await town.serve(FLOOD)
    await town.lines.wait_for("flooded")
    assert psutil.Process().num_fds() < 500
    await town.neighbour_answers()
    await town.serve()


async def test_a_server_that_ignores_the_polite_signal_is_stopped(town: Town) -> None:
    await town.serve("process.on('SIGTERM', () => 0); process.on('SIGHUP', () => 0);")
    async with asyncio.timeout(BOUND_SECONDS):
        await town.hostile.stop()
    assert (await town.hostile.status()).health == "stopped"
    await town.neighbour_answers()
