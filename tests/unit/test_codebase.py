"""The codebase as the model is shown it: byte for byte, and the least relevant reduced first."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from actors.generation.codebase import free_marker, shown_code, tokens_in_full, write_scof
from actors.generation.scof import FileClosed, ScofParser
from actors.generation.tokens import estimated_tokens

PAD = "// padding of the file\n" * 40
FILES = {
    "package.json": f'{{"a": 1}}\n{PAD}',
    "package-lock.json": PAD,
    "src/main.js": PAD,
    "src/timer.js": f"export function startTimer() {{\n{PAD}}}\n",
    "src/sound.js": f"export const beep = 1;\n{PAD}",
    "src/other.js": f"export const other = 1;\n{PAD}",
    "src/long.js": f"export const long = 1;\n{PAD * 3}",
    "src/planned.js": PAD * 2,
}
TOPIC = "uses startTimer and src/sound.js"


def shown(max_tokens: int, whole: tuple[str, ...] = ("src/planned.js",)) -> str:
    return shown_code(FILES, whole=whole, topic=TOPIC, marker="END", max_tokens=max_tokens)


def in_full(text: str) -> set[str]:
    parser = ScofParser()
    closed = [e for e in [*parser.feed(text), *parser.close()] if isinstance(e, FileClosed)]
    assert all(event.content == FILES[event.path] for event in closed)
    return {event.path for event in closed}


def test_what_fits_is_shown_in_the_order_of_its_paths() -> None:
    text = shown(tokens_in_full(FILES, FILES, "END"))
    assert text == "\n".join(write_scof(path, FILES[path], "END") for path in sorted(FILES))


def test_files_are_reduced_from_the_least_relevant_on() -> None:
    order: list[set[str]] = []
    for max_tokens in range(tokens_in_full(FILES, FILES, "END"), 0, -1):
        full = in_full(shown(max_tokens))
        if not order or full != order[-1]:
            order.append(full)
    left = [sorted(before - after) for before, after in itertools.pairwise(order)]
    assert left == [
        ["package-lock.json"],
        ["src/long.js"],
        ["src/other.js"],
        ["src/timer.js"],
        ["src/sound.js"],
        ["package.json"],
        ["src/main.js"],
    ]
    assert order[-1] == {"src/planned.js"}


def test_an_outline_comes_before_a_name_and_a_name_before_nothing() -> None:
    needed = tokens_in_full(FILES, ["src/planned.js"], "END")
    outlines = shown(needed + 250)
    assert "# src/timer.js (42 lines, 953 bytes) is shown as an outline:" in outlines
    assert "#   export function startTimer()" in outlines
    names = shown(needed + 130)
    assert "# src/long.js (121 lines, 2,783 bytes) is not shown.\n" in names
    assert "startTimer" not in names
    nothing = shown(0)
    assert in_full(nothing) == {"src/planned.js"}
    assert nothing.endswith("\n# 7 more files are not shown.\n")


def test_a_large_file_that_is_as_long_as_its_outline_stays_as_it_is() -> None:
    files = {"a.js": "x\n", "b.js": "y\n"}
    text = shown_code(files, whole=(), topic="", marker="END", max_tokens=30)
    assert "cat > a.js" in text


def test_the_tokens_of_files_that_do_not_exist_are_none() -> None:
    assert tokens_in_full({"a": "x\n"}, ["b"], "END") == 0
    assert tokens_in_full({"a": "x\n"}, ["a", "b"], "END") > 0


def test_a_marker_of_ones_own_is_numbered_where_it_occurs() -> None:
    assert free_marker(["x"], "EOF_1") == "EOF_1"
    assert free_marker(["EOF_1", "EOF_1_2"], "EOF_1") == "EOF_1_3"


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=300)


@given(
    st.dictionaries(st.sampled_from(["a.js", "b/c.css", "d e.md", "index.html"]), TEXTS),
    st.integers(0, 400),
)
def test_any_files_are_shown_within_the_budget(files: dict[str, str], max_tokens: int) -> None:
    marker = free_marker(files.values())
    text = shown_code(files, whole=(), topic="", marker=marker, max_tokens=max_tokens)
    assert estimated_tokens(text) <= max_tokens + 15  # "n more files are not shown"
