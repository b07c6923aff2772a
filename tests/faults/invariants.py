"""What must hold once a round's work is done; each check raises Violation with what shows it.

Nothing here does I/O: everything comes in as arguments.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isclose
from typing import Any

import orjson

from actors.codec import decode_data
from actors.journal import UNCLEAN_GAP
from actors.state import ProjectState, apply
from tests.faults.chronicle import Chronicle, Stretch
from tests.faults.model import Asked
from tests.faults.story import Story
from tests.faults.violation import Violation
from tests.support.fold import Frame, differences

#: Events that may be shown and then be lost in a crash, for the actor publishes them at once.
UNSAVED = ("file_start", "file_chunk", "sandbox_log", "model_warning", "model_retry")
ENDINGS = ("generation_complete", "generation_cancelled", "error")


@dataclass(frozen=True, slots=True)
class Row:
    """One event of the journal."""

    text: str
    frame: Frame

    @property
    def seq(self) -> int:
        return int(self.frame["seq"])

    @property
    def type(self) -> str:
        return str(self.frame["type"])

    @property
    def data(self) -> Mapping[str, Any]:
        data: Mapping[str, Any] = self.frame["data"]
        return data


def rows(texts: Iterable[str]) -> list[Row]:
    """Read the journal."""
    return [Row(text, orjson.loads(text)) for text in texts]


# --- what viewers saw ----------------------------------------------------------------------------


def check_viewer(name: str, stretches: Sequence[Stretch], journal: Sequence[Row]) -> None:
    """Whatever the journal has from a stretch's start to its end, the viewer was shown."""
    for stretch in stretches:
        end = stretch.numbers[-1] if stretch.numbers else stretch.start
        seen = set(stretch.numbers)
        missed = [row for row in journal if stretch.start < row.seq <= end and row.seq not in seen]
        if missed:
            raise Violation(
                f"{name} was not shown {len(missed)} events", *(row.text for row in missed)
            )
        if stretch.snapshot is not None:
            check_snapshot(name, stretch, journal)


def check_snapshot(name: str, stretch: Stretch, journal: Sequence[Row]) -> None:
    """A snapshot is what the journal says up to its number, short of the open file's text."""
    assert stretch.snapshot is not None
    wrong = differences(fold(journal, stretch.start), stretch.snapshot["data"])
    wrong.pop("openFile", None)
    if wrong:
        raise Violation(f"{name} was shown a snapshot that the journal does not bear out", wrong)


def check_chronicle(chronicle: Chronicle, journal: Sequence[Row]) -> None:
    """What anybody was shown is in the journal, word for word; but chunks may have been lost."""
    known = {row.seq: row for row in journal}
    for number, seen in sorted(chronicle.by_number.items()):
        row = known.get(number)
        if row is None and seen.frame["type"] not in UNSAVED:
            raise Violation("an event was shown that is not in the journal", seen.text)
        if row is not None and row.text != seen.text:
            raise Violation("an event was shown otherwise than journalled", seen.text, row.text)


@dataclass(frozen=True, slots=True, order=True)
class Loss:
    """How much time a loss spans, as viewers saw it, and when they had seen the last of it."""

    seconds: float = 0.0
    at: float = 0.0


def longest_loss(chronicle: Chronicle, journal: Sequence[Row]) -> Loss:
    """Return the longest loss of a crash.

    A crash shows as a gap in the numbers: the next owner leaves out UNCLEAN_GAP of them after the
    last one that was durable. Raises Violation where more than one file's chunks were lost.
    """
    longest = Loss()
    shown_numbers = sorted(chronicle.by_number)
    numbers = sorted({row.seq for row in journal}.union(shown_numbers))
    for before, after in pairwise(numbers):
        durable = after - UNCLEAN_GAP - 1
        if after - before < UNCLEAN_GAP // 2 or before <= durable:
            continue
        lost = [chronicle.by_number[seq] for seq in shown_numbers if durable < seq <= before]
        paths = {seen.frame["data"]["path"] for seen in lost if "path" in seen.frame["data"]}
        if len(paths) > 1:
            raise Violation("a crash cost more than one file", *(seen.text for seen in lost))
        if lost:
            longest = max(longest, Loss(lost[-1].at - lost[0].at, lost[-1].at))
    return longest


# --- what there is in the end --------------------------------------------------------------------


def fold(journal: Sequence[Row], up_to: int | None = None) -> ProjectState:
    """Fold the journal, or its beginning."""
    state = ProjectState(project_id="")
    for row in journal:
        if up_to is not None and row.seq > up_to:
            break
        apply(state, decode_data(row.type, row.data), row.seq)
    return state


def check_state(name: str, state: ProjectState, told: Mapping[str, Any]) -> None:
    """A state that was folded is the one that the API reports."""
    if wrong := differences(state, told):
        raise Violation(f"{name} is not what the API reports (folded, reported)", wrong)


def check_files(
    project_id: str, story: Story, told: ProjectState, texts: Mapping[str, str]
) -> None:
    """Every file is, byte for byte, what the model wrote in the phase that finished it last."""
    if texts.keys() != told.files.keys():
        raise Violation(
            f"{project_id}: other files than were finished", sorted(texts), sorted(told.files)
        )
    for path, info in told.files.items():
        expected = story.text(info.phase_number, path)
        digest = hashlib.sha256(expected.encode()).hexdigest()
        if texts[path] != expected or info.sha256 != digest or info.size != len(expected.encode()):
            raise Violation(
                f"{project_id}: {path} is not what the model wrote in phase {info.phase_number}",
                f"is:        {texts[path]!r}",
                f"should be: {expected!r}",
            )


def check_phases(project_id: str, story: Story, state: ProjectState) -> None:
    """The plans are the model's, each made once; a completed run has all its phases' files."""
    for phase in state.phases:
        if phase.plan.name != story.phase(phase.number).name:
            raise Violation(f"{project_id}: phase {phase.number} is {phase.plan.name!r}")
        planned = [file.path for file in phase.plan.files]
        if len(set(phase.finished)) != len(phase.finished) or not set(phase.finished) <= set(
            planned
        ):
            raise Violation(f"{project_id}: phase {phase.number}", planned, phase.finished)
        if phase.status == "complete" and set(phase.finished) != set(planned):
            raise Violation(f"{project_id}: phase {phase.number} is incomplete", phase.finished)


# --- commands ------------------------------------------------------------------------------------


def check_commands(
    project_id: str,
    phases: Mapping[str, int],
    journal: Sequence[Row],
    *,
    cancels: Mapping[str, str | None],
    replacements: int,
    steering: Collection[str] = (),
) -> None:
    """Every command ran exactly once and came to one end, or steered exactly one run.

    `phases` says how many each asked for; `cancels` what each cancel was answered, `replacements`
    how many commands were to stop others, `steering` which ones were to steer.
    """
    kinds = ("command_queued", "command_dropped", "run_started", "run_steered")
    times: dict[str, Counter[str]] = {type_: Counter() for type_ in kinds}
    endings: Counter[str] = Counter()
    running: _RunSeen | None = None
    for row in journal:
        if row.type in times:
            times[row.type][row.data["id"]] += 1
        if row.type == "run_started":
            if running is not None:
                raise Violation(f"{project_id}: a run began during {running.id}", row.text)
            running = _RunSeen(row.data["id"], phases[row.data["id"]])
        elif row.type in (*ENDINGS, "run_steered") and running is None:
            raise Violation(f"{project_id}: {row.type} without a run", row.text)
        if running is not None:
            wishes = times["run_started"].total() + times["run_steered"].total()
            running.follow(row, phases, wishes)
        if row.type in ENDINGS:
            assert running is not None
            _check_ending(project_id, running, row)
            endings[row.data.get("reason", row.type)] += 1
            running = None
    if running is not None:
        raise Violation(f"{project_id}: {running.id} has not come to an end")
    for command_id in phases:
        queued, dropped, started, steered = (times[type_][command_id] for type_ in times)
        has_steered = (queued, started + dropped, steered) == (0, 0, 1) and command_id in steering
        if (queued, started + dropped, steered) != (1, 1, 0) and not has_steered:
            raise Violation(
                f"{project_id}: {command_id} was queued {queued} times, ran {started} times, "
                f"was dropped {dropped} times and steered {steered} times"
            )
    answered = [row for row in journal if row.type == "command_answered"]
    if sorted((row.data["id"], row.data["code"]) for row in answered) != sorted(cancels.items()):
        raise Violation(
            f"{project_id}: the cancels were answered {cancels}", *(row.text for row in answered)
        )
    others = {command_id for counter in times.values() for command_id in counter} - phases.keys()
    done = sum(code is None for code in cancels.values())
    dropped = sum(times["command_dropped"].values())
    if others or endings["user"] > done or endings["replaced"] > replacements:
        raise Violation(f"{project_id}: nobody asked for this", others, endings)
    if dropped and not done:
        raise Violation(f"{project_id}: {dropped} commands were dropped, nobody has cancelled")


@dataclass(slots=True)
class _RunSeen:
    """A run as the journal tells of it: how many phases it has to have, and has."""

    id: str
    wanted: int
    done: int = 0
    is_written: bool = False  # the newest phase, and not yet done
    is_steered: bool = False  # and no plan knows of it

    def follow(self, row: Row, phases: Mapping[str, int], wishes: int) -> None:
        """Take the next event; the project's users have had so many wishes by then."""
        match row.type:
            case "run_steered":  # from here on as many as the new wish asks for
                self.wanted = self.done + self.is_written + phases[row.data["id"]]
                self.is_steered = True
            case "phase_cut":  # it is none of those that were asked for
                self.done += 1
                self.wanted += 1
            case "files_written":
                self.is_written = True
            case "phase_completed":
                self.is_written = False
                self.done += 1
            case "phase_designed":
                self.is_steered = row.data["wishes"] < wishes


def _check_ending(project_id: str, run: _RunSeen, row: Row) -> None:
    if row.type == "error":
        raise Violation(f"{project_id}: {run.id} ended with an error", row.text)
    if row.type != "generation_complete":
        return
    if run.is_steered:
        raise Violation(
            f"{project_id}: {run.id} does not follow the wish that steered it", row.text
        )
    if not row.data["phases"] == run.done == run.wanted:
        raise Violation(f"{project_id}: {run.id} has not {run.wanted} phases, as asked", row.text)


# --- what was paid for ---------------------------------------------------------------------------


def check_usage(days: Iterable[Mapping[str, Any]], journals: Iterable[Sequence[Row]]) -> None:
    """Every model call is in its project's journal once, and in the account of its day."""
    noted = ("calls", "promptTokens", "completionTokens", "estimatedCalls")
    total: Counter[str] = Counter()
    cost = 0.0
    for journal in journals:
        _check_calls(journal)
        usages = [row.data for row in journal if row.type == "usage"]
        cost += sum(usage["costUsd"] for usage in usages)
        for usage in usages:
            total["calls"] += 1
            total["promptTokens"] += usage["promptTokens"]
            total["completionTokens"] += usage["completionTokens"]
            total["estimatedCalls"] += usage["estimated"]
    told: Counter[str] = Counter()
    told_cost = 0.0
    for day in days:
        told.update({name: day[name] for name in noted})
        told_cost += day["costUsd"]
    if told != total or not isclose(told_cost, cost):
        raise Violation("the accounts of the days are not the journals'", told, total)


def _check_calls(journal: Sequence[Row]) -> None:
    """Every call is accounted for once; but one that was refused costs nothing."""
    is_open = False
    for row in journal:
        if row.type == "model_retry":
            is_open = False
        elif row.type in ("model_call", "usage"):
            if is_open is (row.type == "model_call"):
                raise Violation("a call is in no account, or in two", *_before(row, journal))
            is_open = not is_open
    if is_open:
        raise Violation("the last call is in no account", *_before(journal[-1], journal))


def _before(row: Row, journal: Sequence[Row]) -> list[str]:
    """Return what led to an event, short of the texts."""
    shown = [other for other in journal if other.seq <= row.seq and other.type != "file_chunk"]
    return [other.text[:300] for other in shown[-20:]]


def check_requests(
    project_id: str,
    story: Story,
    asked: Sequence[Asked],
    chronicle: Chronicle,
    journal: Sequence[Row],
) -> None:
    """Nothing was asked of the model again that somebody had been told was finished.

    And what it was asked to go on with is what it had written.
    """
    designed, finished = _told_at(chronicle, journal)
    for request in asked:
        if request.text_so_far is not None:
            expected = story.text(request.phase, request.paths[0])
            if not expected.startswith(request.text_so_far):
                raise Violation(f"{project_id}: another text is to be continued", request)
        if request.purpose == "plan" and designed.get(request.phase, request.at) < request.at:
            raise Violation(f"{project_id}: a plan was paid for twice", request)
        for path in request.paths:
            if finished.get((request.phase, path), request.at) < request.at:
                raise Violation(f"{project_id}: {path} was finished and is asked again", request)


def _told_at(
    chronicle: Chronicle, journal: Sequence[Row]
) -> tuple[dict[int, float], dict[tuple[int, str], float]]:
    """Return when each plan, and each file of each phase, was first seen finished."""
    designed: dict[int, float] = {}
    finished: dict[tuple[int, str], float] = {}
    phase = 0
    for row in journal:
        phase += row.type == "phase_designed"
        seen = chronicle.by_number.get(row.seq)
        if seen is not None and row.type == "phase_designed":
            designed[phase] = seen.at
        elif seen is not None and row.type == "file_end":
            finished[phase, row.data["path"]] = seen.at
    return designed, finished
