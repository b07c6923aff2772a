"""Caps on cost: what a call can cost is reserved before it, and a run that could pass one waits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from actors import messages as m
from actors.database import connect
from actors.generation.tokens import estimated_tokens
from actors.reader import Reader
from actors.store import Store
from tests.support.agent import SITE, World
from tests.support.openrouter import Answer

MODEL = "dear/model"
#: Of a plan 8,000 tokens are reserved, of an implementation 32,000, and each prompt.
PRICES = f"{MODEL}=1/10"  # USD per million tokens
PLAN_USD, IMPLEMENT_USD = 0.08, 0.32


def cap(world: World, **settings: Any) -> None:
    """Set caps, and a model whose price is known, for the lives to come."""
    world.settings = replace(world.settings, model=MODEL, prices=PRICES, **settings)


async def reserved(world: World) -> list[float]:
    connection = await connect(world.settings.database_url)
    try:
        return [row["cost_usd"] for row in await connection.fetch("SELECT * FROM reservations")]
    finally:
        await connection.close()


async def spend_today(world: World, cost_usd: float) -> None:
    """Let other projects have cost so much today."""
    connection = await connect(world.settings.database_url)
    await connection.execute(
        "INSERT INTO daily_usage VALUES ((now() AT TIME ZONE 'UTC')::date, 1, 1, 1, $1, 0)",
        cost_usd,
    )
    await connection.close()


async def fall_asleep(world: World) -> None:
    world.desk.post(m.PassivateProject(request_id="sleep", project_id="p1"))
    await world.has_left()


async def test_a_run_below_its_caps_is_as_any_other(world: World) -> None:
    cap(world, max_cost_usd=1.0, max_daily_cost_usd=1.0)
    world.model.add_phase("Base", SITE, last=True)
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    assert [r.body["max_tokens"] for r in world.model.requests] == [8_000, 32_000]
    assert await reserved(world) == []


async def test_prompt_and_bound_are_no_more_than_the_context_of_the_model(world: World) -> None:
    cap(world, max_cost_usd=1.0)
    world.model.models = [{"id": MODEL, "context_length": 12_000}]
    world.model.add_phase("Base", SITE, last=True)
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    for request in world.model.requests:
        prompt_tokens = estimated_tokens(*(told["content"] for told in request.body["messages"]))
        assert 3_000 <= request.body["max_tokens"] < 12_000 - prompt_tokens


@pytest.mark.parametrize("name", ["max_cost_usd", "max_daily_cost_usd"])
async def test_a_run_that_could_pass_a_cap_waits_before_the_call_and_goes_on_once_it_is_raised(
    world: World, name: str
) -> None:
    cap(world, **{name: PLAN_USD + IMPLEMENT_USD / 2})
    world.model.add_phase("Base", SITE, last=True)
    await world.live()
    await world.generate()
    paused = await world.sink.expect("run_paused")
    assert paused["data"]["code"] == "budget_exceeded"
    assert "CODEGEN_MAX" in paused["data"]["message"]
    assert IMPLEMENT_USD < paused["data"]["neededUsd"] < 1.1 * IMPLEMENT_USD
    await world.sink.until(lambda f: f["data"].get("state") == "paused")
    assert len(world.model.requests) == 1
    assert await reserved(world) == []
    await world.desk.until_told(m.ProjectIdle(project_id="p1", idle=True))
    await fall_asleep(world)
    reader = Reader(world.settings.database_url)
    assert await reader.open_projects() == ["p1"]
    await reader.close()

    await world.live()  # with the same caps
    await world.desk.until_told(m.ProjectIdle(project_id="p1", idle=True))
    assert world.sink.types().count("run_resumed") == 0
    await fall_asleep(world)

    cap(world, **{name: 1.0})
    await world.live()
    await world.sink.expect("generation_complete")
    assert world.sink.types().count("run_resumed") == 1
    assert len(world.model.received("plan")) == 1
    assert await world.files() == SITE


async def test_the_day_is_that_of_all_projects(world: World) -> None:
    cap(world, max_daily_cost_usd=1.0)
    await spend_today(world, 0.95)
    await world.live()
    await world.generate()
    await world.sink.expect("run_paused")
    assert world.model.requests == []


async def test_what_others_have_reserved_is_not_left(world: World) -> None:
    cap(world, max_daily_cost_usd=0.15)
    stores = [Store(world.settings.database_url) for _ in range(2)]
    claims = [await store.claim(f"other{n}") for n, store in enumerate(stores)]
    granted = [
        await store.reserve(f"other{n}", claim.epoch, 0.1, 0.15)
        for n, (store, claim) in enumerate(zip(stores, claims, strict=True))
    ]
    assert granted == [True, False]
    assert await stores[0].reserve("other0", claims[0].epoch, 0.15, 0.15)  # in place of its own
    for store in stores:
        await store.close()
    await world.live()
    await world.generate()
    await world.sink.expect("run_paused")


async def test_a_paused_run_can_be_cancelled_and_holds_up_nothing(world: World) -> None:
    cap(world, max_cost_usd=0.01)
    await world.live()
    await world.generate()
    await world.sink.expect("run_paused")
    await world.sink.until(lambda f: f["data"].get("state") == "paused")
    assert isinstance(await world.request(m.CancelGeneration), m.Done)
    await world.sink.expect("generation_cancelled")
    assert world.model.requests == []


async def test_a_run_goes_on_by_itself_when_the_day_allows_it_again(world: World) -> None:
    cap(world, max_daily_cost_usd=1.0)
    world.model.add_phase("Base", SITE, last=True)
    await spend_today(world, 0.95)
    await world.live()
    await world.generate()
    await world.sink.expect("run_paused")
    connection = await connect(world.settings.database_url)
    await connection.execute("UPDATE daily_usage SET day = day - 1")
    await connection.close()
    await world.request(m.ReviveProject)
    await world.sink.expect("generation_complete")


async def test_a_cap_that_cannot_be_kept_is_an_error_with_its_cure(world: World) -> None:
    world.settings = replace(world.settings, model="unknown/model", max_cost_usd=1.0)
    await world.live()
    await world.generate()
    error = await world.sink.expect("error")
    assert error["data"]["code"] == "price_unknown"
    assert "CODEGEN_PRICES" in error["data"]["message"]
    assert world.model.requests == []


DEAR = {"prompt_tokens": 100, "completion_tokens": 100, "cost": 0.95}


async def test_a_plan_that_cannot_be_used_counts_before_the_next_one_is_asked_for(
    world: World,
) -> None:
    cap(world, max_cost_usd=1.0)
    world.model.answer_next(Answer(text="Sorry.", usage=DEAR), purpose="plan")
    await world.live()
    await world.generate()
    paused = await world.sink.expect("run_paused")
    assert "$0.9500" in paused["data"]["message"]
    assert len(world.model.requests) == 1
    connection = await connect(world.settings.database_url)
    assert await connection.fetchval("SELECT cost_usd FROM daily_usage") == 0.95
    await connection.close()


async def test_every_call_is_reserved_for_also_one_that_follows_a_usage(world: World) -> None:
    cap(world, max_daily_cost_usd=1.0)
    world.model.add_phase("Base", SITE, last=True)
    world.model.answer_next("Sorry.", purpose="plan")
    gates = [world.model.hold("Sorry.", purpose="plan"), world.model.hold("{", purpose="plan")]
    await world.live()
    await world.generate()
    for gate in gates:
        await gate.reached.happened()
        (held,) = await reserved(world)
        assert PLAN_USD < held < 1.1 * PLAN_USD
        gate.release()
    await world.sink.expect("generation_complete")
    assert await reserved(world) == []
