"""What viewers see of a model's server that fails, and of models that stand in."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from actors import messages as m
from tests.support.agent import SITE, World
from tests.support.openrouter import Answer, Purpose


@pytest.mark.parametrize(("purpose", "after"), [("plan", "usage"), ("implement", "file_start")])
async def test_a_call_that_is_made_again_is_told_and_journalled(
    world: World, purpose: Purpose, after: str
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    world.model.answer_next(Answer(status=503), purpose=purpose)
    await world.live()
    await world.generate()

    await world.sink.expect("generation_complete")

    types = world.sink.types()
    at = types.index("model_retry")
    assert types[at - 1 : at + 3] == ["model_call", "model_retry", "model_call", after]
    retry = await world.sink.expect("model_retry")
    wait = retry["data"].pop("waitSeconds")
    assert 0 <= wait <= 1
    assert retry["data"] == {
        "attempt": 2,
        "reason": "The model's server failed (503: scripted error); try again later.",
        "model": world.settings.model,
    }
    assert await world.files() == SITE


async def test_cancelling_during_a_pause_ends_it_at_once(world: World) -> None:
    answer = Answer(status=429, headers={"Retry-After": "55"})
    world.model.answer_next(answer, purpose="plan")
    await world.live()
    await world.generate()
    retry = await world.sink.expect("model_retry")
    assert 55 <= retry["data"]["waitSeconds"] <= 56

    await world.request(m.CancelGeneration)

    await world.sink.expect("generation_cancelled")
    assert len(world.model.requests) == 1


async def test_a_fallback_takes_over_and_each_request_begins_with_its_own_model(
    world: World,
) -> None:
    world.settings = dataclasses.replace(world.settings, models="first/model,second/model")
    world.model.add_phase("Base", SITE, last=True)
    answer = Answer(status=429, headers={"Retry-After": "3600"})
    world.model.answer_next(answer, purpose="plan")
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")

    asked = [request.body["model"] for request in world.model.requests]

    assert asked == ["first/model", "second/model", "first/model"]
    retry = await world.sink.expect("model_retry")
    assert (retry["data"]["model"], retry["data"]["waitSeconds"]) == ("second/model", 0.0)
    calls = [frame["data"] for frame in world.sink.frames if frame["type"] == "model_call"]
    assert [call["model"] for call in calls] == asked
    assert await world.files() == SITE


async def test_a_fallback_that_would_pass_the_cap_on_cost_is_not_asked(world: World) -> None:
    world.settings = dataclasses.replace(
        world.settings,
        models="first/model,second/model",
        prices="first/model=1/1,second/model=1000/1000",
        max_cost_usd=1.0,
    )
    answer = Answer(status=429, headers={"Retry-After": "3600"})
    world.model.answer_next(answer, purpose="plan")
    await world.live()
    await world.generate()

    pause = await world.sink.expect("run_paused")

    assert pause["data"]["code"] == "budget_exceeded"
    assert [request.body["model"] for request in world.model.requests] == ["first/model"]


async def test_a_run_that_was_recorded_is_played_without_the_server(
    world: World, tmp_path: Path
) -> None:
    records = tmp_path / "records"
    world.settings = dataclasses.replace(world.settings, record_dir=str(records))
    world.model.add_phase("Base", SITE, last=True)
    await world.live()
    await world.generate()
    recorded = await world.sink.expect("generation_complete")
    asked = len(world.model.requests)
    world.desk.post(m.SaveAndStop())
    await world.has_left()

    world.project_id = "p2"
    world.settings = dataclasses.replace(
        world.settings, record_dir="", model=f"replay:{records}?speed=0"
    )
    await world.live()
    await world.generate("another wish")
    await world.sink.until(lambda _: world.sink.types().count("generation_complete") == 2)
    played = world.sink.frames[-1]

    assert len(world.model.requests) == asked
    assert played["data"] == recorded["data"]
    assert await world.files() == SITE
