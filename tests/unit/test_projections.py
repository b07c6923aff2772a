"""Which parts a batch's statement has; what they do is shown in integration/test_store.py."""

from __future__ import annotations

import re
from typing import Any

import pytest

from actors import events as ev
from actors.projections import MAX_TITLE_CHARS, batch
from actors.state import ProjectState
from tests.support.history import record

COMMAND: Any = {"id": "1", "description": "d", "model": "m", "max_phases": 5}
STEERED = ev.RunSteered(**COMMAND)
QUEUED_PARTS = ["owner", "journal", "project", "commanded"]
ENDED_PARTS = [
    *("owner", "journal", "closed", "trimmed", "trimmed_log", "project", "settled", "released")
]
QUEUED = ev.CommandQueued(id="1", description="d", model="m", max_phases=5, place=0)
USAGE = ev.Usage(purpose="plan", model="m", prompt_tokens=1, completion_tokens=1, cost_usd=None)


def parts(*events: ev.Event) -> list[str]:
    state = ProjectState(project_id="p")
    sql, arguments = batch("p", 1, record(state, events), state, kept_events=100)
    placeholders = {int(number) for number in re.findall(r"\$(\d+)", sql)}
    assert placeholders == set(range(1, len(arguments) + 1))
    return re.findall(r"(\w+) AS \((?:UPDATE|INSERT|DELETE)", sql)


@pytest.mark.parametrize(
    ("events", "names"),
    [
        ((ev.FileChunk(path="a", chunk="x"),), ["owner", "journal"]),
        ((ev.SandboxLog(stream="stdout", line="x"),), ["owner", "journal"]),
        ((ev.FileStart(path="a"),), ["owner", "journal", "closed"]),
        (
            (ev.RunResumed(id="1", phase_number=1),),
            ["owner", "journal", "closed", "project", "released"],
        ),
        ((ev.FileEnd(path="a", content=""),), ["owner", "journal", "closed", "files"]),
        ((ev.FileDeleted(path="a"),), ["owner", "journal", "deleted"]),
        (
            (ev.FileEnd(path="a", content=""), ev.FileDeleted(path="b")),
            ["owner", "journal", "closed", "files", "deleted"],
        ),
        ((USAGE,), ["owner", "journal", "used", "spent", "released"]),
        ((STEERED,), ["owner", "journal", "commanded"]),
        ((QUEUED, ev.CommandDropped(id="1", reason="user")), QUEUED_PARTS),
        (
            (ev.RunStarted(**COMMAND, first_phase=1), ev.GenerationCancelled(reason="user")),
            [*ENDED_PARTS[:6], "commanded", *ENDED_PARTS[6:]],
        ),
        ((QUEUED,), ["owner", "journal", "project", "commanded"]),
        (
            (ev.CommandDropped(id="1", reason="user"),),
            ["owner", "journal", "project", "settled"],
        ),
        (
            (ev.GenerationCancelled(reason="user"),),
            ENDED_PARTS,
        ),
        ((ev.Hibernated(),), ["owner", "journal", "trimmed", "trimmed_log"]),
    ],
    ids=lambda value: value[0].type if isinstance(value[0], ev.Event) else "",
)
def test_a_batch_writes_only_what_its_events_change(
    events: tuple[ev.Event, ...], names: list[str]
) -> None:
    assert parts(*events) == names


def test_batches_of_one_kind_share_one_statement() -> None:
    state = ProjectState(project_id="p")
    statements = {
        batch(
            "p",
            epoch,
            record(state, [ev.FileChunk(path="a", chunk="x")] * count),
            state,
            kept_events=100,
        )[0]
        for epoch, count in ((1, 1), (2, 7))
    }
    assert len(statements) == 1


def test_a_title_is_one_short_line() -> None:
    state = ProjectState(project_id="p")
    long = ev.CommandQueued(
        id="1", description="an\n app " + "x" * 1000, model="m", max_phases=5, place=0
    )
    _, arguments = batch("p", 1, record(state, [long]), state, kept_events=100)
    titles = [value for value in arguments if isinstance(value, str) and value.startswith("an app")]
    assert [len(title) for title in titles] == [MAX_TITLE_CHARS]


def test_arrays_are_passed_as_text_so_that_no_connection_has_to_ask_for_their_types() -> None:
    state = ProjectState(project_id="p")
    started = ev.RunStarted(id="1", description="d", model="m", max_phases=5, first_phase=1)
    finished = ev.FileEnd(path="a", content="x")
    dropped = ev.CommandDropped(id="2", reason="user")
    events = [QUEUED, started, USAGE, finished, dropped]
    answered = ev.CommandAnswered(id="3", kind="cancel", code=None)
    entries = record(state, [*events, answered])
    sql, arguments = batch("p", 1, entries, state, kept_events=100)
    assert not re.findall(r"\$\d+::(?!text)\w+\[\]", sql)
    items = [item for value in arguments if isinstance(value, list) for item in value]
    assert items
    assert all(isinstance(item, str | None) for item in items)
