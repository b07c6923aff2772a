"""A row of the table "fault -> what the user sees -> what is stored", and how it is played.

What holds in every row whatever its fault is asserted here: the journal is what the viewer saw,
the state that the viewer folded is the one in PostgreSQL, and every stored file is byte for byte
what its `file_end` and the chunks before it said.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import pytest

from actors import messages as m
from actors.codec import decode_data
from actors.generation import choose
from actors.generation.openrouter import OpenRouterModel
from actors.generation.prompts import write_scof
from actors.generation.retry import FIRST_PAUSE_SECONDS, PAUSE_FACTOR, RetryingModel
from actors.reader import Reader
from actors.state import ProjectState, apply
from tests.support.agent import World
from tests.support.openrouter import TEST_KEY, Answer, Purpose
from tests.support.replay_fold import comparable, fold

PIECES = 200  # of a large answer; 64 characters each would be too many
STALL_SECONDS = 1.0  # how long a stalled stream is waited for

Frame = Mapping[str, Any]

#: What is asked for, and answers that give it, or its first file alone.
PAGE = "<!doctype html>\n<title>Größe</title>\n"
APP = "".join(f"export const value_{n} = {n}; // größer ☃ 😀\t\n" for n in range(40))
SITE = {"index.html": PAGE, "app.js": APP}
PLAN: Mapping[str, Any] = {
    "name": "Base",
    "description": "The app.",
    "files": [{"path": path, "purpose": "p"} for path in SITE],
    "isLastPhase": True,
}
PLAN_TEXT = json.dumps(PLAN)
FIRST = write_scof("index.html", PAGE, "EOF")
FULL = FIRST + write_scof("app.js", APP, "EOF")

#: What is seen where nothing is wrong, and where a planned file is asked for again.
WELL = "plan implement complete"
AGAIN = "plan implement missing_files implement complete"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One fault.

    `plan` and `implement` are the first answers to such requests, good ones follow; with `always`
    the last of them is repeated for ever. `former` are the files of an earlier run. `sees` are the
    words of `transcript`, its last one being how the run ends; `says` occurs in the sentence that
    the viewer is told of the fault (the error's, or else the last retry's, warning's or pause's).
    `asked_pauses` are what the server asked for before each retry, 0 where it did not.
    """

    plan: tuple[Answer | str, ...] = ()
    implement: tuple[Answer | str, ...] = ()
    always: bool = False
    former: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    stalls: bool = False  # a stall is noticed soon
    cancel_at: str = ""  # the user cancels when this event is seen
    sees: str
    says: str = ""
    stored: Mapping[str, str]
    asked_pauses: tuple[float, ...] = ()


async def play(world: World, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a run meet the row's fault and assert what the row says."""
    pauses = _shorten(monkeypatch, stalls=row.stalls)
    await _prepare(world, row)
    before = len(world.sink.frames)
    await world.generate("the wish")
    if row.cancel_at:
        await world.sink.until(lambda f: f["type"] == row.cancel_at and f in _since(world, before))
        await world.request(m.CancelGeneration)
    await _end(world, before)
    frames = _since(world, before)
    assert transcript(frames) == row.sees.split()
    assert row.says in _sentence(frames)
    _check_pauses(row, frames, pauses)
    await _check_stored(world, row.stored)


def transcript(frames: Sequence[Frame]) -> list[str]:
    """Tell what a viewer sees of a run in a word each: calls, faults, and the end."""
    words: list[str] = []
    for frame in frames:
        data = frame["data"]
        match frame["type"]:
            case "model_call":
                words.append(data["purpose"])
            case "model_warning":
                words.append(data["kind"])
            case "model_retry":
                words.append("retry")
            case "file_restored":
                words.append("restored")
            case "error" | "run_paused":
                words.append(data["code"])
            case "generation_complete":
                words.append("complete")
            case "generation_cancelled":
                words.append("cancelled")
    return words


def texts_seen(frames: Sequence[Frame]) -> list[tuple[str, str]]:
    """Return the path and the text of the open file, after every event that left one open."""
    state = ProjectState(project_id="p1")
    texts: list[tuple[str, str]] = []
    for frame in frames:
        apply(state, decode_data(frame["type"], frame["data"]), frame["seq"])
        if state.open_file is not None:
            texts.append((state.open_file.path, state.open_file.text))
    return texts


def _finished(frames: Sequence[Frame]) -> list[tuple[str, str, str]]:
    """Return of every finished file its path, what was seen of it before its end, and its text."""
    state = ProjectState(project_id="p1")
    finished: list[tuple[str, str, str]] = []
    for frame in frames:
        data = frame["data"]
        if frame["type"] == "file_end":
            seen = state.open_file.text if state.open_file is not None else ""
            finished.append((data["path"], seen, data["content"]))
        apply(state, decode_data(frame["type"], data), frame["seq"])
    return finished


def _shorten(monkeypatch: pytest.MonkeyPatch, *, stalls: bool) -> list[float]:
    """Have no pause last; returns the list in which each will be, in seconds."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(choose, "RetryingModel", functools.partial(RetryingModel, sleep=pause))
    if stalls:
        quick = functools.partial(
            OpenRouterModel, idle_seconds=STALL_SECONDS, first_text_seconds=STALL_SECONDS
        )
        monkeypatch.setattr(choose, "OpenRouterModel", quick)
        monkeypatch.setattr(choose, "FIRST_TEXT_SECONDS", STALL_SECONDS)
    return pauses


async def _prepare(world: World, row: Row) -> None:
    world.settings = dataclasses.replace(world.settings, **row.settings)
    if row.former:
        world.model.add_phase("Former", row.former, last=True)
        await world.live()
        await world.generate("the former wish")
        await world.sink.expect("generation_complete")
    world.model.add_phase("Base", SITE, last=True)
    faults: tuple[tuple[Purpose, tuple[Answer | str, ...]], ...] = (
        ("plan", row.plan),
        ("implement", row.implement),
    )
    for purpose, answers in faults:
        for number, answer in enumerate(answers, 1):
            chosen = answer if isinstance(answer, Answer) else Answer(text=answer)
            pieces = max(chosen.chunk_chars, len(chosen.text or "") // PIECES)
            world.model.answer_next(
                dataclasses.replace(chosen, chunk_chars=pieces),
                purpose=purpose,
                always=row.always and number == len(answers),
            )
    if not row.former:
        await world.live()


def _since(world: World, before: int) -> list[dict[str, Any]]:
    return world.sink.frames[before:]


async def _end(world: World, before: int) -> None:
    """Wait until the run is over, or waits for its cap."""

    def is_end(frame: dict[str, Any]) -> bool:
        if frame["type"] == "generation_complete":
            return True
        return frame["data"].get("state") in ("error", "paused", "idle")

    last_seq = world.sink.frames[before - 1]["seq"] if before else 0
    await world.sink.until(lambda frame: frame["seq"] > last_seq and is_end(frame))
    await world.everything_is_saved()


def _sentence(frames: Sequence[Frame]) -> str:
    told = [
        data.get("message") or data.get("reason") or data.get("detail") or ""
        for type_, data in ((frame["type"], frame["data"]) for frame in frames)
        if type_ in ("error", "run_paused", "model_retry", "model_warning")
    ]
    return told[-1] if told else ""


def _check_pauses(row: Row, frames: Sequence[Frame], pauses: Sequence[float]) -> None:
    """Every retry is told with its pause, which is what was asked for and some jitter."""
    told = [f["data"]["waitSeconds"] for f in frames if f["type"] == "model_retry"]
    assert told == [round(pause, 1) for pause in pauses]
    assert not row.asked_pauses or len(row.asked_pauses) == len(pauses)
    asked = row.asked_pauses or (0.0,) * len(pauses)
    for number, (least, pause) in enumerate(zip(asked, pauses, strict=True)):
        assert least <= pause <= least + FIRST_PAUSE_SECONDS * PAUSE_FACTOR**number


async def _check_stored(world: World, stored: Mapping[str, str]) -> None:
    frames = world.sink.frames
    assert await world.files() == stored
    assert TEST_KEY not in str(frames)
    finished = _finished(frames)
    assert {path: text for path, _, text in finished} == stored
    assert all(seen in ("", text) for _, seen, text in finished)  # a patch is not streamed
    reader = Reader(world.settings.database_url)
    try:
        state = await reader.state(world.project_id)
        journal = await reader.events_since(world.project_id, 0, len(frames) + 1)
        infos = await reader.files(world.project_id)
    finally:
        await reader.close()
    assert state is not None
    assert comparable(state) == comparable(fold(world.project_id, frames))
    assert state.open_file is None
    assert (state.run is None) is (state.status != "paused")
    chunks = ("file_start", "file_chunk")
    assert [(seq, type_) for seq, type_, _ in journal] == [
        (frame["seq"], frame["type"]) for frame in frames if frame["type"] not in chunks
    ]
    for path, text in stored.items():
        info, data = infos[path], text.encode()
        assert (info.size, info.sha256) == (len(data), sha256(data).hexdigest())
