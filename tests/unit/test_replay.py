"""A replay from any cut of a history gives the state of who saw all of it live."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import orjson
import pytest
from hypothesis import given, settings

from actors import events as ev
from actors.codec import JournalEntry, decode_data, encode_data
from actors.records import (
    payload_record,
    phase_record,
    problem_record,
    run_record,
    state_from_row,
    to_column,
    totals_record,
)
from actors.snapshot import snapshot_data
from actors.state import Command, OpenFile, ProjectState, apply
from tests.support.history import journals
from tests.support.replay_fold import comparable, state_of_snapshot

PROJECT = "p"


def replay(state: ProjectState, entries: Sequence[JournalEntry]) -> ProjectState:
    """Fold events as they are read from the journal, or arrive at a viewer."""
    for entry in entries:
        apply(state, decode_data(entry.event.type, orjson.loads(entry.data)), entry.seq)
    return state


def through_the_wire(state: ProjectState) -> ProjectState:
    """What a viewer has made of a snapshot."""
    data = orjson.dumps(snapshot_data(state, model="m", is_demo=False, preview_base="http://a"))
    return state_of_snapshot(state.project_id, orjson.loads(data))


def through_the_columns(state: ProjectState) -> ProjectState:
    """What the next owner loads."""
    return state_from_row(state.project_id, row_of(state))


def row_of(state: ProjectState) -> dict[str, Any]:
    """The row that `projections.LOAD` would select."""
    return {
        "current_state": state.state.value,
        "current_phase_index": state.designing - 1 if state.designing else None,
        "phases": to_column([phase_record(phase) for phase in state.phases]),
        "sandbox_kind": state.sandbox_kind,
        "sandbox_container_id": state.sandbox_container_id,
        "preview_url": state.preview_url,
        "run": to_column(run_record(state.run)) if state.run else None,
        "problem": to_column(problem_record(state.problem)) if state.problem else None,
        "problems": to_column(state.problems),
        "usage": to_column(totals_record(state.totals)),
        "last_seq": state.last_seq,
        "files": to_column(
            [
                [path, info.size, info.sha256, info.phase_number - 1]
                for path, info in state.files.items()
            ]
        ),
        "commands": to_column(
            [
                *(command_item(_ended(text), "done") for text in state.descriptions),
                *(command_item(command, "queued") for command in state.queue),
            ]
        ),
        "open_rows": open_rows(state.open_file),
    }


def _ended(description: str) -> Command:
    return Command(id="", description=description, model="m", max_phases=1)


def command_item(command: Command, status: str) -> dict[str, Any]:
    return {"id": command.id, "status": status, "payload": payload_record(command)}


def open_rows(open_file: OpenFile | None) -> list[str] | None:
    if open_file is None:
        return None
    path = open_file.path
    chunks = [ev.FileChunk(path=path, chunk=chunk) for chunk in open_file.chunks]
    return [encode_data(event).decode() for event in (ev.FileStart(path=path), *chunks)]


@pytest.mark.parametrize(
    "at_the_cut",
    [deepcopy, through_the_wire, through_the_columns],
    ids=["goes on", "snapshot", "revived"],
)
@settings(max_examples=40, deadline=None)
@given(journal=journals(max_events=80))
def test_a_replay_from_any_cut_gives_the_state_that_was_seen_live(
    at_the_cut: Callable[[ProjectState], ProjectState], journal: list[JournalEntry]
) -> None:
    live = comparable(replay(ProjectState(project_id=PROJECT), journal))
    seen = ProjectState(project_id=PROJECT)
    for cut in range(len(journal) + 1):
        state = at_the_cut(seen)
        assert comparable(state) == comparable(seen)
        assert comparable(replay(state, journal[cut:])) == live
        replay(seen, journal[cut : cut + 1])
    assert comparable(seen) == live
