"""Following one generate command through frames: repeated, answered, or other people's."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.client.run import Outcome, RunFollower

OURS = "ours"


def frame(type_: str, seq: int, /, **data: Any) -> dict[str, Any]:
    return {"type": type_, "data": data, "seq": seq}


def snapshot(last_seq: int, **changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = {
        "state": "idle",
        "files": [],
        "queue": [],
        "run": None,
        "problem": None,
        "previewUrl": None,
        "lastSeq": last_seq,
    }
    return frame("snapshot", last_seq, **{**data, **changes})


def opened(last_seq: int = 0) -> RunFollower:
    follower = RunFollower(OURS)
    follower.see(frame("state_change", last_seq, state="idle"))
    follower.see(snapshot(last_seq))
    return follower


def running() -> RunFollower:
    follower = opened()
    follower.see(frame("accepted", 0, id=OURS, place=0, seq=1))
    follower.see(frame("command_queued", 1, id=OURS))
    follower.see(frame("run_started", 2, id=OURS))
    return follower


def test_the_first_frames_give_the_number_to_resume_after() -> None:
    assert opened(7).last_seq == 7


def test_acceptance_tells_the_place() -> None:
    follower = opened()
    assert follower.see(frame("accepted", 0, id=OURS, place=2, seq=1))
    assert follower.place == 2
    assert not follower.is_running


def test_another_clients_acceptance_is_not_ours() -> None:
    follower = opened()
    follower.see(frame("accepted", 0, id="theirs", place=0, seq=1))
    assert follower.place is None


def test_our_run_is_running_once_it_started() -> None:
    assert running().is_running


def test_a_complete_run_tells_its_files_and_the_preview() -> None:
    follower = running()
    follower.see(frame("server_started", 3, url="/preview/p/"))
    follower.see(frame("generation_complete", 4, files=["a", "b"], phases=1))
    assert follower.outcome == Outcome(status="complete", files=("a", "b"))
    assert follower.preview_url == "/preview/p/"


def test_a_notice_of_an_outage_is_shown_and_is_nothing_to_resume_after() -> None:
    follower = RunFollower(OURS)
    assert follower.see(frame("storage_unavailable", 0, message="Away."))
    assert follower.last_seq is None
    follower = running()
    assert follower.see(frame("storage_unavailable", 2, message="Away."))
    assert follower.see(frame("storage_restored", 2))
    assert (follower.last_seq, follower.outcome) == (2, None)


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        ("generation_complete", {"files": [], "phases": 1}),
        ("generation_cancelled", {"reason": "user"}),
        ("error", {"code": "plan_invalid", "message": "No."}),
        ("run_started", {"id": "theirs"}),
        ("command_dropped", {"id": "theirs", "reason": "replaced"}),
    ],
)
def test_somebody_elses_run_does_not_end_ours(type_: str, data: dict[str, Any]) -> None:
    follower = opened()
    follower.see(frame("accepted", 0, id=OURS, place=1, seq=1))
    assert follower.see(frame(type_, 2, **data))
    assert follower.outcome is None
    assert not follower.is_running


def test_a_journalled_error_ends_our_run() -> None:
    follower = running()
    follower.see(frame("error", 3, code="install_failed", message="npm said no"))
    assert follower.outcome == Outcome(status="error", code="install_failed", message="npm said no")


def test_a_cancelled_run_tells_the_reason() -> None:
    follower = running()
    follower.see(frame("generation_cancelled", 3, reason="replaced"))
    assert follower.outcome == Outcome(status="cancelled", message="replaced")


def test_a_dropped_command_is_an_error() -> None:
    follower = opened()
    follower.see(frame("command_dropped", 1, id=OURS, reason="removed"))
    assert follower.outcome is not None
    assert follower.outcome.status == "cancelled"


def test_the_refusal_of_our_command_is_an_error() -> None:
    follower = opened(5)
    assert follower.see(frame("error", 5, id=OURS, code="project_busy", message="Full."))
    assert follower.outcome == Outcome(status="error", code="project_busy", message="Full.")


def test_a_refusal_without_an_id_before_acceptance_is_ours() -> None:
    follower = opened(5)
    follower.see(frame("error", 5, code="invalid_frame", message="No."))
    assert follower.outcome is not None


def test_a_cancel_that_came_too_late_changes_nothing() -> None:
    follower = running()
    follower.see(
        frame("error", 2, id=follower.cancel_id, code="nothing_running", message="Nothing.")
    )
    assert follower.outcome is None


def test_frames_that_a_reconnect_repeats_are_told_apart() -> None:
    follower = running()
    assert follower.see(frame("file_start", 3, path="a"))
    assert not follower.see(frame("state_change", 3, state="implementing_phase"))
    assert not follower.see(frame("file_start", 3, path="a"))
    assert follower.see(frame("file_start", 4, path="b"))


def test_an_outcome_is_not_changed_by_what_comes_after_it() -> None:
    follower = running()
    follower.see(frame("generation_cancelled", 3, reason="user"))
    follower.see(frame("error", 4, code="internal_error", message="Late."))
    assert follower.outcome == Outcome(status="cancelled", message="user")


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"run": {"id": OURS, "pause": None}, "state": "designing_phase"}, None),
        ({"queue": [{"id": OURS, "pause": None}]}, None),
        (
            {"state": "complete", "files": [{"path": "a"}]},
            Outcome(status="complete", files=("a",)),
        ),
        (
            {"state": "error", "problem": {"code": "plan_invalid", "message": "No."}},
            Outcome(status="error", code="plan_invalid", message="No."),
        ),
        ({"state": "idle"}, Outcome(status="cancelled", message="user")),
    ],
)
def test_a_snapshot_in_place_of_a_replay_tells_what_became_of_our_run(
    changes: dict[str, Any], outcome: Outcome | None
) -> None:
    follower = running()
    assert follower.see(snapshot(90, **changes))
    assert follower.outcome == outcome
    assert follower.last_seq == 90


def test_numbers_that_begin_anew_after_a_snapshot_are_followed() -> None:
    follower = running()
    follower.see(snapshot(1, run={"id": OURS, "pause": None}))
    assert follower.see(frame("file_start", 2, path="a"))
