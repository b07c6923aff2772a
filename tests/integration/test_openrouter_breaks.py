"""Answers that break, over real HTTP: nothing that came is lost, and what was used is told."""

from __future__ import annotations

import json

import pytest

from actors import errors
from actors.generation import openrouter as module
from actors.generation.model import ModelFinished, ModelUsage
from tests.support.model_client import AT_ONCE, Make, ask, ask_in_vain, failure, text_of
from tests.support.openrouter import DEFAULT_PHASE, Answer, ScriptedOpenRouter

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

    problem = await failure(make(idle_seconds=0.3, first_text_seconds=0.4))

    assert type(problem) is expected or (
        expected is errors.ModelStreamBroken and isinstance(problem, expected)
    )
    assert words in str(problem)


async def test_what_came_before_the_break_is_delivered_then_what_it_used(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    openrouter.answer_next(Answer(error_at_chars=20, chunk_chars=7))

    told, problem = await ask_in_vain(make())

    assert isinstance(problem, errors.ModelStreamBroken)
    assert text_of(told) == DEFAULT_PHASE.plan_text()[:20]
    assert [event.estimated for event in told if isinstance(event, ModelUsage)] == [True]
    assert isinstance(told[-1], ModelUsage)


TEXT = '{"a": "\u00e4"}'


def short_stream() -> bytes:
    """Return an answer of three chunks, its end and its usage, as a server sends it."""
    choices: list[dict[str, object]] = [
        {"delta": {"content": part}} for part in (TEXT[:4], TEXT[4:])
    ]
    choices.append({"delta": {}, "finish_reason": "stop"})
    data = [json.dumps({"choices": [choice]}, ensure_ascii=False) for choice in choices]
    data.append('{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}')
    return b"".join(f"data: {item}\n\n".encode() for item in [*data, "[DONE]"])


async def test_a_short_answer_that_is_cut_at_any_byte_is_never_taken_for_whole(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    stream, model = short_stream(), make()
    is_finished_from = stream.index(b"stop") + len('stop"}]}\n\n')
    for count in range(len(stream) + 1):
        openrouter.answer_next(Answer(raw_stream=stream, cut_at_bytes=count))

        if count >= is_finished_from:  # only its usage, or the mark of its end, is missing
            told = await ask(model)
            assert text_of(told) == TEXT
            assert told[-1] == ModelFinished(reason="stop")
        else:
            told, problem = await ask_in_vain(model)
            assert isinstance(problem, errors.ModelStreamBroken)
            assert TEXT.startswith(text_of(told))
        assert len([event for event in told if isinstance(event, ModelUsage)]) == 1


async def test_a_cut_before_the_first_text_is_mended_by_another_call(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    stream, model = short_stream(), make(retry=AT_ONCE)
    first_text = stream.index(b"\n\n") + 2
    for count in range(first_text):
        openrouter.answer_next(Answer(raw_stream=stream, cut_at_bytes=count))
        openrouter.answer_next(Answer(raw_stream=stream))

        told = await ask(model)

        assert text_of(told) == TEXT
        assert len([event for event in told if isinstance(event, ModelUsage)]) == 2


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
