"""A file that breaks off, by a crash or with its stream, is continued at its seam."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from actors import messages as m
from actors.codec import decode_data
from actors.database import connect
from actors.generation.implement import MAX_IMPLEMENT_CALLS, MAX_IMPLEMENT_TRIES
from actors.generation.prompts import MARKER, write_scof
from actors.generation.seam import find_seam
from actors.state import ProjectState, apply
from tests.support.agent import World
from tests.support.openrouter import Answer, Gate, RecordedRequest


def lines(count: int) -> str:
    """A text of which each line occurs once; line 0 is the first one."""
    return "".join(f"export const value_{number} = {number};\n" for number in range(count))


APP = lines(60)
SITE = {"index.html": "<h1>Hello</h1>\n", "app.js": APP, "more.css": "h1 { color: red }\n"}
FORMER = "console.log('former');\n"


def until(number: int, text: str = APP) -> str:
    """The text up to the end of that line."""
    return "".join(text.splitlines(keepends=True)[: number + 1])


def last_words(number: int) -> str:
    """The end of a line."""
    return f"value_{number} = {number};\n"


def from_seam(text: str, number: int) -> str:
    """What continues a text that broke off behind that line."""
    seam = find_seam(until(number, text))
    assert seam is not None
    return text[text.index(seam) :]


async def written(world: World, number: int) -> None:
    """Wait until viewers have seen that line and it is saved."""
    await world.sink.until(lambda f: f["data"].get("chunk", "").endswith(last_words(number)))
    await world.everything_is_saved()


async def break_off(world: World, *numbers: int) -> Gate:
    """Begin a life with the run, and have the model's answer pause behind those lines.

    Returns the gate of the last pause.
    """
    gates = [world.model.hold(last_words(number)) for number in numbers]
    await world.live()
    if not world.model.requests:
        await world.generate()
    for number, gate in zip(numbers, gates, strict=True):
        await written(world, number)
        if gate is not gates[-1]:
            gate.release()
    return gates[-1]


async def crash(world: World, *numbers: int) -> None:
    """End a life in the pause behind the last of those lines."""
    gate = await break_off(world, *numbers)
    await world.die()
    gate.release()


def asked(world: World) -> list[RecordedRequest]:
    return world.model.received("implement")


def kinds(world: World) -> list[str]:
    return [f["data"]["kind"] for f in world.sink.frames if f["type"] == "model_warning"]


def texts_seen(world: World, path: str = "app.js") -> list[str]:
    """The texts that a viewer had of the file while it was open, one after another."""
    state = ProjectState(project_id="p1")
    texts: list[str] = []
    for frame in world.sink.frames:
        apply(state, decode_data(frame["type"], frame["data"]), frame["seq"])
        if state.open_file is not None and state.open_file.path == path:
            texts.append(state.open_file.text)
    return texts


async def completes_with(world: World, files: Mapping[str, str] = SITE) -> None:
    await world.sink.expect("generation_complete")
    assert await world.files() == files
    assert len(world.model.received("plan")) == 1


# --- after a crash -------------------------------------------------------------------------------


async def test_a_new_life_goes_on_with_the_open_file_at_its_seam(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    await crash(world, 30)
    await world.live()
    await completes_with(world)
    first, second = asked(world)
    assert (first.brief.unfinished_path, first.brief.seam) == ("", "")
    assert second.brief.paths_to_write == ("app.js", "more.css")
    assert second.brief.unfinished_path == "app.js"
    assert second.brief.seam == find_seam(until(30))
    assert until(30) in second.prompt
    rest = write_scof("app.js", from_seam(APP, 30), MARKER)
    more = write_scof("more.css", SITE["more.css"], MARKER)
    assert second.chars_sent == len(f"{rest}\n{more}")
    assert "file_restored" not in world.sink.types()
    assert kinds(world) == []


async def test_viewers_keep_the_text_of_the_file_that_is_gone_on_with(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    await crash(world, 30)
    await world.live()
    await completes_with(world)
    seen = texts_seen(world)
    assert all(APP.startswith(text) for text in seen)
    types = world.sink.types()
    resumed = types.index("run_resumed")
    assert types[resumed : resumed + 7] == [
        *("run_resumed", "file_start", "file_chunk", "state_change", "model_call"),
        *("file_chunk", "file_end"),
    ]
    shown_again = [f for f in world.sink.frames if f["type"] == "file_chunk"]
    assert {"path": "app.js", "chunk": until(30)} in [f["data"] for f in shown_again]


async def test_what_viewers_saw_and_no_journal_has_is_not_doubled(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    await crash(world, 20, 30)
    line_20 = await world.sink.until(lambda f: f["data"].get("chunk", "").endswith(last_words(20)))
    database = await connect(world.settings.database_url)
    try:  # as if what came behind line 20 had not been saved yet
        await database.execute("DELETE FROM events WHERE seq > $1", line_20["seq"])
        await database.execute("UPDATE agent_states SET last_seq = $1", line_20["seq"])
    finally:
        await database.close()
    await world.live()
    await completes_with(world)
    assert asked(world)[1].brief.seam == find_seam(until(20))
    assert until(30) in texts_seen(world)
    assert all(APP.startswith(text) for text in texts_seen(world))


async def test_a_file_that_breaks_off_in_several_lives_is_put_together(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    for number in (10, 25, 40):
        await crash(world, number)
    await world.live()
    await completes_with(world)
    assert [request.brief.seam for request in asked(world)[1:]] == [
        find_seam(until(number)) for number in (10, 25, 40)
    ]


async def test_a_stop_in_order_is_gone_on_from_in_the_same_way(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    gate = await break_off(world, 30)
    world.desk.post(m.SaveAndStop())
    await world.has_left()
    gate.release()
    await world.live()
    await completes_with(world)
    assert asked(world)[1].brief.unfinished_path == "app.js"
    assert all(APP.startswith(text) for text in texts_seen(world))


async def test_an_append_that_broke_off_is_continued_with_its_former_text(world: World) -> None:
    world.model.add_phase("Base", {"app.js": until(9)}, last=True)
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    world.model.add_phase("More", {"app.js": APP}, last=True)
    added = APP.removeprefix(until(9))
    world.model.answer_next(f"cat >> app.js << 'EOF'\n{added}EOF\n", purpose="implement")
    gate = world.model.hold(last_words(30))
    await world.generate("more")
    await written(world, 30)
    await world.die()
    gate.release()
    await world.live()
    await world.sink.expect("generation_complete", 2)
    assert asked(world)[-1].brief.seam == find_seam(until(30))
    assert await world.files() == {"app.js": APP}


@pytest.mark.parametrize(
    "text",
    [
        "cat > app.js << 'EOF'\nx\n",
        "cat > app.js << 'EOF'\n" + "row\n" * 600,
        "cat << 'EOF' | patch app.js\n@@ -1 +1 @@\n" + "-row\n" * 30,
        "cat > other.js << 'EOF'\n" + APP,
    ],
    ids=["short", "repetitive", "a patch", "not one of the plan's"],
)
@pytest.mark.parametrize("is_crash", [True, False], ids=["crash", "cut"])
async def test_an_open_file_that_cannot_be_continued_is_restored_before_the_next_call(
    world: World, text: str, is_crash: bool
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    world.model.answer_next(
        Answer(text=text, finish_reason=None, is_done_sent=False), purpose="implement"
    )
    if is_crash:
        gate = world.model.hold(len(text))
        await world.live()
        await world.generate()
        await world.sink.until(lambda f: f["type"] == "file_start")
        await world.everything_is_saved()
        await world.die()
        gate.release()
        await world.live()
    else:
        await world.live()
        await world.generate()
    await completes_with(world)
    restored = await world.sink.expect("file_restored")
    assert restored["data"]["content"] is None
    assert asked(world)[1].brief.unfinished_path == ""
    assert asked(world)[1].brief.paths_to_write == tuple(SITE)


async def test_a_file_beyond_the_plan_that_breaks_off_when_all_else_is_finished_is_given_up(
    world: World,
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    planned = "".join(write_scof(path, text, "EOF") for path, text in SITE.items())
    text = f"{planned}cat > other.js << 'EOF'\n{APP}"
    world.model.answer_next(Answer(text=text, finish_reason="length"), purpose="implement")
    await world.live()
    await world.generate()
    await completes_with(world)
    restored = await world.sink.expect("file_restored")
    assert restored["data"] == {"path": "other.js", "content": None}
    assert len(asked(world)) == 1


async def test_a_cancel_while_a_file_is_continued_gives_back_its_former_content(
    world: World,
) -> None:
    world.model.add_phase("Base", {"app.js": FORMER}, last=True)
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    world.model.add_phase("More", {"app.js": APP}, last=True)
    first = world.model.hold(last_words(30))
    await world.generate("more")
    await written(world, 30)
    await world.die()
    first.release()
    second = await break_off(world, 40)
    await world.request(m.CancelGeneration)
    assert world.sink.types()[-4:] == [
        "file_restored",
        "command_answered",
        "generation_cancelled",
        "state_change",
    ]
    assert world.sink.frames[-4]["data"] == {"path": "app.js", "content": FORMER}
    assert await world.files() == {"app.js": FORMER}
    second.release()


# --- answers that do not begin with the seam -----------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        APP.removeprefix(until(30)),
        APP.removeprefix(until(31)),
        APP.removeprefix(until(29)),
        APP.replace("export", "  export"),
        "",
    ],
    ids=["no overlap", "a line skipped", "half an overlap", "other blanks", "nothing"],
)
async def test_where_the_seam_cannot_be_verified_only_that_file_is_written_again(
    world: World, text: str
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    await crash(world, 30)
    more = write_scof("more.css", SITE["more.css"], "EOF")
    world.model.answer_next(write_scof("app.js", text, "EOF") + more, purpose="implement")
    await world.live()
    await completes_with(world)
    assert kinds(world) == ["seam_mismatch", "missing_files"]
    restored = await world.sink.expect("file_restored")
    assert restored["data"] == {"path": "app.js", "content": None}
    last = asked(world)[2].brief
    assert (last.paths_to_write, last.unfinished_path) == (("app.js",), "")
    assert all(APP.startswith(text) for text in texts_seen(world))


async def test_a_model_that_begins_the_file_anew_is_taken_at_its_word(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    await crash(world, 30)
    other = until(10) + "export const end = true;\n"
    more = write_scof("more.css", SITE["more.css"], "EOF")
    world.model.answer_next(write_scof("app.js", other, "EOF") + more, purpose="implement")
    await world.live()
    await completes_with(world, {**SITE, "app.js": other})
    assert len(asked(world)) == 2
    assert kinds(world) == []


async def test_an_answer_in_another_order_is_joined_all_the_same(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    await crash(world, 30)
    app = from_seam(APP, 30)
    more = write_scof("more.css", SITE["more.css"], "EOF")
    world.model.answer_next(more + write_scof("app.js", app, "EOF"), purpose="implement")
    await world.live()
    await completes_with(world)
    assert len(asked(world)) == 2
    assert all(APP.startswith(text) for text in texts_seen(world))


# --- a stream that breaks ------------------------------------------------------------------------

HEADERS = "cat > index.html << 'EOF'\n<h1>Hello</h1>\nEOF\ncat > app.js << 'EOF'\n"
CUTS = {
    "the connection": Answer(text=HEADERS + APP, cut_at_chars=len(HEADERS + until(30)) + 9),
    "no finish reason": Answer(text=HEADERS + until(30) + "exp", finish_reason=None),
    "an error chunk": Answer(text=HEADERS + APP, error_at_chars=len(HEADERS + until(30))),
    "the output's limit": Answer(text=HEADERS + until(30) + "expo", finish_reason="length"),
    "in the marker": Answer(text=HEADERS + until(30) + "EO", finish_reason="length"),
    "a forgotten marker": Answer(text=HEADERS + until(30) + "export const"),
}


@pytest.mark.parametrize("answer", CUTS.values(), ids=CUTS)
async def test_a_file_whose_stream_breaks_is_continued_in_the_same_life(
    world: World, answer: Answer
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    world.model.answer_next(answer, purpose="implement")
    gate = world.model.hold(len(HEADERS + until(30)))
    await world.live()
    await world.generate()
    await written(world, 30)
    gate.release()
    await completes_with(world)
    first, second = asked(world)
    assert first.brief.unfinished_path == ""
    assert (second.brief.unfinished_path, second.brief.seam) == ("app.js", find_seam(until(30)))
    assert second.brief.paths_to_write == ("app.js", "more.css")
    assert "file_restored" not in world.sink.types()
    assert world.sink.types().count("file_start") == len(SITE)
    assert all(APP.startswith(text) for text in texts_seen(world))


async def test_a_file_whose_stream_breaks_again_and_again_is_written_as_long_as_it_grows(
    world: World,
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    world.model.answer_next(Answer(error_at_chars=400), purpose="implement", always=True)
    await world.live()
    await world.generate()
    await completes_with(world)
    assert MAX_IMPLEMENT_TRIES < len(asked(world)) < MAX_IMPLEMENT_CALLS
    assert [request.brief.unfinished_path for request in asked(world)[1:-1]] == ["app.js"] * (
        len(asked(world)) - 2
    )
    assert "file_restored" not in world.sink.types()


@pytest.mark.parametrize(
    ("answer", "calls", "code"),
    [
        (Answer(error_at_chars=150), MAX_IMPLEMENT_CALLS, "model_stream_broken"),
        (Answer(error_at_chars=60), MAX_IMPLEMENT_TRIES + 1, "model_stream_broken"),
        (Answer(text="Sorry."), MAX_IMPLEMENT_TRIES, "output_invalid"),
        (
            Answer(text=f"cat > app.js << EOF\n{until(9)}", finish_reason="length"),
            MAX_IMPLEMENT_TRIES + 1,
            "output_invalid",
        ),
    ],
    ids=["it grows forever", "it never gets beyond the seam", "no file", "it begins anew"],
)
async def test_calls_that_lead_nowhere_are_not_made_forever(
    world: World, answer: Answer, calls: int, code: str
) -> None:
    world.model.add_phase("Base", {"app.js": APP}, last=True)
    world.model.answer_next(answer, purpose="implement", always=True)
    await world.live()
    await world.generate()
    error = await world.sink.expect("error")
    assert error["data"]["code"] == code
    assert len(asked(world)) == calls
    await world.sink.until(lambda f: f["data"] == {"state": "error"})
    if "file_start" in world.sink.types():
        assert world.sink.types()[-3:] == ["file_restored", "error", "state_change"]
    assert await world.files() == {}


async def test_a_file_that_grows_beyond_the_limit_of_a_file_ends_the_run(world: World) -> None:
    huge = lines(130_000)
    assert 4 * 2**20 < len(huge) < 6 * 2**20
    world.model.add_phase("Base", {"app.js": huge}, last=True)
    for end in (len(huge) // 2, None):
        part = Answer(error_at_chars=end, chunk_chars=100_000)
        world.model.answer_next(part, purpose="implement")
    await world.live()
    await world.generate()
    error = await world.sink.expect("error")
    assert error["data"]["code"] == "output_invalid"
    assert "a file of more than" in error["data"]["message"]
    assert await world.files() == {}


# --- what is paid for ----------------------------------------------------------------------------


async def test_a_plan_and_what_it_cost_are_saved_together(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    await world.live()
    async with world.commits_refused("phase_designed"):
        await world.generate()
        await world.has_left()
    database = await connect(world.settings.database_url)
    try:
        assert await database.fetchval("SELECT count(*) FROM usage") == 0
    finally:
        await database.close()
    assert "usage" not in world.sink.types()
    await world.live()
    await world.sink.expect("generation_complete")
    assert await world.files() == SITE


async def test_plans_that_cannot_be_used_are_accounted_for(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    world.model.answer_next("no plan", purpose="plan", always=True)
    await world.live()
    await world.generate()
    error = await world.sink.expect("error")
    assert error["data"]["code"] == "plan_invalid"
    assert world.sink.types().count("usage") == len(world.model.received("plan")) == 3
