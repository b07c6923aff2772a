"""What is particular to sandboxes in bubblewrap; test_hostile_app.py attacks them as well."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from actors.errors import InstallFailed, SandboxError, SandboxUnavailable
from actors.sandbox import enclosed
from actors.sandbox.bubblewrap import BubblewrapRuntime
from actors.sandbox.choose import bubblewrap_sandbox
from actors.sandbox.doors import door_directory, remove_door_directory
from actors.sandbox.enclosed import MAX_SHORT_BYTES
from actors.sandbox.layout import APP_DIR, HOME_DIR, NOTE_FILE
from actors.sandbox.namespace import user_of
from actors.sandbox.workspace import Workspace
from actors.settings import Settings
from tests.support.bubblewrap import open_way, running, until_gone, until_nothing_runs_as
from tests.support.fetch import Fetch
from tests.support.sandbox_log import SandboxLines

BOUND_SECONDS = 60.0
ORDINARY_USER_ID, STARTING_USER_ID = 54_321, 54_322
STARTS, LATEST_SECONDS = 60, 0.05  # a start takes half as long
HELLO = """
require('http').createServer((request, response) => response.end('hello'))
  .listen(Number(process.env.PORT), process.env.HOST);
"""
Make = Callable[..., Workspace]

pytestmark = pytest.mark.usefixtures("bubblewrap")


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Make sandboxes; all are removed at the end."""
    made: list[Workspace] = []

    def make_one(
        on_log: SandboxLines | None = None, project_id: str = "demo", **flags: object
    ) -> Workspace:
        settings = Settings.read({}, state_dir=str(tmp_path), **flags)
        made.append(bubblewrap_sandbox(project_id, settings, on_log or SandboxLines()))
        return made[-1]

    yield make_one
    for sandbox in made:
        await sandbox.remove()
        await sandbox.close()


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[BubblewrapRuntime]:
    """The runtime of a sandbox that has been started."""
    runtime = BubblewrapRuntime("demo", Settings.read({}, state_dir=str(tmp_path)))
    await runtime.obtain()
    yield runtime
    await runtime.remove()


async def inside(runtime: BubblewrapRuntime, script: str) -> str:
    """Run a script in the project's directory and return what it prints."""
    _, output = await runtime.run_short(APP_DIR, script)
    return output.decode().strip()


def package(**members: object) -> dict[str, str]:
    return {"package.json": json.dumps({"name": "app", "version": "1.0.0", **members})}


# --- what ends with what -------------------------------------------------------------------------

DAEMON = """
const { spawn } = require('child_process');
spawn('setsid', ['sh', '-c', 'trap "" TERM HUP; while :; do sleep 4242; done'],
  { detached: true, stdio: 'ignore', env: {} }).unref();
console.log('daemon started');
"""


async def owner(state_dir: Path, *user: str) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.sandbox_owner", str(state_dir), *user),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(BOUND_SECONDS):
        line = await process.stdout.readline()
    assert line.decode().strip() == f"serving as {user[0] if user else os.getuid()}"
    return process


async def test_what_runs_ends_with_a_killed_owner_and_its_files_stay(
    make: Make, tmp_path: Path
) -> None:
    process = await owner(tmp_path)
    assert running("demo", tmp_path)
    process.kill()
    await process.wait()
    await until_gone("demo", tmp_path)
    sandbox = make()
    assert (await sandbox.status()).health == "stopped"
    await sandbox.start()
    await sandbox.start_dev_server()


async def test_a_deadline_ends_an_install_with_all_that_it_has_started(
    make: Make, tmp_path: Path
) -> None:
    sandbox = make(install_seconds=2)
    await sandbox.start()
    await sandbox.write_files(
        {**package(scripts={"preinstall": "node try.js; sleep 4242"}), "try.js": DAEMON}
    )
    with pytest.raises(InstallFailed, match="did not finish within 2 s") as failed:
        await sandbox.install_dependencies({})
    assert "daemon started" in failed.value.output
    await until_gone("demo", tmp_path)


async def test_a_cancelled_install_is_gone(make: Make, tmp_path: Path) -> None:
    lines = SandboxLines()
    sandbox = make(lines)
    await sandbox.start()
    await sandbox.write_files(package(scripts={"preinstall": "echo begun; sleep 4242"}))
    install = asyncio.create_task(sandbox.install_dependencies({}))
    await lines.wait_for_line("begun")
    install.cancel()
    await asyncio.wait({install})
    await until_gone("demo", tmp_path)


async def test_a_process_that_has_left_everything_ends_with_its_command(
    make: Make, tmp_path: Path
) -> None:
    lines = SandboxLines()
    sandbox = make(lines)
    await sandbox.start()
    await sandbox.write_files({**package(scripts={"build": "node try.js"}), "try.js": DAEMON})
    await sandbox.run_check("build")
    assert ("stdout", "daemon started") in lines.lines
    await until_gone("demo", tmp_path)


async def test_a_stopped_dev_server_is_gone_and_a_closed_one_goes_on(
    make: Make, fetch: Fetch, tmp_path: Path
) -> None:
    sandbox = make()
    await sandbox.start()
    chatty = HELLO + "setInterval(() => console.log('x'.repeat(10_000)), 1);"
    await sandbox.write_files({"server.js": chatty})
    url = await sandbox.start_dev_server()
    await sandbox.close()
    for _ in range(20):  # more than a pipe holds
        assert await fetch(url) == "hello"
    await sandbox.stop()
    await until_gone("demo", tmp_path)


async def test_a_start_that_is_cancelled_at_any_moment_leaves_nothing(
    runtime: BubblewrapRuntime, tmp_path: Path
) -> None:
    async def run() -> None:
        task = runtime.task(HOME_DIR, "check", ("sleep", "4242"), {})
        try:
            await task.start()
            while await task.read() is not None:
                pass
        finally:
            await task.close()

    for number in range(STARTS):
        one = asyncio.create_task(run())
        await asyncio.wait({one}, timeout=number * LATEST_SECONDS / STARTS)
        one.cancel()
        done, _ = await asyncio.wait({one}, timeout=BOUND_SECONDS)
        assert done
    await until_gone("demo", tmp_path)


@pytest.mark.parametrize("user_id", [0, STARTING_USER_ID])
async def test_an_owner_that_is_killed_at_any_moment_of_a_start_leaves_nothing(
    user_id: int,
) -> None:
    with tempfile.TemporaryDirectory(prefix="codegen-") as directory:  # pytest's are closed
        await leave_nothing(Path(directory), user_id)


async def leave_nothing(state_dir: Path, user_id: int) -> None:
    os.chown(state_dir, user_id, user_id)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.killed_owners", str(state_dir)),
        *(str(user_id), str(STARTS), str(LATEST_SECONDS)),
    )
    async with asyncio.timeout(BOUND_SECONDS):
        assert await process.wait() == 0
    settings = Settings.read({}, state_dir=str(state_dir))
    projects = [user_of(str(number), settings) for number in range(STARTS)]
    for user in projects if user_id == 0 else [user_id]:
        await until_nothing_runs_as(user)


async def test_a_command_that_does_not_end_when_it_is_killed_is_left_to_the_kernel(
    runtime: BubblewrapRuntime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What stands in for it has a child outside that holds its output open."""
    script = "sleep 4242 & echo $!; echo ready >&0; read -r go; wait"
    monkeypatch.setattr(enclosed, "command_line", lambda *_: ["sh", "-c", script])
    monkeypatch.setattr(enclosed, "END_SECONDS", 0.1)
    task = runtime.task(HOME_DIR, "check", (), {})
    await task.start()
    part = await task.read()
    assert part is not None
    reading = asyncio.create_task(task.read())
    await task.end()
    assert "has not ended 0.1 s after it was killed" in caplog.text
    assert await reading is None
    os.kill(int(part[1]), signal.SIGKILL)


async def test_what_an_earlier_owner_has_left_ends_with_the_next_start(
    make: Make, tmp_path: Path
) -> None:
    user_id = user_of("demo", Settings.read({}, state_dir=str(tmp_path)))
    left = await asyncio.create_subprocess_exec("sleep", "4242", user=user_id, group=user_id)
    assert running("demo", tmp_path)
    await make().start()
    async with asyncio.timeout(BOUND_SECONDS):
        assert await left.wait() == -signal.SIGKILL


# --- files ---------------------------------------------------------------------------------------


async def test_links_of_the_app_lead_nowhere(
    make: Make, runtime: BubblewrapRuntime, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.txt").write_text("kept")
    sandbox = make()
    await sandbox.start()
    await inside(runtime, f"ln -s {outside} src; ln -s {outside}/kept.txt a.txt; ln -s / all")
    await inside(runtime, f"rm -f {NOTE_FILE}; ln -s {outside}/kept.txt {NOTE_FILE}")
    await sandbox.write_files({"src/b.txt": "text", "a.txt": "text"}, note="note")
    assert await inside(runtime, "cat src/b.txt a.txt") == "texttext"
    await inside(runtime, f"cd; rm -r app; ln -s {outside} app")
    assert (await sandbox.start()).note == "note"
    await sandbox.write_files({"kept.txt": "text"})
    assert await inside(runtime, "cat kept.txt") == "text"
    await inside(runtime, f"ln -s {outside} again")
    await sandbox.remove()
    assert [path.name for path in outside.iterdir()] == ["kept.txt"]
    assert (outside / "kept.txt").read_text() == "kept"


@pytest.mark.parametrize(
    "harm",
    [
        "cd; rm -rf app",
        "cd; rm -rf app; echo x > app",
        "cd; chmod 0 .",
        "chmod 0 .",
        "rm a.txt; mkdir -p a.txt/b/c b.txt/d; chmod 0 a.txt",
        f"rm -f {NOTE_FILE}; mkdir -p {NOTE_FILE}/x; chmod 0 {NOTE_FILE}",
    ],
)
async def test_an_app_that_breaks_its_own_directory_can_be_mended(
    make: Make, runtime: BubblewrapRuntime, harm: str
) -> None:
    sandbox = make()
    await sandbox.start()
    await sandbox.write_files({"a.txt": "text", "node_modules/x/index.js": "kept"})
    await inside(runtime, harm)
    await sandbox.start()
    await sandbox.write_files({"a.txt": "text", "b.txt": "text"}, note="note")
    assert await inside(runtime, "cat a.txt b.txt") == "texttext"
    assert (await sandbox.start()).note == "note"
    await sandbox.delete_files(["a.txt"])
    assert (await sandbox.start()).note == ""


async def test_other_files_stay_where_files_are_written(
    make: Make, runtime: BubblewrapRuntime
) -> None:
    sandbox = make()
    await sandbox.start()
    await sandbox.write_files({"src/a.txt": "1"})
    await inside(runtime, "echo built >src/b.txt; mkdir -p node_modules/x; touch node_modules/x/y")
    await sandbox.write_files({"src/a.txt": "2", "run.sh": "#!/bin/sh\necho ran ü\n"})
    assert await inside(runtime, "cat src/*; ls node_modules/x; ./run.sh") == "2built\ny\nran ü"


async def test_a_sandbox_is_removed_however_deep_and_closed_its_directories(
    make: Make, runtime: BubblewrapRuntime, tmp_path: Path
) -> None:
    sandbox = make()
    await sandbox.start()
    dig = "fs.mkdirSync(name); process.chdir(name);"
    deep = f"const name = 'd'.repeat(200); for (let i = 0; i < 1200; i++) {{ {dig} }}"
    await inside(runtime, f'node -e "{deep}"; mkdir -p closed/x; chmod 0 closed')
    await sandbox.remove()
    assert list((tmp_path / "sandboxes").iterdir()) == []
    assert (await sandbox.status()).health == "absent"


async def test_a_directory_cannot_be_deleted_as_a_file(make: Make) -> None:
    sandbox = make()
    await sandbox.start()
    await sandbox.write_files({"src/a.txt": "text"})
    with pytest.raises(SandboxError, match="cannot be deleted"):
        await sandbox.delete_files(["src"])


async def test_a_full_disk_is_told_and_no_note_is_left(
    make: Make, runtime: BubblewrapRuntime
) -> None:
    sandbox = make(sandbox_file_mib=1)
    await sandbox.start()
    with pytest.raises(SandboxError, match="cannot be written"):
        await sandbox.write_files({"a.txt": "x" * 2_000_000}, note="note")
    assert (await sandbox.start()).note == ""


async def test_a_folder_that_vanished_is_told_and_made_anew(make: Make, tmp_path: Path) -> None:
    sandbox = make()
    await sandbox.start()
    shutil.rmtree(tmp_path / "sandboxes")
    assert (await sandbox.status()).health == "absent"
    for attempt in (
        sandbox.write_files({"a.txt": "text"}),
        sandbox.delete_files(["a.txt"]),
        sandbox.install_dependencies({}),
        sandbox.start_dev_server(),
    ):
        with pytest.raises(SandboxUnavailable):
            await attempt
    assert (await sandbox.start()).note == ""
    await sandbox.write_files({"a.txt": "text"})


async def test_doors_that_were_removed_are_made_anew(
    make: Make, fetch: Fetch, tmp_path: Path
) -> None:
    sandbox = make()
    await sandbox.start()
    await sandbox.write_files({"server.js": HELLO})
    await sandbox.start_dev_server()
    remove_door_directory(door_directory("demo", Settings.read({}, state_dir=str(tmp_path))))
    await sandbox.start()
    assert not running("demo", tmp_path)
    assert await fetch(await sandbox.start_dev_server()) == "hello"


# --- what is there, and how much of it -----------------------------------------------------------


async def test_a_command_sees_its_own_project_and_the_systems_programs_alone(
    make: Make, runtime: BubblewrapRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-secret")
    await make(project_id="other").start()
    assert await inside(runtime, "ls /home /run") == "/home:\nnode\n\n/run:\ncodegen"
    assert await inside(runtime, "ls -A ~") == "app"
    seen = (await inside(runtime, "ls /")).split()
    assert set(seen) <= {
        *("bin", "dev", "etc", "home", "lib", "lib32", "lib64", "opt", "proc", "run"),
        *("sbin", "tmp", "usr"),
    }
    assert "sk-secret" not in await inside(runtime, "env; cat /proc/*/environ")
    assert await inside(runtime, "ls /proc/1/fd | sort -n | tail -n 1") in ("3", "4", "5")
    assert await inside(runtime, "id -u; whoami") == "1000\nnode"
    capabilities = await inside(runtime, "grep -E '^(Cap|NoNewPrivs)' /proc/self/status")
    assert {line.split()[1] for line in capabilities.splitlines()} == {"0" * 16, "1"}
    for forbidden in ("unshare -U true", "mount -t tmpfs none /tmp", "touch /x /dev/x /home/x"):
        code, _ = await runtime.run_short(HOME_DIR, forbidden)
        assert code != 0


#: (what, call on x86_64, call on aarch64, first argument, error)
CALLS = (
    ("keyctl", 250, 219, 0, errno.EPERM),
    ("bpf", 321, 280, 0, errno.EPERM),
    ("io_uring_setup", 425, 425, 1, errno.EPERM),
    ("unshare", 272, 97, 0x1000_0000, errno.EPERM),
    ("socket of vsock", 41, 198, 40, errno.EAFNOSUPPORT),
    ("socket of the internet", 41, 198, 2, 0),
    ("getpid", 39, 172, 0, 0),
)


async def test_system_calls_that_no_app_needs_are_refused(runtime: BubblewrapRuntime) -> None:
    """Perl, which is a part of every Debian, can make any call."""
    is_arm = platform.machine() == "aarch64"
    for what, call, arm_call, argument, error in CALLS:
        number = arm_call if is_arm else call
        say = f"print syscall({number}, {argument}, 1, 0) < 0 ? $!+0 : 0"
        assert (what, await inside(runtime, f"perl -e '{say}'")) == (what, str(error))
    assert await inside(runtime, "grep '^Seccomp:' /proc/self/status") == "Seccomp:\t2"


@pytest.mark.parametrize("mark", ["install", "check"])
async def test_an_install_is_told_our_registry_and_nothing_is_told_a_login(
    runtime: BubblewrapRuntime,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    mark: str,
) -> None:
    certificates = tmp_path / "ours.pem"
    certificates.write_text("ours")
    own = {
        "NPM_CONFIG_REGISTRY": "https://me:secret@npm.example.com:8443/a/",
        "HTTPS_PROXY": "http://user:secret@proxy.example.com:3128",
    }
    monkeypatch.setenv("npm_config_registry", own["NPM_CONFIG_REGISTRY"])
    monkeypatch.setenv("HTTPS_PROXY", own["HTTPS_PROXY"])
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(certificates))
    assert await runtime.environment() == own
    script = 'env; cat "$NODE_EXTRA_CA_CERTS"; exec sleep 4242'
    task = runtime.task(APP_DIR, mark, ("sh", "-c", script), {"PORT": "1"})
    output = b""
    await task.start()
    while not output.endswith(b"ours"):
        part = await task.read()
        assert part is not None
        output += part[1] if part[0] == "stdout" else b""
    told = b"NPM_CONFIG_REGISTRY=https://npm.example.com:8443/a/"
    assert (told in output.split()) == (mark == "install")
    assert b"PORT=1" in output.split()
    seen = [word for p in running("demo", tmp_path) for word in p.cmdline()]
    await task.end()
    assert b"secret" not in output
    assert "--setenv" in seen
    assert not any("secret" in word for word in seen)
    assert ("apps are not told the login" in caplog.text) == (mark == "install")
    assert "secret" not in caplog.text


async def test_signals_that_we_ignore_are_not_ignored_inside(runtime: BubblewrapRuntime) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as actors do
    try:
        ignored = await inside(runtime, "grep '^SigIgn:' /proc/self/status")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ignored.split()[1] == "0" * 16


async def test_projects_are_different_users(make: Make, tmp_path: Path) -> None:
    for name in ("one", "two"):
        await make(project_id=name).start()
    homes = list((tmp_path / "sandboxes").glob("*/node"))
    settings = Settings.read({}, state_dir=str(tmp_path))
    assert {home.stat().st_uid for home in homes} == {
        user_of(name, settings) for name in ("one", "two")
    }
    assert all(home.parent.stat().st_mode & 0o777 == 0o700 for home in homes)


COUNT = """
const { spawn } = require('child_process');
const all = [];
const one = () => spawn('sleep', ['60'], { stdio: 'ignore' })
  .on('error', (error) => { console.log(error.code + ' after ' + all.length); process.exit(); })
  .on('spawn', () => all.length < 100 ? setImmediate(() => all.push(one())) : process.exit());
all.push(one());
"""


async def test_processes_are_limited_for_one_sandbox_and_not_for_its_neighbour(make: Make) -> None:
    lines = SandboxLines()
    sandbox = make(lines, sandbox_pids=60)
    await sandbox.start()
    await sandbox.write_files({**package(scripts={"build": "node try.js"}), "try.js": COUNT})
    await sandbox.run_check("build")
    told = next(line for line in lines.texts("stdout") if line.startswith("EAGAIN after"))
    assert 10 < int(told.split()[-1]) < 60


#: Has as many processes as it may.
CROWD = """
my $child = 1;
while (defined $child) { $child = fork; if (defined $child && !$child) { sleep 4242; exit } }
$| = 1; print "full"; sleep 4242;
"""


async def test_a_sandbox_that_is_full_of_processes_can_be_written_to(
    make: Make, tmp_path: Path
) -> None:
    sandbox = make(sandbox_pids=60)
    await sandbox.start()
    settings = Settings.read({}, state_dir=str(tmp_path), sandbox_pids=60)
    runtime = BubblewrapRuntime("demo", settings)
    await runtime.obtain()
    crowd = runtime.task(HOME_DIR, "check", ("perl", "-e", CROWD), {})
    await crowd.start()
    assert await crowd.read() == ("stdout", b"full")
    await sandbox.write_files({"a.txt": "text"})
    assert await inside(runtime, "cat a.txt") == "text"
    await crowd.end()
    await runtime.close()


async def told(runtime: BubblewrapRuntime, script: str) -> str:
    """Run a script as an app's command in the project's directory; return what it prints."""
    task = runtime.task(APP_DIR, "check", ("sh", "-c", script), {})
    output = b""
    await task.start()
    while (part := await task.read()) is not None:
        output += part[1]
    await task.close()
    return output.decode().strip()


async def test_limits_are_those_of_the_settings(tmp_path: Path) -> None:
    settings = Settings.read(
        {}, state_dir=str(tmp_path), sandbox_memory_mib=256, sandbox_file_mib=20, sandbox_pids=77
    )
    runtime = BubblewrapRuntime("demo", settings)
    await runtime.obtain()
    try:
        ask = "prlimit --pid %s --raw --noheadings -o RESOURCE,SOFT,HARD"
        limits = await told(runtime, ask % "$$")
        assert await told(runtime, ask % 1) == limits  # an app may have it do what it likes
        sizes = await told(
            runtime, "stat -f -c '%b %S' /tmp /dev/shm; nice; cat /proc/self/oom_score_adj"
        )
    finally:
        await runtime.remove()
    held = {name: values for name, *values in map(str.split, limits.splitlines())}
    for name, value in (
        ("DATA", 256 * 1024 * 1024),
        ("FSIZE", 20 * 1024 * 1024),
        ("NPROC", 77),
        ("NOFILE", 16_384),
        ("CORE", 1),
    ):
        assert held[name] == [str(value)] * 2
    *spaces, niceness, badness = sizes.splitlines()
    for space in spaces:
        blocks, size = map(int, space.split())
        assert blocks * size == 64 * 1024 * 1024
    assert (niceness, badness) == ("5", "1000")


async def test_the_output_of_a_small_command_is_bounded(runtime: BubblewrapRuntime) -> None:
    code, output = await runtime.run_short(APP_DIR, "yes")
    assert code != 0
    assert len(output) == MAX_SHORT_BYTES


def package_of(npm: str) -> Path:
    return Path(npm).resolve().parent.parent


async def test_a_node_that_lives_in_somebodys_home_is_shown_alone(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: BubblewrapRuntime
) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "bin").mkdir()
    (home / "secret").write_text("secret")
    node, npm = shutil.which("node") or "", shutil.which("npm") or ""
    shutil.copy(node, home / "bin" / "node")
    (home / "shims").mkdir()
    shim = home / "shims" / "node"
    shim.write_text(f'#!/bin/sh\nexec {home}/bin/node "$@"\n')
    shim.chmod(0o755)
    shutil.copytree(package_of(npm), home / "lib" / "node_modules" / "npm")
    (home / "shims" / "npm").symlink_to("../lib/node_modules/npm/bin/npm-cli.js")
    monkeypatch.setenv("PATH", f"{home}/shims:{os.environ['PATH']}")
    await runtime.obtain()
    for name in ("node", "npm", "npx"):
        assert await inside(runtime, f"command -v {name}") == f"/opt/node/bin/{name}"
    assert (await inside(runtime, "npm --version")).count(".") == 2
    assert await inside(runtime, f"ls {home}/secret 2>/dev/null; ls /opt/node") == "bin\nlib"


# --- an ordinary user ----------------------------------------------------------------------------


async def test_an_ordinary_user_has_sandboxes_that_end_with_their_owner_too(tmp_path: Path) -> None:
    """The interpreter may be one that only root may open: it becomes another user when it runs."""
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    os.chown(state_dir, ORDINARY_USER_ID, ORDINARY_USER_ID)
    open_way(state_dir)
    process = await owner(state_dir, str(ORDINARY_USER_ID))
    children = psutil.Process(process.pid).children(recursive=True)
    assert {child.uids().real for child in children} == {ORDINARY_USER_ID}
    process.send_signal(signal.SIGKILL)
    await process.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, BOUND_SECONDS)
    assert not alive
