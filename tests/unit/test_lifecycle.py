"""The life of projects in every order: no request is lost or answered twice, none waits for ever.

What must be so is said in `tests/support/lifecycle.py`; here is what happens.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from tests.support.exploration import DELIVER, Exploration
from tests.support.lifecycle import Move, World


def steps_of_one_project(world: World) -> Iterator[Move]:
    """Yield what gateway, admins, the clock and bad luck may do to it."""
    if world.is_over:
        return
    yield from (("generate", "p"), ("passivate", "p"), ("remove", "p"), ("clean_up", ""))
    if not world.is_stopping:
        yield from (("tick", ""), ("shut_down", ""))
    for actor in world.actors.values():
        if actor.is_alive and actor.project_id:
            yield ("crash", actor.address)
        if actor.is_running:
            yield ("finish_run", actor.address)
    for nursery in world.nurseries.values():
        if nursery.is_alive:
            yield ("lose_nursery", nursery.name)


def test_any_five_steps_in_any_order_leave_nothing_behind() -> None:
    """Each comes when all is quiet, or while messages of the steps before are under way."""
    Exploration(World(), steps_of_one_project, depth=5, may_deliver=True).end_all()


IDLE: list[Move] = [("generate", "p"), DELIVER, ("finish_run", "a0"), DELIVER]
ASKED_TO_LEAVE: list[Move] = [*IDLE, ("passivate", "p")]
RUNNING: list[Move] = [("generate", "p"), DELIVER, ("generate", "q"), DELIVER]
BEGINNINGS: dict[str, list[Move]] = {
    "nothing is there": [],
    "a project is idle": IDLE,
    "a project is asked to leave": ASKED_TO_LEAVE,
    "a project may leave": [*ASKED_TO_LEAVE, ("read", "a0"), ("hear", "a0")],
    "one runs and one waits": RUNNING,
    "one has crashed and one waits": [*RUNNING, ("crash", "a0")],
    "a nursery has died": [*RUNNING, ("lose_nursery", "n0")],
    "the service stops": [*RUNNING, ("shut_down", "")],
}


@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS)
def test_messages_may_arrive_in_any_order_while_anything_happens(beginning: list[Move]) -> None:
    world = World()
    for move in beginning:
        world.make(move)
    Exploration(world, World.moves, depth=3).end_all()


@settings(max_examples=300, deadline=None)
@given(rng=st.randoms(use_true_random=False), length=st.integers(10, 80))
def test_a_long_life_leaves_nothing_behind(rng: random.Random, length: int) -> None:
    world = World()
    for _ in range(length):
        moves = [move for move in world.moves() if move[0] != "shut_down"]
        under_way = list(world.inevitable())
        is_accident = not under_way or rng.randrange(4) == 3
        move = rng.choice(moves if is_accident else under_way)
        note(f"{move}")
        world.make(move)
    world.end()
