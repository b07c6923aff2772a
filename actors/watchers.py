"""Watchers: admins that are told where a project's actor is. No I/O."""

from __future__ import annotations

from typing import Any

from actors.effects import Effect, Send
from actors.messages import ProjectChanged


class Watchers:
    """Addresses by project; they are compared by their text."""

    def __init__(self) -> None:
        self._of_project: dict[str, dict[str, Any]] = {}

    def add(self, project_id: str, address: Any) -> None:
        self._of_project.setdefault(project_id, {})[str(address)] = address

    def discard(self, project_id: str, address: Any) -> None:
        watchers = self._of_project.pop(project_id, {})
        watchers.pop(str(address), None)
        if watchers:
            self._of_project[project_id] = watchers

    def told(self, project_id: str, stage: str) -> list[Effect]:
        """Return what tells all watchers of the project that its actor is now at `stage`."""
        changed = ProjectChanged(project_id=project_id, stage=stage)
        return [Send(watcher, changed) for watcher in self._of_project.get(project_id, {}).values()]
