"""The plain JSON of the jsonb columns: what goes in comes out, U+0000 included."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.events import ModelCall, RunState
from actors.records import (
    command_from_record,
    command_record,
    from_column,
    phase_from_record,
    phase_record,
    problem_from_record,
    problem_record,
    read_text,
    run_from_record,
    run_record,
    state_from_row,
    stored_text,
    to_column,
    totals_record,
)
from actors.state import (
    Command,
    FileInfo,
    OpenFile,
    Pause,
    Phase,
    PhaseStatus,
    Problem,
    ProjectState,
    Run,
    Totals,
)
from tests.unit.test_events import PLAN, TEXT

AWKWARD = st.text(st.sampled_from("\0\ue00001\\u"))
COMMAND = st.builds(
    Command, id=TEXT, description=TEXT | AWKWARD, model=TEXT, max_phases=st.integers(1, 50)
)
TOTALS = Totals(calls=3, prompt_tokens=20, completion_tokens=4, cost_usd=0.125, estimated_calls=1)
PHASE = st.builds(
    Phase,
    number=st.integers(1, 50),
    plan=PLAN,
    status=st.sampled_from(PhaseStatus),
    finished=st.lists(TEXT, max_size=3),
    installs=st.lists(st.lists(TEXT, max_size=3).map(tuple), max_size=2),
)


@given(TEXT | AWKWARD)
def test_stored_text_has_no_nul_and_is_read_as_it_was(text: str) -> None:
    assert "\0" not in stored_text(text)
    assert read_text(stored_text(text)) == text


def test_ordinary_text_is_stored_as_it_is() -> None:
    assert stored_text("naïve ☃\n") == "naïve ☃\n"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(0, 2**53) | TEXT | AWKWARD,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("k"), inner),
        max_leaves=8,
    )
)
def test_a_column_is_read_as_it_was_written(value: object) -> None:
    text = to_column(value)
    assert from_column(text) == value
    assert "\\u0000" not in text.replace("\\\\", "")


@given(PHASE)
def test_a_phase_comes_back_as_it_was(phase: Phase) -> None:
    assert phase_from_record(from_column(to_column(phase_record(phase)))) == phase


@given(COMMAND)
def test_a_command_and_its_run_come_back_as_they_were(command: Command) -> None:
    assert command_from_record(from_column(to_column(command_record(command)))) == command
    run = Run(command=command, first_phase=3)
    assert run_from_record(from_column(to_column(run_record(run)))) == run
    call = ModelCall(
        purpose="plan", model="m", prompt_tokens=1, prompt_usd=0.5, completion_usd=None
    )
    pause = Pause(code="c", message=command.description, needed_usd=0.25)
    run = replace(run, repairs=1, is_steered=True, pause=pause, call=call, totals=TOTALS)
    assert run_from_record(from_column(to_column(run_record(run)))) == run


@given(TEXT | AWKWARD)
def test_a_problem_comes_back_as_it_was(message: str) -> None:
    problem = Problem(code="c", message=message)
    assert problem_from_record(from_column(to_column(problem_record(problem)))) == problem


def test_a_run_of_an_earlier_version_is_read_as_one_without_calls() -> None:
    record = {"id": "1", "description": "d", "model": "m", "maxPhases": 5, "firstPhase": 2}
    command = Command(id="1", description="d", model="m", max_phases=5)
    assert run_from_record(record) == Run(command=command, first_phase=2)


EMPTY_ROW = {
    "current_state": "idle",
    "current_phase_index": None,
    "phases": "[]",
    "sandbox_kind": None,
    "sandbox_container_id": None,
    "preview_url": None,
    "run": None,
    "problem": None,
    "problems": "[]",
    "usage": None,
    "last_seq": 0,
    "files": "[]",
    "commands": "[]",
    "open_rows": None,
}


def test_an_empty_row_is_an_empty_state() -> None:
    assert state_from_row("p", EMPTY_ROW) == ProjectState(project_id="p")


def test_a_full_row_is_a_full_state() -> None:
    payload = '{"description": "d", "model": "m", "maxPhases": 5}'
    row = {
        **EMPTY_ROW,
        "current_state": "implementing_phase",
        "current_phase_index": 1,
        "sandbox_kind": "docker",
        "sandbox_container_id": "c0ffee",
        "preview_url": "http://h",
        "run": '{"id": "1", "description": "d", "model": "m", "maxPhases": 5, "firstPhase": 2}',
        "problem": '{"code": "c", "message": "m"}',
        "problems": '["it crashed"]',
        "usage": to_column(totals_record(TOTALS)),
        "last_seq": 9,
        "files": '[["a", 1, "ff", 0]]',
        "commands": "["
        + ", ".join(
            f'{{"id": "{id_}", "status": "{status}", "payload": {payload}}}'
            for id_, status in (("0", "done"), ("1", "running"), ("2", "queued"))
        )
        + "]",
        "open_rows": ['{"path":"b"}', '{"path":"b","chunk":"x"}', '{"path":"b","chunk":"y"}'],
    }
    command = Command(id="1", description="d", model="m", max_phases=5)
    assert state_from_row("p", row) == ProjectState(
        project_id="p",
        state=RunState.IMPLEMENTING_PHASE,
        files={"a": FileInfo(size=1, sha256="ff", phase_number=1)},
        open_file=OpenFile(path="b", chunks=["x", "y"]),
        run=Run(command=command, first_phase=2),
        queue=[Command(id="2", description="d", model="m", max_phases=5)],
        problem=Problem(code="c", message="m"),
        problems=["it crashed"],
        totals=TOTALS,
        preview_url="http://h",
        sandbox_kind="docker",
        sandbox_container_id="c0ffee",
        descriptions=["d", "d"],
        designing=2,
        last_seq=9,
    )


@pytest.mark.parametrize(
    ("rows", "open_file"),
    [
        ([], None),
        (['{"path":"b"}'], OpenFile(path="b")),
        (['{"path":"b","chunk":""}'], OpenFile(path="b", chunks=[""])),
    ],
)
def test_the_open_file_is_what_its_rows_say(rows: list[str], open_file: OpenFile | None) -> None:
    assert state_from_row("p", {**EMPTY_ROW, "open_rows": rows}).open_file == open_file
