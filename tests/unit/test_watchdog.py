"""Who is asked for a sign of life, and who counts as hung."""

from __future__ import annotations

import pytest

from actors.watchdog import HUNG_SECONDS, MAX_STEP_SECONDS, PING_SECONDS, Findings, Watchdog

NOTHING = Findings((), ())


class Watched:
    def __init__(self) -> None:
        self.now = 0.0
        self.watchdog = Watchdog(lambda: self.now)
        self.watchdog.check(["one", "two"])

    def after(self, seconds: float) -> Findings:
        """What a watchdog finds in that time that checks every half second."""
        to_ask: tuple[str, ...] = ()
        hung: tuple[str, ...] = ()
        for _ in range(int(seconds * 2)):
            findings = self.after_a_stall(0.5)
            to_ask, hung = to_ask + findings.to_ask, hung + findings.hung
        return Findings(to_ask, hung)

    def after_a_stall(self, seconds: float) -> Findings:
        """What it finds in the first check after it slept so long."""
        self.now += seconds
        return self.watchdog.check(["one", "two"])


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_who_is_silent_is_asked_once_and_then_counts_as_hung(watched: Watched) -> None:
    assert watched.after(PING_SECONDS - 0.5) == NOTHING
    assert watched.after(0.5) == Findings(("one", "two"), ())
    watched.watchdog.heard("one")
    assert watched.after(HUNG_SECONDS - 0.5) == Findings(("one",), ())
    assert watched.after(0.5) == Findings((), ("two",))


def test_a_watchdog_that_was_stalled_itself_takes_nobody_for_hung(watched: Watched) -> None:
    watched.after(PING_SECONDS)
    assert watched.after_a_stall(10 * HUNG_SECONDS) == NOTHING
    watched.watchdog.heard("one")
    watched.watchdog.heard("two")
    assert watched.after(HUNG_SECONDS).hung == ()


def test_many_stalls_do_not_make_it_blind(watched: Watched) -> None:
    watched.after(PING_SECONDS)
    hung = [watched.after_a_stall(60.0).hung for _ in range(int(HUNG_SECONDS / MAX_STEP_SECONDS))]
    assert hung[-1] == ("one", "two")


def test_a_sign_of_life_of_a_stranger_is_ignored(watched: Watched) -> None:
    watched.watchdog.heard("three")
    assert watched.after(PING_SECONDS) == Findings(("one", "two"), ())
