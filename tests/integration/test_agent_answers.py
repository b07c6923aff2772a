"""Faulty answer -> what a viewer sees -> what is stored: a table.

Plans that cannot be used, and files that are missing, torn, unsafe or too large;
`test_agent_faults.py` has the rows of the server's own faults, and `test_agent_reconcile.py` says
what a model is told that is asked again.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from actors.generation import work
from actors.generation.prompts import write_scof
from actors.generation.scof import MAX_FILE_CHARS, MAX_LINE_CHARS
from tests.support.agent import World
from tests.support.fault_row import (
    AGAIN,
    APP,
    FIRST,
    FULL,
    PAGE,
    PLAN,
    PLAN_TEXT,
    SITE,
    WELL,
    Row,
    play,
)

FORMER = {"app.js": "const a = 1;\nconst b = 2;\nconst c = 3;\n"}
PATCH = "cat << E | patch app.js\n@@\n-const d = 4;\n+const d = 5;\nE\n"
LONG_LINE = "x" * (MAX_LINE_CHARS - 1) + "\n"
HUGE = "x\n" * (MAX_FILE_CHARS // 2)
UNSAFE = ("../x", "/etc/x", "~/x", "a/../../x", ".git/config", "C:/x")


def plan_of(**members: Any) -> str:
    return json.dumps({**PLAN, **members})


def refused_plan(text: str, says: str) -> Row:
    return Row(
        plan=(text,), sees="plan plan_invalid plan implement complete", says=says, stored=SITE
    )


def accepted_plan(text: str) -> Row:
    return Row(plan=(text,), sees=WELL, stored=SITE)


PLANS = {
    "a plan in prose": accepted_plan(f"Here it is:\n\n{PLAN_TEXT}\n\nGood luck!"),
    "a plan in a fence": accepted_plan(f"```json\n{PLAN_TEXT}\n```"),
    "a plan with trailing commas": accepted_plan(
        PLAN_TEXT.replace("}]", "},]").replace("true}", "true,}")
    ),
    "a plan with unknown members": accepted_plan(plan_of(mood="good")),
    "a plan whose files are a string": refused_plan(
        plan_of(files="index.html"), 'The plan needs "files" as a list.'
    ),
    "a plan whose name is a number": refused_plan(
        plan_of(name=1), 'The plan needs "name" as a string.'
    ),
    "a plan whose flag is a string": refused_plan(
        plan_of(isLastPhase="yes"), 'The plan needs "isLastPhase" as true or false.'
    ),
    "a plan whose file is a string": refused_plan(
        plan_of(files=["index.html"]), "File 1 of the plan must be an object"
    ),
    "a plan that is a list": refused_plan("[1, 2]", "The answer holds no JSON object."),
    "a plan without files": refused_plan(plan_of(files=[]), "The plan lists no files"),
    "a plan with a path outside": refused_plan(
        PLAN_TEXT.replace("app.js", "../app.js"), "File 2 of the plan has the path '../app.js'"
    ),
    "a plan that lists a file twice": refused_plan(
        PLAN_TEXT.replace("app.js", "index.html"), "The plan lists 'index.html' twice."
    ),
    "an empty plan": refused_plan("", "The answer holds no JSON object."),
    "no usable plan, ever": Row(
        plan=("Sorry.", plan_of(name=""), plan_of(files=[])),
        always=True,
        sees="plan plan_invalid plan plan_invalid plan plan_invalid",
        says="The plan lists no files",
        stored={},
    ),
}

FILES = {
    "all but one file": Row(implement=(FIRST,), sees=AGAIN, says="app.js", stored=SITE),
    "all but one file, ever": Row(
        implement=(FIRST,),
        always=True,
        sees="plan implement" + " missing_files implement" * 3 + " output_invalid",
        says="app.js",
        stored={"index.html": PAGE},
    ),
    "no file at all": Row(implement=("I cannot do that.",), sees=AGAIN, stored=SITE),
    "no file at all, ever": Row(
        implement=("I cannot do that.",),
        always=True,
        sees="plan implement missing_files implement missing_files implement output_invalid",
        says="index.html",
        stored={},
    ),
    "another marker than asked for": Row(implement=(FULL,), sees=WELL, stored=SITE),
    "a marker that stands in a file": Row(
        implement=(FULL.replace("EOF", "value_7"),), sees=WELL, stored=SITE
    ),
    "no marker before the next file": Row(
        implement=(FULL.replace("EOF\ncat", "cat"),),
        sees="plan implement missing_terminator complete",
        says="index.html: no line EOF before app.js",
        stored=SITE,
    ),
    "no marker at the end": Row(implement=(FULL.removesuffix("EOF\n"),), sees=AGAIN, stored=SITE),
    "prose, fences and commands around": Row(
        implement=(f"Sure!\n```sh\n{FULL}```\nnpm install zod\n",),
        sees="plan implement install_command complete",
        stored=SITE,
    ),
    "a patch that does not apply": Row(
        former=FORMER,
        implement=(FIRST + PATCH,),
        sees="plan implement patch_rejected restored missing_files implement complete",
        stored=SITE,
    ),
    "a patch that does not apply, ever": Row(
        former=FORMER,
        implement=(FIRST + PATCH,),
        always=True,
        sees="plan"
        + " implement patch_rejected restored missing_files" * 3
        + " implement patch_rejected restored output_invalid",
        says="app.js",
        stored=FORMER | {"index.html": PAGE},
    ),
    "a patch of a file that does not exist": Row(
        implement=(FIRST + PATCH,),
        sees="plan implement patch_rejected restored missing_files implement complete",
        stored=SITE,
    ),
    "a patch that applies in two places": Row(
        former={"app.js": "a();\nb();\na();\n"},
        implement=(FIRST + "cat << E | patch app.js\n@@\n-a();\n+c();\nE\n",),
        sees="plan implement patch_rejected restored missing_files implement complete",
        stored=SITE,
    ),
    "a patch of what the same answer creates": Row(
        implement=(
            FULL.replace("= 7;", "= 0;")
            + "cat << E | patch app.js\n@@\n-export const value_7 = 0; // größer ☃ 😀\t\n"
            "+export const value_7 = 7; // größer ☃ 😀\t\nE\n",
        ),
        sees=WELL,
        stored=SITE,
    ),
    "a placeholder": Row(
        implement=(FULL.replace(APP, "// ... rest of the code\n"),),
        sees="plan implement placeholder restored missing_files implement complete",
        stored=SITE,
    ),
    "a placeholder, ever, in place of what was there": Row(
        former=FORMER,
        implement=(FIRST + write_scof("app.js", "// ... rest of file unchanged\n", "EOF"),),
        always=True,
        sees="plan"
        + " implement placeholder restored missing_files" * 3
        + " implement placeholder restored output_invalid",
        says="app.js, line 1, stands for text left out",
        stored=FORMER | {"index.html": PAGE},
    ),
    "unsafe paths beside the files": Row(
        implement=(
            "".join(
                f"cat > {path} << E\ny\nE\n"
                for path in ("../x", "/etc/x", "~/x", "a/../../x", ".git/config", "C:/x")
            )
            + FULL,
        ),
        sees="plan implement" + " unsafe_path discarded_block" * 6 + " complete",
        says="C:/x",
        stored=SITE,
    ),
    "an unsafe path in place of a file": Row(
        implement=(FULL.replace("> app.js", "> /app.js"),),
        sees="plan implement unsafe_path discarded_block missing_files implement complete",
        stored=SITE,
    ),
    "a line of 1 MB": Row(
        implement=(write_scof("long.txt", LONG_LINE, "EOF") + FULL,),
        sees=WELL,
        stored=SITE | {"long.txt": LONG_LINE},
    ),
    "a longer line": Row(
        implement=(FULL + write_scof("long.txt", "xx" + LONG_LINE, "EOF"),),
        sees="plan implement restored output_invalid",
        says="a line of more than 1,048,576 characters",
        stored=SITE,
    ),
    "a file of 4 MB": Row(
        implement=(FULL + write_scof("big.txt", HUGE, "EOF"),),
        sees=WELL,
        stored=SITE | {"big.txt": HUGE},
    ),
    "a file of 5 MB": Row(
        implement=(FULL + write_scof("big.txt", HUGE + HUGE[: 2**20], "EOF"),),
        sees="plan implement restored output_invalid",
        says="a file of more than 4,194,304 characters",
        stored=SITE,
    ),
}

ROWS = PLANS | FILES


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
async def test_a_faulty_answer_is_told_and_what_is_stored_is_exact(
    world: World, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    await play(world, row, monkeypatch)


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
