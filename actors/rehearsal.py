"""What an owner asks of PostgreSQL in its first moments, asked of no project.

A server process that has just been connected to takes some milliseconds longer for the first
statement of each kind: it reads its catalogs and plans. A spare has that behind it when a project
is given to it, if it has carried these statements out. They change nothing: no project has the
empty name, and no owner epoch 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from actors import events as ev
from actors.codec import JournalEntry, encode_data
from actors.events import Event, RunState
from actors.projections import batch
from actors.state import ProjectState, apply

NO_PROJECT = ""
NO_EPOCH = 0
_COMMAND: dict[str, Any] = {"id": "", "description": "", "model": "", "max_phases": 1}

#: Each recorded alone, in this order: those of a revival, then those of a run that begins.
FIRST_EVENTS: tuple[Event, ...] = (
    ev.CommandQueued(**_COMMAND, place=0),
    ev.RunStarted(**_COMMAND, first_phase=1),
    ev.RunResumed(id="", phase_number=1),
    ev.StateChange(state=RunState.DESIGNING_PHASE),
)


def first_appends() -> Iterator[tuple[str, list[Any]]]:
    """Yield the statements that journal the first events, with arguments that no row matches."""
    state = ProjectState(project_id=NO_PROJECT)
    for seq, event in enumerate(FIRST_EVENTS, 1):
        apply(state, event, seq)
        entry = JournalEntry(seq, event, encode_data(event))
        yield batch(NO_PROJECT, NO_EPOCH, [entry], state, kept_events=1)
