"""The snapshot: everything of the state, in the wire's words, as JSON can carry it."""

from __future__ import annotations

import random

import orjson
import pytest

from actors import events as ev
from actors.events import PhasePlan, PlannedFile, RunState
from actors.snapshot import snapshot_data
from actors.state import ProjectState, apply, file_info
from tests.support.history import history

SERVICE = "http://h:1"
NO_USAGE = {
    "calls": 0,
    "promptTokens": 0,
    "completionTokens": 0,
    "costUsd": 0.0,
    "estimatedCalls": 0,
}
EMPTY: dict[str, object] = {
    "state": "idle",
    "phases": [],
    "designing": 0,
    "files": [],
    "openFile": None,
    "queue": [],
    "run": None,
    "problem": None,
    "descriptions": [],
    "problems": [],
    "usage": NO_USAGE,
    "previewUrl": None,
    "sandbox": {"kind": None, "containerId": None},
    "model": "demo",
    "isDemo": True,
    "lastSeq": 0,
}


def test_an_empty_project_has_every_member() -> None:
    state = ProjectState(project_id="p")
    assert snapshot_data(state, model="demo", is_demo=True, preview_base=SERVICE) == EMPTY


def test_a_running_project_is_shown_whole() -> None:
    plan = PhasePlan(
        name="Base",
        description="The page",
        files=(PlannedFile(path="b", purpose="p"),),
        is_last_phase=True,
    )
    command = {"description": "d", "model": "m", "max_phases": 5}
    state = ProjectState(project_id="p")
    events: list[ev.Event] = [
        ev.CommandQueued(id="1", place=0, **command),  # type: ignore[arg-type]  # as listed above
        ev.CommandQueued(id="2", place=1, **command),  # type: ignore[arg-type]  # as listed above
        ev.RunStarted(id="1", first_phase=1, **command),  # type: ignore[arg-type]  # as above
        ev.StateChange(state=RunState.IMPLEMENTING_PHASE),
        ev.PhaseDesigning(phase_number=1),
        ev.PhaseDesigned(phase=plan),
        ev.FileEnd(path="b", content="☃"),
        ev.FileEnd(path="a", content=""),
        ev.FileStart(path="c"),
        ev.FileChunk(path="c", chunk="te"),
        ev.FileChunk(path="c", chunk="xt"),
        ev.SandboxStarted(kind="docker", container_id="c0ffee"),
        ev.ServerStarted(url="http://another-port/preview/p/"),
    ]
    for seq, event in enumerate(events, 1):
        apply(state, event, seq)
    on_wire = {"description": "d", "model": "m", "maxPhases": 5}
    assert snapshot_data(state, model="m", is_demo=False, preview_base=SERVICE) == {
        "state": "implementing_phase",
        "phases": [
            {
                "number": 1,
                "name": "Base",
                "description": "The page",
                "files": [{"path": "b", "purpose": "p"}],
                "delete": [],
                "isLastPhase": True,
                "status": "designed",
                "finished": ["b", "a"],
                "installs": [],
            }
        ],
        "designing": 1,
        "files": [
            {"path": "a", "size": 0, "sha256": file_info("", 1).sha256, "phaseNumber": 1},
            {"path": "b", "size": 3, "sha256": file_info("☃", 1).sha256, "phaseNumber": 1},
        ],
        "openFile": {"path": "c", "text": "text"},
        "queue": [{"id": "2", **on_wire}],
        "run": {
            "id": "1",
            **on_wire,
            "firstPhase": 1,
            "usage": NO_USAGE,
            "repairs": 0,
            "isSteered": False,
            "pause": None,
            "call": None,
        },
        "problem": None,
        "descriptions": ["d"],
        "problems": [],
        "usage": NO_USAGE,
        "previewUrl": "http://p.h:1/",
        "sandbox": {"kind": "docker", "containerId": "c0ffee"},
        "model": "m",
        "isDemo": False,
        "lastSeq": 13,
    }


def test_a_problem_is_shown_with_its_code() -> None:
    state = ProjectState(project_id="p")
    apply(state, ev.ErrorRaised(message="m", code="c"), 1)
    data = snapshot_data(state, model="m", is_demo=False, preview_base=SERVICE)
    assert data["problem"] == {"code": "c", "message": "m"}


@pytest.mark.parametrize("seed", range(5))
def test_a_snapshot_is_plain_json_and_shares_nothing_with_the_state(seed: int) -> None:
    state = ProjectState(project_id="p")
    for seq, event in enumerate(history(random.Random(seed)), 1):
        apply(state, event, seq)
    data = snapshot_data(state, model="m", is_demo=False, preview_base=SERVICE)
    assert orjson.loads(orjson.dumps(data)) == data
    before = orjson.dumps(data)
    state.descriptions.append("later")
    state.phases[-1].finished.append("later")
    assert orjson.dumps(data) == before
