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
from actors.sandbox.base import TakeOver
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
ALL = TakeOver(
    changed=[path for path in NEXT if path != "server.js"],
    gone=["gone.txt", "lib"],
    own=sorted(FIRST.keys() | NEXT.keys()),
    builds=True,
    dependencies=True,
    note="former",
)
FEW = replace(
    ALL,
    changed=["page.txt", "new/deep.txt"],
    gone=["gone.txt"],
    builds=False,
    dependencies=False,
)


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
    await sandbox.draft.take_over(ALL)
    assert await inside(sandbox, "cat data.txt uploads/a new/deep.txt lib/a.js") == (
        "17\nphoto\nn" + "now a directory"
    )
    await sandbox.start_dev_server()
    assert await answer(tmp_path, sandbox) == "v2 two two -"


async def test_what_was_taken_over_can_be_undone(sandbox: Workspace, tmp_path: Path) -> None:
    before = await inside(sandbox, "find . | sort; cat lib; cat node_modules/dep/v")
    await prepared(sandbox)
    await sandbox.end_dev_server()
    await sandbox.draft.take_over(ALL)
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
    await sandbox.draft.take_over(FEW)
    assert await answer(tmp_path, sandbox) == "v1 two - -"


async def test_a_failed_install_can_be_mended_in_the_same_draft(sandbox: Workspace) -> None:
    await sandbox.draft.begin()
    await sandbox.draft.write_files(NEXT | {"package.json": "{"})
    with pytest.raises(InstallFailed):
        await sandbox.draft.install_dependencies({})
    await inside(sandbox, "touch ../draft/node_modules/.kept")
    await sandbox.draft.write_files({"package.json": NEXT["package.json"]})
    await sandbox.draft.install_dependencies({})
    assert await inside(sandbox, "cd ../draft/node_modules; ls -A .kept; cat dep/v") == ".kept\nv2"
    assert await inside(sandbox, "cat node_modules/dep/v") == "v1"


async def test_a_second_draft_shares_nothing_with_the_first(sandbox: Workspace) -> None:
    await prepared(sandbox)
    await sandbox.end_dev_server()
    await sandbox.draft.take_over(ALL)
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
    await inside(sandbox, "name=$(printf 'a\\nb'); mkdir -p \"$name/node_modules\"")
    await sandbox.draft.begin()
    await sandbox.draft.write_files({"page.txt": "two"})
    await sandbox.draft.take_over(replace(FEW, changed=["page.txt"], gone=[]))
    assert await inside(sandbox, "cat page.txt server.js | head -c 3; ls ../draft") == (
        "two" + "package-lock.json\npage.txt"
    )
    assert await inside(sandbox, "[ -L ../former ] || cat ../former/files/page.txt") == "one"


async def test_dependencies_below_the_root_are_there_and_taken_over(sandbox: Workspace) -> None:
    await inside(sandbox, "mkdir -p client/node_modules/dep; echo v1 > client/node_modules/dep/v")
    await sandbox.draft.begin()
    assert await inside(sandbox, "cat ../draft/client/node_modules/dep/v") == "v1"
    install = (
        "for p in . client; do mkdir -p $p/node_modules/dep; echo v2 > $p/node_modules/dep/v; done"
    )
    package = {"scripts": {"postinstall": install}}
    await sandbox.draft.write_files(NEXT | {"package.json": json.dumps(package)})
    await sandbox.draft.install_dependencies({})
    both = "cat node_modules/dep/v client/node_modules/dep/v"
    assert await inside(sandbox, both) == "v1\nv1"
    await sandbox.end_dev_server()
    await sandbox.draft.take_over(ALL)
    assert await inside(sandbox, both) == "v2\nv2"
    await sandbox.draft.undo()
    assert await inside(sandbox, both) == "v1\nv1"


async def test_what_the_app_has_made_is_not_replaced_by_what_a_build_makes(
    sandbox: Workspace,
) -> None:
    await prepared(sandbox)
    await inside(sandbox, "echo empty > ../draft/app.db; echo precious > app.db; mkdir -p dist")
    await inside(sandbox, "echo old > dist/out; touch -t 202001010000 dist/out")
    await sandbox.end_dev_server()
    await sandbox.draft.take_over(ALL)
    assert await inside(sandbox, "cat app.db dist/out data.txt") == "precious\ntwoprecious"


async def test_a_check_that_writes_into_the_dependencies_is_seen(sandbox: Workspace) -> None:
    await sandbox.draft.begin()
    await sandbox.draft.write_files(NEXT)
    await sandbox.draft.run_check("build")
    assert not sandbox.draft.touches_dependencies
    generate = {
        "scripts": {"build": "sleep 1.1; mkdir -p node_modules/.gen; echo 1 > node_modules/.gen/x"}
    }
    await sandbox.draft.write_files({"package.json": json.dumps(generate)})
    await sandbox.draft.run_check("build")
    assert sandbox.draft.touches_dependencies


async def test_a_start_undoes_what_was_not_finished_and_a_write_makes_it_final(
    sandbox: Workspace,
) -> None:
    await prepared(sandbox)
    await sandbox.end_dev_server()
    await sandbox.draft.take_over(ALL)
    assert (await sandbox.start()).note == "former"
    assert await inside(sandbox, "cat page.txt gone.txt node_modules/dep/v") == "onehere" + "v1"
    await sandbox.draft.begin()
    await sandbox.draft.write_files(NEXT)
    await sandbox.draft.take_over(replace(ALL, dependencies=False))
    await sandbox.write_files({}, note="final")
    assert (await sandbox.start()).note == "final"
    assert await inside(sandbox, "cat page.txt") == "two"


async def test_an_undo_that_was_broken_off_is_gone_on_with(sandbox: Workspace) -> None:
    await prepared(sandbox)
    await sandbox.end_dev_server()
    await sandbox.draft.take_over(ALL)
    record = await inside(sandbox, "cat ../.codegen-undo")
    await sandbox.draft.undo()
    await inside(sandbox, f"cat > ../.codegen-undo << 'EOF'\n{record}\nEOF")
    assert (await sandbox.start()).note == "former"
    assert await inside(sandbox, "cat page.txt gone.txt node_modules/dep/v") == "onehere" + "v1"


@pytest.mark.parametrize("spoiled", ["mkfifo ../.codegen-note", "echo { > ../.codegen-undo"])
async def test_an_app_that_spoils_what_is_told_of_it_is_written_anew(
    sandbox: Workspace, spoiled: str
) -> None:
    await inside(sandbox, f"rm -f ../.codegen-note; {spoiled}")
    assert (await sandbox.start()).note == ""
    await sandbox.write_files({"page.txt": "three"}, note="again")
    assert (await sandbox.start()).note == "again"
