from __future__ import annotations

from typing import Any

from actors.sandbox.image import PullProgress


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def downloading(layer: str, current: int, total: int) -> dict[str, Any]:
    detail = {"current": current, "total": total}
    return {"status": "Downloading", "id": layer, "progressDetail": detail}


def test_progress_is_one_line_a_second_over_all_layers() -> None:
    clock = Clock()
    progress = PullProgress("node:22-slim", clock)
    assert progress.feed({"status": "Pulling from library/node", "id": "22-slim"}) == (
        "Pulling the image node:22-slim"
    )
    assert progress.feed(downloading("a", 1_000_000, 30_000_000)) is None
    clock.now = 1.0
    assert progress.feed(downloading("b", 2_000_000, 48_000_000)) == (
        "Pulling the image node:22-slim: 3 of 78 MB"
    )
    clock.now = 2.0
    assert progress.feed({"status": "Download complete", "id": "a"}) == (
        "Pulling the image node:22-slim: 32 of 78 MB"
    )


def test_a_line_is_not_repeated() -> None:
    clock = Clock()
    progress = PullProgress("x", clock)
    assert progress.feed({"status": "Extracting", "id": "a"}) == "Pulling the image x"
    clock.now = 5.0
    assert progress.feed({"status": "Extracting", "id": "a"}) is None


def test_messages_of_any_shape_are_taken() -> None:
    progress = PullProgress("x", Clock())
    for message in (
        {},
        {"status": "Downloading"},
        {"status": "Downloading", "id": "a", "progressDetail": None},
        {"status": "Downloading", "id": "a", "progressDetail": {"current": None}},
        {"status": "Download complete", "id": "unknown"},
    ):
        progress.feed(message)
