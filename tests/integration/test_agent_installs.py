"""Install commands in a model's answer end up in package.json, whatever happens in between."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors import messages as m
from tests.support.agent import SITE, World
from tests.support.openrouter import Answer
from tests.support.sandbox import MemoryEngine

PACKAGE = '{\n  "scripts": {\n    "dev": "node server.js"\n  }\n}\n'
NODE = {"package.json": PACKAGE, "server.js": "1\n"}


def block(path: str, text: str) -> str:
    return f"cat > {path} << 'EOF'\n{text}EOF\n"


async def package_json(world: World) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((await world.files())["package.json"])
    return manifest


async def test_packages_are_added_once_the_files_are_complete_and_installed_with_the_rest(
    world: World,
) -> None:
    world.engine = MemoryEngine()
    world.model.add_phase("Base", NODE, last=True)
    world.model.answer_next(
        "yarn add zod@^3 react\n"
        + block("package.json", PACKAGE)
        + "npm install --save-dev vite\nnpm install -g pm2\nnpm install\n"
        + block("server.js", "1\n"),
        purpose="implement",
    )
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    assert await package_json(world) == {
        "scripts": {"dev": "node server.js"},
        "dependencies": {"zod": "^3", "react": "latest"},
        "devDependencies": {"vite": "latest"},
    }
    assert world.engine.container is not None
    assert world.engine.container.files == await world.files()
    assert world.engine.installs == 1
    asked = [f["data"]["arguments"] for f in world.sink.frames if f["type"] == "install_requested"]
    assert asked == [
        ["npm", "install", "zod@^3", "react"],
        ["npm", "install", "--save-dev", "vite"],
    ]
    [refused] = [f["data"] for f in world.sink.frames if f["type"] == "model_warning"]
    assert refused["kind"] == "install_command"
    assert "'-g' is not allowed" in refused["detail"]


async def test_what_was_asked_for_before_a_crash_is_added_after_it(world: World) -> None:
    world.engine = MemoryEngine()
    world.model.add_phase("Base", NODE, last=True)
    world.model.answer_next(
        "npm install zod\n" + block("package.json", PACKAGE), purpose="implement"
    )
    gate = world.model.hold("npm install zod\n")
    await world.live()
    await world.generate()
    await gate.reached.happened()
    await world.sink.expect("install_requested")
    await world.die()
    gate.release()
    await world.live()
    await world.sink.expect("generation_complete")
    assert (await package_json(world))["dependencies"] == {"zod": "latest"}
    assert world.sink.types().count("install_requested") == 1
    assert world.engine.installs == 1


async def test_an_answer_that_breaks_off_has_asked_for_its_packages(world: World) -> None:
    world.engine = MemoryEngine()
    world.model.add_phase("Base", NODE, last=True)
    text = "npm install zod\n" + block("server.js", "1\n")
    world.model.answer_next(
        Answer(text=text, finish_reason=None, is_done_sent=False), purpose="implement"
    )
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    assert (await package_json(world))["dependencies"] == {"zod": "latest"}


async def test_a_project_without_a_package_json_gets_one(world: World) -> None:
    world.engine = MemoryEngine()
    world.model.add_phase("Base", {"server.js": "1\n"}, last=True)
    world.model.answer_next(
        block("server.js", "1\n") + "npm install express@5\n", purpose="implement"
    )
    await world.live()
    await world.generate()
    complete = await world.sink.expect("generation_complete")
    assert complete["data"]["files"] == ["package.json", "server.js"]
    assert await package_json(world) == {"private": True, "dependencies": {"express": "5"}}
    assert world.engine.installs == 1


async def test_a_package_json_that_is_not_json_is_left_to_the_repair(world: World) -> None:
    world.engine = MemoryEngine()
    world.model.add_phase("Base", {"package.json": "{\n"}, last=True)
    world.model.add_phase("Repair", {"package.json": PACKAGE}, last=True)
    world.model.answer_next(block("package.json", "{\n") + "npm install zod\n", purpose="implement")
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    [warning] = [f["data"] for f in world.sink.frames if f["type"] == "model_warning"]
    assert warning["detail"] == "zod: package.json is not JSON"
    assert (await world.sink.expect("phase_failed"))["data"]["code"] == "install_failed"
    assert (await world.files())["package.json"] == PACKAGE


async def test_a_later_phase_decides_anew(world: World) -> None:
    world.engine = MemoryEngine()
    world.model.add_phase("Base", NODE)
    world.model.add_phase("Change", {"package.json": PACKAGE}, last=True)
    world.model.answer_next(
        block("package.json", PACKAGE) + block("server.js", "1\n") + "npm install zod\n",
        purpose="implement",
    )
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    assert (await world.files())["package.json"] == PACKAGE
    assert world.engine.installs == 2


async def test_a_static_site_is_given_no_packages(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    text = "".join(block(path, content) for path, content in SITE.items())
    world.model.answer_next("npm install zod\n" + text, purpose="implement")
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    assert await world.files() == SITE
    [warning] = [f["data"] for f in world.sink.frames if f["type"] == "model_warning"]
    assert warning["detail"] == "'npm install zod' was not run: the app is a static site"


@pytest.mark.parametrize("ends", ["asleep", "crashed"])
async def test_a_later_life_does_only_what_has_changed(world: World, ends: str) -> None:
    engine = world.engine = MemoryEngine()
    world.model.add_phase("Base", NODE, last=True)
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    if ends == "asleep":
        world.desk.post(m.PassivateProject(request_id="sleep", project_id="p1"))
        await world.has_left()
    else:
        await world.die()
    world.model.add_phase("More", {"server.js": "2\n"}, last=True)
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete", 2)
    assert engine.writes == [set(NODE), {"server.js"}]
    assert (engine.containers_made, engine.installs, engine.servers_started) == (1, 1, 2)
    assert engine.container is not None
    assert engine.container.files == await world.files() == NODE | {"server.js": "2\n"}
