"""Restart intensity: how often each project's actor has ended unexpectedly of late. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from actors.messages import CrashReport

MAX_RESTARTS = 3  # crashes of one project within RESTART_WINDOW_SECONDS; then its run ends
RESTART_WINDOW_SECONDS = 60.0


class Crashes:
    """The crashes of all projects; whoever has none within the window costs no memory."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._recent: dict[str, deque[tuple[float, int]]] = {}

    def note(self, project_id: str, pid: int) -> int:
        """Take note of a crash; return how many the project has had within the window."""
        self._forget_old()
        recent = self._recent.setdefault(project_id, deque())
        recent.append((self._clock(), pid))
        return len(recent)

    def report(self, project_id: str) -> CrashReport | None:
        """Return what the project's next actor ends its run with; None while it may go on."""
        recent = self._recent.get(project_id, ())
        if len(recent) < MAX_RESTARTS:
            return None
        sentence = (
            f"The project's actor ended unexpectedly {MAX_RESTARTS} times within "
            f"{RESTART_WINDOW_SECONDS:.0f} seconds. Its finished files are kept; generate again."
        )
        return CrashReport(sentence=sentence, pids=tuple(pid for _, pid in recent))

    def forget(self, project_id: str) -> None:
        """Begin to count anew."""
        self._recent.pop(project_id, None)

    def _forget_old(self) -> None:
        horizon = self._clock() - RESTART_WINDOW_SECONDS
        for project_id, recent in list(self._recent.items()):
            while recent and recent[0][0] <= horizon:
                recent.popleft()
            if not recent:
                del self._recent[project_id]
