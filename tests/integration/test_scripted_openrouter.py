"""The scripted model server itself: it does what the tests' scripts say."""

from __future__ import annotations

import asyncio

from actors.generation.plan import parse_plan
from actors.generation.prompts import PromptContext, plan_request
from tests.support.model_client import Make, ask, failure, implement, text_of
from tests.support.openrouter import TEST_KEY, ScriptedOpenRouter


async def test_each_project_has_its_own_script(openrouter: ScriptedOpenRouter, make: Make) -> None:
    openrouter.add_phase("Common", {"a": "1\n"})
    openrouter.add_phase("Timer", {"b": "2\n"}, project="a timer")
    timer = PromptContext(descriptions=("a timer",), model="m", sandbox="docker", phase_number=1)

    assert parse_plan(text_of(await ask(make()))).name == "Common"
    assert parse_plan(text_of(await ask(make(), plan_request(timer)))).name == "Timer"


async def test_a_phase_beyond_the_script_is_refused_with_the_reason(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.add_phase("Only", {"a": "1\n"})
    second = PromptContext(descriptions=("a",), model="m", sandbox="docker", phase_number=2)

    assert "the script has no phase 2" in str(await failure(make(), plan_request(second)))


async def test_a_held_stream_goes_on_when_it_is_released(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    first, second = openrouter.hold("<title>"), openrouter.hold("</h1>", phase=1)
    task = asyncio.create_task(ask(make(), implement()))

    for gate in (first, second):
        await gate.reached.happened()
        assert not task.done()
        gate.release()

    assert "<h1>Hello</h1>" in text_of(await task)


async def test_other_processes_reach_the_server(openrouter: ScriptedOpenRouter) -> None:
    process = await asyncio.create_subprocess_exec(
        "curl", "-sN", "-d", '{"model":"m","messages":[{"role":"user","content":"hi"}]}',
        "-H", "Content-Type: application/json", f"{openrouter.base_url}/chat/completions",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()

    assert out.endswith(b"data: [DONE]\n\n")
    assert openrouter.environment == {
        "OPENROUTER_API_KEY": TEST_KEY,
        "OPENROUTER_BASE_URL": openrouter.base_url,
    }
