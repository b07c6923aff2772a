"""Blank actors that are kept ready, and the births that were asked for. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import Any

from actors.effects import Breed, Effect, ForgetBirths

BIRTH_SECONDS = 10.0  # a birth takes 13 to 60 ms; after this long it has failed


class Spares:
    """Addresses with their pids, oldest first."""

    def __init__(self, wanted: int, clock: Callable[[], float]) -> None:
        self._wanted = wanted
        self._clock = clock
        self._ready: deque[tuple[Any, int]] = deque()
        self._bred = 0  # asked for and not yet ready
        self._bred_at = 0.0

    def __len__(self) -> int:
        return len(self._ready)

    def restock(self, waiting: int) -> list[Effect]:
        """Ask for as many as are missing, those that projects wait for included.

        Births that are overdue are given up: a process that dies before it has presented itself is
        reported by nobody.
        """
        now = self._clock()
        effects: list[Effect] = []
        if self._bred and now - self._bred_at > BIRTH_SECONDS:
            self._bred = 0
            effects.append(ForgetBirths())
        missing = self._wanted + waiting - len(self._ready) - self._bred
        if missing > 0:
            self._bred += missing
            self._bred_at = now
            effects.append(Breed(missing))
        return effects

    def add(self, address: Any, pid: int) -> None:
        """Take one that is ready."""
        self.miscarry(1)
        self._ready.append((address, pid))

    def take(self) -> tuple[Any, int]:
        """Return the oldest one, for good."""
        return self._ready.popleft()

    def miscarry(self, births: int) -> None:
        """Wait for so many births less."""
        self._bred = max(0, self._bred - births)

    def lose(self, addresses: Collection[str]) -> None:
        """Forget those that have died."""
        self._ready = deque(spare for spare in self._ready if str(spare[0]) not in addresses)
