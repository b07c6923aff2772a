"""Client frames: what is a command, and what each refusal says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import InvalidDescription, InvalidFrame, InvalidInput, InvalidProjectId
from gateway.frames import (
    MAX_DESCRIPTION_CHARS,
    MAX_FRAME_BYTES,
    MAX_PROBLEM_CHARS,
    CancelFrame,
    ClientFrame,
    GenerateFrame,
    ProblemFrame,
    check_project_id,
    decode_object,
    echoed_id,
    parse_cancel,
    parse_frame,
    parse_generate,
)


def generate(**members: Any) -> str:
    return json.dumps({"type": "generate", "description": "a timer", **members})


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        (generate(), GenerateFrame(description="a timer")),
        (generate(description="  a timer\n"), GenerateFrame(description="a timer")),
        (
            generate(id="c1", model="x/y", maxPhases=3, mode="replace"),
            GenerateFrame(
                description="a timer", id="c1", model="x/y", max_phases=3, mode="replace"
            ),
        ),
        (
            generate(id=None, model=None, maxPhases=None, mode=None),
            GenerateFrame(description="a timer"),
        ),
        (generate(colour="red"), GenerateFrame(description="a timer")),
        (generate(id="i" * 128), GenerateFrame(description="a timer", id="i" * 128)),
        (generate(model="m" * 200), GenerateFrame(description="a timer", model="m" * 200)),
        (generate(maxPhases=1), GenerateFrame(description="a timer", max_phases=1)),
        (generate(maxPhases=50), GenerateFrame(description="a timer", max_phases=50)),
        (generate(description="x"), GenerateFrame(description="x")),
        (
            generate(description="é" * MAX_DESCRIPTION_CHARS),
            GenerateFrame(description="é" * MAX_DESCRIPTION_CHARS),
        ),
        ('{"type":"cancel"}', CancelFrame()),
        ('{"type":"cancel","id":"c2"}', CancelFrame(id="c2")),
        ('{"type":"cancel","commandId":"c1"}', CancelFrame(command_id="c1")),
        (
            '{"type":"report_problem","message":" x is not a function ","id":"r1"}',
            ProblemFrame(message="x is not a function", id="r1"),
        ),
        (
            '{"type":"report_problem","message":"%s"}' % ("x" * (MAX_PROBLEM_CHARS + 1)),
            ProblemFrame(message="x" * MAX_PROBLEM_CHARS),
        ),
    ],
)
def test_commands_are_read(text: str, frame: ClientFrame) -> None:
    assert parse_frame(text) == frame
    assert parse_frame(text.encode()) == frame


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "The frame is not valid JSON"),
        ("{", "The frame is not valid JSON"),
        ("hello", "The frame is not valid JSON"),
        ('{"type":"cancel"} x', "The frame is not valid JSON"),
        ('{"type":"cancel","n":NaN}', "The frame is not valid JSON"),
        ('{"type":"generate","description":"\\ud800"}', "The frame is not valid JSON"),
        ('{"type":"generate","description":"\ud800"}', "The frame is not valid JSON"),
        ("[" * 2000, "The frame is not valid JSON"),
        ('{"a":' * 5000, "The frame is not valid JSON"),
        ("null", "The frame must be a JSON object with a type."),
        ("[]", "The frame must be a JSON object with a type."),
        ('"generate"', "The frame must be a JSON object with a type."),
        ('{"type":"report_problem"}', "message must be text: what the app's error says."),
        (
            '{"type":"report_problem","message":" "}',
            "message must be text: what the app's error says.",
        ),
        ("{}", "The frame's type must be one of generate, cancel, report_problem."),
        ('{"type":null}', "The frame's type must be one of generate, cancel, report_problem."),
        (
            '{"type":["cancel"]}',
            "The frame's type must be one of generate, cancel, report_problem.",
        ),
        ('{"type":"delete"}', "The frame's type must be one of generate, cancel, report_problem."),
        (
            '{"type":"Generate"}',
            "The frame's type must be one of generate, cancel, report_problem.",
        ),
        (generate(id=""), "id must be 1 to 128 printable characters."),
        (generate(id="i" * 129), "id must be 1 to 128 printable characters."),
        (generate(id=7), "id must be 1 to 128 printable characters."),
        (generate(id="a\0b"), "id must be 1 to 128 printable characters."),
        ('{"type":"cancel","id":[]}', "id must be 1 to 128 printable characters."),
        (generate(model=""), "model must be 1 to 200 printable characters."),
        (generate(model="m" * 201), "model must be 1 to 200 printable characters."),
        (generate(model={}), "model must be 1 to 200 printable characters."),
        (generate(maxPhases=0), "maxPhases must be a whole number from 1 to 50."),
        (generate(maxPhases=51), "maxPhases must be a whole number from 1 to 50."),
        (generate(maxPhases=2.0), "maxPhases must be a whole number from 1 to 50."),
        (generate(maxPhases=True), "maxPhases must be a whole number from 1 to 50."),
        (generate(maxPhases="2"), "maxPhases must be a whole number from 1 to 50."),
        (generate(maxPhases=10**30), "maxPhases must be a whole number from 1 to 50."),
        (generate(mode="now"), "mode must be one of queue, steer, replace."),
        (generate(mode=["queue"]), "mode must be one of queue, steer, replace."),
        (" " * (MAX_FRAME_BYTES + 1), "A frame holds at most 256 KiB."),
        ("é" * (MAX_FRAME_BYTES // 2 + 1), "A frame holds at most 256 KiB."),
    ],
)
def test_what_is_no_command_is_refused_with_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(InvalidFrame) as refusal:
        parse_frame(text)
    assert str(refusal.value).startswith(sentence)
    assert refusal.value.code == "invalid_frame"


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({}, "A generate command needs a description of the app."),
        ({"description": None}, "A generate command needs a description of the app."),
        ({"description": 7}, "description must be text."),
        ({"description": ["a"]}, "description must be text."),
        ({"description": ""}, "The description is empty; say what the app should do."),
        ({"description": " \n\t "}, "The description is empty; say what the app should do."),
        (
            {"description": "x" * 20_001},
            "The description has 20,001 characters; at most 20,000 are allowed.",
        ),
        ({"description": "a\0b"}, "The description holds a NUL character; remove it."),
    ],
)
def test_descriptions_are_checked(members: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidDescription) as refusal:
        parse_frame(json.dumps({"type": "generate", **members}))
    assert str(refusal.value) == sentence
    with pytest.raises(InvalidDescription):
        parse_generate(members)


def test_a_frame_of_the_largest_size_is_read() -> None:
    text = '{"type":"cancel"}'
    assert parse_frame(text + " " * (MAX_FRAME_BYTES - len(text))) == CancelFrame()


@given(st.text() | st.binary())
def test_any_input_is_a_command_or_a_refusal(text: str | bytes) -> None:
    try:
        parse_frame(text)
    except InvalidInput as refusal:
        assert str(refusal)  # noqa: PT017  # either outcome is right


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("type", "description", "id", "model", "maxPhases", "mode"), json_values
        ),
    )
)
def test_any_members_are_a_command_or_a_refusal(members: dict[str, Any]) -> None:
    for parse in (parse_generate, parse_cancel):
        try:
            parse(members)
        except InvalidInput as refusal:
            assert str(refusal)  # noqa: PT017  # either outcome is right


@pytest.mark.parametrize(
    ("members", "echoed"),
    [({"id": "c1"}, "c1"), ({}, None), ({"id": None}, None), ({"id": 5}, None), ({"id": ""}, None)],
)
def test_a_refusal_echoes_an_id_that_can_be_used(
    members: dict[str, Any], echoed: str | None
) -> None:
    assert echoed_id(members) == echoed


def test_an_object_is_decoded() -> None:
    assert decode_object('{"a":[1,"\\u00e9"]}') == {"a": [1, "é"]}


@pytest.mark.parametrize("text", ["a", "A-b_9", "x" * 64])
def test_project_ids_are_taken(text: str) -> None:
    assert check_project_id(text) == text


@pytest.mark.parametrize("text", ["", "x" * 65, "a b", "a/b", "a.b", "é", "a\n", "../a", "%20"])
def test_other_project_ids_are_refused(text: str) -> None:
    with pytest.raises(InvalidProjectId):
        check_project_id(text)
