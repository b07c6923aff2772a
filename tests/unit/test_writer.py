"""FileWriter: one model answer becomes project events, and finished files."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import events as ev
from actors.errors import OutputInvalid
from actors.events import Event
from actors.generation.faults import Fault
from actors.generation.prompts import free_marker, write_scof
from actors.generation.scof import MAX_FILE_CHARS, MAX_LINE_CHARS, ScofLimitError
from actors.generation.seam import UnfinishedFile, continuable
from actors.generation.writer import MAX_INSTALLS, FileWriter
from actors.state import OpenFile, ProjectState, apply

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


def limit_of(writer: FileWriter) -> ScofLimitError:
    with pytest.raises(ScofLimitError) as caught:
        writer.check()
    return caught.value


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


# --- placeholders --------------------------------------------------------------------------------

GAP = "// ... rest of the file unchanged"
TOLD_GAP = warning("placeholder", f"a.ts, line 2, stands for text left out: '{GAP}'")


@pytest.mark.parametrize("files", [{}, {"a.ts": FORMER}], ids=["no file", "a file"])
def test_a_text_with_a_placeholder_is_not_taken(files: dict[str, str]) -> None:
    written = dict(files)
    writer = FileWriter(written)
    told = writer.feed(f"cat > a.ts << 'EOF'\nx\n{GAP}\nEOF\n")
    assert told[-2:] == [TOLD_GAP, restored("a.ts", files.get("a.ts"))]
    assert written == files
    assert writer.faults == {"a.ts": Fault("placeholder", "a.ts", TOLD_GAP.detail)}


def test_a_placeholder_that_a_patch_adds_is_not_taken() -> None:
    files = {"a.ts": FORMER}
    told = write(files, f"cat << 'EOF' | patch a.ts\n@@\n one\n-two\n+{GAP}\nEOF\n")
    assert told[-2:] == [TOLD_GAP, restored("a.ts", FORMER)]
    assert files == {"a.ts": FORMER}


def test_a_placeholder_in_the_text_that_is_gone_on_with_is_found_at_its_end() -> None:
    files = {"a.ts": FORMER}
    told = go_on(files, block(f"{SEAM}{GAP}\n"))
    line = SO_FAR.count("\n") + 1
    detail = f"a.ts, line {line}, stands for text left out: '{GAP}'"
    assert told[-2:] == [warning("placeholder", detail), restored("a.ts", FORMER)]
    assert files == {"a.ts": FORMER}


def test_a_line_that_the_file_had_before_is_no_placeholder() -> None:
    files = {"a.ts": f"{GAP}\n"}
    told = write(files, f"cat > a.ts << 'EOF'\nx\n{GAP}\nEOF\ncat >> a.ts << 'EOF'\ny\nEOF\n")
    assert told[-1] == end("a.ts", f"x\n{GAP}\ny\n")


def test_what_is_written_again_without_its_fault_has_none() -> None:
    files = {"a.ts": FORMER}
    writer = FileWriter(files)
    writer.feed(BAD_PATCH)
    assert writer.faults["a.ts"].kind == "patch_rejected"
    writer.feed(PATCH)
    assert writer.faults == {}
    assert files == {"a.ts": "one\n2\n"}


# --- paths that cannot be written ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("src/a.ts/b.ts", "src/a.ts/b.ts cannot be a file beside src/a.ts"),
        ("src", "src cannot be a file beside src/a.ts"),
        ("plan", "plan cannot be a file beside plan/b.ts"),
        ("plan/b.ts/c", "plan/b.ts/c cannot be a file beside plan/b.ts"),
        ("old.ts", "old.ts is a file that this phase deletes"),
    ],
)
@pytest.mark.parametrize("form", ["> {}", ">> {}", "| patch {}"])
@pytest.mark.parametrize("marker", ["EOF\n", ""], ids=["whole", "cut"])
def test_a_path_that_is_taken_otherwise_is_refused(
    path: str, detail: str, form: str, marker: str
) -> None:
    files = {"src/a.ts": FORMER, "old.ts": FORMER}
    writer = FileWriter(files, planned=["plan/b.ts", "old.ts/c.ts"], deleted=["old.ts"])
    told = writer.feed(f"cat << 'EOF' {form.format(path)}\nx\n{marker}")
    assert [*told, *writer.close("stop")] == [warning("path_refused", detail)]
    assert writer.faults == {path: Fault("path_refused", path, detail)}
    assert files == {"src/a.ts": FORMER, "old.ts": FORMER}


def test_what_follows_a_refused_path_is_taken() -> None:
    files = {"a.ts": FORMER, "old.ts": FORMER}
    writer = FileWriter(files, planned=["old.ts/c.ts"], deleted=["old.ts"])
    writer.feed("cat > a.ts/b << A\nx\nA\ncat > old.ts/c.ts << A\ny\nA\n")
    assert files == {"a.ts": FORMER, "old.ts": FORMER, "old.ts/c.ts": "y\n"}


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
def test_a_file_that_breaks_off_stays_open_and_leaves_the_former_text(
    text: str, chunks: list[str], files: dict[str, str], reason: str
) -> None:
    written = dict(files)
    former = files.get("a.ts")
    shown = [former, *chunks] if former and ">>" in text else chunks
    assert write(written, text, reason=reason) == [
        start("a.ts"),
        *[chunk("a.ts", shown_text) for shown_text in shown],
    ]
    assert written == files


def test_the_files_before_the_one_that_breaks_off_are_kept() -> None:
    files = {"b.ts": "b\n"}
    told = write(files, "cat > a.ts << A\nx\nA\ncat > b.ts << B\ny\n", reason="length")
    assert told == [
        start("a.ts"),
        chunk("a.ts", "x\n"),
        end("a.ts", "x\n"),
        start("b.ts"),
        chunk("b.ts", "y\n"),
    ]
    assert files == {"a.ts": "x\n", "b.ts": "b\n"}


@pytest.mark.parametrize(
    "torn",
    ["con", "EO", "cat > b.ts << 'EO", "cat > b.ts \\\n", "cat > b.ts \\\n << 'E", "\tEOF\n x"],
    ids=["text", "marker", "header", "header to come", "header over two lines", "held marker"],
)
@pytest.mark.parametrize("reason", ["length", "error"])
def test_what_may_not_be_the_files_text_is_left_out_where_it_breaks_off(
    torn: str, reason: str
) -> None:
    told = write({}, f"cat > a.ts << 'EOF'\nx\n{torn}", reason=reason)
    assert told == [start("a.ts"), chunk("a.ts", "x\n")]


@pytest.mark.parametrize("marker", ["EOF", "EOF \t", "  EOF\n\n"])
def test_a_file_whose_marker_is_the_last_to_come_is_finished(marker: str) -> None:
    told = write({}, f"cat > a.ts << 'EOF'\nx\n{marker}", reason="error")
    assert told[-1] == end("a.ts", "x\n")


def test_a_header_that_was_cut_off_opens_nothing() -> None:
    files = {"a.ts": FORMER}
    assert write(files, "cat > a.ts << 'EO", reason="length") == []
    assert files == {"a.ts": FORMER}


# --- warnings ------------------------------------------------------------------------------------


def test_an_install_command_is_told_as_what_npm_is_asked_for() -> None:
    files: dict[str, str] = {}
    told = write(files, "First:\n$ yarn add -D zod # types\nnpm install\n")
    assert told == [ev.InstallRequested(arguments=("npm", "install", "--save-dev", "zod"))]
    assert files == {}


def test_an_install_command_that_is_refused_is_told_with_the_reason() -> None:
    assert write({}, "npm i -g zod\n") == [
        warning("install_command", "'npm i -g zod' was not run: the flag '-g' is not allowed")
    ]


def test_a_static_site_has_no_packages() -> None:
    writer = FileWriter({}, has_packages=False)
    assert writer.feed("npm i zod\nnpm i\n") == [
        warning("install_command", f"{line!r} was not run: the app is a static site")
        for line in ("npm i zod", "npm i")
    ]


def test_an_answer_may_ask_for_so_many_installs() -> None:
    told = write({}, "".join(f"npm i p{number}\n" for number in range(MAX_INSTALLS + 2)))
    assert len([event for event in told if isinstance(event, ev.InstallRequested)]) == MAX_INSTALLS
    assert told[MAX_INSTALLS:] == [
        warning("install_command", f"'npm i p{number}' was not run: too many commands")
        for number in (MAX_INSTALLS, MAX_INSTALLS + 1)
    ]


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
    writer = FileWriter(files)
    assert writer.feed(A_AND_B + "x" * (MAX_LINE_CHARS + 1)) == TOLD_BEFORE
    assert limit_of(writer).what == "a line"
    assert files == {"a.ts": "x\n"}


def test_a_limit_is_raised_as_the_parser_words_it() -> None:
    writer = FileWriter({})
    assert writer.feed("x" * (MAX_LINE_CHARS + 1)) == []
    limit = limit_of(writer)
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
    before = writer.feed("cat > a.ts << A\n" + line * (MAX_FILE_CHARS // len(line) - 1))
    assert before[0] == start("a.ts")
    assert writer.feed("1234567") == []
    writer.check()
    assert writer.close("length") == [chunk("a.ts", "1234")]
    assert limit_of(writer).what == "a file"
    assert files == {}


def test_an_answer_can_be_closed_after_a_limit() -> None:
    files = {"b.ts": "b\n"}
    writer = FileWriter(files)
    writer.feed(A_AND_B + "x" * (MAX_LINE_CHARS + 1))
    assert writer.close("error") == []
    assert files == {"a.ts": "x\n", "b.ts": "b\n"}


# --- an unfinished file --------------------------------------------------------------------------

HEAD = "import { Timer } from './timer.js';\nimport { List } from './list.js';\n"
SEAM = "export function start(minutes) {\n  const timer = new Timer(minutes);\n"
SO_FAR = HEAD + "\n" + SEAM
REST = "  timer.start();\n  return timer;\n}\n"
UNFINISHED = UnfinishedFile("a.ts", SO_FAR, SEAM)
OTHER = "cat > b.ts << B\ny\nB\n"
TOLD_OTHER = [start("b.ts"), chunk("b.ts", "y\n"), end("b.ts", "y\n")]
MISMATCH = warning("seam_mismatch", "a.ts: the answer does not go on where the text ends")


def block(text: str, into: str = ">") -> str:
    return f"cat {into} a.ts << 'EOF'\n{text}EOF\n"


def go_on(files: dict[str, str], *pieces: str, reason: str = "stop") -> list[Event]:
    writer = FileWriter(files, UNFINISHED)
    told = [event for piece in pieces for event in writer.feed(piece)]
    writer.check()
    return [*told, *writer.close(reason)]


def joined(told: list[Event], path: str = "a.ts") -> str | None:
    """The text of the open file that viewers who had its text so far then have."""
    state = ProjectState(project_id="p", open_file=OpenFile(path=path, chunks=[SO_FAR]))
    for seq, event in enumerate(told, 1):
        apply(state, event, seq)
    return state.open_file.text if state.open_file is not None else None


def test_the_example_has_the_seam_that_is_found() -> None:
    assert continuable("a.ts", SO_FAR) == UNFINISHED


@pytest.mark.parametrize("into", [">", ">>"])
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_a_repeated_seam_joins_what_follows_and_the_whole_is_the_file(into: str, step: int) -> None:
    files = {"a.ts": FORMER}
    text = block(SEAM + REST, into)
    told = go_on(files, *[text[at : at + step] for at in range(0, len(text), step)])
    assert told[-1] == end("a.ts", SO_FAR + REST)
    assert all(isinstance(event, ev.FileChunk) for event in told[:-1])
    assert joined(told[:-1]) == SO_FAR + REST
    assert files == {"a.ts": SO_FAR + REST}


def test_a_file_that_only_lacked_its_marker_is_finished_as_it_is() -> None:
    files: dict[str, str] = {}
    assert go_on(files, block(SEAM)) == [end("a.ts", SO_FAR)]
    assert files == {"a.ts": SO_FAR}


def test_a_line_that_broke_off_is_gone_on_with() -> None:
    unfinished = continuable("a.ts", SO_FAR + "  timer.st")
    assert unfinished is not None
    writer = FileWriter({}, unfinished)
    assert writer.feed(block(unfinished.seam + "art();\n}\n")) == [
        chunk("a.ts", "art();\n}\n"),
        end("a.ts", SO_FAR + "  timer.start();\n}\n"),
    ]


def test_a_file_that_was_begun_anew_is_empty_again_and_written_in_full() -> None:
    files = {"a.ts": FORMER}
    other = HEAD + "export const start = () => new Timer();\n"
    assert go_on(files, block(other)) == [start("a.ts"), chunk("a.ts", other), end("a.ts", other)]
    assert files == {"a.ts": other}


NOT_THE_SEAM = [
    *("", "\n", REST, SEAM[:-1] + ";\n" + REST, SEAM.replace("  ", "    ") + REST, "\n" + SEAM),
    *(SEAM.split("\n", 1)[0] + "\n", SEAM.split("\n", 1)[1] + REST, HEAD[1:], "```ts\n" + SEAM),
]


@pytest.mark.parametrize("former", [None, FORMER], ids=["no file", "a file"])
@pytest.mark.parametrize("text", NOT_THE_SEAM)
def test_a_block_that_does_not_begin_with_the_seam_gives_the_file_up_and_nothing_else(
    text: str, former: str | None
) -> None:
    before = {} if former is None else {"a.ts": former}
    files = dict(before)
    assert go_on(files, block(text), OTHER) == [MISMATCH, restored("a.ts", former), *TOLD_OTHER]
    assert files == {**before, "b.ts": "y\n"}


def test_a_patch_of_an_unfinished_file_gives_it_up() -> None:
    files = {"a.ts": FORMER}
    assert go_on(files, PATCH) == [MISMATCH, restored("a.ts", FORMER)]
    assert files == {"a.ts": FORMER}


def test_a_block_that_its_next_file_ends_is_joined_too() -> None:
    files: dict[str, str] = {}
    told = go_on(files, f"cat > a.ts << EOF\n{SEAM}{REST}{OTHER}")
    assert end("a.ts", SO_FAR + REST) in told
    assert told[-3:] == TOLD_OTHER


@pytest.mark.parametrize(
    ("text", "so_far"),
    [
        ("", SO_FAR),
        (SEAM[:-1], SO_FAR),
        (HEAD[:-1], SO_FAR),
        (SEAM, SO_FAR),
        (SEAM + REST + "EO", SO_FAR + REST),
        (HEAD + "other\n", HEAD + "other\n"),
    ],
    ids=["nothing", "in the seam", "in the head", "behind it", "later", "in a rewrite"],
)
def test_a_continuation_that_breaks_off_stays_open_with_what_is_known_to_be_its_text(
    text: str, so_far: str
) -> None:
    files = {"a.ts": FORMER}
    told = go_on(files, f"cat > a.ts << 'EOF'\n{text}", reason="error")
    assert joined(told) == so_far
    assert files == {"a.ts": FORMER}


def test_an_answer_without_the_file_leaves_it_open() -> None:
    assert go_on({}, "Sorry.\n") == []


def test_a_file_that_comes_later_than_asked_for_is_joined_all_the_same() -> None:
    files = {"a.ts": FORMER}
    told = go_on(files, OTHER, block(SEAM + REST))
    assert told == [
        restored("a.ts", FORMER),
        *TOLD_OTHER,
        start("a.ts"),
        chunk("a.ts", SO_FAR),
        chunk("a.ts", REST),
        end("a.ts", SO_FAR + REST),
    ]
    assert files == {"a.ts": SO_FAR + REST, "b.ts": "y\n"}


@pytest.mark.parametrize(
    ("later", "told_of_it"),
    [
        (block(REST), [MISMATCH]),
        (block(SEAM.split("\n", 1)[0] + "\n"), [MISMATCH]),
        (block(HEAD), [start("a.ts"), chunk("a.ts", HEAD), end("a.ts", HEAD)]),
        (f"cat > a.ts << EOF\n{SEAM[:-1]}", []),
    ],
    ids=["no seam", "half a seam", "a rewrite", "it breaks off in the seam"],
)
def test_a_file_that_comes_later_than_asked_for_is_restored_once(
    later: str, told_of_it: list[Event]
) -> None:
    told = go_on({"a.ts": FORMER}, OTHER, later)
    assert told == [restored("a.ts", FORMER), *TOLD_OTHER, *told_of_it]


def test_a_second_block_may_have_the_seam_that_the_first_one_lacked() -> None:
    files: dict[str, str] = {}
    told = go_on(files, block(REST), block(SEAM + REST))
    assert told[:2] == [MISMATCH, restored("a.ts", None)]
    assert told[-1] == end("a.ts", SO_FAR + REST)


def test_a_continued_file_can_be_appended_to_in_the_same_answer() -> None:
    files: dict[str, str] = {}
    told = go_on(files, block(SEAM + REST), block("// end\n", ">>"))
    assert told[-1] == end("a.ts", SO_FAR + REST + "// end\n")


def test_a_joined_file_has_the_limit_of_any_file() -> None:
    text = "x" * 79 + "\n"
    so_far = text * ((MAX_FILE_CHARS - 200) // len(text)) + SEAM
    unfinished = continuable("a.ts", so_far)
    assert unfinished is not None
    files: dict[str, str] = {}
    writer = FileWriter(files, unfinished)
    told = writer.feed(block(SEAM + text + text + text + text) + OTHER)
    assert told == []
    assert limit_of(writer).what == "a file"
    assert files == {}


# --- any text, cut anywhere, as often as you like ------------------------------------------------

LINES = st.sampled_from(
    [
        *(
            "",
            "",
            "  ",
            "}",
            "});",
            "\r",
            "x\r",
            "cat > x \\",
            "END_OF_FILE_X",
            "END",
            "caf\xe9 \u2028 x",
        ),
        *("  const timer = new Timer(minutes); // 1", "  const timer = new Timer(minutes); // 2"),
        *("export function the_same_line_again_and_again() {", "\U0001f345" * 30, "\ta\x00b"),
    ]
)
CONTENTS = st.lists(LINES | st.text(max_size=60), max_size=60).map(
    lambda lines: "".join(line.replace("\n", " ") + "\n" for line in lines)
)


def scof(content: str, line_end: str) -> str:
    """Write a block whose content is `content`; one CR before each LF is not content."""
    marker = free_marker([content])
    escaped = (
        re.sub("\n", "\r\n", content) if line_end == "\r\n" else content.replace("\r\n", "\r\r\n")
    )
    return write_scof("a.md", escaped, marker)


@given(
    CONTENTS,
    st.lists(st.tuples(st.integers(0, 2_000), st.sampled_from(["length", "error", "crash"]))),
    st.sampled_from(["\n", "\r\n"]),
    st.integers(1, 50),
)
def test_no_line_is_doubled_or_missing_however_often_a_file_breaks_off(
    content: str, cuts: list[tuple[int, str]], line_end: str, step: int
) -> None:
    state = ProjectState(project_id="p")
    files = {"a.md": FORMER}
    for length, reason in [*cuts, (10_000, "stop")]:
        open_file = state.open_file
        unfinished = continuable("a.md", open_file.text) if open_file is not None else None
        at = content.index(unfinished.seam) if unfinished is not None else 0
        text = scof(content[at:], line_end)[:length]
        writer = FileWriter(files, unfinished)
        told = [
            event for i in range(0, len(text), step) for event in writer.feed(text[i : i + step])
        ]
        told += writer.close(reason) if reason != "crash" else []
        assert not [event for event in told if isinstance(event, ev.ModelWarning | ev.FileRestored)]
        for event in told:
            apply(state, event, state.last_seq + 1)
        if state.files:
            break
        assert content.startswith(state.open_file.text if state.open_file is not None else "")
    assert files == {"a.md": content}
    assert state.open_file is None
