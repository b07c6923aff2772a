"""Planned and received files are reconciled: what is missing or faulty is asked for again."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from actors.generation.implement import MAX_IMPLEMENT_TRIES
from actors.generation.prompts import write_scof
from tests.support.agent import World
from tests.support.openrouter import Answer, RecordedRequest
from tests.support.sandbox import MemoryEngine

PAGE = "<h1>Hello</h1>\n"
APP = "const a = 1;\nconst b = 2;\nconst c = 3;\n"
SITE = {"index.html": PAGE, "app.js": APP}
GAP = "// ... rest of the file unchanged"


def scof(files: Mapping[str, str]) -> str:
    return "".join(write_scof(path, text, "EOF") for path, text in files.items())


def patch(path: str, old: str, new: str) -> str:
    return f"cat << 'EOF' | patch {path}\n@@\n-{old}\n+{new}\nEOF\n"


def asked(world: World) -> list[RecordedRequest]:
    return world.model.received("implement")


def warnings(world: World) -> list[tuple[str, str]]:
    frames = [f["data"] for f in world.sink.frames if f["type"] == "model_warning"]
    return [(data["kind"], data["detail"]) for data in frames]


def complaint(request: RecordedRequest) -> str:
    return request.prompt.partition("Your previous answer could not be used in full: ")[2]


async def has_site(world: World, files: Mapping[str, str] = SITE) -> None:
    """Begin a life and generate a first app."""
    world.model.add_phase("Base", files, last=True)
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")


async def change(world: World, *answers: str | Answer, **files: str) -> None:
    """Generate a second phase, of the files that are named with `_` for `.`."""
    named = {name.replace("_", "."): text for name, text in files.items()}
    world.model.add_phase("More", named, last=True)
    for answer in answers:
        world.model.answer_next(answer, purpose="implement")
    await world.generate("more")


# --- placeholders --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "faulty",
    [scof({"app.js": f"const a = 2;\n{GAP}\n"}), patch("app.js", "const c = 3;", GAP)],
    ids=["full text", "patch"],
)
async def test_a_file_with_a_placeholder_is_asked_for_again(world: World, faulty: str) -> None:
    await has_site(world)
    await change(world, faulty, app_js="const a = 2;\n")
    await world.sink.expect("generation_complete", 2)
    assert await world.files() == {**SITE, "app.js": "const a = 2;\n"}
    line = 2 if "const a = 2" in faulty else 3
    detail = f"app.js, line {line}, stands for text left out: '{GAP}'"
    assert warnings(world) == [("placeholder", detail), ("missing_files", "app.js")]
    restored = await world.sink.expect("file_restored")
    assert restored["data"] == {"path": "app.js", "content": APP}
    assert complaint(asked(world)[-1]).startswith(f"{detail}. Leave nothing out")
    assert asked(world)[-1].brief.paths_to_write == ("app.js",)


async def test_a_model_that_always_leaves_text_out_ends_the_run_by_name(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    faulty = scof({"index.html": PAGE, "app.js": f"const a = 2;\n{GAP}\n"})
    world.model.answer_next(faulty, purpose="implement", always=True)
    await world.live()
    await world.generate()
    error = (await world.sink.expect("error"))["data"]
    assert error["code"] == "output_invalid"
    assert f"app.js, line 2, stands for text left out: '{GAP}'" in error["message"]
    assert len(asked(world)) == MAX_IMPLEMENT_TRIES + 1  # the first one brought index.html
    assert await world.files() == {"index.html": PAGE}
    assert "files_written" not in world.sink.types()


# --- missing and unplanned files -----------------------------------------------------------------


async def test_only_what_is_missing_is_asked_for_again(world: World) -> None:
    files = {**SITE, "a.css": "a {}\n", "b.css": "b {}\n"}
    world.model.add_phase("Base", files, last=True)
    world.model.answer_next(scof(SITE), purpose="implement")
    world.model.answer_next(scof({"b.css": "b {}\n"}), purpose="implement")
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    assert await world.files() == files
    assert [request.brief.paths_to_write for request in asked(world)] == [
        tuple(files),
        ("a.css", "b.css"),
        ("a.css",),
    ]
    assert complaint(asked(world)[1]).startswith("Not written at all: a.css, b.css.")
    assert warnings(world) == [("missing_files", "a.css, b.css"), ("missing_files", "a.css")]


async def test_files_beyond_the_plan_are_taken_unless_they_are_in_the_way(world: World) -> None:
    await has_site(world)
    extra = {"src/new.js": "new\n", "app.js/b.js": "x\n", "src": "x\n", "lib": "x\n"}
    answer = scof({**extra, "lib/c.js": "c\n"})
    world.model.add_phase("More", {"lib/c.js": "c\n"}, last=True)
    world.model.answer_next(answer, purpose="implement")
    await world.generate("more")
    await world.sink.expect("generation_complete", 2)
    assert await world.files() == {**SITE, "src/new.js": "new\n", "lib/c.js": "c\n"}
    assert warnings(world) == [
        ("path_refused", "app.js/b.js cannot be a file beside app.js"),
        ("path_refused", "src cannot be a file beside src/new.js"),
        ("path_refused", "lib cannot be a file beside lib/c.js"),
    ]


async def test_an_answer_that_broke_off_is_not_blamed_for_what_it_did_not_reach(
    world: World,
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    answer = Answer(text=scof({"index.html": PAGE}), finish_reason="length")
    world.model.answer_next(answer, purpose="implement")
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    assert complaint(asked(world)[1]) == ""


# --- patches -------------------------------------------------------------------------------------


async def test_a_patch_stands_for_the_full_text(world: World) -> None:
    await has_site(world)
    await change(world, patch("app.js", "const b = 2;", "const b = 4;"), app_js="never asked for")
    await world.sink.expect("generation_complete", 2)
    assert await world.files() == {**SITE, "app.js": APP.replace("b = 2", "b = 4")}
    assert len(asked(world)) == 2


async def test_what_is_created_and_patched_in_one_answer_is_done_in_order(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    first = scof(SITE) + patch("app.js", "const b = 2;", "const b = 4;")
    world.model.answer_next(
        first + patch("app.js", "const b = 4;", "const b = 6;"), purpose="implement"
    )
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    assert await world.files() == {**SITE, "app.js": APP.replace("b = 2", "b = 6")}


async def test_after_a_patch_that_does_not_fit_the_full_text_is_demanded(world: World) -> None:
    await has_site(world)
    await change(world, patch("app.js", "const z = 2;", "const b = 4;"), app_js="const d = 4;\n")
    await world.sink.expect("generation_complete", 2)
    assert await world.files() == {**SITE, "app.js": "const d = 4;\n"}
    [rejected, missing] = warnings(world)
    assert (rejected[0], missing) == ("patch_rejected", ("missing_files", "app.js"))
    restored = await world.sink.expect("file_restored")
    assert restored["data"] == {"path": "app.js", "content": APP}
    assert complaint(asked(world)[-1]).startswith(
        "app.js: hunk 1 does not fit: its context is not in the file. The file is as it was "
        "before; write its full text, not a patch."
    )


async def test_the_marker_is_a_fresh_one_in_every_request(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    world.model.answer_next("Sorry.", purpose="implement")
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    markers = {request.prompt.partition("cat > PATH << '")[2][:13] for request in asked(world)}
    assert len(markers) == 2
    assert all(marker.startswith("EOF_") and marker.endswith("'") for marker in markers)


# --- plans ---------------------------------------------------------------------------------------


async def test_a_plan_deletes_files_everywhere_once_its_own_are_written(world: World) -> None:
    world.engine = MemoryEngine()
    await has_site(world, {**SITE, "old.js": "old\n", "lib": "x\n"})
    world.model.add_phase("More", {"lib/a.js": "a\n"}, last=True, delete=("old.js", "lib"))
    await world.generate("more")
    await world.sink.expect("generation_complete", 2)
    left = {**SITE, "lib/a.js": "a\n"}
    assert await world.files() == left
    assert world.engine.container is not None
    assert world.engine.container.files == left
    types = world.sink.types()
    told = types[types.index("phase_completed") :]
    ordered = [kind for kind in told if kind.startswith("file")]
    assert ordered == [
        *("file_deleted", "file_start", "file_chunk", "file_end", "file_deleted", "files_written")
    ]
    deleted = [f["data"]["path"] for f in world.sink.frames if f["type"] == "file_deleted"]
    assert deleted == ["lib", "old.js"]  # one is in the way of a directory
    complete = await world.sink.expect("generation_complete", 2)
    assert complete["data"]["files"] == sorted(left)
    assert "old.js" in asked(world)[-1].brief.existing_code


async def test_what_a_crash_left_to_be_deleted_is_deleted_in_the_next_life(world: World) -> None:
    world.engine = MemoryEngine()
    await has_site(world, {**SITE, "old.js": "old\n"})
    world.model.add_phase("More", {"new.js": "new\n"}, last=True, delete=("old.js",))
    gate = world.model.hold("new\n")
    await world.generate("more")
    await gate.reached.happened()
    await world.die()
    gate.release()
    assert world.engine.container is not None
    assert "old.js" in world.engine.container.files
    await world.live()
    await world.sink.expect("generation_complete", 2)
    assert await world.files() == {**SITE, "new.js": "new\n"}
    assert world.engine.container.files == {**SITE, "new.js": "new\n"}


async def test_a_plan_that_does_not_fit_the_project_goes_back_with_the_complaint(
    world: World,
) -> None:
    await has_site(world)
    world.model.add_phase("Other", {"app.js": "other\n"}, last=True, delete=("never.js",))
    await world.generate("more")
    error = (await world.sink.expect("error"))["data"]
    sentence = "The plan deletes 'never.js', which does not exist."
    assert (error["code"], error["message"]) == ("plan_invalid", sentence)
    plans = world.model.received("plan")
    assert len(plans) == 4
    assert [f"was refused: {sentence}" in plan.prompt for plan in plans] == [
        *(False, False, True, True)
    ]
    assert await world.files() == SITE


async def test_a_plan_that_only_repeats_the_last_one_is_refused(world: World) -> None:
    await has_site(world)
    world.model.add_phase("More", {"app.js": "more\n"}, last=True)
    first = world.model.received("plan")[0]
    assert first.phase_number == 1
    again = '{"name":"x","description":"","isLastPhase":true,"files":[%s]}'
    listed = '{"path":"app.js","purpose":"holds app.js of phase 1"}'
    world.model.answer_next(again % listed, purpose="plan")
    await world.generate("more")
    await world.sink.expect("generation_complete", 2)
    assert "say what the phase adds or changes" in world.model.received("plan")[-1].prompt


async def test_the_planner_sees_every_wish_the_last_phase_and_the_files(world: World) -> None:
    await has_site(world)
    await change(world, app_js="more\n")
    await world.sink.expect("generation_complete", 2)
    prompt = world.model.received("plan")[-1].prompt
    assert "<earlier_requests>\n1. an app\n</earlier_requests>" in prompt
    assert "<request>\nmore\n</request>" in prompt
    assert "1. Base\nThe last one in full:\n" in prompt
    assert "- app.js (39 bytes)\n- index.html (15 bytes)\n" in prompt
