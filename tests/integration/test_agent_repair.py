"""A phase with which the app does not install or start is followed by one that repairs it."""

from __future__ import annotations

from actors import messages as m
from tests.support.agent import SITE, World
from tests.support.sandbox import MemoryEngine

BROKEN = {"package.json": '{"scripts": '}
MENDED = {"package.json": '{"scripts": {"dev": "node server.js"}}\n'}


async def test_what_does_not_install_is_repaired_in_a_phase_of_its_own(world: World) -> None:
    world.engine = MemoryEngine()
    world.model.add_phase("Base", SITE | BROKEN, last=True)
    world.model.add_phase("Repair", MENDED, last=True)
    await world.live()
    await world.generate(max_phases=1)
    await world.sink.expect("generation_complete")
    failed = await world.sink.expect("phase_failed")
    assert failed["data"]["phaseNumber"] == 1
    assert failed["data"]["code"] == "install_failed"
    assert "package.json is not JSON." in failed["data"]["message"]
    assert await world.files() == SITE | MENDED
    assert world.engine.installs == 1
    assert "error" not in world.sink.types()


BUILT = {"package.json": '{"scripts": {"build": "test -f main.js"}}\n'}


async def test_what_does_not_build_is_repaired_before_the_app_is_served(world: World) -> None:
    world.engine = MemoryEngine()
    world.model.add_phase("Base", SITE | BUILT, last=True)
    world.model.add_phase("Repair", {"main.js": "1\n"}, last=True)
    await world.live()
    await world.generate(max_phases=1)
    await world.sink.expect("generation_complete")
    failed = await world.sink.expect("phase_failed")
    assert failed["data"]["phaseNumber"] == 1
    assert failed["data"]["code"] == "build_failed"
    assert "main.js is missing" in failed["data"]["message"]
    assert await world.files() == SITE | BUILT | {"main.js": "1\n"}
    assert world.engine.checks == ["build", "build"]
    assert (world.engine.installs, world.engine.servers_started) == (1, 1)
    states = [f["data"]["state"] for f in world.sink.frames if f["type"] == "state_change"]
    assert states[states.index("installing_deps") :] == [
        *("installing_deps", "checking_build", "designing_phase", "implementing_phase"),
        *("checking_build", "starting_server", "complete"),
    ]


async def test_repairs_of_a_build_come_to_an_end_with_the_log(world: World) -> None:
    world.engine = MemoryEngine()
    world.model.add_phase("Base", SITE | BUILT)
    for number in range(3):
        world.model.add_phase(f"Try {number}", {f"{number}.js": "1\n"})
    await world.live()
    await world.generate()
    error = await world.sink.expect("error")
    assert error["data"]["code"] == "build_failed"
    assert "main.js is missing" in error["data"]["message"]
    assert world.sink.types().count("phase_failed") == world.settings.max_repairs
    assert world.engine.servers_started == 0


async def test_a_sandbox_that_is_lost_in_the_check_is_made_anew(world: World) -> None:
    world.engine = MemoryEngine()
    world.engine.losses.append("check")
    world.model.add_phase("Base", SITE | BUILT | {"main.js": "1\n"}, last=True)
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    assert world.engine.containers_made == 2
    assert (world.engine.checks, world.engine.servers_started) == (["build"], 1)
    assert "phase_failed" not in world.sink.types()


async def test_a_plan_after_the_repair_is_one_of_the_phases_that_were_asked_for(
    world: World,
) -> None:
    world.engine = MemoryEngine()
    world.model.add_phase("Base", SITE | BROKEN)
    world.model.add_phase("Repair", MENDED)
    world.model.add_phase("More", {"more.css": "h1 { color: red }\n"})
    await world.live()
    await world.generate(max_phases=2)
    complete = await world.sink.expect("generation_complete")
    assert complete["data"]["phases"] == 3
    assert world.sink.types().count("phase_completed") == 2


async def test_repairs_come_to_an_end_with_the_log(world: World) -> None:
    world.engine = MemoryEngine()
    for number in range(4):
        world.model.add_phase(f"Try {number}", {"package.json": '{"scripts": ' + "[" * number})
    await world.live()
    await world.generate()
    error = await world.sink.expect("error")
    assert error["data"]["code"] == "install_failed"
    assert "package.json is not JSON." in error["data"]["message"]
    assert len(world.model.received("plan")) == 1 + world.settings.max_repairs
    assert world.sink.types().count("phase_failed") == world.settings.max_repairs


async def test_a_repair_goes_on_in_a_new_life(world: World) -> None:
    world.engine = MemoryEngine()
    world.model.add_phase("Base", SITE | BROKEN, last=True)
    world.model.add_phase("Repair", MENDED, last=True)
    gate = world.model.hold("isLastPhase", purpose="plan", phase=2)
    await world.live()
    await world.generate()
    await gate.reached.happened()
    await world.die()
    gate.release()
    await world.live()
    await world.sink.expect("generation_complete")
    assert await world.files() == SITE | MENDED
    assert world.sink.types().count("phase_failed") == 1


async def test_a_problem_of_the_running_app_is_kept_for_the_next_plan(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    world.model.add_phase("More", {"more.css": "h1 { color: red }\n"}, last=True)
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    for _ in range(2):
        done = await world.request(m.ReportProblem, message="TypeError: x is not a function")
        assert isinstance(done, m.Done)
    await world.generate("go on")
    await world.sink.expect("generation_complete", 2)
    assert world.sink.types().count("problem_reported") == 1
    designed = await world.sink.expect("phase_designed", 2)
    assert designed["data"]["problems"] == 1
