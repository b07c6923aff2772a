"""What model calls cost: announced before, accounted for whatever becomes of them."""

from __future__ import annotations

from typing import Any

from actors import messages as m
from actors.database import connect
from actors.generation.scof import MAX_FILE_CHARS
from actors.generation.tokens import estimated_tokens
from tests.support.agent import SITE, World
from tests.support.openrouter import Answer

LONG = {"app.js": "".join(f"console.log({n}); // line {n}\n" for n in range(60))}
HALF = "console.log(30); // line 30\n"


def told(world: World, type_: str) -> list[dict[str, Any]]:
    return [frame["data"] for frame in world.sink.frames if frame["type"] == type_]


async def rows(world: World, sql: str) -> list[dict[str, Any]]:
    connection = await connect(world.settings.database_url)
    try:
        return [dict(row) for row in await connection.fetch(sql)]
    finally:
        await connection.close()


async def test_every_call_is_announced_and_its_usage_is_what_the_server_tells(
    world: World,
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    calls, usages = told(world, "model_call"), told(world, "usage")
    assert [call["purpose"] for call in calls] == ["plan", "implement"]
    assert [usage["purpose"] for usage in usages] == ["plan", "implement"]
    assert all(call["promptTokens"] > 100 for call in calls)
    assert [(u["promptTokens"], u["costUsd"], u["estimated"]) for u in usages] == [
        (120, 0.00125, False)
    ] * 2
    (day,) = await rows(world, "SELECT * FROM daily_usage")
    assert (day["calls"], day["prompt_tokens"], day["cost_usd"]) == (2, 240, 0.0025)


async def test_a_call_that_is_cancelled_is_accounted_for_by_what_came_of_it(world: World) -> None:
    world.model.add_phase("Base", LONG, last=True)
    gate = world.model.hold(HALF)
    await world.live()
    await world.generate()
    await world.sink.until(lambda f: f["data"].get("chunk", "").endswith(HALF))
    await world.request(m.CancelGeneration)
    gate.release()
    await world.sink.expect("generation_cancelled")
    plan, implement = told(world, "usage")
    assert not plan["estimated"]
    assert implement["estimated"]
    assert implement["promptTokens"] == told(world, "model_call")[1]["promptTokens"]
    assert implement["completionTokens"] >= estimated_tokens(LONG["app.js"]) // 3
    types = world.sink.types()
    assert types.index("usage", types.index("file_chunk")) < types.index("generation_cancelled")


async def test_a_call_that_dies_with_its_process_is_accounted_for_by_the_next_life(
    world: World,
) -> None:
    world.model.add_phase("Base", LONG, last=True)
    gate = world.model.hold(HALF)
    await world.live()
    await world.generate()
    await world.sink.until(lambda f: f["data"].get("chunk", "").endswith(HALF))
    await world.everything_is_saved()
    await world.die()
    gate.release()
    await world.live()
    await world.sink.expect("generation_complete")
    assert [usage["estimated"] for usage in told(world, "usage")] == [False, True, False]
    assert (await rows(world, "SELECT calls, estimated_calls FROM daily_usage")) == [
        {"calls": 3, "estimated_calls": 1}
    ]


async def test_a_call_that_died_is_accounted_for_where_its_run_is_cancelled_before_it_goes_on(
    world: World,
) -> None:
    world.model.add_phase("Base", LONG, last=True)
    gate = world.model.hold(HALF)
    await world.live()
    await world.generate()
    await world.sink.until(lambda f: f["data"].get("chunk", "").endswith(HALF))
    await world.everything_is_saved()
    await world.die()
    gate.release()
    await world.live(grants=False)
    await world.request(m.CancelGeneration)
    await world.sink.expect("generation_cancelled")
    _, implement = told(world, "usage")
    assert implement["estimated"]
    assert implement["completionTokens"] >= estimated_tokens(LONG["app.js"]) // 3


async def test_a_call_that_an_orderly_end_breaks_off_is_accounted_for_once(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    gate = world.model.hold("console.log(1)")
    await world.live()
    await world.generate()
    await gate.reached.happened()
    world.desk.post(m.SaveAndStop())
    await world.has_left()
    gate.release()
    await world.live()
    await world.sink.expect("generation_complete")
    assert [usage["estimated"] for usage in told(world, "usage")] == [False, True, False]


async def test_a_refused_call_costs_nothing(world: World) -> None:
    world.model.answer_next(Answer(status=402))
    await world.live()
    await world.generate()
    error = await world.sink.expect("error")
    assert error["data"]["code"] == "model_payment_required"
    assert told(world, "usage") == []
    assert await rows(world, "SELECT * FROM daily_usage") == []


async def test_usage_outlives_its_project(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    await world.request(m.RemoveProject)
    assert await rows(world, "SELECT calls FROM daily_usage") == [{"calls": 2}]
    assert await rows(world, "SELECT * FROM usage") == []


async def test_a_call_that_we_end_ourselves_is_accounted_for(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    too_long = "cat > index.html << 'EOF'\n" + ("x" * 99 + "\n") * (MAX_FILE_CHARS // 100 + 10)
    world.model.answer_next(Answer(text=too_long, chunk_chars=65_536), purpose="implement")
    await world.live()
    await world.generate()
    error = await world.sink.expect("error")
    assert error["data"]["code"] == "output_invalid"
    implement = told(world, "usage")[-1]
    assert implement["estimated"]
    assert implement["completionTokens"] > MAX_FILE_CHARS // 5


async def test_files_that_were_finished_in_a_call_that_died_count(world: World) -> None:
    world.model.add_phase("Base", LONG | {"next.js": "let x;\n"}, last=True)
    gate = world.model.hold("let x;")
    await world.live()
    await world.generate()
    await world.sink.until(lambda f: f["type"] == "file_end")
    await gate.reached.happened()
    await world.die()
    gate.release()
    await world.live()
    await world.sink.expect("generation_complete")
    lost = told(world, "usage")[1]
    assert lost["estimated"]
    assert lost["completionTokens"] >= estimated_tokens(LONG["app.js"])
