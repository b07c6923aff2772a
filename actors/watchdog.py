"""The watchdog: which processes are to be asked for a sign of life, and which give none. No I/O.

A process that hangs (or was stopped) is worse than a dead one: nobody reports it, and whoever
waits for it waits for ever. It is killed, and what follows is what follows a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

PING_SECONDS = 5.0  # between a sign of life and the next question
HUNG_SECONDS = 15.0  # without an answer; a busy machine delays one by a second or two
MAX_STEP_SECONDS = 1.0  # of silence that one check can find; checks are more frequent than that


@dataclass(slots=True)
class _Watch:
    heard_at: float  # seconds awake
    asked_at: float | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """Names of processes: those to send a `Ping`, and those that have not answered theirs."""

    to_ask: tuple[str, ...]
    hung: tuple[str, ...]


class Watchdog:
    """Watches processes by names of the caller's choice.

    Silence counts only while the watchdog itself was awake to hear: after a machine was suspended,
    or its own process stopped, it must not end everybody whose answer still waits in its mailbox.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._checked_at = clock()
        self._awake_seconds = 0.0
        self._watches: dict[str, _Watch] = {}

    def heard(self, name: str) -> None:
        """Take note of a sign of life."""
        if name in self._watches:
            self._watches[name] = _Watch(heard_at=self._awake_seconds)

    def check(self, names: Iterable[str]) -> Findings:
        """Look after exactly these; one that is new counts as heard of just now."""
        checked_at, self._checked_at = self._checked_at, self._clock()
        self._awake_seconds += min(self._checked_at - checked_at, MAX_STEP_SECONDS)
        now = self._awake_seconds
        self._watches = {name: self._watches.get(name, _Watch(now)) for name in names}
        to_ask: list[str] = []
        hung: list[str] = []
        for name, watch in self._watches.items():
            if watch.asked_at is None:
                if now - watch.heard_at >= PING_SECONDS:
                    watch.asked_at = now
                    to_ask.append(name)
            elif now - watch.asked_at >= HUNG_SECONDS:
                hung.append(name)
        return Findings(tuple(to_ask), tuple(hung))
