"""The fold: what each event changes, and that nothing else does."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from actors import events as ev
from actors.events import PhasePlan, PlannedFile, RunState
from actors.state import (
    MAX_PROBLEMS,
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
    apply,
    completed_phases,
    file_info,
)

PLAN = PhasePlan(
    name="Base",
    description="",
    files=(PlannedFile(path="a", purpose="p"),),
    is_last_phase=False,
)


def queued(id_: str, place: int = 0) -> ev.CommandQueued:
    return ev.CommandQueued(id=id_, description=f"app {id_}", model="m", max_phases=5, place=place)


def started(id_: str, first_phase: int = 1) -> ev.RunStarted:
    return ev.RunStarted(
        id=id_, description=f"app {id_}", model="m", max_phases=5, first_phase=first_phase
    )


def command(id_: str) -> Command:
    return Command(id=id_, description=f"app {id_}", model="m", max_phases=5)


def fold(*events: ev.Event) -> ProjectState:
    state = ProjectState(project_id="p")
    for seq, event in enumerate(events, 1):
        apply(state, event, seq)
    return state


def ids(state: ProjectState) -> list[str]:
    return [command.id for command in state.queue]


def test_a_new_project_is_idle() -> None:
    state = ProjectState(project_id="p")
    assert (state.state, state.status, state.phase, state.last_seq) == (
        RunState.IDLE,
        "idle",
        None,
        0,
    )


def test_every_event_moves_the_number() -> None:
    state = ProjectState(project_id="p")
    apply(state, ev.Hibernated(), 41)
    assert state.last_seq == 41


@pytest.mark.parametrize(
    "event",
    [
        ev.DepsInstalled(),
        ev.SandboxLog(stream="stdout", line="x"),
        ev.ModelWarning(kind="k", detail="d"),
        ev.ModelRetry(attempt=2, wait_seconds=1.0, reason="r", model="m"),
        ev.ModelCall(
            purpose="plan", model="m", prompt_tokens=1, prompt_usd=None, completion_usd=None
        ),
        ev.Hibernated(),
        ev.InstallRequested(arguments=("npm", "install", "zod")),
        ev.FilesWritten(count=1),
        ev.PhaseCompleted(phase_number=1),
        ev.FileRestored(path="a", content=None),
        ev.CommandDropped(id="unknown", reason="user"),
        ev.RunResumed(id="1", phase_number=1),
    ],
    ids=lambda event: event.type,
)
def test_an_event_with_nothing_to_change_changes_nothing(event: ev.Event) -> None:
    assert fold(event) == ProjectState(project_id="p", last_seq=1)


def test_place_zero_goes_to_the_head_of_the_queue_and_others_to_its_end() -> None:
    state = fold(queued("a"), queued("b", 1), queued("c", 2), queued("d", 0))
    assert ids(state) == ["d", "a", "b", "c"]
    assert state.queue[1] == command("a")


def test_a_dropped_command_leaves_the_queue() -> None:
    state = fold(queued("a"), queued("b", 1), ev.CommandDropped(id="a", reason="user"))
    assert ids(state) == ["b"]


def test_a_started_run_leaves_the_queue_and_forgets_the_last_problem() -> None:
    state = fold(
        ev.ErrorRaised(message="m", code="c"), queued("a"), queued("b", 1), started("a", 3)
    )
    assert ids(state) == ["b"]
    assert state.run == Run(command=command("a"), first_phase=3)
    assert state.descriptions == ["app a"]
    assert state.problem is None
    assert state.status == "generating"


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (
            (ev.StateChange(state=RunState.COMPLETE), ev.GenerationComplete(files=(), phases=1)),
            "complete",
        ),
        ((ev.StateChange(state=RunState.ERROR), ev.ErrorRaised(message="m", code="c")), "error"),
        ((ev.StateChange(state=RunState.IDLE), ev.GenerationCancelled(reason="user")), "idle"),
    ],
)
def test_the_end_of_a_run_closes_the_open_file_and_keeps_the_finished(
    end: tuple[ev.Event, ...], status: str
) -> None:
    state = fold(
        queued("a"),
        started("a"),
        ev.PhaseDesigned(phase=PLAN),
        ev.FileEnd(path="a", content="x"),
        ev.FileStart(path="b"),
        *end,
    )
    assert (state.run, state.open_file, state.status) == (None, None, status)
    assert list(state.files) == ["a"]


def test_an_error_is_remembered() -> None:
    assert fold(ev.ErrorRaised(message="m", code="c")).problem == Problem(code="c", message="m")


def test_a_phase_goes_from_designed_to_written_to_complete() -> None:
    state = fold(ev.PhaseDesigning(phase_number=1), ev.PhaseDesigned(phase=PLAN))
    assert state.designing == 1
    assert state.phase == Phase(number=1, plan=PLAN)
    steps = ((ev.FilesWritten(count=1), "written"), (ev.PhaseCompleted(phase_number=1), "complete"))
    for event, status in steps:
        apply(state, event, state.last_seq + 1)
        assert state.phases[0].status == PhaseStatus(status)
    apply(state, ev.PhaseDesigned(phase=PLAN), 5)
    assert state.phase == Phase(number=2, plan=PLAN)


def test_a_phase_keeps_each_install_that_it_asks_for_once() -> None:
    asked = [("npm", "install", name) for name in ("zod", "react", "zod")]
    state = fold(
        ev.PhaseDesigned(phase=PLAN), *(ev.InstallRequested(arguments=vector) for vector in asked)
    )
    assert state.phases[0].installs == asked[:2]


def test_chunks_add_up_to_the_open_files_text() -> None:
    state = fold(
        ev.FileStart(path="a"),
        ev.FileChunk(path="a", chunk="te"),
        ev.FileChunk(path="a", chunk="xt"),
    )
    assert state.open_file is not None
    assert (state.open_file.path, state.open_file.text) == ("a", "text")


def test_a_file_that_starts_again_is_empty_again() -> None:
    state = fold(ev.FileChunk(path="a", chunk="x"), ev.FileStart(path="a"))
    assert state.open_file == OpenFile(path="a")


def test_a_chunk_of_another_file_opens_that_one() -> None:
    state = fold(ev.FileChunk(path="a", chunk="x"), ev.FileChunk(path="b", chunk="y"))
    assert state.open_file == OpenFile(path="b", chunks=["y"])


def test_a_finished_file_is_measured_in_bytes_and_belongs_to_the_newest_phase() -> None:
    content = "naïve ☃"
    digest = hashlib.sha256(content.encode()).hexdigest()
    state = fold(
        ev.PhaseDesigned(phase=PLAN),
        ev.FileStart(path="a"),
        ev.FileEnd(path="a", content=content),
        ev.FileEnd(path="a", content=content),
    )
    assert state.files == {"a": FileInfo(size=10, sha256=digest, phase_number=1)}
    assert state.open_file is None
    assert state.phase is not None
    assert state.phase.finished == ["a"]


def test_a_file_before_any_phase_has_phase_number_zero() -> None:
    assert fold(ev.FileEnd(path="a", content="")).files["a"] == file_info("", 0)


def test_another_files_end_leaves_the_open_file() -> None:
    state = fold(ev.FileStart(path="a"), ev.FileEnd(path="b", content=""))
    assert state.open_file == OpenFile(path="a")


def test_a_restored_file_is_closed_and_keeps_its_former_measure() -> None:
    state = fold(
        ev.FileEnd(path="a", content="former"),
        ev.FileStart(path="a"),
        ev.FileRestored(path="a", content="former"),
    )
    assert state.open_file is None
    assert state.files == {"a": file_info("former", 0)}


def test_a_deleted_file_is_gone_and_no_part_of_its_phase() -> None:
    opened = ev.FileStart(path="b")
    state = fold(
        ev.FileEnd(path="old", content=""),
        ev.PhaseDesigned(phase=replace(PLAN, delete=("old", "a"))),
        ev.FileEnd(path="a", content=""),
        opened,
        ev.FileDeleted(path="a"),
        ev.FileDeleted(path="old"),
        ev.FileDeleted(path="never"),
    )
    assert state.files == {}
    assert state.phase is not None
    assert state.phase.finished == []
    assert state.open_file == OpenFile(path="b")
    assert state.deleted_paths == {"old", "a"}


def test_a_file_that_is_deleted_before_any_phase_is_gone() -> None:
    assert fold(ev.FileEnd(path="a", content=""), ev.FileDeleted(path="a")).files == {}


def test_a_resumed_run_has_no_open_file_but_the_one_that_is_shown_again() -> None:
    resumed = ev.RunResumed(id="1", phase_number=1)
    opened = (ev.FileStart(path="a"), ev.FileChunk(path="a", chunk="unsaved"))
    assert fold(*opened, resumed).open_file is None
    again = (ev.FileStart(path="a"), ev.FileChunk(path="a", chunk="te"))
    state = fold(*opened, resumed, *again, ev.FileChunk(path="a", chunk="xt"))
    assert state.open_file == OpenFile(path="a", chunks=["te", "xt"])


def test_the_sandbox_and_its_preview_are_remembered() -> None:
    state = fold(
        ev.SandboxStarted(kind="docker", container_id="c0ffee"), ev.ServerStarted(url="http://h")
    )
    assert (state.sandbox_kind, state.sandbox_container_id, state.preview_url) == (
        "docker",
        "c0ffee",
        "http://h",
    )


# --- steering, repairs, cost -------------------------------------------------------------------


def steered(max_phases: int = 2) -> ev.RunSteered:
    return ev.RunSteered(id="wish", description="a clock", model="n", max_phases=max_phases)


def designed(*paths: str, wishes: int = 0, problems: int = 0) -> ev.PhaseDesigned:
    files = tuple(PlannedFile(path=path, purpose="p") for path in paths)
    plan = PhasePlan(name="Base", description="", files=files, is_last_phase=True)
    return ev.PhaseDesigned(phase=plan, wishes=wishes, problems=problems)


def test_a_wish_that_steers_while_a_phase_is_being_started_has_its_phases_after_that() -> None:
    written = [designed("x", wishes=1), ev.FilesWritten(count=1)]
    state = fold(started("a"), *written, steered(2))
    assert state.run is not None
    assert state.run.command.max_phases == 3
    later = replace(started("b"), first_phase=2)
    state = fold(started("a"), *written, ev.GenerationCancelled(reason="user"), later, steered(2))
    assert state.run is not None
    assert state.run.command.max_phases == 2


def test_a_wish_that_steers_changes_the_run_until_a_plan_knows_it() -> None:
    history = [queued("a"), started("a"), designed("x", wishes=1), steered()]
    state = fold(*history)
    assert state.run is not None
    assert state.run.is_steered
    assert (state.run.command.model, state.run.command.max_phases) == ("n", 2)
    assert state.descriptions == ["app a", "a clock"]
    assert fold(*history, designed("y", wishes=1)).run == state.run
    known = fold(*history, designed("y", wishes=2)).run
    assert known is not None
    assert not known.is_steered


def test_a_phase_that_is_cut_keeps_what_is_finished_and_is_none_of_those_asked_for() -> None:
    cut = ev.PhaseCut(phase_number=1)
    finished = ev.FileEnd(path="x", content="")
    state = fold(started("a"), designed("x", "y"), finished, steered(1), cut)
    assert state.phase is not None
    assert [file.path for file in state.phase.plan.files] == ["x"]
    assert not state.phase.plan.is_last_phase
    assert state.phase.status is PhaseStatus.COMPLETE
    assert state.run is not None
    assert state.run.command.max_phases - completed_phases(state) == 1


def test_failed_phases_are_counted_in_a_row_and_are_problems_of_the_next_plan() -> None:
    failed = ev.PhaseFailed(phase_number=1, code="install_failed", message="No such package.")
    state = fold(started("a"), designed("x"), failed)
    assert state.phase is not None
    assert state.phase.status is PhaseStatus.FAILED
    assert state.run is not None
    assert (state.run.repairs, completed_phases(state)) == (1, 0)
    assert state.problems == ["No such package."]
    again = fold(
        *(started("a"), designed("x"), failed, designed("x", problems=1)),
        ev.PhaseCompleted(phase_number=2),
    )
    assert again.problems == []
    assert again.run is not None
    assert again.run.repairs == 0


def test_the_first_problems_are_kept_each_once_and_what_failed_whatever_there_is() -> None:
    reports = [ev.ProblemReported(message=str(n)) for n in (0, *range(MAX_PROBLEMS + 1))]
    failed = ev.PhaseFailed(phase_number=1, code="c", message="It does not start.")
    problems = fold(*reports, failed, failed).problems
    assert problems == [*map(str, range(MAX_PROBLEMS)), "It does not start."]


def test_a_problem_that_comes_as_a_plan_is_made_waits_for_the_next_one() -> None:
    early, late = ev.ProblemReported(message="early"), ev.ProblemReported(message="late")
    assert fold(early, late, designed("x", problems=1)).problems == ["late"]


def test_usage_is_summed_up_for_the_run_and_the_project() -> None:
    usage = ev.Usage(
        purpose="plan",
        model="m",
        prompt_tokens=3,
        completion_tokens=2,
        cost_usd=0.5,
        estimated=True,
    )
    unpriced = ev.Usage(
        purpose="plan", model="m", prompt_tokens=1, completion_tokens=1, cost_usd=None
    )
    call = ev.ModelCall(
        purpose="plan", model="m", prompt_tokens=3, prompt_usd=None, completion_usd=None
    )
    state = fold(usage, started("a"), call, usage, unpriced)
    assert state.totals == Totals(
        calls=3, prompt_tokens=7, completion_tokens=5, cost_usd=1.0, estimated_calls=2
    )
    assert state.run is not None
    assert state.run.totals.calls == 2
    assert state.run.call is None
    assert fold(started("a"), call).run == Run(command=command("a"), first_phase=1, call=call)


def test_a_run_that_waits_for_its_cap_is_open_and_paused() -> None:
    paused = ev.RunPaused(code="budget_exceeded", message="Too dear.", needed_usd=0.5)
    state = fold(started("a"), paused)
    assert state.status == "paused"
    assert state.run is not None
    assert state.run.pause == Pause(code="budget_exceeded", message="Too dear.", needed_usd=0.5)
    resumed = ev.RunResumed(id="a", phase_number=1)
    assert fold(started("a"), paused, resumed).status == "generating"


@pytest.mark.parametrize(
    "event",
    [
        steered(),
        ev.PhaseCut(phase_number=1),
        ev.PhaseFailed(phase_number=1, code="c", message="m"),
        ev.RunPaused(code="c", message="m", needed_usd=1.0),
    ],
    ids=lambda event: event.type,
)
def test_what_belongs_to_a_run_or_a_phase_changes_none_that_is_not_there(event: ev.Event) -> None:
    state = fold(event)
    assert state.run is None
    assert state.phases == []
    assert fold(designed("x"), event).run is None
