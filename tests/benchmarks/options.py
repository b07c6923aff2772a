"""What the command line leaves to choose."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How long, how wide and how often."""

    stream_projects: tuple[int, ...] = (1, 10, 50)
    stream_seconds: int = 10
    journal_projects: int = 10
    revived_files: tuple[int, ...] = (3, 3_000)
    revivals: int = 50  # with each number of files
    kills: int = 50
    storm_viewers: int = 1_000
    parsed_megabytes: tuple[int, ...] = (1, 2, 4, 8)
    sandbox_kinds: tuple[str, ...] = ("docker", "bubblewrap")
    sandboxes: int = 6  # at once
    cacheless_sandboxes: int = 6  # likewise; each fetches all its packages itself


#: Shows in seconds that a case works; there is little in its figures.
QUICK = Options(
    stream_projects=(1,),
    stream_seconds=1,
    journal_projects=1,
    revived_files=(3, 30),
    revivals=2,
    kills=2,
    storm_viewers=20,
    parsed_megabytes=(1,),
    sandbox_kinds=("bubblewrap",),
    sandboxes=1,
    cacheless_sandboxes=0,
)
