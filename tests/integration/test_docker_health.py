"""A dev server in a real container: its end, its silence, its first answer, the limits it hits."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import aiodocker
import pytest

from actors.errors import BuildFailed, InstallFailed, ServerFailed
from actors.sandbox.choose import docker_sandbox
from actors.sandbox.workspace import Workspace
from actors.settings import Settings
from tests.support.docker import DockerEngine
from tests.support.sandbox_log import SandboxLines

BOUND_SECONDS = 60.0
LISTEN = ".listen(Number(process.env.PORT), process.env.HOST);\n"


@pytest.fixture
async def sandbox(
    docker_engine: DockerEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Workspace]:
    """A sandbox with small limits, started."""
    monkeypatch.setenv("DOCKER_HOST", docker_engine.url)
    settings = Settings.read(
        {},
        state_dir=str(tmp_path),
        sandbox_image=docker_engine.image,
        sandbox_memory_mib=256,
        sandbox_pids=60,
        sandbox_file_mib=20,
    )
    sandbox = docker_sandbox("demo", settings, SandboxLines())
    try:
        await sandbox.start()
        yield sandbox
    finally:
        await sandbox.remove()
        await sandbox.close()
        shutil.rmtree(settings.run_dir, ignore_errors=True)


def server(answer: str, besides: str = "") -> dict[str, str]:
    """An app whose server answers so: the body of a function of `request` and `response`."""
    head = "require('http').createServer((request, response) => {" + answer + "})"
    return {"server.js": head + LISTEN + besides}


def package(script: str) -> dict[str, str]:
    manifest = {"name": "a", "version": "1.0.0", "scripts": {"preinstall": script}}
    return {"package.json": json.dumps(manifest)}


async def started(sandbox: Workspace, files: dict[str, str]) -> None:
    await sandbox.write_files(files)
    await sandbox.start_dev_server()


async def ended(sandbox: Workspace) -> bool:
    return await asyncio.wait_for(sandbox.wait_until_ended(), BOUND_SECONDS)


# --- limits --------------------------------------------------------------------------------------

HOG = "const a = []; for (;;) a.push(Buffer.alloc(1e6, 1));"
BOMB = """
for (let i = 0; i < 100; i++)
  require('child_process').spawn('sleep', ['4242'], { stdio: 'ignore' });
"""
SHELL_BOMB = """
const script = 'i=0; while [ $i -lt 99 ]; do sleep 4242 & i=$((i+1)); done';
require('child_process').execFileSync('sh', ['-c', script], { stdio: 'inherit' });
"""
BIG_FILE = """
const file = require('fs').openSync('big', 'w');
for (;;) require('fs').writeSync(file, Buffer.alloc(1e6, 1));
"""
MANY_FILES = "for (let i = 0; ; i++) require('fs').writeFileSync('/tmp/' + i, Buffer.alloc(1e6));"
MEMORY = "more memory than the limit of 256 MiB (CODEGEN_SANDBOX_MEMORY_MIB)."
PROCESSES = "the limit is 60 processes and threads (CODEGEN_SANDBOX_PIDS)."
#: A script of an install, and what is said of its failure.
LIMITS = (
    (HOG, MEMORY),
    (BOMB, PROCESSES),
    (SHELL_BOMB, PROCESSES),
    (BIG_FILE, "beyond the limit of 20 MiB (CODEGEN_SANDBOX_FILE_MIB)."),
    (MANY_FILES, "the disk is full, or /tmp is (64 MiB, a quarter of CODEGEN_SANDBOX_MEMORY_MIB)."),
)


async def test_the_limit_that_an_install_hits_is_named(sandbox: Workspace) -> None:
    for script, sentence in LIMITS:
        await sandbox.write_files(package("node try.js") | {"try.js": script})
        with pytest.raises(InstallFailed) as failure:
            await sandbox.install_dependencies({})
        assert str(failure.value).splitlines()[0].endswith(f"{sentence} Its last lines:"), script


async def test_the_limit_that_a_check_hits_is_named(sandbox: Workspace) -> None:
    scripts = {"name": "a", "version": "1.0.0", "scripts": {"build": "node try.js"}}
    await sandbox.write_files({"package.json": json.dumps(scripts), "try.js": HOG})
    with pytest.raises(BuildFailed, match="CODEGEN_SANDBOX_MEMORY_MIB"):
        await sandbox.run_check("build")


async def test_the_limit_that_a_server_hits_is_named_before_and_behind_its_first_answer(
    sandbox: Workspace,
) -> None:
    with pytest.raises(ServerFailed, match=r"exit code 137\. It was killed.*MEMORY_MIB"):
        await started(sandbox, server("response.end()", HOG))
    for harm, code, sentence in ((HOG, 137, MEMORY), (BOMB, 1, PROCESSES)):
        await started(sandbox, server("response.end()", f"setTimeout(() => {{{harm}}}, 300);"))
        assert await ended(sandbox)
        report = sandbox.server_report()
        assert report.exit_code == code
        assert report.limit.endswith(sentence)
        assert report.output


# --- its end and its silence ---------------------------------------------------------------------


async def test_a_server_that_we_end_has_not_ended_by_itself(sandbox: Workspace) -> None:
    assert not await ended(sandbox)  # there is none
    await started(sandbox, server("response.end()"))
    waiting = asyncio.create_task(ended(sandbox))
    assert await sandbox.is_answering(BOUND_SECONDS)  # by now it waits
    await sandbox.start_dev_server()
    assert not await waiting


async def test_a_server_whose_container_is_removed_has_ended(sandbox: Workspace) -> None:
    await started(sandbox, server("response.end()"))
    async with aiodocker.Docker() as docker:
        await (await docker.containers.get("codegen-sandbox-demo")).delete(force=True)
    assert await ended(sandbox)


async def test_a_server_that_hangs_does_not_answer(sandbox: Workspace) -> None:
    await started(sandbox, server("if (globalThis.n++) for (;;); response.end()", "n = 0;"))
    assert not await sandbox.is_answering(0.5)
    assert sandbox.server_report().exit_code is None
    await started(sandbox, server("response.end()"))
    assert await sandbox.is_answering(BOUND_SECONDS)


# --- its first answer ----------------------------------------------------------------------------


async def test_a_server_that_answers_with_errors_alone_has_failed(
    sandbox: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.sandbox.dev_server.FAILING_SECONDS", 0.3)
    answer = "console.log('no table'); response.writeHead(503).end();"
    with pytest.raises(ServerFailed, match="The app answers with status 503") as failure:
        await started(sandbox, server(answer))
    assert failure.value.output[-1] == "no table"
    async with asyncio.timeout(BOUND_SECONDS):
        while await sandbox.is_answering(0.2):  # it is being killed
            pass


async def test_errors_before_a_good_answer_are_no_failure(sandbox: Workspace) -> None:
    answer = "response.writeHead(globalThis.n++ < 3 ? 500 : 404).end();"
    await started(sandbox, server(answer, "n = 0;"))
    assert (await sandbox.status()).health == "serving"
