"""The draft of a real sandbox: what it takes over, what it leaves alone, and how it is undone."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from actors.errors import InstallFailed
from actors.sandbox.choose import bubblewrap_sandbox, docker_sandbox
from actors.sandbox.doors import DoorConnector
from actors.sandbox.layout import APP_DIR
from actors.sandbox.workspace import Workspace
from actors.settings import Settings
from gateway.doors import Doors
from tests.support.docker import DockerEngine
from tests.support.sandbox_log import SandboxLines

#: Says what its dependency, its page and its build are, and keeps data of its own.
SERVER = """
const fs = require('fs');
const read = (path) => fs.existsSync(path) ? fs.readFileSync(path, 'utf8').trim() : '-';
fs.writeFileSync('data.txt', 'precious');
require('http').createServer((request, response) => {
  response.end(['node_modules/dep/v', 'page.txt', 'dist/out', 'gone.txt'].map(read).join(' '));
}).listen(Number(process.env.PORT), process.env.HOST);
"""


def manifest(version: str) -> str:
    """A package.json whose install writes in place, as tools that patch packages do."""
    return json.dumps(
        {
            "scripts": {
                "postinstall": f"mkdir -p node_modules/dep; echo {version} > node_modules/dep/v",
                "build": "mkdir -p dist && cp page.txt dist/out",
                "start": "node server.js",
            }
        }
    )


FIRST = {
    "package.json": manifest("v1"),
    "server.js": SERVER,
    "page.txt": "one",
    "gone.txt": "here",
    "lib": "a file",
}
NEXT = {
    "package.json": manifest("v2"),
    "server.js": SERVER,
    "page.txt": "two",
    "new/deep.txt": "n",
    "lib/a.js": "now a directory",
}
GONE = {"gone.txt", "lib"}


@pytest.fixture(params=["docker", "bubblewrap"])
async def sandbox(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Workspace]:
    """A sandbox whose app answers with the first files."""
    settings = Settings.read({}, state_dir=str(tmp_path), cache_mib=0)
    if request.param == "docker":
        engine: DockerEngine = request.getfixturevalue("docker_engine")
        monkeypatch.setenv("DOCKER_HOST", engine.url)
        settings = replace(settings, sandbox_image=engine.image)
        made = docker_sandbox("demo", settings, SandboxLines())
    else:
        request.getfixturevalue("bubblewrap")
        made = bubblewrap_sandbox("demo", settings, SandboxLines())
    await made.start()
    await made.write_files(FIRST)
    await made.install_dependencies({})
    await made.start_dev_server()
    yield made
    await made.remove()
    await made.close()
    shutil.rmtree(settings.run_dir, ignore_errors=True)


async def answer(tmp_path: Path, sandbox: Workspace) -> str:
    url = (await sandbox.status()).preview_url
    assert url is not None
    doors = Doors(Settings.read({}, state_dir=str(tmp_path)))
    try:
        async with (
            aiohttp.ClientSession(connector=DoorConnector(doors.find)) as session,
            session.get(url, headers={"Host": "demo.localhost"}) as response,
        ):
            return await response.text()
    finally:
        doors.close()


async def inside(sandbox: Workspace, script: str) -> str:
    """Run a script in the app's folder, as the app's user."""
    _, output = await sandbox._runtime.run_short(APP_DIR, script)
    return output.decode().strip()


async def prepared(sandbox: Workspace) -> None:
    """Have the next files installed and built in the draft."""
    await sandbox.draft.begin()
    await sandbox.draft.write_files(NEXT)
    await sandbox.draft.install_dependencies({})
    await sandbox.draft.run_check("build")


async def test_the_app_goes_on_as_it_is_while_its_next_state_is_prepared(
    sandbox: Workspace, tmp_path: Path
) -> None:
    await prepared(sandbox)
    assert await answer(tmp_path, sandbox) == "v1 one - here"
    assert (
        await inside(sandbox, "cat ../draft/dist/out ../draft/node_modules/dep/v") == "two" + "v2"
    )


async def test_all_is_taken_over_but_what_the_app_has_made_for_itself(
    sandbox: Workspace, tmp_path: Path
) -> None:
    await inside(sandbox, "echo 17 > data.txt; mkdir uploads; echo photo > uploads/a")
    await prepared(sandbox)
    await sandbox.end_dev_server()
    await sandbox.draft.take_over(None, GONE, dependencies=True)
    assert await inside(sandbox, "cat data.txt uploads/a new/deep.txt lib/a.js") == (
        "17\nphoto\nn" + "now a directory"
    )
    await sandbox.start_dev_server()
    assert await answer(tmp_path, sandbox) == "v2 two two -"


async def test_what_was_taken_over_can_be_undone(sandbox: Workspace, tmp_path: Path) -> None:
    before = await inside(sandbox, "find . | sort; cat lib; cat node_modules/dep/v")
    await prepared(sandbox)
    await sandbox.end_dev_server()
    await sandbox.draft.take_over(None, GONE, dependencies=True)
    await sandbox.draft.undo()
    assert (
        await inside(
            sandbox,
            "find . -not -path ./dist -not -path ./new | sort; cat lib; cat node_modules/dep/v",
        )
        == before
    )
    await sandbox.start_dev_server()
    assert await answer(tmp_path, sandbox) == "v1 one - here"


async def test_a_running_app_is_given_its_changed_files_alone(
    sandbox: Workspace, tmp_path: Path
) -> None:
    await prepared(sandbox)
    await sandbox.draft.take_over({"page.txt", "new/deep.txt"}, {"gone.txt"}, dependencies=False)
    assert await answer(tmp_path, sandbox) == "v1 two - -"


async def test_a_failed_install_can_be_mended_in_the_same_draft(sandbox: Workspace) -> None:
    await sandbox.draft.begin()
    await sandbox.draft.write_files(NEXT | {"package.json": "{"})
    with pytest.raises(InstallFailed):
        await sandbox.draft.install_dependencies({})
    await inside(sandbox, "touch ../draft/node_modules/.kept")
    await sandbox.draft.write_files({"package.json": NEXT["package.json"]})
    await sandbox.draft.install_dependencies({})
    found = await inside(sandbox, "cd ../draft/node_modules; ls -A .kept .codegen-own; cat dep/v")
    assert found == ".codegen-own\n.kept\nv2"
    assert await inside(sandbox, "cat node_modules/dep/v") == "v1"


async def test_a_second_draft_shares_nothing_with_the_first(sandbox: Workspace) -> None:
    await prepared(sandbox)
    await sandbox.end_dev_server()
    await sandbox.draft.take_over(None, GONE, dependencies=True)
    await sandbox.draft.begin()
    await sandbox.draft.write_files(NEXT | {"package.json": manifest("v3")})
    await sandbox.draft.install_dependencies({})
    assert await inside(sandbox, "cat ../draft/node_modules/dep/v node_modules/dep/v") == "v3\nv2"
    assert await inside(sandbox, "ls ../draft") == "lib\nnew\nnode_modules\npackage-lock.json\n" + (
        "package.json\npage.txt\nserver.js"
    )


async def test_a_draft_is_made_whatever_the_app_has_made_of_its_place(sandbox: Workspace) -> None:
    await inside(sandbox, "ln -s app ../draft; ln -s app ../former; mkdir ../.codegen-order")
    await inside(sandbox, "rm -rf node_modules; ln -s /etc node_modules")
    await sandbox.draft.begin()
    await sandbox.draft.write_files({"page.txt": "two"})
    await sandbox.draft.take_over(None, set(), dependencies=False)
    assert await inside(sandbox, "cat page.txt server.js | head -c 3; ls ../draft") == (
        "two" + "package-lock.json\npage.txt"
    )
    assert await inside(sandbox, "[ -L ../former ] || cat ../former/files/page.txt") == "one"
