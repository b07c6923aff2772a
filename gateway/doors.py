"""The gateway's doors to apps in containers: it listens, each container's relay comes to it."""

from __future__ import annotations

from actors.sandbox.doors import APP_DOOR, Door, doors_directory
from actors.settings import Settings

MAX_DOORS = 1_000  # one open file each


class Doors:
    """One door per app that was asked for; beyond `MAX_DOORS` the longest unused one is closed.

    What goes on over connections that were taken at it goes on.
    """

    def __init__(self, settings: Settings) -> None:
        self._directory = doors_directory(settings)
        self._doors: dict[str, Door] = {}

    def find(self, name: str) -> Door:
        """Return the door in the directory of this name."""
        door = self._doors.pop(name, None) or Door(self._directory / name, APP_DOOR)
        self._doors[name] = door  # the newest is the last
        while len(self._doors) > MAX_DOORS:
            self._doors.pop(next(iter(self._doors))).close()
        return door

    def close(self) -> None:
        for door in self._doors.values():
            door.close()
        self._doors.clear()
