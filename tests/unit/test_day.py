"""A day begins anew by the clock that is asked, also after an outage."""

from __future__ import annotations

import pytest

from actors.errors import StorageUnavailable
from gateway.day import LOOK_SECONDS, on_each_new_day


class EndOfTest(Exception):
    """The clock has no more to say."""


class Clock:
    """Says a day at each look; None is that it cannot be asked."""

    def __init__(self, *days: str | None) -> None:
        self._days = iter(days)
        self.begun: list[str] = []
        self.slept: list[float] = []
        self._day = ""

    async def today(self) -> str:
        day = next(self._days, "end")
        if day == "end":
            raise EndOfTest
        if day is None:
            raise StorageUnavailable("It is away.")
        self._day = day
        return day

    async def begin(self) -> None:
        self.begun.append(self._day)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.mark.parametrize(
    ("days", "begun"),
    [
        (["1"], []),
        (["1", "1", "1"], []),
        (["1", "2", "2", "3"], ["2", "3"]),
        (["1", None, None, "2"], ["2"]),
        ([None, "1", "2"], ["2"]),
        (["2", "1"], ["1"]),  # the clock was put back
    ],
)
async def test_what_waits_for_another_day_begins_once_it_is_there(
    days: list[str | None], begun: list[str]
) -> None:
    clock = Clock(*days)

    with pytest.raises(EndOfTest):
        await on_each_new_day(clock.today, clock.begin, sleep=clock.sleep)

    assert clock.begun == begun
    assert clock.slept == [LOOK_SECONDS] * len(days)
