"""What the command line leaves to choose."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How long and how wide the streams are."""

    stream_projects: tuple[int, ...] = (1, 10, 50)
    stream_seconds: int = 10
