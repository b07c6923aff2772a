"""Who may run and who may have a sandbox: in their order, and no more than there may be."""

from __future__ import annotations

from actors.seats import Seats


def wanting(seats: Seats, *project_ids: str) -> list[str]:
    for project_id in project_ids:
        seats.want_run(project_id)
    return seats.grant()


def test_runs_are_granted_in_their_order_up_to_the_limit() -> None:
    seats = Seats(max_runs=2, max_sandboxes=None)
    assert wanting(seats, "a", "b", "b", "c") == ["a", "b"]
    assert (seats.running, seats.waiting) == (2, 1)
    assert seats.is_running("a")
    assert wanting(seats, "a") == []
    seats.end_run("a")
    assert seats.grant() == ["c"]


def test_who_waits_is_told_once_what_for() -> None:
    seats = Seats(max_runs=1, max_sandboxes=None)
    wanting(seats, "a", "b")
    [(project_id, sentence)] = seats.newly_delayed()
    assert project_id == "b"
    assert "CODEGEN_MAX_RUNS" in sentence
    assert seats.newly_delayed() == []
    full = Seats(max_runs=9, max_sandboxes=1)
    wanting(full, "a", "b")
    assert full.newly_delayed() == [("b", full.sentence)]
    assert "(1, CODEGEN_MAX_SANDBOXES)" in full.sentence


def test_a_sandbox_is_kept_until_its_project_has_left() -> None:
    seats = Seats(max_runs=9, max_sandboxes=1)
    assert wanting(seats, "a", "b") == ["a"]
    seats.end_run("a")
    assert seats.grant() == []
    assert seats.lacking() == 1
    seats.lose_actor("a")  # it crashed: its sandbox runs on
    assert seats.grant() == []
    assert wanting(seats, "a") == ["a"]
    seats.leave("a")
    assert seats.lacking() == 0
    assert seats.grant() == ["b"]
    assert seats.has_sandbox("b")
    assert not seats.has_sandbox("a")


def test_who_has_a_sandbox_need_not_wait_behind_who_has_none() -> None:
    seats = Seats(max_runs=9, max_sandboxes=1)
    assert seats.open_preview("a")
    assert wanting(seats, "b", "a") == ["a"]


def test_runs_that_could_not_begin_anyway_ask_for_no_room() -> None:
    seats = Seats(max_runs=1, max_sandboxes=1)
    wanting(seats, "a", "b", "c")
    assert seats.lacking() == 0
    seats.end_run("a")
    assert seats.lacking() == 1


def test_a_preview_takes_a_place_or_asks_for_one_for_a_while() -> None:
    seats = Seats(max_runs=9, max_sandboxes=1)
    assert seats.open_preview("a")
    assert seats.open_preview("a")
    assert not seats.open_preview("b")
    assert seats.lacking() == 1
    seats.forget_visits()
    assert seats.lacking() == 0
    assert not seats.open_preview("b")
    seats.leave("a")
    assert seats.open_preview("b")
    assert seats.lacking() == 0


def test_a_project_that_has_gone_waits_no_more() -> None:
    seats = Seats(max_runs=1, max_sandboxes=None)
    wanting(seats, "a", "b")
    seats.newly_delayed()
    seats.leave("b")
    assert seats.waiting == 0
    wanting(seats, "b")
    assert [project_id for project_id, _ in seats.newly_delayed()] == ["b"]
