"""The plan of one round: what is asked for, who watches, what is done to whom. No I/O.

Everything follows from the seed and the number of faults, so a round can be played again. Which
process a fault meets depends on who is alive at that moment; among them a number that is part of
the plan decides.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

PROJECTS = 4
MAX_VIEWERS = 3  # of one project; at least 2
FAULTS_PER_ORDER = 7  # about so many faults later comes a project's next command
PAUSE_SECONDS = (0.05, 0.9)  # before a fault
BURST_SHARE = 0.15  # of the faults that come at once after another one
STOP_SECONDS = (0.1, 3.0)
CANCEL_SHARE = 0.15  # of the commands
MODES = ("queue",) * 7 + ("steer", "steer", "replace")  # of all commands but the first
PICKS = 1_000_000


class Kind(StrEnum):
    """What a fault is done to."""

    ACTOR = "project actor"
    NURSERY = "nursery"
    SUPERVISOR = "supervisor"
    ADMIN = "admin"
    GUARD = "guard"
    GATEWAY = "gateway"
    START = "gateway that starts"
    SPARE = "spare actor"
    LOGGER = "Thespian's logger"
    POSTGRES = "PostgreSQL"
    BACKEND = "PostgreSQL backend"
    MODEL = "model connection"
    VIEWER = "viewer"
    CONTAINER = "sandbox container"


class Way(StrEnum):
    """What is done: SIGKILL (of a connection: a cut), SIGSTOP and SIGCONT, SIGTERM."""

    KILL = "kill"
    STOP = "stop"
    TERM = "term"


class Habit(StrEnum):
    """Why a viewer leaves.

    A *steady* one leaves only when it loses its socket; a *restless* one leaves now and then and
    comes back with `since`; a *forgetful* one comes back knowing nothing, for a snapshot or for
    all events from the first one on.
    """

    STEADY = "steady"
    RESTLESS = "restless"
    FORGETFUL = "forgetful"


class Ending(StrEnum):
    """How a round's service is ended."""

    TERM = "SIGTERM"
    KILL = "SIGKILL, a restart, SIGTERM"
    SHUTDOWN = "codegen shutdown"


#: How often each fault is in the deck that a round is dealt from.
DECK = {
    (Kind.ACTOR, Way.KILL): 4,
    (Kind.ACTOR, Way.STOP): 2,
    (Kind.NURSERY, Way.KILL): 1,
    (Kind.NURSERY, Way.STOP): 1,
    (Kind.SUPERVISOR, Way.KILL): 1,
    (Kind.SUPERVISOR, Way.STOP): 1,
    (Kind.ADMIN, Way.KILL): 1,
    (Kind.ADMIN, Way.STOP): 1,
    (Kind.GUARD, Way.KILL): 1,
    (Kind.GUARD, Way.STOP): 1,
    (Kind.GATEWAY, Way.KILL): 1,
    (Kind.START, Way.KILL): 1,
    (Kind.SPARE, Way.KILL): 1,
    (Kind.SPARE, Way.STOP): 1,
    (Kind.LOGGER, Way.KILL): 1,
    (Kind.LOGGER, Way.STOP): 1,
    (Kind.GATEWAY, Way.STOP): 1,
    (Kind.GATEWAY, Way.TERM): 1,
    (Kind.POSTGRES, Way.KILL): 1,
    (Kind.POSTGRES, Way.STOP): 1,
    (Kind.BACKEND, Way.KILL): 1,
    (Kind.BACKEND, Way.STOP): 1,
    (Kind.MODEL, Way.KILL): 2,
    (Kind.MODEL, Way.STOP): 1,
    (Kind.VIEWER, Way.KILL): 2,
    (Kind.VIEWER, Way.STOP): 1,
}
CONTAINER_DECK = {(Kind.CONTAINER, Way.KILL): 5, (Kind.CONTAINER, Way.STOP): 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault, `pause_seconds` after the one before; `pick` chooses among those it may meet."""

    kind: Kind
    way: Way
    pause_seconds: float
    stop_seconds: float
    pick: int

    def __str__(self) -> str:
        seconds = f" for {self.stop_seconds:.1f} s" if self.way is Way.STOP else ""
        return f"{self.way} {self.kind}{seconds}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One generate command, sent once so many faults are done; `copies` at the same time.

    With `is_repeated` it is sent once more after it was accepted. `cancel_seconds` after that a
    cancel follows, or none; it may name the command.
    """

    id: str
    after_faults: int
    phases: int
    mode: str
    copies: int
    by_socket: bool
    is_repeated: bool
    cancel_seconds: float | None
    cancel_names_it: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """One project of a round."""

    id: str
    story: int
    habits: tuple[Habit, ...]
    orders: tuple[Order, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The plan of a round."""

    seed: int
    projects: tuple[Project, ...]
    faults: tuple[Fault, ...]
    ending: Ending
    idle_seconds: float
    uses_docker: bool


def plan_round(seed: int, count: int, *, uses_docker: bool = False) -> Round:
    """Return the round of this seed with so many faults."""
    choose = random.Random(f"{seed}/{count}/{uses_docker}")
    return Round(
        seed=seed,
        projects=tuple(
            _project(choose, number, count)
            for number in range(1, (2 if uses_docker else PROJECTS) + 1)
        ),
        faults=tuple(_faults(choose, count, uses_docker)),
        ending=choose.choice(list(Ending)),
        idle_seconds=choose.choice((0.5, 2.0, 60.0)),
        uses_docker=uses_docker,
    )


def _project(choose: random.Random, number: int, faults: int) -> Project:
    habits = [Habit.STEADY, choose.choice((Habit.RESTLESS, Habit.FORGETFUL))]
    if choose.random() < 0.5:
        habits.append(choose.choice(list(Habit)))
    return Project(
        id=f"p{number}",
        story=choose.randrange(1, PICKS),
        habits=tuple(habits[:MAX_VIEWERS]),
        orders=tuple(_orders(choose, faults)),
    )


def _orders(choose: random.Random, faults: int) -> Iterator[Order]:
    after_faults = 0
    number = 0
    while after_faults <= max(0, faults - 2):
        number += 1
        yield Order(
            id=f"command-{number}",
            after_faults=after_faults,
            phases=choose.choice((1, 1, 2, 3)),
            mode=choose.choice(MODES) if number > 1 else "queue",
            copies=choose.choice((1, 1, 2)),
            by_socket=choose.random() < 0.5,
            is_repeated=choose.random() < 0.4,
            cancel_seconds=choose.uniform(0.0, 3.0) if choose.random() < CANCEL_SHARE else None,
            cancel_names_it=choose.random() < 0.5,
        )
        after_faults += choose.randint(1, 2 * FAULTS_PER_ORDER - 1)


def _faults(choose: random.Random, count: int, uses_docker: bool) -> Iterator[Fault]:
    for kind, way in _dealt(choose, count, uses_docker):
        is_burst = choose.random() < BURST_SHARE
        yield Fault(
            kind=kind,
            way=way,
            pause_seconds=0.0 if is_burst else choose.uniform(*PAUSE_SECONDS),
            stop_seconds=choose.uniform(*STOP_SECONDS),
            pick=choose.randrange(PICKS),
        )


def _dealt(choose: random.Random, count: int, uses_docker: bool) -> list[tuple[Kind, Way]]:
    """Deal from shuffled decks, one after the other."""
    cards = DECK | CONTAINER_DECK if uses_docker else DECK
    deck = [card for card, copies in cards.items() for _ in range(copies)]
    dealt: list[tuple[Kind, Way]] = []
    while len(dealt) < count:
        dealt += choose.sample(deck, len(deck))
    return dealt[:count]
