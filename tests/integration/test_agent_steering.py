"""A wish that steers the open run: finished files stay, and the plan is made anew with it."""

from __future__ import annotations

from dataclasses import replace

from actors import messages as m
from actors.generation.implement import MAX_IMPLEMENT_TRIES
from tests.support.agent import MORE, SITE, World
from tests.support.openrouter import Answer
from tests.support.sandbox import MemoryEngine

THREE = {**SITE, "late.js": "console.log('late');\n"}


def wishes(world: World) -> list[bool]:
    """Whether each plan that was asked for knew of the second wish."""
    return ["with a clock" in request.prompt for request in world.model.received("plan")]


async def test_after_the_current_file_the_rest_of_the_phase_is_planned_anew(world: World) -> None:
    world.model.add_phase("Base", THREE, last=True)
    world.model.add_phase("More", MORE, last=True)
    gate, next_file = world.model.hold("console.log(1)"), world.model.hold("cat > late.js")
    await world.live()
    await world.generate("an app")
    await gate.reached.happened()
    await world.sink.until(lambda f: f["type"] == "file_start" and f["data"]["path"] == "app.js")
    answer = await world.generate("with a clock", mode="steer", command_id="wish")
    gate.release()
    complete = await world.sink.expect("generation_complete")
    assert next_file.request is not None
    await next_file.request.client_gone.happened()  # nobody pays for the rest
    assert isinstance(answer, m.Accepted)
    assert answer.place == 0
    steered = await world.sink.expect("run_steered")
    assert steered["seq"] == answer.seq
    assert steered["data"]["description"] == "with a clock"
    assert await world.files() == SITE | MORE
    assert wishes(world) == [False, True]
    assert world.sink.types().count("phase_cut") == 1
    assert world.sink.types().count("run_started") == 1
    assert complete["data"]["phases"] == 2
    usages = [f["data"]["estimated"] for f in world.sink.frames if f["type"] == "usage"]
    assert usages == [False, True, False, False]  # the answer that was cut had told none


async def test_a_plan_that_does_not_know_the_wish_is_not_carried_out(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    gate = world.model.hold("isLastPhase", purpose="plan")
    await world.live()
    await world.generate("an app")
    await gate.reached.happened()
    await world.generate("with a clock", mode="steer")
    gate.release()
    await world.sink.expect("generation_complete")
    assert wishes(world) == [False, True]
    assert world.sink.types().count("phase_designed") == 1
    assert world.sink.types().count("usage") == 3


async def test_a_wish_that_comes_as_the_last_phase_is_started_is_carried_out(world: World) -> None:
    world.engine = MemoryEngine()
    world.model.add_phase("Base", SITE, last=True)
    world.model.add_phase("More", MORE, last=True)
    hold = world.engine.hold("start_dev_server")
    await world.live()
    await world.generate("an app", max_phases=1)
    await hold.reached.wait()
    await world.generate("with a clock", mode="steer", max_phases=1)
    hold.release()
    await world.sink.expect("generation_complete")
    assert await world.files() == SITE | MORE
    assert wishes(world) == [False, True]


async def test_without_a_run_it_is_a_command_like_any_other(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    await world.live()
    answer = await world.generate("with a clock", mode="steer")
    assert isinstance(answer, m.Accepted)
    await world.sink.expect("generation_complete")
    assert world.sink.types()[:2] == ["command_queued", "run_started"]


async def test_it_steers_once_however_often_it_is_sent(world: World) -> None:
    world.model.add_phase("Base", THREE, last=True)
    world.model.add_phase("More", MORE, last=True)
    gate = world.model.hold("console.log(1)")
    await world.live()
    await world.generate("an app")
    await gate.reached.happened()
    first = await world.generate("with a clock", mode="steer", command_id="wish")
    again = await world.generate("with a clock", mode="steer", command_id="wish")
    gate.release()
    await world.sink.expect("generation_complete")
    late = await world.generate("with a clock", mode="steer", command_id="wish")
    assert isinstance(first, m.Accepted)
    for answer in (again, late):
        assert isinstance(answer, m.Accepted)
        assert (answer.place, answer.seq) == (first.place, first.seq)
    assert world.sink.types().count("run_steered") == 1


async def test_a_steered_run_is_resumed_where_it_was(world: World) -> None:
    world.model.add_phase("Base", THREE, last=True)
    world.model.add_phase("More", MORE, last=True)
    gate = world.model.hold("console.log(1)")
    await world.live()
    await world.generate("an app")
    await gate.reached.happened()
    await world.generate("with a clock", mode="steer")
    await world.die()
    gate.release()
    await world.live()
    await world.sink.expect("generation_complete")
    files = await world.files()
    assert files.items() >= MORE.items()
    assert "late.js" not in files
    assert wishes(world) == [False, True]


async def test_between_two_files_the_next_one_is_not_begun(world: World) -> None:
    world.model.add_phase("Base", THREE, last=True)
    world.model.add_phase("More", MORE, last=True)
    gate = world.model.hold("cat > late.js")
    await world.live()
    await world.generate("an app")
    await world.sink.until(lambda f: f["type"] == "file_end" and f["data"]["path"] == "app.js")
    await gate.reached.happened()
    await world.generate("with a clock", mode="steer")
    gate.release()
    await world.sink.expect("generation_complete")
    assert await world.files() == SITE | MORE
    assert len(world.model.received("implement")) == 2


async def test_a_wish_that_comes_as_the_last_repair_fails_is_carried_out(world: World) -> None:
    world.settings = replace(world.settings, max_repairs=0)
    world.engine = MemoryEngine()
    world.model.add_phase("Base", SITE | {"package.json": "{"}, last=True)
    world.model.add_phase("Mended", {"package.json": "{}\n"}, last=True)
    hold = world.engine.hold("install_dependencies")
    await world.live()
    await world.generate("an app")
    await hold.reached.wait()
    await world.generate("with a clock", mode="steer")
    hold.release()
    await world.sink.expect("generation_complete")
    assert "error" not in world.sink.types()
    assert wishes(world) == [False, True]


async def test_a_wish_is_not_lost_where_the_model_leaves_out_what_it_planned(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    world.model.add_phase("More", MORE, last=True)
    for _ in range(MAX_IMPLEMENT_TRIES - 1):
        world.model.answer_next("Sorry.", purpose="implement")
    world.model.answer_next(
        Answer(text="cat > index.html << 'EOF'\n<h1>\n", finish_reason="length"),
        purpose="implement",
    )
    gate = world.model.hold("<h1>\n")
    await world.live()
    await world.generate("an app")
    await gate.reached.happened()
    await world.generate("with a clock", mode="steer")
    gate.release()
    await world.sink.expect("generation_complete")
    assert wishes(world) == [False, True]
