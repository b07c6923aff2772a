"""The OpenRouter client against a real HTTP server: one call that succeeds."""

from __future__ import annotations

import asyncio

from actors.generation.http_transport import HttpTransport
from actors.generation.model import ModelFacts, ModelFinished, ModelRequest, ModelText, ModelUsage
from actors.generation.plan import PLAN_SCHEMA, parse_plan
from actors.generation.scof import FileClosed, ScofParser
from actors.generation.tokens import estimated_tokens
from tests.support.model_client import PLAN, Make, ask, implement, text_of
from tests.support.openrouter import DEFAULT_PHASE, TEST_KEY, Answer, ScriptedOpenRouter


async def test_an_answer_is_streamed_with_its_usage_and_its_end(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    events = await ask(make())

    assert parse_plan(text_of(events)).name == "Site"
    assert events[-2:] == [
        ModelUsage(model="test/model", prompt_tokens=120, completion_tokens=80, cost_usd=0.00125),
        ModelFinished(reason="stop"),
    ]


async def test_the_files_of_a_plan_come_back_as_they_were_scripted(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(Answer(chunk_chars=1))

    parser = ScofParser()
    events = [*parser.feed(text_of(await ask(make(), implement()))), *parser.close()]

    assert {e.path: e.content for e in events if isinstance(e, FileClosed)} == DEFAULT_PHASE.files


async def test_the_request_is_what_the_api_expects(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    model = make(app_title="Title", app_url="https://example.test")
    request = ModelRequest(
        purpose="plan",
        model="test/model",
        messages=PLAN.messages,
        description="",
        phase_number=1,
        json_schema=PLAN_SCHEMA,
        schema_name="phase_plan",
        max_tokens=321,
    )
    await ask(model, request)

    (received,) = openrouter.requests
    assert received.body == {
        "model": "test/model",
        "messages": [{"role": m.role, "content": m.content} for m in PLAN.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "phase_plan", "strict": True, "schema": PLAN_SCHEMA},
        },
        "max_tokens": 321,
    }
    assert received.headers["Authorization"] == f"Bearer {TEST_KEY}"
    assert received.headers["HTTP-Referer"] == "https://example.test"
    assert received.headers["X-Title"] == "Title"


async def test_without_a_key_none_is_sent(openrouter: ScriptedOpenRouter, make: Make) -> None:
    await ask(make(api_key=""))

    assert "Authorization" not in openrouter.requests[0].headers


async def test_several_calls_share_one_client(openrouter: ScriptedOpenRouter, make: Make) -> None:
    model = make()

    answers = await asyncio.gather(*(ask(model) for _ in range(5)))

    assert {text_of(events) for events in answers} == {DEFAULT_PHASE.plan_text()}
    assert len(openrouter.requests) == 5


async def test_a_closed_client_opens_anew(make: Make) -> None:
    model = make()
    await ask(model)
    await model.close()
    await model.close()

    assert text_of(await ask(model))


async def test_a_length_limit_is_a_regular_end(openrouter: ScriptedOpenRouter, make: Make) -> None:
    openrouter.answer_next(Answer(finish_reason="length"))

    assert (await ask(make()))[-1] == ModelFinished(reason="length")


async def test_usage_that_a_server_does_not_tell_is_estimated(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(Answer(usage=None, is_done_sent=False))

    *texts, usage, end = await ask(make())

    received = [text.text for text in texts if isinstance(text, ModelText)]
    assert usage == ModelUsage(
        model="test/model",
        prompt_tokens=estimated_tokens(*(message.content for message in PLAN.messages)),
        completion_tokens=estimated_tokens(*received),
        cost_usd=None,
        estimated=True,
    )
    assert end == ModelFinished(reason="stop")


async def test_what_a_model_takes_and_costs_is_asked_of_the_server_once(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.models = [{"id": "test/model", "max_model_len": 8192}]
    model = make()

    facts = [await model.facts("test/model") for _ in range(3)]

    assert facts == [ModelFacts(context_tokens=8192)] * 3
    assert openrouter.lists_sent == 1


async def test_a_server_without_a_list_of_models_leaves_them_unknown(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    assert await make().facts("test/model") == ModelFacts()
    assert openrouter.lists_sent == 1


async def test_a_stream_with_other_line_ends_and_odd_lines_is_read(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(
        Answer(
            raw_stream=(
                b"\xef\xbb\xbf: hello\r\n\r\nevent: message\r\nid: 1\r\n"
                b'data: {"choices":[{"delta":{"content":"\xc3\xa4"}}]}\r\n\r\n'
                b'data: {"choices":\r\ndata: [{"delta":{},"finish_reason":"stop"}]}\r\n\r\n'
                b"data: [DONE]\r\n\r\n"
            )
        )
    )

    text, usage, end = await ask(make())

    assert (text, end) == (ModelText(text="\u00e4"), ModelFinished(reason="stop"))
    assert isinstance(usage, ModelUsage)


async def test_keep_alive_comments_reset_the_idle_timer(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(Answer(comments=8, comment_seconds=0.1))

    assert text_of(await ask(make(first_text_seconds=0.5)))


def test_the_key_is_in_no_repr() -> None:
    transport = HttpTransport("http://127.0.0.1:1", TEST_KEY, first_byte_seconds=1.0)

    assert TEST_KEY not in repr(transport) + str(transport)
