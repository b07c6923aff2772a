"""The built-in page's own fold (store.js, run by Node) agrees with the service's."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

import gateway
from actors import events as ev
from actors.codec import JournalEntry
from actors.state import ProjectState, apply
from tests.support.gateway import Frame, describe, frame_of
from tests.support.history import journal

STATIC = Path(gateway.__file__).with_name("static")
NODE_SECONDS = 60.0

# Each line of the input is the frames of one page, each line of the output what it then shows.
SCRIPT = """
import { createInterface } from "node:readline";
import { apply, emptyProject } from "./store.js";

for await (const line of createInterface({ input: process.stdin })) {
  const project = emptyProject("p");
  for (const frame of JSON.parse(line)) apply(project, frame);
  const { files, texts, log, ...members } = project;
  console.log(JSON.stringify({ ...members, files: [...files.values()] }));
}
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """The page's modules, where Node takes them for modules."""
    shutil.copytree(STATIC, tmp_path / "page")
    (tmp_path / "page/package.json").write_text('{"type": "module"}')
    (tmp_path / "page/main.mjs").write_text(SCRIPT)
    return tmp_path / "page/main.mjs"


async def shown(page: Path, sockets: Sequence[list[Frame]]) -> list[dict[str, Any]]:
    """Return what pages show that were sent these frames, as far as a snapshot has it."""
    return [visible(state) for state in await states(page, sockets)]


async def states(page: Path, sockets: Sequence[list[Frame]]) -> list[dict[str, Any]]:
    """Return the states of pages that were sent these frames."""
    node = await asyncio.create_subprocess_exec(
        "node", str(page), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(NODE_SECONDS):
            output, _ = await node.communicate(b"\n".join(map(orjson.dumps, sockets)))
    finally:
        if node.returncode is None:
            node.kill()
            await node.wait()
    assert node.returncode == 0
    return [orjson.loads(line) for line in output.splitlines()]


def visible(shown: dict[str, Any]) -> dict[str, Any]:
    """Return what both a snapshot and the page's state have, in one form."""
    files = {file["path"]: (file["size"], file["phaseNumber"]) for file in shown["files"]}
    open_file = shown["openFile"] and (shown["openFile"]["path"], shown["openFile"]["text"])
    queue = [(command["id"], command["description"]) for command in shown["queue"]]
    same = (
        "state",
        "phases",
        "designing",
        "problem",
        "problems",
        "usage",
        "descriptions",
        "sandbox",
    )
    return {
        **{member: shown[member] for member in same},
        "run": shown["run"],
        "hasPreview": shown["previewUrl"] is not None,  # its address is that of the service now
        "files": files,
        "openFile": open_file,
        "queue": queue,
    }


def frames_of(entries: Sequence[JournalEntry]) -> list[Frame]:
    return [orjson.loads(frame_of(entry)) for entry in entries]


def snapshot(state: ProjectState) -> Frame:
    data = orjson.loads(orjson.dumps(describe(state)))
    return {"type": "snapshot", "data": data, "seq": state.last_seq}


def kept(entries: Sequence[JournalEntry], open_path: str | None) -> list[JournalEntry]:
    """Return what a replay has of these: no chunks of files that are closed by now."""
    rows: list[JournalEntry] = []
    for entry in reversed(entries):
        if isinstance(entry.event, ev.FileStart | ev.FileChunk):
            if entry.event.path != open_path:
                continue
            if isinstance(entry.event, ev.FileStart):
                open_path = None
        rows.insert(0, entry)
    return rows


async def test_a_page_shows_the_same_whenever_it_was_opened_and_whatever_it_missed(
    page: Path,
) -> None:
    sockets: list[list[Frame]] = []
    expected: list[dict[str, Any]] = []
    for seed in range(20):
        rng = random.Random(seed)
        entries = journal(rng, 120)
        state = ProjectState(project_id="p")
        snapshots = [snapshot(state)]
        for entry in entries:
            apply(state, entry.event, entry.seq)
            snapshots.append(snapshot(state))
        open_path = state.open_file.path if state.open_file else None
        live = frames_of(entries)
        for cut in rng.sample(range(len(entries) + 1), k=30):
            missed = frames_of(kept(entries[cut:], open_path))
            sockets += [live[:cut], [*live[:cut], *missed], [snapshots[cut], *live[cut:]]]
            ends = (snapshots[cut], snapshots[-1], snapshots[-1])
            expected += [visible(end["data"]) for end in ends]
    assert await shown(page, sockets) == expected


async def test_an_app_that_stopped_is_told_until_it_answers_again(page: Path) -> None:
    stopped = {"reason": "exited", "message": "It ended.\nbye"}
    frames: list[Frame] = [
        {"type": "server_started", "data": {"url": "http://h/"}, "seq": 1},
        {"type": "server_stopped", "data": stopped, "seq": 2},
        {"type": "server_started", "data": {"url": "http://h/"}, "seq": 3},
    ]
    one, two, three = await states(page, [frames[:count] for count in (1, 2, 3)])
    assert [one["stopped"], two["stopped"], three["stopped"]] == [None, "It ended.\nbye", None]
    assert two["previewUrl"] == "http://h/"  # it is still its address
