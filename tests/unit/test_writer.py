"""FileWriter: one model answer becomes project events, and finished files."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from actors import events as ev
from actors.errors import OutputInvalid
from actors.events import Event
from actors.generation.scof import MAX_FILE_CHARS, MAX_LINE_CHARS, ScofLimitError
from actors.generation.writer import FileWriter

FORMER = "one\ntwo\n"
PATCH = "cat << 'EOF' | patch a.ts\n@@\n one\n-two\n+2\nEOF\n"
BAD_PATCH = "cat << 'EOF' | patch a.ts\n@@\n-three\n+3\nEOF\n"


def start(path: str) -> ev.FileStart:
    return ev.FileStart(path=path)


def chunk(path: str, text: str) -> ev.FileChunk:
    return ev.FileChunk(path=path, chunk=text)


def end(path: str, content: str) -> ev.FileEnd:
    return ev.FileEnd(path=path, content=content)


def restored(path: str, content: str | None) -> ev.FileRestored:
    return ev.FileRestored(path=path, content=content)


def warning(kind: str, detail: str) -> ev.ModelWarning:
    return ev.ModelWarning(kind=kind, detail=detail)


def write(files: dict[str, str], *pieces: str, reason: str = "stop") -> list[Event]:
    writer = FileWriter(files)
    told = [event for piece in pieces for event in writer.feed(piece)]
    return [*told, *writer.close(reason)]


def until_limit(events: Iterable[Event]) -> tuple[list[Event], ScofLimitError]:
    """Return the events that came before the limit, and the limit."""
    told: list[Event] = []
    try:
        for event in events:
            told.append(event)
    except ScofLimitError as error:
        return told, error
    pytest.fail("no limit was met")


# --- write ---------------------------------------------------------------------------------------


def test_a_new_file_is_streamed_and_kept() -> None:
    files: dict[str, str] = {}
    told = write(files, "Sure!\ncat > a.ts << 'EOF'\nx\n", "y\nEO", "F\nDone.\n")
    assert told == [
        *(start("a.ts"), chunk("a.ts", "x\n"), chunk("a.ts", "y\n"), end("a.ts", "x\ny\n"))
    ]
    assert files == {"a.ts": "x\ny\n"}


def test_a_file_that_exists_is_replaced() -> None:
    files = {"a.ts": FORMER, "b.ts": "b\n"}
    told = write(files, "cat > a.ts << 'EOF'\nx\nEOF\n")
    assert told == [start("a.ts"), chunk("a.ts", "x\n"), end("a.ts", "x\n")]
    assert files == {"a.ts": "x\n", "b.ts": "b\n"}


def test_an_empty_file_has_no_chunk() -> None:
    files = {"a.ts": FORMER}
    assert write(files, "cat > a.ts << 'EOF'\nEOF\n") == [start("a.ts"), end("a.ts", "")]
    assert files == {"a.ts": ""}


def test_a_file_is_kept_before_the_next_one_begins() -> None:
    files: dict[str, str] = {}
    writer = FileWriter(files)
    for event in writer.feed("cat > a.ts << A\nx\nA\ncat > b.ts << B\n"):
        if event == start("b.ts"):
            assert files == {"a.ts": "x\n"}
    assert list(writer.close("stop")) == [restored("b.ts", None)]
    assert files == {"a.ts": "x\n"}


def test_a_file_without_its_marker_is_kept_where_the_next_header_ends_it() -> None:
    files: dict[str, str] = {}
    told = write(files, "cat > a.ts << EOF\nx\ncat > b.ts << EOF\ny\nEOF\n")
    assert told == [
        start("a.ts"),
        chunk("a.ts", "x\n"),
        warning("missing_terminator", "a.ts: no line EOF before b.ts"),
        end("a.ts", "x\n"),
        start("b.ts"),
        chunk("b.ts", "y\n"),
        end("b.ts", "y\n"),
    ]
    assert files == {"a.ts": "x\n", "b.ts": "y\n"}


# --- append --------------------------------------------------------------------------------------


def test_an_append_shows_the_former_text_first_and_keeps_it() -> None:
    files = {"a.ts": FORMER}
    told = write(files, "cat >> a.ts << 'EOF'\nx\nEOF\n")
    assert told == [
        start("a.ts"),
        chunk("a.ts", FORMER),
        chunk("a.ts", "x\n"),
        end("a.ts", FORMER + "x\n"),
    ]
    assert files == {"a.ts": FORMER + "x\n"}


@pytest.mark.parametrize("files", [{}, {"a.ts": ""}], ids=["no file", "an empty file"])
def test_an_append_to_nothing_is_a_new_file(files: dict[str, str]) -> None:
    files = dict(files)
    told = write(files, "cat >> a.ts << 'EOF'\nx\nEOF\n")
    assert told == [start("a.ts"), chunk("a.ts", "x\n"), end("a.ts", "x\n")]
    assert files == {"a.ts": "x\n"}


def test_a_file_is_written_and_appended_to_in_one_answer() -> None:
    files = {"a.ts": FORMER}
    told = write(files, "cat > a.ts << A\nx\nA\ncat >> a.ts << A\ny\nA\n")
    assert told[-1] == end("a.ts", "x\ny\n")
    assert files == {"a.ts": "x\ny\n"}


# --- patch ---------------------------------------------------------------------------------------


def test_a_patch_is_not_streamed_but_its_result_is_told() -> None:
    files = {"a.ts": FORMER}
    assert write(files, PATCH) == [start("a.ts"), end("a.ts", "one\n2\n")]
    assert files == {"a.ts": "one\n2\n"}


def test_a_patch_of_nothing_makes_a_file() -> None:
    files: dict[str, str] = {}
    told = write(files, "cat << 'EOF' | patch a.ts\n@@\n+x\nEOF\n")
    assert told == [start("a.ts"), end("a.ts", "x\n")]
    assert files == {"a.ts": "x\n"}


@pytest.mark.parametrize("files", [{}, {"a.ts": FORMER}], ids=["no file", "a file"])
def test_a_patch_that_does_not_fit_leaves_the_former_text(files: dict[str, str]) -> None:
    written = dict(files)
    told = write(written, BAD_PATCH)
    reason = "hunk 1 does not fit: its context is not in the file"
    assert told == [
        start("a.ts"),
        warning("patch_rejected", f"a.ts: {reason}"),
        restored("a.ts", files.get("a.ts")),
    ]
    assert written == files


def test_a_file_after_a_patch_is_streamed_again() -> None:
    told = write({"a.ts": FORMER}, PATCH + "cat > b.ts << B\ny\nB\n")
    assert told[2:] == [start("b.ts"), chunk("b.ts", "y\n"), end("b.ts", "y\n")]


# --- an answer that breaks off -------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["stop", "length", "error"])
@pytest.mark.parametrize("files", [{}, {"a.ts": FORMER}], ids=["no file", "a file"])
@pytest.mark.parametrize(
    ("text", "chunks"),
    [
        ("cat > a.ts << 'EOF'\nx\n", ["x\n"]),
        ("cat >> a.ts << 'EOF'\nx\n", ["x\n"]),
        (PATCH.removesuffix("EOF\n"), []),
    ],
    ids=["write", "append", "patch"],
)
def test_a_file_that_breaks_off_leaves_the_former_text(
    text: str, chunks: list[str], files: dict[str, str], reason: str
) -> None:
    written = dict(files)
    former = files.get("a.ts")
    shown = [former, *chunks] if former and ">>" in text else chunks
    assert write(written, text, reason=reason) == [
        start("a.ts"),
        *[chunk("a.ts", shown_text) for shown_text in shown],
        restored("a.ts", former),
    ]
    assert written == files


def test_the_files_before_the_one_that_breaks_off_are_kept() -> None:
    files = {"b.ts": "b\n"}
    told = write(files, "cat > a.ts << A\nx\nA\ncat > b.ts << B\ny", reason="length")
    assert told == [
        start("a.ts"),
        chunk("a.ts", "x\n"),
        end("a.ts", "x\n"),
        start("b.ts"),
        chunk("b.ts", "y"),
        restored("b.ts", "b\n"),
    ]
    assert files == {"a.ts": "x\n", "b.ts": "b\n"}


def test_a_header_that_was_cut_off_opens_nothing() -> None:
    files = {"a.ts": FORMER}
    assert write(files, "cat > a.ts << 'EO", reason="length") == []
    assert files == {"a.ts": FORMER}


# --- warnings ------------------------------------------------------------------------------------


def test_an_install_command_is_told_and_not_run() -> None:
    files: dict[str, str] = {}
    told = write(files, "First:\n$ npm install zod # types\n")
    assert told == [
        warning("install_command", "'npm install zod' was not run: package.json decides")
    ]
    assert files == {}


def test_an_unsafe_path_is_told_and_nothing_is_written() -> None:
    files: dict[str, str] = {}
    told = write(files, "cat > ../a.ts << EOF\nxy\nEOF\n")
    assert told == [
        warning("unsafe_path", "../a.ts"),
        warning("discarded_block", "../a.ts: 3 characters"),
    ]
    assert files == {}


def test_prose_is_not_told() -> None:
    assert write({}, "Here you are.\n\n```sh\nls\n```\n") == []


# --- limits --------------------------------------------------------------------------------------

A_AND_B = "cat > a.ts << A\nx\nA\ncat > b.ts << B\ny\n"
TOLD_BEFORE = [
    start("a.ts"),
    chunk("a.ts", "x\n"),
    end("a.ts", "x\n"),
    start("b.ts"),
    chunk("b.ts", "y\n"),
]


def test_what_came_before_a_limit_in_the_same_piece_is_told_and_kept() -> None:
    files: dict[str, str] = {}
    told, limit = until_limit(FileWriter(files).feed(A_AND_B + "x" * (MAX_LINE_CHARS + 1)))
    assert told == TOLD_BEFORE
    assert files == {"a.ts": "x\n"}
    assert limit.what == "a line"


def test_a_limit_is_raised_as_the_parser_words_it() -> None:
    told, limit = until_limit(FileWriter({}).feed("x" * (MAX_LINE_CHARS + 1)))
    assert told == []
    assert isinstance(limit, OutputInvalid)
    assert limit.code == "output_invalid"
    assert str(limit) == (
        "The model's answer holds a line of more than 1,048,576 characters; "
        "generate again or choose another model."
    )


def test_a_limit_met_by_the_end_of_the_answer_is_raised_after_the_rest() -> None:
    files: dict[str, str] = {}
    writer = FileWriter(files)
    line = "xxx\n"
    before = list(writer.feed("cat > a.ts << A\n" + line * (MAX_FILE_CHARS // len(line) - 1)))
    assert before[0] == start("a.ts")
    assert list(writer.feed("1234567")) == []
    told, limit = until_limit(writer.close("length"))
    assert told == [chunk("a.ts", "1234")]
    assert limit.what == "a file"
    assert files == {}


def test_an_answer_can_be_closed_after_a_limit_and_its_open_file_is_restored() -> None:
    files = {"b.ts": "b\n"}
    writer = FileWriter(files)
    until_limit(writer.feed(A_AND_B + "x" * (MAX_LINE_CHARS + 1)))
    assert list(writer.close("error")) == [restored("b.ts", "b\n")]
    assert files == {"a.ts": "x\n", "b.ts": "b\n"}
