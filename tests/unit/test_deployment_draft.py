"""New files are tried in a draft while the app goes on with those that have proved themselves."""

from __future__ import annotations

import asyncio

import pytest

from actors.errors import BuildFailed, InstallFailed, SandboxUnavailable, ServerFailed
from actors.generation.deployment import Deployment
from tests.support.sandbox import URL, FilesOf, MemoryEngine, MemorySandbox

GOOD = {"index.html": "<h1>Hello</h1>\n", "package.json": '{"scripts": {"build": "test -f a.js"}}'}
GOOD["a.js"] = "1"
UNBUILT = {path: text for path, text in GOOD.items() if path != "a.js"}
UNINSTALLED = GOOD | {"package.json": "{"}
CRASHING = GOOD | {"server.js": "crash"}
BETTER = GOOD | {"index.html": "<h1>Better</h1>\n"}


@pytest.fixture
def engine() -> MemoryEngine:
    return MemoryEngine()


@pytest.fixture
async def deployment(engine: MemoryEngine) -> Deployment:
    """An app that answers with the good files."""
    made = Deployment(lambda: MemorySandbox(engine), "http://app/")
    await deploy(made, GOOD)
    return made


def next_life(engine: MemoryEngine) -> Deployment:
    return Deployment(lambda: MemorySandbox(engine), "http://app/")


async def deploy(deployment: Deployment, files: dict[str, str]) -> None:
    """Bring the sandbox to these files, as a run does."""
    await deployment.ready()
    await deployment.write(files)
    if deployment.needs_install(files):
        await deployment.install(files)
    if deployment.needs_check(files):
        await deployment.check(files)
    await deployment.serve()


async def fail(
    deployment: Deployment,
    files: dict[str, str],
    failure: type[InstallFailed | BuildFailed | ServerFailed],
) -> None:
    """Deploy files that do not do, as a run does it."""
    with pytest.raises(failure):
        await deploy(deployment, files)
    await deployment.note_failure(files)
    await deployment.fall_back()


def is_up_with(engine: MemoryEngine, files: dict[str, str]) -> bool:
    container = engine.container
    return container is not None and container.is_serving and container.files == files


CASES = [(UNINSTALLED, InstallFailed), (UNBUILT, BuildFailed), (CRASHING, ServerFailed)]


@pytest.mark.parametrize("reloads", [True, False])
@pytest.mark.parametrize(("files", "failure"), CASES)
async def test_files_that_do_not_do_leave_the_app_as_it_was(
    deployment: Deployment,
    engine: MemoryEngine,
    files: dict[str, str],
    failure: type[InstallFailed | BuildFailed | ServerFailed],
    *,
    reloads: bool,
) -> None:
    engine.reloads_files = reloads
    await fail(deployment, files, failure)
    assert is_up_with(engine, GOOD)
    assert (deployment.url, deployment.is_behind) == (URL, True)


@pytest.mark.parametrize(("files", "failure"), CASES)
async def test_what_repairs_them_is_taken_over(
    deployment: Deployment,
    engine: MemoryEngine,
    files: dict[str, str],
    failure: type[InstallFailed | BuildFailed | ServerFailed],
) -> None:
    await fail(deployment, files, failure)
    await deploy(deployment, BETTER)
    assert is_up_with(engine, BETTER)
    assert not deployment.is_behind


async def test_the_app_is_served_while_its_next_files_are_installed_and_checked(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    hold = engine.hold("install_dependencies")
    other = BETTER | {"package.json": '{"name": "other"}'}
    task = asyncio.create_task(deploy(deployment, other))
    await hold.reached.wait()
    assert is_up_with(engine, GOOD)
    hold.release()
    await task
    assert is_up_with(engine, other)
    assert engine.servers_started == 2


async def test_a_dev_server_that_shows_changes_goes_on_with_them(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    await deployment.write(BETTER)
    assert not deployment.needs_start
    await deployment.serve()
    assert is_up_with(engine, BETTER)
    assert engine.servers_started == 1


async def test_a_draft_goes_on_from_one_attempt_to_the_next(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    await fail(deployment, UNBUILT, BuildFailed)
    await fail(deployment, UNBUILT | {"b.js": "2"}, BuildFailed)
    assert engine.drafts == 1
    await deploy(deployment, BETTER)
    await deploy(deployment, GOOD)
    assert engine.drafts == 2


async def test_files_that_are_the_former_ones_again_need_nothing(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    await fail(deployment, UNBUILT, BuildFailed)
    await deploy(deployment, GOOD)
    assert not deployment.is_behind
    assert (engine.installs, engine.servers_started) == (1, 1)


@pytest.mark.parametrize(("call", "step"), [("check", BuildFailed), ("install", InstallFailed)])
async def test_what_takes_too_much_memory_beside_the_app_is_tried_alone(
    deployment: Deployment, engine: MemoryEngine, call: str, step: type[Exception]
) -> None:
    engine.kills.append(call)
    other = BETTER | {"package.json": GOOD["package.json"] + "\n"}
    await deploy(deployment, other)
    assert is_up_with(engine, other)
    assert engine.servers_started == 2


async def test_the_app_that_made_way_comes_back_where_its_next_files_do_not_do(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    engine.kills.append("check")
    await fail(deployment, UNBUILT, BuildFailed)
    assert is_up_with(engine, GOOD)
    assert deployment.is_behind


@pytest.mark.parametrize("step", ["write_files", "install_dependencies"])
async def test_a_draft_that_was_broken_off_is_begun_anew(
    deployment: Deployment, engine: MemoryEngine, step: str
) -> None:
    hold = engine.hold(step)
    other = BETTER | {"package.json": '{"name": "other"}'}
    task = asyncio.create_task(deploy(deployment, other))
    await hold.reached.wait()
    task.cancel()
    await asyncio.wait([task])
    hold.release()
    assert is_up_with(engine, GOOD)
    await deploy(deployment, other)
    assert is_up_with(engine, other)
    assert engine.drafts == (2 if step == "write_files" else 1)


async def test_a_later_life_knows_which_files_did_not_do(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    await fail(deployment, CRASHING, ServerFailed)
    await deployment.stop()
    later = next_life(engine)
    await later.ready()
    assert later.have_failed(CRASHING)
    assert not later.have_failed(BETTER)
    assert await later.fall_back()
    assert is_up_with(engine, GOOD)
    assert later.is_behind


async def test_an_app_that_never_answered_has_nothing_to_fall_back_on(
    engine: MemoryEngine,
) -> None:
    deployment = next_life(engine)
    with pytest.raises(ServerFailed):
        await deploy(deployment, CRASHING)
    assert not await deployment.fall_back()
    assert not deployment.have_failed(CRASHING)
    assert engine.drafts == 0


async def test_a_former_state_that_cannot_be_served_is_none(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    await deployment.stop()
    later = next_life(engine)
    await later.ready()
    await later.write(CRASHING)
    engine.lose_container()
    assert not await later.fall_back()
    assert not later.is_behind


async def test_a_dev_server_that_ended_meanwhile_is_started_with_the_new_files(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    assert engine.container is not None
    engine.container.is_serving = False
    await deployment.look()
    await deploy(deployment, BETTER)
    assert is_up_with(engine, BETTER)
    assert engine.servers_started == 2


async def test_a_sandbox_that_is_lost_as_the_draft_is_taken_over_is_made_anew(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    engine.losses.append("serve")
    other = BETTER | {"package.json": '{"name": "other"}'}
    with pytest.raises(SandboxUnavailable):
        await deploy(deployment, other)
    await deploy(deployment, other)
    assert is_up_with(engine, other)
    assert engine.containers_made == 2


# --- what was broken off -------------------------------------------------------------------------

OTHER = {"package.json": '{"name": "other"}'}


@pytest.mark.parametrize("is_next_life", [True, False])
async def test_a_take_over_that_was_broken_off_is_undone(
    deployment: Deployment, engine: MemoryEngine, *, is_next_life: bool
) -> None:
    hold = engine.hold("start_dev_server")
    task = asyncio.create_task(deploy(deployment, CRASHING | OTHER))
    await hold.reached.wait()
    task.cancel()
    await asyncio.wait([task])
    hold.release()
    later = next_life(engine) if is_next_life else deployment
    await fail(later, CRASHING | OTHER, ServerFailed)
    assert is_up_with(engine, GOOD)
    assert later.is_behind


async def test_a_note_that_was_broken_off_leaves_the_good_state_known(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    await deployment.write(CRASHING)
    hold = engine.hold("write_files")
    task = asyncio.create_task(deployment.note_failure(CRASHING))
    await hold.reached.wait()
    task.cancel()
    await asyncio.wait([task])
    hold.release()
    assert engine.container is not None
    engine.container.note = '{"files": {}}'  # whatever has become of it
    await deploy(deployment, BETTER)
    assert is_up_with(engine, BETTER)


async def test_a_container_that_was_stopped_behind_our_back_is_lost_and_not_a_bug(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    await deployment.write(BETTER)
    assert engine.container is not None
    engine.container.is_running = False
    await deployment.look()
    with pytest.raises(SandboxUnavailable):
        deployment.needs_install(BETTER)
    await deploy(deployment, BETTER)
    assert is_up_with(engine, BETTER)


# --- what is the app's own, and what a build has made ---------------------------------------------


@pytest.mark.parametrize("reloads", [True, False])
async def test_what_the_app_keeps_in_a_file_of_the_project_stays(
    engine: MemoryEngine, *, reloads: bool
) -> None:
    engine.reloads_files = reloads
    deployment, seed = next_life(engine), GOOD | {"data.json": "[]"}
    await deploy(deployment, seed)
    assert engine.container is not None
    engine.container.files["data.json"] = "precious"
    await deploy(deployment, seed | {"index.html": "new"})
    assert engine.container.files == seed | {"index.html": "new", "data.json": "precious"}


class Building(MemorySandbox):
    """Its check is a build, which makes a page, and a database by mistake."""

    def check(self, script: str, files_of: FilesOf) -> None:
        super().check(script, files_of)
        files = files_of(self.running())
        files["dist/index.html"] = f"built of {files['index.html']}"
        files.setdefault("app.db", "empty")


async def test_what_a_build_makes_is_served_but_for_what_the_app_has_made_itself(
    engine: MemoryEngine,
) -> None:
    engine.reloads_files = False
    deployment = Deployment(lambda: Building(engine), "http://app/")
    await deploy(deployment, GOOD)
    assert engine.container is not None
    engine.container.files["app.db"] = "precious"
    engine.container.data.add("app.db")
    await deploy(deployment, BETTER)
    assert engine.container.files["dist/index.html"] == f"built of {BETTER['index.html']}"
    assert engine.container.files["app.db"] == "precious"
