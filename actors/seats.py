"""Who may run and who may have a sandbox: so many at once, first come, first served. No I/O.

A project takes a place with its first run, or with its preview, and keeps it until its actor has
left in order: its sandbox stays ready meanwhile. Where all are taken, whoever has been idle for the
longest is to make room.
"""

from __future__ import annotations

from collections import deque


class Seats:
    """Projects by their ids; `max_sandboxes` is None where a sandbox costs nothing."""

    def __init__(self, *, max_runs: int, max_sandboxes: int | None) -> None:
        self._max_runs = max_runs
        self._max_sandboxes = max_sandboxes
        self._queue: deque[str] = deque()
        self._running: set[str] = set()
        self._sandboxes: set[str] = set()
        self._told: set[str] = set()  # of those in the queue: why they wait
        self._visited: set[str] = set()  # whose preview found no place

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def sentence(self) -> str:
        """Say why somebody waits for a sandbox."""
        return (
            f"All sandboxes are in use ({self._max_sandboxes}, CODEGEN_MAX_SANDBOXES); it goes on "
            "as soon as one is free."
        )

    def is_running(self, project_id: str) -> bool:
        return project_id in self._running

    def has_sandbox(self, project_id: str) -> bool:
        return project_id in self._sandboxes

    # --- what happens ----------------------------------------------------------------------------

    def want_run(self, project_id: str) -> None:
        """Queue a project's run; asking again changes nothing."""
        if project_id not in self._running and project_id not in self._queue:
            self._queue.append(project_id)

    def end_run(self, project_id: str) -> None:
        self._running.discard(project_id)

    def open_preview(self, project_id: str) -> bool:
        """Take a sandbox's place for a preview; False where there is none."""
        if self._has_place(project_id):
            self._sandboxes.add(project_id)
            self._visited.discard(project_id)
            return True
        self._visited.add(project_id)
        return False

    def hold(self, project_id: str) -> None:
        """Take note of a sandbox that is there already, from before a crash of everything."""
        self._sandboxes.add(project_id)

    def lose_actor(self, project_id: str) -> None:
        """Take note that a project's actor is gone; its sandbox may run on."""
        self._running.discard(project_id)
        self._told.discard(project_id)
        if project_id in self._queue:
            self._queue.remove(project_id)

    def leave(self, project_id: str) -> None:
        """Take note that a project has left memory with its sandbox stopped."""
        self.lose_actor(project_id)
        self._sandboxes.discard(project_id)

    # --- what follows ----------------------------------------------------------------------------

    def grant(self) -> list[str]:
        """Return the projects whose turn to run has come."""
        granted = []
        for project_id in list(self._queue):
            if len(self._running) >= self._max_runs:
                break
            if self._has_place(project_id):
                self._queue.remove(project_id)
                self._told.discard(project_id)
                self._running.add(project_id)
                self._sandboxes.add(project_id)
                granted.append(project_id)
        return granted

    def newly_delayed(self) -> list[tuple[str, str]]:
        """Return those in the queue who are not yet told why they wait, each with a sentence."""
        busy = (
            f"All runs are under way that there may be at once ({self._max_runs}, "
            "CODEGEN_MAX_RUNS); this one begins as soon as one of them ends."
        )
        new = [project_id for project_id in self._queue if project_id not in self._told]
        self._told.update(new)
        is_full = len(self._running) >= self._max_runs
        return [(project_id, busy if is_full else self.sentence) for project_id in new]

    def lacking(self) -> int:
        """Return how many sandboxes more would be in use at once if there were room."""
        runs = min(len(self._queue), self._max_runs - len(self._running))
        waiting = [p for p in list(self._queue)[: max(0, runs)] if not self._has_place(p)]
        visited = [p for p in self._visited if not self._has_place(p)]
        return len({*waiting, *visited})

    def forget_visits(self) -> None:
        """Drop the wishes of previews: who still wants one asks again."""
        self._visited.clear()

    def _has_place(self, project_id: str) -> bool:
        if self._max_sandboxes is None or project_id in self._sandboxes:
            return True
        return len(self._sandboxes) < self._max_sandboxes
