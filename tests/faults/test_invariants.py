"""Each check of the fault suite finds what it looks for: a good round, spoilt in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from actors import codec
from actors import events as ev
from actors.events import PhasePlan, PlannedFile, RunState
from actors.journal import UNCLEAN_GAP
from actors.snapshot import snapshot_data
from tests.faults import invariants
from tests.faults.chronicle import Chronicle, Stretch
from tests.faults.invariants import Row
from tests.faults.model import Asked
from tests.faults.schedule import Kind, Way, plan_round
from tests.faults.story import Story
from tests.faults.violation import Violation

STORY = Story(7)
FILES = STORY.phase(1).files
PATHS = list(FILES)
CRASH_AT = 8  # the numbers above are left out
COMMAND = {"description": STORY.description("c1"), "model": "m", "max_phases": 1}


def plan() -> PhasePlan:
    phase = STORY.phase(1)
    files = tuple(PlannedFile(path=path, purpose="all") for path in phase.files)
    return PhasePlan(
        name=phase.name, description=phase.description, files=files, is_last_phase=False
    )


def good_events() -> list[ev.Event]:
    """A run of one phase, interrupted by a crash in its first file, and a cancel that is late."""
    queued: dict[str, Any] = {"id": "c1", **COMMAND}
    first = PATHS[0]
    finished: list[ev.Event] = [ev.FileEnd(path=path, content=FILES[path]) for path in PATHS]
    return [
        ev.CommandQueued(**queued, place=0),
        ev.RunStarted(**queued, first_phase=1),
        ev.StateChange(state=RunState.DESIGNING_PHASE),
        ev.PhaseDesigning(phase_number=1),
        ev.PhaseDesigned(phase=plan(), wishes=1),
        ev.StateChange(state=RunState.IMPLEMENTING_PHASE),
        ev.FileStart(path=first),
        ev.FileChunk(path=first, chunk=FILES[first][:20]),
        ev.RunResumed(id="c1", phase_number=1),
        *finished,
        ev.FilesWritten(count=len(PATHS)),
        ev.PhaseCompleted(phase_number=1),
        ev.StateChange(state=RunState.COMPLETE),
        ev.GenerationComplete(files=tuple(sorted(PATHS)), phases=1),
        ev.CommandAnswered(id="x1", kind="cancel", code="nothing_running"),
    ]


def journal(events: list[ev.Event] | None = None) -> list[Row]:
    """Number events as two owners do, with a crash in between."""
    rows = []
    for position, event in enumerate(good_events() if events is None else events, 1):
        number = position if position <= CRASH_AT else position + UNCLEAN_GAP
        text = codec.frame(event.type, codec.encode_data(event), number).decode()
        rows.append(Row(text, orjson.loads(text)))
    return rows


def seen(rows: list[Row]) -> Chronicle:
    chronicle = Chronicle("p1")
    for row in rows:
        chronicle.note(row.text, row.frame)
    return chronicle


def without(rows: list[Row], type_: str) -> list[Row]:
    return [row for row in rows if row.type != type_]


def lost_chunk(number: int, path: str) -> tuple[str, dict[str, Any]]:
    frame = {"type": "file_chunk", "data": {"path": path, "chunk": "x"}, "seq": number}
    return orjson.dumps(frame).decode(), frame


def check_commands(rows: list[Row], **changed: Any) -> None:
    given: dict[str, Any] = {"cancels": {"x1": "nothing_running"}, "replacements": 0, **changed}
    invariants.check_commands("p1", given.pop("phases", {"c1": 1}), rows, **given)


def steered_events() -> list[ev.Event]:
    """The same run, steered in its first phase, after one file, by a wish for one phase."""
    events = good_events()
    events[-2] = ev.GenerationComplete(files=(), phases=2)
    first_end = next(i for i, event in enumerate(events) if isinstance(event, ev.FileEnd))
    steering = ev.RunSteered(id="c2", description="more", model="m", max_phases=1)
    return [
        *events[: first_end + 1],
        steering,
        ev.PhaseCut(phase_number=1),
        ev.PhaseDesigned(phase=plan(), wishes=2),
        *events[first_end + 1 :],
    ]


# --- a good round passes -------------------------------------------------------------------------


def test_a_good_round_passes_every_check() -> None:
    rows = journal()
    chronicle = seen(rows)
    state = invariants.fold(rows)
    stretch = Stretch(0, numbers=[row.seq for row in rows])
    invariants.check_viewer("v", [stretch], rows)
    invariants.check_chronicle(chronicle, rows)
    invariants.check_files("p1", STORY, state, FILES)
    invariants.check_phases("p1", STORY, state)
    check_commands(rows)
    asked = [Asked(story=7, purpose="plan", phase=1, paths=(), text_so_far=None, at=0.0)]
    invariants.check_requests("p1", STORY, asked, chronicle, rows)
    assert invariants.longest_loss(chronicle, rows).seconds == 0.0


# --- what viewers saw ----------------------------------------------------------------------------


def test_an_event_that_a_viewer_was_not_shown_is_found() -> None:
    rows = journal()
    numbers = [row.seq for row in rows]
    with pytest.raises(Violation, match="not shown 1 events"):
        invariants.check_viewer("v", [Stretch(0, numbers=numbers[:3] + numbers[4:])], rows)


def test_a_snapshot_that_is_another_state_is_found() -> None:
    rows = journal()
    data = snapshot_data(
        invariants.fold(rows, 7), model="m", is_demo=False, preview_base="http://127.0.0.1:1"
    )
    snapshot = {"type": "snapshot", "data": data, "seq": 7}
    invariants.check_viewer("v", [Stretch(7, snapshot)], rows)
    data["descriptions"] = []
    with pytest.raises(Violation, match="does not bear out"):
        invariants.check_viewer("v", [Stretch(7, snapshot)], rows)


def test_a_number_that_stands_for_two_events_is_found() -> None:
    chronicle = seen(journal())
    with pytest.raises(Violation, match="two events"):
        chronicle.note(*lost_chunk(3, "a"))


def test_an_event_that_was_shown_and_lost_is_found() -> None:
    rows = journal()
    with pytest.raises(Violation, match="not in the journal"):
        invariants.check_chronicle(seen(rows), without(rows, "phase_designed"))


def test_an_event_that_was_shown_otherwise_is_found() -> None:
    rows = journal()
    other = [Row(row.text.replace("Phase 1", "Phase 2"), row.frame) for row in rows]
    with pytest.raises(Violation, match="otherwise than journalled"):
        invariants.check_chronicle(seen(rows), other)


def test_chunks_of_one_file_may_be_lost_in_a_crash_but_not_of_two() -> None:
    rows = journal()
    chronicle = seen(rows)
    chronicle.note(*lost_chunk(CRASH_AT + 1, PATHS[0]))
    invariants.check_chronicle(chronicle, rows)
    invariants.longest_loss(chronicle, rows)
    chronicle.note(*lost_chunk(CRASH_AT + 2, PATHS[1]))
    with pytest.raises(Violation, match="more than one file"):
        invariants.longest_loss(chronicle, rows)


# --- what there is in the end --------------------------------------------------------------------


@pytest.mark.parametrize(
    "texts",
    [
        {**FILES, PATHS[0]: FILES[PATHS[0]] + "more\n"},
        {**FILES, "other.txt": ""},
        {path: FILES[path] for path in PATHS[1:]},
    ],
)
def test_files_that_are_not_the_model_s_are_found(texts: dict[str, str]) -> None:
    with pytest.raises(Violation):
        invariants.check_files("p1", STORY, invariants.fold(journal()), texts)


def test_a_state_that_is_not_the_reported_one_is_found() -> None:
    state = invariants.fold(journal())
    data = snapshot_data(state, model="m", is_demo=False, preview_base="http://127.0.0.1:1")
    invariants.check_state("v", state, data)
    with pytest.raises(Violation, match="not what the API reports"):
        invariants.check_state("v", state, {**data, "queue": [{"id": "c9"}]})


def test_a_phase_that_was_designed_twice_or_is_incomplete_is_found() -> None:
    events = good_events()
    twice = [*events[:5], events[4], *events[5:]]
    with pytest.raises(Violation, match="phase 2 is"):
        invariants.check_phases("p1", STORY, invariants.fold(journal(twice)))
    missing = [event for event in events if getattr(event, "path", None) != PATHS[0]]
    with pytest.raises(Violation, match="incomplete"):
        invariants.check_phases("p1", STORY, invariants.fold(journal(missing)))


# --- commands ------------------------------------------------------------------------------------


def test_a_command_that_ran_twice_or_not_at_all_is_found() -> None:
    events = good_events()
    again = [events[1], ev.GenerationCancelled(reason="user")]
    with pytest.raises(Violation, match="ran 2 times"):
        check_commands(journal([*events[:-1], *again, events[-1]]))
    with pytest.raises(Violation, match="ran 0 times"):
        check_commands(journal([events[0], events[-1]]))
    with pytest.raises(Violation, match="was queued 0 times"):
        check_commands(journal(), phases={"c1": 1, "c2": 1})
    with pytest.raises(Violation, match="nobody asked"):
        check_commands(journal([*events, ev.CommandDropped(id="c9", reason="user")]))


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda events: events[:-2], "has not come to an end"),
        (lambda events: [*events[:2], *events[1:]], "began during"),
        (lambda events: [*events, events[-2]], "without a run"),
        (
            lambda events: [*events[:2], ev.ErrorRaised(message="no", code="model_error")],
            "ended with an error",
        ),
        (
            lambda events: [*events[:2], ev.GenerationComplete(files=(), phases=3)],
            "has not 1 phases",
        ),
        (
            lambda events: [*events[:2], ev.GenerationCancelled(reason="replaced"), events[-1]],
            "nobody asked",
        ),
        (lambda events: events[:-1], "cancels were answered"),
    ],
)
def test_an_end_that_should_not_be_is_found(
    spoil: Callable[[list[ev.Event]], list[ev.Event]], complaint: str
) -> None:
    with pytest.raises(Violation, match=complaint):
        check_commands(journal(spoil(good_events())))


def check_steered(events: list[ev.Event]) -> None:
    check_commands(journal(events), phases={"c1": 1, "c2": 1}, steering={"c2"})


def test_a_run_that_was_steered_passes() -> None:
    check_steered(steered_events())


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda events: [e for e in events if e.type != "run_steered"], "c2 was queued 0 times"),
        (lambda events: events[:1] + steered_events(), "c1 was queued 2 times"),
        (lambda events: [e for e in events if e.type != "run_started"], "without a run"),
        (
            lambda events: [e for e in events if getattr(e, "wishes", 0) != 2],
            "does not follow the wish",
        ),
        (lambda events: [e for e in events if e.type != "phase_cut"], "has not 1 phases"),
    ],
)
def test_a_run_that_was_steered_wrongly_is_found(
    spoil: Callable[[list[ev.Event]], list[ev.Event]], complaint: str
) -> None:
    with pytest.raises(Violation, match=complaint):
        check_steered(spoil(steered_events()))


def test_a_command_that_was_to_be_queued_may_not_steer() -> None:
    with pytest.raises(Violation, match="c2 was queued 0 times"):
        check_commands(journal(steered_events()), phases={"c1": 1, "c2": 1})


# --- what was paid for ---------------------------------------------------------------------------


def paid(*costs: float) -> list[Row]:
    """A journal of calls that cost so much each."""
    events: list[ev.Event] = []
    for cost in costs:
        events += [
            ev.ModelCall(
                purpose="plan", model="m", prompt_tokens=9, prompt_usd=0.0, completion_usd=0.0
            ),
            ev.Usage(
                purpose="plan", model="m", prompt_tokens=9, completion_tokens=1, cost_usd=cost
            ),
        ]
    return journal(events)


def day(calls: int, cost: float) -> dict[str, Any]:
    tokens = {"promptTokens": 9 * calls, "completionTokens": calls, "estimatedCalls": 0}
    return {"day": "2026-11-22", "calls": calls, **tokens, "costUsd": cost}


def test_an_account_that_is_complete_passes() -> None:
    invariants.check_usage([day(1, 0.25), day(2, 0.5)], [paid(0.25, 0.25), paid(0.25)])


@pytest.mark.parametrize("days", [[], [day(2, 0.75)], [day(3, 0.5)], [day(3, 0.75), day(1, 0)]])
def test_a_day_that_does_not_add_up_is_found(days: list[dict[str, Any]]) -> None:
    with pytest.raises(Violation, match="accounts of the days"):
        invariants.check_usage(days, [paid(0.25, 0.25), paid(0.25)])


def test_a_call_that_is_in_no_account_is_found() -> None:
    with pytest.raises(Violation, match="in no account"):
        invariants.check_usage([day(1, 0.25)], [paid(0.25, 0.25)[:-1]])
    with pytest.raises(Violation, match="in no account"):
        invariants.check_usage([day(1, 0.25)], [[*paid(0.25)[:-1], *paid(0.25)]])


@pytest.mark.parametrize(
    ("purpose", "paths", "text_so_far", "complaint"),
    [
        ("plan", (), None, "paid for twice"),
        ("implement", (PATHS[0],), None, "is asked again"),
        ("implement", (PATHS[0],), "something else", "another text"),
    ],
)
def test_a_model_call_for_what_was_finished_is_found(
    purpose: str, paths: tuple[str, ...], text_so_far: str | None, complaint: str
) -> None:
    rows = journal()
    chronicle = seen(rows)
    asked = Asked(story=7, purpose=purpose, phase=1, paths=paths, text_so_far=text_so_far)
    with pytest.raises(Violation, match=complaint):
        invariants.check_requests("p1", STORY, [asked], chronicle, rows)


# --- the plan of a round -------------------------------------------------------------------------


def test_a_round_can_be_planned_again() -> None:
    assert plan_round(3, 40) == plan_round(3, 40)
    assert plan_round(3, 40) != plan_round(4, 40)


def test_a_round_of_many_faults_has_every_kind_in_every_way() -> None:
    met = {(fault.kind, fault.way) for fault in plan_round(1, 60, uses_docker=True).faults}
    assert {kind for kind, _ in met} == set(Kind)
    assert {way for _, way in met} == set(Way)
    assert (Kind.GATEWAY, Way.KILL) in met
    assert (Kind.GATEWAY, Way.STOP) in met
