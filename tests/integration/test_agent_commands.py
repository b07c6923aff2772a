"""Commands happen once: ids, their first answers over restarts, and cancels of one command."""

from __future__ import annotations

import pytest

from actors import messages as m
from actors.database import connect
from tests.support.agent import MORE, SITE, World
from tests.support.openrouter import Gate


async def running_with_a_queue(world: World) -> Gate:
    """Begin the run `first`, held in its first file, with `second` and `third` behind it."""
    world.model.add_phase("Base", SITE, last=True)
    world.model.add_phase("More", MORE, last=True)
    gate = world.model.hold("Hello")
    await world.live()
    await world.generate("first", command_id="first")
    await world.sink.expect("file_start")
    for name in ("second", "third"):
        await world.generate(name, command_id=name)
    return gate


def code(answer: m.Answer) -> str:
    assert isinstance(answer, m.Failed)
    return answer.code


async def expect_runs(world: World, *ids: str) -> None:
    """Exactly these commands become runs, in this order."""
    ends = ("generation_complete", "generation_cancelled")
    await world.sink.until(lambda _: sum(world.sink.types().count(t) for t in ends) == len(ids))
    started = [f["data"]["id"] for f in world.sink.frames if f["type"] == "run_started"]
    assert started == list(ids)


async def test_a_queued_command_is_removed_and_the_others_go_on(world: World) -> None:
    gate = await running_with_a_queue(world)
    assert isinstance(await world.request(m.CancelGeneration, target="second"), m.Done)
    dropped = await world.sink.expect("command_dropped")
    assert dropped["data"] == {"id": "second", "reason": "user"}
    gate.release()
    await expect_runs(world, "first", "third")
    assert "generation_cancelled" not in world.sink.types()


async def test_a_cancel_of_the_running_command_leaves_the_queue(world: World) -> None:
    gate = await running_with_a_queue(world)
    assert isinstance(await world.request(m.CancelGeneration, target="first"), m.Done)
    await world.sink.expect("generation_cancelled")
    gate.release()
    await world.request(m.CancelGeneration, target="second")
    await world.sink.until(lambda f: f["type"] == "run_started" and f["data"]["id"] == "third")


@pytest.mark.parametrize("target", ["unknown", "dropped"])
async def test_a_cancel_of_a_command_that_neither_runs_nor_waits_is_refused(
    world: World, target: str
) -> None:
    gate = await running_with_a_queue(world)
    await world.generate("to be dropped", command_id="dropped")
    await world.request(m.CancelGeneration, target="dropped")
    assert code(await world.request(m.CancelGeneration, target=target)) == "nothing_running"
    gate.release()
    await expect_runs(world, "first", "second")


async def test_a_replacement_is_queued_in_the_transaction_that_stops_the_run(world: World) -> None:
    """Otherwise it would, repeated after a crash in between, stop the run that is on by then."""
    gate = await running_with_a_queue(world)
    answer = await world.generate("instead", command_id="instead", mode="replace")
    gate.release()
    connection = await connect(world.settings.database_url)
    rows = await connection.fetch(
        "SELECT seq, created_at AS transaction_began FROM events WHERE project_id = 'p1' AND "
        "(type = 'generation_cancelled' OR type = 'command_queued' AND data LIKE '%instead%')"
    )
    await connection.close()
    assert isinstance(answer, m.Accepted)
    assert len(rows) == 2
    assert answer.seq in [row["seq"] for row in rows]
    assert len({row["transaction_began"] for row in rows}) == 1


async def test_a_cancel_of_the_command_that_just_begins_stops_it_alone(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    await world.live(grants=False)
    await world.generate("first", command_id="first")
    await world.generate("second", command_id="second")
    world.desk.post(m.RunGranted(project_id="p1"))
    assert isinstance(await world.request(m.CancelGeneration, target="first"), m.Done)
    world.desk.grants = True
    world.desk.post(m.RunGranted(project_id="p1"))
    await world.sink.until(lambda f: f["type"] == "run_started" and f["data"]["id"] == "second")
    await world.sink.expect("generation_complete")


async def test_a_removal_of_the_second_command_spares_the_run_that_just_begins(
    world: World,
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    await world.live(grants=False)
    await world.generate("first", command_id="first")
    await world.generate("second", command_id="second")
    world.desk.post(m.RunGranted(project_id="p1"))
    assert isinstance(await world.request(m.CancelGeneration, target="second"), m.Done)
    await expect_runs(world, "first")


async def test_a_cancel_that_comes_again_does_not_stop_a_later_run(world: World) -> None:
    gate = await running_with_a_queue(world)
    await world.request(m.CancelGeneration, command_id="stop")
    await world.sink.until(lambda f: f["type"] == "run_started" and f["data"]["id"] == "second")
    assert isinstance(await world.request(m.CancelGeneration, command_id="stop"), m.Done)
    gate.release()
    await expect_runs(world, "first", "second")
    assert world.sink.types().count("generation_cancelled") == 1


async def test_a_cancel_that_came_too_late_stays_too_late_also_in_a_new_life(
    world: World,
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    await world.live()
    assert code(await world.request(m.CancelGeneration, command_id="stop")) == "nothing_running"
    world.desk.post(m.SaveAndStop())
    await world.has_left()
    gate = world.model.hold("Hello")
    await world.live()
    await world.generate("first", command_id="first")
    await world.sink.expect("file_start")
    assert code(await world.request(m.CancelGeneration, command_id="stop")) == "nothing_running"
    gate.release()
    await expect_runs(world, "first")


async def test_a_cancel_whose_answer_was_lost_in_a_crash_is_answered_as_done(
    world: World,
) -> None:
    gate = await running_with_a_queue(world)
    await world.request(m.CancelGeneration, command_id="stop", target="first")
    await world.die()
    gate.release()
    await world.live()
    assert isinstance(
        await world.request(m.CancelGeneration, command_id="stop", target="first"), m.Done
    )


async def test_an_id_is_of_one_kind_of_command(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    await world.live()
    await world.generate("first", command_id="first")
    await world.sink.expect("generation_complete")
    assert code(await world.request(m.CancelGeneration, command_id="first")) == "invalid_input"
    await world.request(m.CancelGeneration, command_id="stop")
    assert code(await world.generate("more", command_id="stop")) == "invalid_input"


async def test_a_cancel_is_no_description_in_the_next_life(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    world.model.add_phase("More", MORE, last=True)
    await world.live()
    await world.generate("first")
    await world.sink.expect("generation_complete")
    await world.request(m.CancelGeneration, command_id="stop")
    world.desk.post(m.SaveAndStop())
    await world.has_left()
    await world.live()
    await world.generate("second")
    await world.sink.expect("generation_complete", 2)
    earlier = "<earlier_requests>\n1. first\n</earlier_requests>"
    assert earlier in world.model.received("plan")[-1].prompt
