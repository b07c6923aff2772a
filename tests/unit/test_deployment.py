"""The deployment over a sandbox in memory: only what has changed is done, and failures are few."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from actors.errors import BuildFailed, InstallFailed, SandboxUnavailable
from actors.generation.deployment import Deployment
from actors.generation.inventory import MANIFESTS, manifest_digest
from actors.sandbox.base import StartedSandbox
from actors.sandbox.static import StaticSandbox
from tests.support.sandbox import URL, Hold, MemoryEngine, MemorySandbox

APP = {"index.html": "<h1>Hello</h1>\n", "package.json": '{"name": "app"}'}
CHANGED = {"index.html": "<h1>Bye</h1>\n"}
ADDRESS = "http://127.0.0.1:8080/preview/p1/"


@pytest.fixture
def engine() -> MemoryEngine:
    return MemoryEngine()


@pytest.fixture
def deployment(engine: MemoryEngine) -> Deployment:
    return Deployment(lambda: MemorySandbox(engine), ADDRESS)


def held(engine: MemoryEngine) -> dict[str, str]:
    """The files in the container."""
    assert engine.container is not None
    return engine.container.files


async def prepare(
    deployment: Deployment, files: dict[str, str], deleted: Collection[str] = ()
) -> None:
    """Have these files, and what they need, in the sandbox."""
    await deployment.ready()
    await deployment.write(files, deleted)
    if deployment.needs_install(files):
        await deployment.install(files)


async def deploy(
    deployment: Deployment, files: dict[str, str], deleted: Collection[str] = ()
) -> None:
    """Bring the sandbox to these files, as a run does."""
    await prepare(deployment, files, deleted)
    assert await deployment.serve() == ADDRESS
    assert deployment.url == URL


async def test_only_changed_files_are_written(deployment: Deployment, engine: MemoryEngine) -> None:
    await deploy(deployment, APP)
    await deploy(deployment, APP)
    await deploy(deployment, APP | CHANGED)
    assert engine.writes == [set(APP), set(CHANGED)]
    assert held(engine) == APP | CHANGED


async def test_a_dev_server_that_does_not_see_changes_is_started_again_for_them(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    await deploy(deployment, APP)
    await deploy(deployment, APP | CHANGED)
    assert engine.servers_started == 1
    engine.reloads_files = False
    await deploy(deployment, APP | CHANGED)
    assert engine.servers_started == 1
    await deploy(deployment, APP)
    assert engine.servers_started == 2


async def test_what_the_project_has_no_more_is_deleted_once(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    await deploy(deployment, APP | {"old.js": "x"})
    await deploy(deployment, APP, {"old.js"})
    assert held(engine) == APP
    held(engine)["old.js"] = "of somebody else"
    await deploy(deployment, APP | CHANGED, {"old.js"})
    assert held(engine) == APP | CHANGED | {"old.js": "of somebody else"}
    await deploy(deployment, APP | {"old.js": "again"}, {"old.js"})
    await deploy(deployment, APP, {"old.js"})
    assert held(engine) == APP


async def test_what_was_deleted_is_deleted_where_nobody_knows_of_it_unless_it_is_in_use(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    await deploy(deployment, APP | {"old.js": "x", "back.js": "x", "docs": "x"})
    assert engine.container is not None
    engine.container.note = ""
    later = Deployment(lambda: MemorySandbox(engine), ADDRESS)
    await later.ready()
    files = APP | {"back.js": "y", "docs/a.md": "z"}
    held(engine).pop("docs")
    held(engine)["docs/a.md"] = "z"
    await later.write(files, {"old.js", "back.js", "docs"})
    assert held(engine) == files
    assert engine.deletes == [{"old.js"}]


async def test_only_a_changed_manifest_is_installed_again_and_then_served_again(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    await deploy(deployment, APP)
    assert not deployment.needs_install(APP | CHANGED)
    changed = APP | {"package.json": '{"name": "other"}'}
    assert deployment.needs_install(changed)
    await deployment.write(changed)
    await deployment.install(changed)
    assert deployment.is_serving
    assert deployment.needs_start
    await deployment.serve()
    assert (engine.installs, engine.servers_started) == (2, 2)


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_manifest_counts_by_its_name_and_its_text(name: str) -> None:
    digests = [
        manifest_digest(files) for files in ({}, {name: ""}, {name: "{}"}, {f"a/{name}": ""})
    ]
    assert len(set(digests[:3])) == 3
    assert digests[3] == digests[0]


async def test_a_container_that_vanished_is_made_anew_with_every_file(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    await deploy(deployment, APP)
    engine.lose_container()
    await deploy(deployment, APP | CHANGED)
    assert engine.containers_made == 2
    assert engine.writes[1:] == [set(APP)]
    assert held(engine) == APP | CHANGED
    assert engine.installs == 2
    assert deployment.is_serving


async def test_a_container_is_made_anew_only_once_and_by_the_next_run_again(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    class Losing(MemorySandbox):
        """Its container is lost again as soon as it runs."""

        async def start(self) -> StartedSandbox:
            started = await super().start()
            engine.lose_container()
            return started

    losing = Deployment(lambda: Losing(engine), ADDRESS)
    await losing.ready()
    with pytest.raises(SandboxUnavailable):
        await losing.write(APP)
    assert engine.containers_made == 2
    await deploy(deployment, APP)
    assert held(engine) == APP


BUILT = {"index.html": "", "package.json": '{"scripts": {"build": "test -f index.html"}}'}


async def test_files_are_checked_once_and_again_when_any_of_them_has_changed(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    await deploy(deployment, APP)
    assert not deployment.needs_check(APP)
    await deploy(deployment, BUILT)
    assert deployment.needs_check(BUILT)
    await deployment.check(BUILT)
    assert not deployment.needs_check(dict(BUILT))
    assert deployment.needs_check(BUILT | CHANGED)
    assert engine.checks == ["build"]


async def test_a_check_ends_the_dev_server(deployment: Deployment, engine: MemoryEngine) -> None:
    await deploy(deployment, BUILT)
    await deployment.check(BUILT)
    assert not deployment.is_serving
    await deploy(deployment, BUILT)
    assert engine.servers_started == 2


async def test_a_check_that_failed_is_repeated_but_what_is_installed_is_known(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    broken = {"package.json": BUILT["package.json"]}
    await deploy(deployment, broken)
    for _ in range(2):
        assert deployment.needs_check(broken)
        with pytest.raises(BuildFailed):
            await deployment.check(broken)
    assert not deployment.needs_install(broken)
    assert engine.containers_made == 1


async def test_another_container_is_checked_anew(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    await deploy(deployment, BUILT)
    await deployment.check(BUILT)
    engine.lose_container()
    with pytest.raises(SandboxUnavailable):
        await deployment.serve()
    await deploy(deployment, BUILT)
    assert deployment.needs_check(BUILT)


def test_a_static_sandbox_has_nothing_to_check() -> None:
    static = StaticSandbox("p1", "http://127.0.0.1:1", lambda stream, line: None)
    assert not Deployment(lambda: static, ADDRESS).needs_check(BUILT)


async def test_a_failed_install_is_repeated_but_what_is_written_is_known(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    broken = APP | {"package.json": "{"}
    await deployment.ready()
    await deployment.write(broken)
    for _ in range(2):
        assert deployment.needs_install(broken)
        with pytest.raises(InstallFailed):
            await deployment.install(broken)
    await deploy(deployment, APP)
    assert engine.writes == [set(broken), {"package.json"}]
    assert engine.containers_made == 1
    assert engine.installs == 1


async def test_a_sandbox_that_fails_in_an_install_is_known_to_hold_nothing(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    await deployment.ready()
    await deployment.write(APP)
    engine.lose_container()
    with pytest.raises(SandboxUnavailable):
        await deployment.install(APP)
    await deploy(deployment, APP)
    assert engine.writes == [set(APP), set(APP)]


async def test_a_start_that_failed_is_tried_afresh(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    engine.problem = SandboxUnavailable("No engine answers.")
    with pytest.raises(SandboxUnavailable):
        await deployment.ready()
    engine.problem = None
    deployment.begin()
    await deploy(deployment, APP)
    assert held(engine) == APP


async def test_after_a_stop_the_same_container_is_started_and_only_what_has_changed_is_done(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    await deploy(deployment, BUILT | {"old.js": "x"})
    await deployment.check(BUILT)
    await deployment.stop()
    assert engine.container is not None
    assert not engine.container.is_running
    assert not deployment.is_serving
    later = Deployment(lambda: MemorySandbox(engine), ADDRESS)
    await deploy(later, BUILT | {"new.js": "y"})
    assert (engine.containers_made, engine.installs, engine.servers_started) == (1, 1, 2)
    assert engine.writes == [{*BUILT, "old.js"}, {"new.js"}]
    assert held(engine) == BUILT | {"new.js": "y"}
    assert later.needs_check(BUILT | {"new.js": "y"})
    assert not later.needs_check(BUILT)


@pytest.mark.parametrize("is_next_life", [False, True])
@pytest.mark.parametrize("step", ["write_files", "install_dependencies"])
async def test_what_was_broken_off_is_not_taken_for_done(
    step: str, *, is_next_life: bool, deployment: Deployment, engine: MemoryEngine
) -> None:
    await prepare(deployment, APP)
    hold = engine.hold(step)
    other = APP | {"package.json": '{"name": "other"}'}
    await broken_off(deployment, other, hold)
    held(engine).update(other)  # the engine may have carried it out all the same
    if is_next_life:
        deployment = Deployment(lambda: MemorySandbox(engine), ADDRESS)
    await deploy(deployment, APP)
    assert held(engine) == APP
    assert engine.installs == 2


async def broken_off(deployment: Deployment, files: dict[str, str], hold: Hold) -> None:
    """Begin to bring the sandbox to these files, and cancel it where it is held."""
    task = asyncio.create_task(deploy(deployment, files))
    await hold.reached.wait()
    task.cancel()
    await asyncio.wait([task])
    hold.release()


async def test_a_stop_before_any_use_touches_only_a_sandbox_that_exists(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    await MemorySandbox(engine).start()
    assert engine.container is not None
    await deployment.stop()
    assert engine.container.is_running
    await deployment.stop(exists=True)
    assert not engine.container.is_running


async def test_a_removal_that_failed_can_be_repeated(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    await deploy(deployment, APP)
    engine.problem = SandboxUnavailable("Docker is gone.")
    with pytest.raises(SandboxUnavailable):
        await deployment.remove()
    engine.problem = None
    await deployment.remove()
    assert engine.container is None


# --- looking after the dev server ----------------------------------------------------------------


async def test_a_look_changes_nothing_while_the_app_is_served(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    await deployment.look()
    assert engine.container is None
    await deploy(deployment, APP)
    await deployment.look()
    assert deployment.url == URL


async def test_a_dev_server_that_has_ended_is_all_that_is_started_again(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    await deploy(deployment, APP)
    assert engine.container is not None
    engine.container.is_serving = False
    await deployment.look()
    assert not deployment.is_serving
    await deploy(deployment, APP)
    assert (len(engine.writes), engine.installs, engine.servers_started) == (1, 1, 2)


@pytest.mark.parametrize("is_lost", [True, False])
async def test_a_container_that_somebody_stopped_or_removed_is_found_out_by_a_look(
    deployment: Deployment, engine: MemoryEngine, is_lost: bool
) -> None:
    await deploy(deployment, APP)
    assert engine.container is not None
    if is_lost:
        engine.lose_container()
    else:
        engine.container.is_running = False
    await deployment.look()
    assert not deployment.is_serving
    await deploy(deployment, APP)
    assert held(engine) == APP
    assert engine.writes == [set(APP)] * (2 if is_lost else 1)


async def test_where_the_engine_does_not_answer_a_look_the_app_is_asked(
    deployment: Deployment, engine: MemoryEngine
) -> None:
    await deploy(deployment, APP)
    engine.problem = SandboxUnavailable("Docker is gone.")
    await deployment.look()
    assert deployment.url == URL
    engine.hang_server()
    await deployment.look()
    assert not deployment.is_serving


async def test_a_look_does_not_wait_for_an_engine_that_is_slow(
    deployment: Deployment, engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deploy(deployment, APP)
    monkeypatch.setattr("actors.generation.deployment.LOOK_SECONDS", 0.01)
    engine.hold("status")
    await deployment.look()
    assert deployment.url == URL
