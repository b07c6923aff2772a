"""The free space is looked at all the time, the sandboxes only when it has shrunk by a step."""

from __future__ import annotations

import pytest

from gateway.disk import LOOK_SECONDS, when_shrunk


class EndOfTest(Exception):
    """There is nothing more to be seen."""


@pytest.mark.parametrize(
    ("free", "acts_at"),
    [
        ([100, 100, 100], [100]),  # once at the beginning
        ([100, 95, 91, 90, 85], [100, 90]),
        ([100, 80, 75, 70], [100, 80, 70]),
        ([100, 150, 141, 140], [100, 140]),  # what has been freed counts
        ([100, 95, 99, 90], [100, 90]),
    ],
)
async def test_it_is_measured_when_the_free_space_has_shrunk_by_a_step(
    free: list[float], acts_at: list[float]
) -> None:
    looks = iter(free)
    seen: list[float] = []
    acted: list[float] = []

    def look() -> float:
        seen.append(next(looks))
        return seen[-1]

    async def act() -> None:
        acted.append(seen[-1])

    async def sleep(seconds: float) -> None:
        assert seconds == LOOK_SECONDS
        if len(seen) == len(free):
            raise EndOfTest

    with pytest.raises(EndOfTest):
        await when_shrunk(look, 10, act, sleep=sleep)
    assert acted == acts_at
