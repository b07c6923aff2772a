"""Fault in an answer -> what a viewer is told -> what is stored: a table.

Every run ends complete or with a stable code, and every file that is stored is byte for byte what
its `file_end` said.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pytest

from actors.generation import work
from actors.generation.prompts import write_scof
from actors.generation.scof import MAX_LINE_CHARS
from tests.support.agent import World
from tests.support.openrouter import Answer

APP = "".join(f"export const value_{n} = {n}; // größer ☃\n" for n in range(40))
SITE = {"index.html": "<h1>Hellö</h1>\n", "app.js": APP}
FULL = "".join(write_scof(path, text, "EOF") for path, text in SITE.items())
PLAN = {
    "name": "Base",
    "description": "The app.",
    "files": [{"path": path, "purpose": "p"} for path in SITE],
    "isLastPhase": True,
}
TEXT = json.dumps(PLAN)
LONG_LINE = "x" * (MAX_LINE_CHARS - 1) + "\n"


@dataclass(frozen=True, kw_only=True)
class Row:
    """The first answers of that purpose; the scripted good ones follow, unless they are all."""

    purpose: Literal["plan", "implement"] = "implement"
    answers: tuple[str | Answer, ...]
    always: bool = False
    warnings: tuple[str, ...] = ()  # their kinds
    code: str | None = None
    stored: Mapping[str, str] = dataclasses.field(default_factory=lambda: SITE)


def plan_row(*answers: str, always: bool = False, refused: int = 0, code: str = "") -> Row:
    return Row(
        purpose="plan",
        answers=answers,
        always=always,
        warnings=("plan_invalid",) * refused,
        code=code or None,
        stored={} if code else SITE,
    )


def cut(text: str) -> Answer:
    return Answer(text=text, finish_reason="length")


def until(word: str) -> str:
    return FULL[: FULL.rindex(word) + len(word)]


ROWS = {
    "a plan in prose": plan_row(f"Here it is:\n\n{TEXT}\n\nGood luck!"),
    "a plan in a fence": plan_row(f"```json\n{TEXT}\n```"),
    "a plan with trailing commas": plan_row(TEXT.replace("}]", "},]").replace("true}", "true,}")),
    "a plan with unknown members": plan_row(json.dumps({**PLAN, "mood": "good"})),
    "a plan of wrong types": plan_row(json.dumps({**PLAN, "files": "index.html"}), refused=1),
    "a plan without files, twice": plan_row(*[json.dumps({**PLAN, "files": []})] * 2, refused=2),
    "no plan at all, ever": plan_row("Sorry.", always=True, refused=2, code="plan_invalid"),
    "an unsafe path, ever": plan_row(
        TEXT.replace("app.js", "../app.js"), always=True, refused=2, code="plan_invalid"
    ),
    "another marker than asked for": Row(answers=(FULL,)),
    "prose, fences and commands around": Row(
        answers=(f"Sure!\n```sh\n{FULL}```\nnpm install zod\n",), warnings=("install_command",)
    ),
    "all but one file": Row(
        answers=(FULL[: FULL.index("cat > app.js")],), warnings=("missing_files",)
    ),
    "no file at all, ever": Row(
        answers=("Sorry.",),
        always=True,
        warnings=("missing_files",) * 2,
        code="output_invalid",
        stored={},
    ),
    "a placeholder": Row(
        answers=(FULL.replace(APP, "// ... rest of the code\n"),),
        warnings=("placeholder", "missing_files"),
    ),
    "a patch of a file that does not exist": Row(
        answers=(FULL[: FULL.index("cat > app.js")] + "cat << E | patch app.js\n@@\n-a\n+b\nE\n",),
        warnings=("patch_rejected", "missing_files"),
    ),
    "an unsafe path beside": Row(
        answers=(f"cat > ../x << E\ny\nE\n{FULL}",), warnings=("unsafe_path", "discarded_block")
    ),
    "length in a line": Row(answers=(cut(until("value_30")),), warnings=("missing_files",)),
    "length in a marker": Row(answers=(cut(FULL[:-2]),), warnings=("missing_files",)),
    "length in a header": Row(answers=(cut(until("cat > app.j")),), warnings=("missing_files",)),
    "length before a file": Row(
        answers=(cut(FULL[: FULL.index("cat > app.js")]),), warnings=("missing_files",)
    ),
    "a line of 1 MB": Row(
        answers=(write_scof("long.txt", LONG_LINE, "EOF") + FULL,),
        stored={**SITE, "long.txt": LONG_LINE},
    ),
    "a line of more": Row(
        answers=(write_scof("long.txt", "xx" + LONG_LINE, "EOF") + FULL,),
        code="output_invalid",
        stored={},
    ),
    "a file of 5 MB": Row(
        answers=(FULL + write_scof("big.txt", "x\n" * (5 * 2**19), "EOF"),),
        code="output_invalid",
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
async def test_a_faulty_answer_ends_in_good_order(world: World, row: Row) -> None:
    world.model.add_phase("Base", SITE, last=True)
    for answer in row.answers:
        chosen = answer if isinstance(answer, Answer) else Answer(text=answer)
        chosen = dataclasses.replace(chosen, chunk_chars=max(64, len(chosen.text or "") // 500))
        world.model.answer_next(chosen, purpose=row.purpose, always=row.always)
    await world.live()
    await world.generate()
    last = await world.sink.expect("error" if row.code else "generation_complete")
    assert last["data"].get("code") == row.code
    frames = world.sink.frames
    told = [f["data"]["kind"] for f in frames if f["type"] == "model_warning"]
    assert tuple(told) == row.warnings
    if row.code:
        await world.sink.until(lambda f: f["data"] == {"state": "error"})
    ended = {f["data"]["path"]: f["data"]["content"] for f in frames if f["type"] == "file_end"}
    assert await world.files() == ended == row.stored


async def test_more_files_than_a_phase_may_have_are_refused(world: World) -> None:
    world.settings = dataclasses.replace(world.settings, max_files_per_phase=1)
    world.model.add_phase("Base", SITE, last=True)
    await world.live()
    await world.generate()
    error = (await world.sink.expect("error"))["data"]
    assert error["code"] == "plan_invalid"
    assert error["message"] == "The plan lists 2 files; a phase writes at most 1."
    assert "1 to 1 files" in world.model.received("plan")[0].prompt


async def test_what_does_not_fit_the_models_context_is_told_before_it_is_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "DEFAULT_CONTEXT_TOKENS", 4_000)
    await world.live()
    await world.generate("x " * 8_000)
    error = (await world.sink.expect("error"))["data"]
    assert error["code"] == "context_too_small"
    assert "split the request" in error["message"]
    assert world.model.requests == []
