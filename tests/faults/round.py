"""One round: a service, projects, viewers and clients; faults; then everything is checked."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from actors.journal import WRITE_SECONDS
from tests.faults import invariants
from tests.faults.chronicle import Chronicle
from tests.faults.client import Client
from tests.faults.containers import Containers
from tests.faults.house import House
from tests.faults.injector import Injector
from tests.faults.model import StoryModel
from tests.faults.schedule import Ending, Project, Round
from tests.faults.story import Story
from tests.faults.violation import Violation
from tests.faults.watcher import Watcher
from tests.support.fold import Fold
from tests.support.replay_fold import state_of_snapshot

SETTLE_SECONDS = 60.0  # from the last fault to the end of the last run
AGREE_SECONDS = 20.0  # for every viewer to be shown the last event
ROUND_SECONDS = 110.0
LOG_LINES = 30
#: Far above what a round costs: every call is reserved and settled, and none is refused.
CAPS = {
    "CODEGEN_MODEL": "story",
    "CODEGEN_PRICES": "story=3/15",
    "CODEGEN_MAX_COST_USD": "100",
    "CODEGEN_MAX_DAILY_COST_USD": "1000",
}
MAX_LOST_SECONDS = WRITE_SECONDS + 0.05  # and the time that a commit takes
BEFORE_SECONDS, AFTER_SECONDS = 4.0, 1.0  # about a loss: what was stopped before may stand still


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What rounds that kept the contract can tell."""

    faults: int
    seconds: float
    commands: int
    requests: int
    sockets: int
    resyncs: int
    lost_seconds: float  # the longest of all losses
    reasons: tuple[str, ...]  # what was done about the time of losses that are too long

    def __str__(self) -> str:
        return (
            f"{self.faults} faults in {self.seconds:.0f} s, {self.commands} commands, "
            f"{self.requests} model calls, {self.sockets} sockets, {self.resyncs} resyncs, "
            f"at most {self.lost_seconds * 1000:.0f} ms of a file lost"
            + "".join(f"\n    {reason}" for reason in self.reasons)
        )

    @classmethod
    def together(cls, outcomes: Sequence[Outcome]) -> Outcome:
        """Add rounds up."""
        return cls(
            faults=sum(outcome.faults for outcome in outcomes),
            seconds=sum(outcome.seconds for outcome in outcomes),
            commands=sum(outcome.commands for outcome in outcomes),
            requests=sum(outcome.requests for outcome in outcomes),
            sockets=sum(outcome.sockets for outcome in outcomes),
            resyncs=sum(outcome.resyncs for outcome in outcomes),
            lost_seconds=max(outcome.lost_seconds for outcome in outcomes),
            reasons=(),
        )


@dataclass(slots=True, kw_only=True)
class Household:
    """One project with those around it."""

    project: Project
    story: Story
    chronicle: Chronicle
    watchers: list[Watcher]
    client: Client


@dataclass(slots=True)
class Stage:
    """A round under way; `faults` is what was done so far."""

    plan: Round
    house: House
    model: StoryModel
    containers: Containers | None
    households: list[Household]
    injector: Injector
    began: float = field(default_factory=time.monotonic)

    def report(self, violation: Violation) -> str:
        """Describe what was broken, and how to see it again."""
        docker = " --docker" if self.plan.uses_docker else ""
        log = self.house.service.log.splitlines()[-LOG_LINES:]
        return "\n".join(
            (
                f"Broken: {violation}",
                f"Seed {self.plan.seed}, {self.injector.done} of {len(self.plan.faults)} faults:",
                *(f"    {line}" for line in self.injector.log),
                "The service's log ends:",
                *(f"    {line}" for line in log),
                f"Again: scripts/faults --seed {self.plan.seed} --count {len(self.plan.faults)}"
                f"{docker}",
            )
        )


class RoundFailed(AssertionError):
    """The contract was broken; the text is the whole report."""


async def play(plan: Round, directory: Path, engine: Mapping[str, str] | None = None) -> Outcome:
    """Play a round in an empty directory; raises RoundFailed. Ends everything that it started.

    `engine` is the environment of a Docker engine, for a plan that uses one.
    """
    assert plan.uses_docker is (engine is not None)
    async with _open_stage(plan, directory, engine or {}) as stage:
        try:
            async with asyncio.timeout(ROUND_SECONDS):
                return await _play(stage)
        except TimeoutError:
            raise RoundFailed(
                stage.report(Violation(f"the round took longer than {ROUND_SECONDS:.0f} s"))
            ) from None
        except Violation as violation:
            raise RoundFailed(stage.report(violation)) from violation
        except BaseExceptionGroup as group:
            violations, others = group.split(Violation)
            if violations is None or others is not None:
                raise
            raise RoundFailed(stage.report(_first(violations))) from group


def _first(group: BaseExceptionGroup[Violation]) -> Violation:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


@contextlib.asynccontextmanager
async def _open_stage(
    plan: Round, directory: Path, engine: Mapping[str, str]
) -> AsyncIterator[Stage]:
    model = StoryModel()
    model.start()
    house = House(
        directory,
        {
            **model.environment,
            "CODEGEN_IDLE_SECONDS": str(plan.idle_seconds),
            "CODEGEN_SANDBOX_IDLE_SECONDS": str(plan.idle_seconds),
            **CAPS,
            **engine,
        },
    )
    containers = Containers(engine["DOCKER_HOST"], house.state_dir) if engine else None
    try:
        households = [_household(plan, project, house) for project in plan.projects]
        watchers = [watcher for household in households for watcher in household.watchers]
        injector = Injector(house, model, watchers, containers)
        yield Stage(plan, house, model, containers, households, injector)
    finally:
        await house.end()
        if containers is not None:
            await containers.remove_all()
        model.stop()


def _household(plan: Round, project: Project, house: House) -> Household:
    story = Story(project.story, is_in_container=plan.uses_docker)
    chronicle = Chronicle(project.id)
    watchers = [
        Watcher(
            f"{project.id}, viewer {number} ({habit})",
            house.place,
            chronicle,
            story,
            habit,
            f"{plan.seed}/{project.id}/{number}",
        )
        for number, habit in enumerate(project.habits, 1)
    ]
    return Household(
        project=project,
        story=story,
        chronicle=chronicle,
        watchers=watchers,
        client=Client(project, house.place, watchers, story, plan.seed),
    )


async def _play(stage: Stage) -> Outcome:
    await stage.house.start()
    async with asyncio.TaskGroup() as group:
        watching = [
            group.create_task(watcher.run())
            for household in stage.households
            for watcher in household.watchers
        ]
        async with asyncio.TaskGroup() as work:
            work.create_task(stage.injector.run(stage.plan.faults))
            for household in stage.households:
                work.create_task(household.client.run(stage.injector))
        await _settled(stage)
        lost = [await _check(stage, household) for household in stage.households]
        days = (await stage.house.read("/api/usage?days=2"))["days"]
        journals = [await _journal(stage.house, household) for household in stage.households]
        invariants.check_usage(days, journals)
        for task in watching:
            task.cancel()
    await _end(stage)
    return Outcome(
        faults=stage.injector.done,
        seconds=time.monotonic() - stage.began,
        commands=sum(len(household.client.accepted) for household in stage.households),
        sockets=sum(w.sockets for household in stage.households for w in household.watchers),
        resyncs=sum(w.resyncs for household in stage.households for w in household.watchers),
        requests=len(stage.model.asked),
        lost_seconds=max(lost).seconds,
        reasons=tuple(reason for loss in lost for reason in _reasons(stage, loss)),
    )


def _reasons(stage: Stage, loss: invariants.Loss) -> list[str]:
    """Describe a loss that is longer than the journal's delay allows.

    A reader will find a process or a database that stood still meanwhile, or a defect.
    """
    if loss.seconds <= MAX_LOST_SECONDS:
        return []
    noted = stage.injector.noted(loss.at - loss.seconds - BEFORE_SECONDS, loss.at + AFTER_SECONDS)
    return [f"{loss.seconds * 1000:.0f} ms were lost; about then:", *noted]


async def _settled(stage: Stage) -> None:
    """Wait until every viewer has seen every command come to its end."""
    for household in stage.households:
        last_seq = household.client.last_seq

        def is_over(fold: Fold, last_seq: int = last_seq) -> bool:
            state = fold.state
            is_there = fold.cursor is not None and fold.cursor >= last_seq
            return is_there and state.run is None and not state.queue

        for watcher in household.watchers:
            watcher.settle()
            try:
                async with asyncio.timeout(SETTLE_SECONDS):
                    await watcher.until(is_over)
            except TimeoutError:
                raise Violation(
                    f"{watcher.name} sees no end after {SETTLE_SECONDS:.0f} s", *watcher.tail
                ) from None


async def _check(stage: Stage, household: Household) -> invariants.Loss:
    """Check one project; returns the longest loss of a crash."""
    project, house, chronicle = household.project, stage.house, household.chronicle
    told, journal = await _agreed(house, household)
    for watcher in household.watchers:
        invariants.check_state(watcher.name, watcher.fold.state, told)
        invariants.check_viewer(watcher.name, watcher.stretches, journal)
    invariants.check_state("the journal", invariants.fold(journal), told)
    invariants.check_chronicle(chronicle, journal)
    lost = invariants.longest_loss(chronicle, journal)
    state = invariants.fold(journal)
    invariants.check_files(project.id, household.story, state, await house.contents(project.id))
    invariants.check_phases(project.id, household.story, state)
    orders = project.orders
    invariants.check_commands(
        project.id,
        {order.id: order.phases for order in orders},
        journal,
        cancels=household.client.cancelled,
        replacements=sum(order.mode == "replace" for order in orders),
        steering={order.id for order in orders if order.mode == "steer"},
    )
    asked = [request for request in stage.model.asked if request.story == project.story]
    invariants.check_requests(project.id, household.story, asked, chronicle, journal)
    return lost


async def _agreed(
    house: House, household: Household
) -> tuple[dict[str, object], list[invariants.Row]]:
    """Return what the API tells at a moment when every viewer has been shown all there is.

    The project may go to sleep meanwhile, which is an event, too. A viewer who came after a crash
    may be ahead of the journal, where the new owner left in order before it had said a word.
    """
    deadline = time.monotonic() + AGREE_SECONDS
    while True:
        journal = await _journal(house, household)
        told = await house.project(household.project.id)
        newest = journal[-1].seq
        for watcher in household.watchers:
            await _until_shown(watcher, journal[-1])
        again = await _journal(house, household)
        cursors = {watcher.fold.state.last_seq for watcher in household.watchers}
        if again[-1].seq == newest and cursors <= {newest, told["lastSeq"]}:
            return told, journal
        if time.monotonic() > deadline:
            raise Violation(f"{household.project.id}: viewers at {cursors}, journal at {newest}")


async def _journal(house: House, household: Household) -> list[invariants.Row]:
    return invariants.rows(await house.journal(household.project.id))


async def _until_shown(watcher: Watcher, row: invariants.Row) -> None:
    def has_seen(fold: Fold) -> bool:
        return fold.cursor is not None and fold.cursor >= row.seq

    try:
        async with asyncio.timeout(AGREE_SECONDS):
            await watcher.until(has_seen)
    except TimeoutError:
        raise Violation(f"{watcher.name} is not shown an event", row.text, *watcher.tail) from None


async def _end(stage: Stage) -> None:
    """End the service in the round's way, see that nothing is left, and that it starts again."""
    house = stage.house
    before = {h.project.id: await house.project(h.project.id) for h in stage.households}
    match stage.plan.ending:
        case Ending.KILL:
            house.kill()
            await house.all_gone()
            await house.start()
            await house.stop()
        case Ending.SHUTDOWN:
            await house.shut_down()
        case Ending.TERM:
            await house.stop()
    await _check_nothing_left(stage)
    await house.start()
    for project_id, told in before.items():
        state = state_of_snapshot(project_id, told)
        again = await house.project(project_id)
        invariants.check_state(f"{project_id} as it was before the restart", state, again)
    await house.stop()
    await _check_nothing_left(stage)


async def _check_nothing_left(stage: Stage) -> None:
    await stage.house.all_gone()
    stage.house.check_nothing_left()
    if stage.containers is not None and (running := await stage.containers.running()):
        raise Violation("containers were left running", running)
