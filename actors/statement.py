"""An SQL statement in the making: named parts joined by WITH, and their arguments. No I/O.

Arrays are passed as text[] and cast by the server. What any other array type is asyncpg asks the
server, anew on every connection: 10 ms (measured) of each revival.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Statement:
    """Parts that join the first one, `owner`; its answer is how many rows that found."""

    parts: list[str] = field(default_factory=list)
    arguments: list[Any] = field(default_factory=list)

    def put(self, *values: Any) -> tuple[str, ...]:
        """Append arguments and return their placeholders; a list becomes one of texts."""
        first = len(self.arguments) + 1
        self.arguments.extend(_texts(v) if isinstance(v, list) else v for v in values)
        return tuple(f"${first + offset}" for offset in range(len(values)))

    def add(self, name: str, sql: str) -> None:
        """Append a part."""
        self.parts.append(f"{name} AS ({sql})")

    @property
    def sql(self) -> str:
        return f"WITH {', '.join(self.parts)} SELECT count(*) FROM owner"  # noqa: S608  # our text


def _texts(values: Iterable[Any]) -> list[str | None]:
    return [None if value is None else str(value) for value in values]
