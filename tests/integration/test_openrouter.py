"""The OpenRouter client against a real HTTP server: streams, errors, retries, cancelling."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import aiohttp
import pytest

from actors import errors
from actors.generation import openrouter as module
from actors.generation.model import ModelEvent, ModelFinished, ModelRequest, ModelText, ModelUsage
from actors.generation.openrouter import OpenRouterModel, RetryPolicy
from actors.generation.plan import PLAN_SCHEMA, parse_plan
from actors.generation.prompts import PromptContext, implement_request, plan_request
from actors.generation.scof import FileClosed, ScofParser
from tests.support.openrouter import DEFAULT_PHASE, TEST_KEY, Answer, ScriptedOpenRouter

AT_ONCE = RetryPolicy(first_pause_seconds=0.0)
NEVER = RetryPolicy(retries=0)
CONTEXT = PromptContext(
    descriptions=("a page",), model="test/model", sandbox="static", phase_number=1
)
PLAN = plan_request(CONTEXT)


def implement() -> ModelRequest:
    plan = parse_plan(DEFAULT_PHASE.plan_text())
    return implement_request(
        PromptContext(
            descriptions=("a page",), model="m", sandbox="static", phase_number=1, plan=plan
        )
    )


#: A certificate for these tests alone, with its key; no machine trusts it.
SELF_SIGNED = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgzcmFR/Cwd6BLFxU+
xQPfzCx85LqBgHLxJsQt3so0vymhRANCAARg3kRvoiMS27v7KOrQ1BT4gncwWq2P
Zb3aUPZwnefBJg0SISrONjahj6yqyuUnw+kHJB3NvFe7YfJi6nDQWhq3
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBfjCCASWgAwIBAgIUb8u1Ky5KDpn3FFxsYJOk0O5XDR4wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjE2MTQxOFoYDzIxMjYxMDI5
MTYxNDE4WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARg3kRvoiMS27v7KOrQ1BT4gncwWq2PZb3aUPZwnefBJg0SISrONjah
j6yqyuUnw+kHJB3NvFe7YfJi6nDQWhq3o1MwUTAdBgNVHQ4EFgQUyr2pC/TrHuQS
SVTnWTStANlhHDwwHwYDVR0jBBgwFoAUyr2pC/TrHuQSSVTnWTStANlhHDwwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiAp+9670fjIhzTp93mpYJ0k
aGH/1pH1Alg8vaWWSKf0sAIgR6ZREulDNQu3tG9XLv4U36+s3l2K55w9susA+Nf2
97U=
-----END CERTIFICATE-----
"""

Make = Callable[..., OpenRouterModel]


@pytest.fixture
async def make(openrouter: ScriptedOpenRouter) -> AsyncIterator[Make]:
    """Make clients of the scripted server; all are closed in the end."""
    models: list[OpenRouterModel] = []

    def make(**changes: object) -> OpenRouterModel:
        values = {"base_url": openrouter.base_url, "api_key": TEST_KEY, "retry": NEVER, **changes}
        models.append(OpenRouterModel(**values))  # type: ignore[arg-type]  # tests pass what fits
        return models[-1]

    yield make
    for model in models:
        await model.close()


async def ask(model: OpenRouterModel, request: ModelRequest = PLAN) -> list[ModelEvent]:
    async with aclosing(model.stream(request)) as events:
        return [event async for event in events]


def text_of(events: list[ModelEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, ModelText))


async def failure(model: OpenRouterModel, request: ModelRequest = PLAN) -> errors.ModelError:
    with pytest.raises(errors.ModelError) as caught:
        await ask(model, request)
    assert TEST_KEY not in repr(caught.value) + str(caught.value)
    return caught.value


# --- one call ------------------------------------------------------------------------------------


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


async def test_a_key_that_cannot_be_sent_is_reported(make: Make) -> None:
    assert isinstance(await failure(make(api_key="sk\nor")), errors.ModelUnauthorized)


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


async def test_a_server_that_does_not_say_what_it_used_is_fine(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(Answer(usage=None, is_done_sent=False))

    events = await ask(make())

    assert not [event for event in events if isinstance(event, ModelUsage)]
    assert events[-1] == ModelFinished(reason="stop")


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

    assert await ask(make()) == [ModelText(text="\u00e4"), ModelFinished(reason="stop")]


async def test_keep_alive_comments_reset_the_idle_timer(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(Answer(comments=8, comment_seconds=0.1))

    assert text_of(await ask(make(idle_seconds=0.5)))


# --- structured output ---------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 422])
async def test_a_server_without_structured_output_is_asked_once_without(
    openrouter: ScriptedOpenRouter, make: Make, status: int
) -> None:
    openrouter.answer_next(Answer(status=status, message="response_format is not supported"))

    assert text_of(await ask(make())) == DEFAULT_PHASE.plan_text()

    first, second = openrouter.requests
    assert "response_format" in first.body
    assert "response_format" not in second.body
    assert {**second.body, "response_format": first.body["response_format"]} == first.body


async def test_a_refusal_for_another_reason_is_reported_after_one_more_try(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(Answer(status=400, message="prompt too long"), always=True)

    problem = await failure(make())

    assert type(problem) is errors.ModelError
    assert "prompt too long" in str(problem)
    assert len(openrouter.requests) == 2


async def test_an_unknown_model_is_not_asked_twice(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(Answer(status=400, message="x/y is not a valid model ID"))

    assert isinstance(await failure(make()), errors.ModelNotFound)
    assert len(openrouter.requests) == 1


# --- errors --------------------------------------------------------------------------------------

HTML = b"<html><head><title>502 Bad Gateway</title></head><body>\n<h1>nginx</h1></body></html>"

REFUSALS = [
    (Answer(status=401), errors.ModelUnauthorized, "401: scripted error"),
    (Answer(status=403), errors.ModelUnauthorized, "OPENROUTER_API_KEY"),
    (
        Answer(status=403, metadata={"reasons": ["violence"]}),
        errors.ModelRefused,
        "change the description",
    ),
    (Answer(status=402), errors.ModelPaymentRequired, "add credit"),
    (Answer(status=404), errors.ModelNotFound, "'test/model'"),
    (Answer(status=408), errors.ModelRateLimited, "try again later"),
    (Answer(status=429), errors.ModelRateLimited, "try again later"),
    (Answer(status=500), errors.ModelUnavailable, "500: scripted error"),
    (Answer(status=502, body=HTML, content_type="text/html"), errors.ModelUnavailable, "(502)"),
    (Answer(status=503, body=b""), errors.ModelUnavailable, "(503)"),
    (Answer(status=500, body=b"x" * 200_000), errors.ModelUnavailable, "x" * 200),
    (
        Answer(status=302, headers={"Location": "/elsewhere"}, body=b""),
        errors.ModelUnavailable,
        "redirect",
    ),
    (Answer(body=HTML, content_type="text/html"), errors.ModelUnavailable, "text/html"),
    (Answer(body=b'{"choices": []}'), errors.ModelUnavailable, "application/json"),
    (Answer(body=b'{"error": {"code": 402}}'), errors.ModelPaymentRequired, "credit"),
    (Answer(status=401, message=f"bad key {TEST_KEY}"), errors.ModelUnauthorized, "bad key [key]"),
]


@pytest.mark.parametrize(("answer", "expected", "words"), REFUSALS)
async def test_a_refusal_is_one_clean_sentence(
    openrouter: ScriptedOpenRouter,
    make: Make,
    answer: Answer,
    expected: type[errors.ModelError],
    words: str,
) -> None:
    openrouter.answer_next(answer)

    problem = await failure(make())

    assert type(problem) is expected
    assert words in str(problem)
    assert len(str(problem)) < 400
    assert str(problem).isprintable()
    assert "<" not in str(problem)
    assert len(openrouter.requests) == 1


BREAKS = [
    (Answer(cut_at_chars=20), errors.ModelStreamBroken, "middle of its answer"),
    (Answer(cut_at_chars=0), errors.ModelStreamBroken, "middle of its answer"),
    (Answer(stall_at_chars=20), errors.ModelStreamBroken, "sent nothing for 0.3 seconds"),
    (Answer(error_at_chars=20), errors.ModelStreamBroken, "(Provider disconnected)"),
    (Answer(error_at_chars=0), errors.ModelUnavailable, "(502: Provider disconnected)"),
    (
        Answer(error_at_chars=9, error_chunk={"choices": [{"error": {"message": "m"}}]}),
        errors.ModelStreamBroken,
        "(m)",
    ),
    (Answer(finish_reason=None), errors.ModelStreamBroken, "before it was complete"),
    (
        Answer(finish_reason=None, is_done_sent=False),
        errors.ModelStreamBroken,
        "before it was complete",
    ),
    (Answer(finish_reason="content_filter"), errors.ModelRefused, "filtered"),
    (Answer(raw_stream=b""), errors.ModelStreamBroken, "before it was complete"),
    (Answer(raw_stream=b"data: {oops\n\n"), errors.ModelStreamBroken, "not JSON"),
    (Answer(raw_stream=b"data: " + b"x" * 1_100_000), errors.ModelStreamBroken, "a line"),
    (Answer(never_answer=True), errors.ModelUnavailable, "did not answer within 0.4 seconds"),
]


@pytest.mark.parametrize(("answer", "expected", "words"), BREAKS)
async def test_a_broken_stream_is_told_apart(
    openrouter: ScriptedOpenRouter,
    make: Make,
    answer: Answer,
    expected: type[errors.ModelError],
    words: str,
) -> None:
    openrouter.answer_next(answer)

    problem = await failure(make(idle_seconds=0.3, first_byte_seconds=0.4))

    assert type(problem) is expected or (
        expected is errors.ModelStreamBroken and isinstance(problem, expected)
    )
    assert words in str(problem)


async def test_what_came_before_the_break_is_delivered(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(Answer(error_at_chars=20, chunk_chars=7))
    received: list[ModelEvent] = []

    async def read() -> None:
        async for event in make().stream(PLAN):
            received.append(event)

    with pytest.raises(errors.ModelStreamBroken):
        await read()

    assert text_of(received) == DEFAULT_PHASE.plan_text()[:20]


async def test_a_finished_answer_does_not_wait_for_its_usage_for_ever(
    openrouter: ScriptedOpenRouter, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TRAILER_SECONDS", 0.1)
    gate = openrouter.hold_end()

    events = await ask(make())

    assert gate.reached.is_set
    assert events[-1] == ModelFinished(reason="stop")


async def test_keep_alive_comments_alone_do_not_go_on_for_ever(
    openrouter: ScriptedOpenRouter, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)
    openrouter.answer_next(Answer(comments=1_000, comment_seconds=0.05))

    assert "took longer" in str(await failure(make()))


async def test_a_refused_connection_is_reported_with_its_address(make: Make) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

    problem = await failure(make(base_url=f"http://127.0.0.1:{port}/v1"))

    assert isinstance(problem, errors.ModelUnavailable)
    assert f"127.0.0.1:{port} cannot be reached" in str(problem)


async def test_an_unknown_host_is_unavailable(make: Make) -> None:
    problem = await failure(make(base_url="http://no-such-host.invalid/v1"))

    assert isinstance(problem, errors.ModelUnavailable)
    assert "no-such-host.invalid" in str(problem)


async def test_a_server_that_speaks_no_http_is_unavailable(make: Make) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        problem = await failure(make(base_url=f"http://127.0.0.1:{port}"))

    assert isinstance(problem, errors.ModelUnavailable)
    assert "HTTP" in str(problem)
    assert problem.__cause__ is None


async def test_a_server_that_hangs_up_is_unavailable(make: Make) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        problem = await failure(make(base_url=f"http://127.0.0.1:{port}"))

    assert isinstance(problem, errors.ModelUnavailable)


async def test_a_certificate_that_nobody_vouches_for_is_reported(
    make: Make, tmp_path: Path
) -> None:
    pem = tmp_path / "server.pem"
    pem.write_text(SELF_SIGNED)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pem)

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    async with server:
        problem = await failure(make(base_url=f"https://127.0.0.1:{port}"))

    assert isinstance(problem, errors.ModelUnavailable)
    assert "certificate" in str(problem)


async def test_plain_http_where_tls_is_expected_is_unavailable(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    problem = await failure(make(base_url=openrouter.base_url.replace("http:", "https:")))

    assert isinstance(problem, errors.ModelUnavailable)


async def test_a_server_that_accepts_no_connection_is_given_up(make: Make) -> None:
    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind(("127.0.0.1", 0))
        server.listen(0)  # one connection waits in the queue, further ones are left hanging
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        url = f"http://127.0.0.1:{server.getsockname()[1]}"

        problem = await failure(make(base_url=url, connect_seconds=0.2))

    assert isinstance(problem, errors.ModelUnavailable)
    assert "within 0.2 seconds" in str(problem)


# --- retries -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=429),
        Answer(status=429, headers={"Retry-After": "0"}),
        Answer(status=503),
        Answer(error_at_chars=0),
        Answer(cut_at_chars=0),
    ],
)
async def test_a_failure_before_the_first_text_is_tried_again(
    openrouter: ScriptedOpenRouter,
    make: Make,
    answer: Answer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    openrouter.answer_next(answer)
    openrouter.answer_next(answer)

    with caplog.at_level(logging.DEBUG):
        events = await ask(make(retry=AT_ONCE))

    assert text_of(events) == DEFAULT_PHASE.plan_text()
    assert len(openrouter.requests) == 3
    assert caplog.text.count("trying again") == 2
    assert TEST_KEY not in caplog.text


async def test_retries_end(openrouter: ScriptedOpenRouter, make: Make) -> None:
    openrouter.answer_next(Answer(status=500), always=True)

    assert isinstance(await failure(make(retry=AT_ONCE)), errors.ModelUnavailable)
    assert len(openrouter.requests) == 3


@pytest.mark.parametrize("status", [401, 402, 404])
async def test_what_waiting_cannot_mend_is_not_tried_again(
    openrouter: ScriptedOpenRouter, make: Make, status: int
) -> None:
    openrouter.answer_next(Answer(status=status), always=True)

    await failure(make(retry=AT_ONCE))

    assert len(openrouter.requests) == 1


async def test_a_failure_after_the_first_text_is_not_tried_again(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(Answer(cut_at_chars=20), always=True)

    await failure(make(retry=AT_ONCE))

    assert len(openrouter.requests) == 1


@pytest.mark.parametrize("value", ["3600", "Fri, 31 Dec 2100 23:59:59 GMT"])
async def test_a_server_that_asks_for_too_much_patience_is_not_asked_again(
    openrouter: ScriptedOpenRouter, make: Make, value: str
) -> None:
    openrouter.answer_next(Answer(status=429, headers={"Retry-After": value}), always=True)

    problem = await failure(make(retry=AT_ONCE))

    assert isinstance(problem, errors.ModelRateLimited)
    assert problem.retry_after_seconds is not None
    assert problem.retry_after_seconds >= 3600
    assert len(openrouter.requests) == 1


async def test_an_unreadable_retry_after_is_none(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(Answer(status=429, headers={"Retry-After": "soon"}))

    problem = await failure(make())

    assert isinstance(problem, errors.ModelRateLimited)
    assert problem.retry_after_seconds is None


@pytest.mark.parametrize(
    ("error", "failures", "low", "high"),
    [
        (errors.ModelUnavailable(), 1, 0.375, 0.625),
        (errors.ModelUnavailable(), 2, 1.5, 2.5),
        (errors.ModelRateLimited(retry_after_seconds=7.0), 1, 7.0, 7.0),
        (errors.ModelRateLimited(retry_after_seconds=0.0), 1, 0.375, 0.625),
        (errors.ModelRateLimited(retry_after_seconds=20.0), 2, 20.0, 20.0),
    ],
)
def test_pauses_grow_and_respect_what_the_server_asks(
    error: errors.ModelError, failures: int, low: float, high: float
) -> None:
    pause = RetryPolicy().pause_seconds(error, failures)

    assert pause is not None
    assert low <= pause <= high


# --- cancelling ----------------------------------------------------------------------------------


async def test_cancelling_the_consumer_closes_the_connection(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    gate = openrouter.hold(10, purpose="plan")
    task = asyncio.create_task(ask(make()))
    await gate.reached.happened()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await openrouter.requests[0].client_gone.happened()
    assert openrouter.requests[0].chars_sent == 10


async def test_leaving_the_stream_closes_the_connection(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(Answer(stall_at_chars=10))
    events = make().stream(PLAN)
    assert isinstance(await anext(events), ModelText)

    await events.aclose()

    await openrouter.requests[0].client_gone.happened()


async def test_cancelling_before_the_first_byte_closes_the_connection(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(Answer(never_answer=True))
    task = asyncio.create_task(ask(make()))
    await asyncio.to_thread(openrouter.wait_for_requests, 1)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await openrouter.requests[0].client_gone.happened()


async def test_cancelling_during_a_pause_sends_nothing_more(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(Answer(status=429, headers={"Retry-After": "15"}))
    task = asyncio.create_task(ask(make(retry=AT_ONCE)))
    await asyncio.to_thread(openrouter.wait_for_requests, 1)
    await openrouter.requests[0].ended.happened()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert len(openrouter.requests) == 1


async def test_closing_the_client_ends_a_call_under_way(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(Answer(stall_at_chars=10))
    model = make()
    events = model.stream(PLAN)
    await anext(events)

    await model.close()

    with pytest.raises(errors.ModelStreamBroken):
        await anext(events)
    await openrouter.requests[0].client_gone.happened()


# --- secrecy -------------------------------------------------------------------------------------


def test_the_key_is_in_no_repr() -> None:
    model = OpenRouterModel("http://127.0.0.1:1", TEST_KEY)

    assert TEST_KEY not in repr(model) + str(model)
    assert not model.is_demo


# --- the scripted server itself ------------------------------------------------------------------


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


async def test_an_unknown_path_is_an_error_of_the_base_url(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    problem = await failure(make(base_url=openrouter.base_url + "/wrong"))

    assert isinstance(problem, errors.ModelNotFound)
    assert "OPENROUTER_BASE_URL" in str(problem)
    assert aiohttp.__version__ not in str(problem)
