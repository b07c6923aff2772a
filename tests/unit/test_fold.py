"""What a viewer makes of its frames, and which frames it must refuse."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from actors import codec
from actors import events as ev
from actors.events import PhasePlan, PlannedFile, RunState
from actors.snapshot import snapshot_data
from actors.state import ProjectState, apply
from tests.support.fold import Fold, FoldError, differences

Frame = dict[str, Any]

PLAN = PhasePlan(
    name="Base",
    description="A page.",
    files=(PlannedFile(path="a.js", purpose="all"), PlannedFile(path="b.js", purpose="more")),
    is_last_phase=True,
)
EVENTS: tuple[ev.Event, ...] = (
    ev.CommandQueued(id="c1", description="an app", model="m", max_phases=2, place=0),
    ev.RunStarted(id="c1", description="an app", model="m", max_phases=2, first_phase=1),
    ev.StateChange(state=RunState.IMPLEMENTING_PHASE),
    ev.PhaseDesigning(phase_number=1),
    ev.PhaseDesigned(phase=PLAN),
    ev.FileStart(path="a.js"),
    ev.FileChunk(path="a.js", chunk="one\n"),
    ev.FileEnd(path="a.js", content="one\n"),
    ev.ServerStarted(url="http://127.0.0.1:1/"),
    ev.CommandQueued(id="c2", description="more", model="m", max_phases=1, place=1),
    ev.FileStart(path="b.js"),
    ev.FileChunk(path="b.js", chunk="two"),
)


def frame(type_: str, seq: int, **data: Any) -> Frame:
    return {"type": type_, "data": data, "seq": seq}


def log(seq: int) -> Frame:
    return frame("sandbox_log", seq, stream="stdout", line="x")


def folded(*events: ev.Event) -> ProjectState:
    state = ProjectState(project_id="p1")
    for seq, event in enumerate(events, 1):
        apply(state, event, seq)
    return state


def snapshot(state: ProjectState, **more: Any) -> Frame:
    data = snapshot_data(state, model="m", is_demo=False, preview_base="http://127.0.0.1:1")
    return frame("snapshot", state.last_seq, **data, **more)


def opening(seq: int = 0) -> Frame:
    return frame("state_change", seq, state="idle")


def joined(*events: ev.Event) -> Fold:
    """A fold that has had its first socket's snapshot."""
    fold = Fold("p1")
    fold.open()
    assert not fold.take(opening())
    assert not fold.take(snapshot(folded(*events)))
    return fold


@pytest.mark.parametrize("cut", range(len(EVENTS) + 1))
def test_a_snapshot_and_the_events_behind_it_make_the_state(cut: int) -> None:
    fold = joined(*EVENTS[:cut])
    for seq, event in enumerate(EVENTS[cut:], cut + 1):
        assert fold.take(orjson.loads(codec.frame(event.type, codec.encode_data(event), seq)))
    assert fold.cursor == len(EVENTS)
    expected = folded(*EVENTS)
    assert not differences(fold.state, snapshot(expected)["data"])
    assert fold.state.open_file is not None
    assert fold.state.open_file.text == "two"


def test_whoever_comes_back_keeps_what_it_has() -> None:
    fold = joined(*EVENTS)
    assert fold.open() == len(EVENTS)
    fold.take(opening(len(EVENTS)))
    fold.take(frame("file_end", 20, path="b.js", content="two\n"))
    assert set(fold.state.files) == {"a.js", "b.js"}


def test_whoever_asks_for_everything_begins_with_nothing() -> None:
    fold = joined(*EVENTS)
    fold.forget(cursor=0)
    assert fold.open() == 0
    fold.take(opening())
    assert fold.take(log(1))
    assert fold.state == ProjectState(project_id="p1", last_seq=1)


@pytest.mark.parametrize("type_", ["accepted", "done", "error", "storage_unavailable"])
def test_an_answer_changes_nothing_whenever_it_comes(type_: str) -> None:
    fold = Fold("p1")
    fold.open()
    answer = frame(type_, 0, id="c1", code="project_busy", message="...")
    for other in (opening(), snapshot(folded(*EVENTS)), frame("state_change", 0, state="idle")):
        assert not fold.take(answer)
        fold.take(other)
        answer = {**answer, "seq": other["seq"]}
    assert not fold.take(answer)
    assert not differences(fold.state, snapshot(folded(*EVENTS))["data"])


def test_an_error_with_a_number_of_its_own_ends_the_run() -> None:
    fold = joined(*EVENTS)
    assert fold.take(frame("error", 13, code="model_error", message="..."))
    assert fold.state.run is None


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [
        ([log(13)], "first frame"),
        ([opening(5)], "must carry"),
        ([opening(), log(13)], "snapshot must come first"),
        ([opening(), snapshot(folded(*EVENTS))], "resync must be True"),
        ([opening(12), log(12)], "above 12"),
        ([opening(12), log(13), log(13)], "above 13"),
        ([opening(12), frame("error", 3, code="x", message="...")], "above 12"),
        ([opening(12), frame("state_change", 5, state="idle")], "above 12"),
        ([opening(), {**snapshot(folded(*EVENTS), resync=True), "seq": 3}], "its lastSeq"),
    ],
)
def test_what_the_protocol_rules_out_is_refused(frames: list[Frame], complaint: str) -> None:
    fold = joined(*EVENTS)
    fold.open()
    *accepted, refused = frames
    for each in accepted:
        fold.take(each)
    with pytest.raises(FoldError, match=complaint):
        fold.take(refused)


def test_the_first_snapshot_of_a_new_viewer_is_no_resync() -> None:
    fold = Fold("p1")
    fold.open()
    fold.take(opening())
    with pytest.raises(FoldError, match="resync must be False"):
        fold.take(snapshot(folded(), resync=True))


def test_a_difference_names_its_member_and_both_sides() -> None:
    state = folded(*EVENTS)
    told = snapshot(state)["data"]
    assert differences(state, {**told, "state": "idle", "lastSeq": 99, "previewUrl": "other"}) == {
        "state": ("implementing_phase", "idle")
    }
    assert "previewUrl" in differences(state, {**told, "previewUrl": None})
