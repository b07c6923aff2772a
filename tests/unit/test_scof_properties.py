"""What holds for any text and any way of cutting it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors.generation import scof, scof_blocks
from tests.unit.test_scof import REASONS, block, parse, parse_to_limit, without_prose

FRAGMENTS = st.sampled_from(
    [
        *("cat > a.ts << EOF\n", "cat >> a.sh << 'EOF'\n", "cat << EOF | patch a.ts\n", "cat"),
        *("cat > /x << EOF\n", "cat > a.md <<- EOF\n", "cat > a.yml << END\n", "cat << EOF\n"),
        *("  cat > a.ts << EOF\n", "EOF\n", "EOF", "  EOF\n", "\tEOF\n", "END\n", " END\n", "EOF_"),
        *("\n", "\r\n", "\r", " ", "\t", "\n\n", "cat > b.ts \\\n", "mkdir -p x && ", " << EOF\n"),
        *("<<", "<<- 'EOF'\n", "> a.ts", "\\\n", "\\", "npm i zod\n", "npm i", "bun add", "$ "),
        *("# x\n", "```\n", "~~~\n", "`", "x", "x\n", "é\u2028", "|", "'", '"'),
    ]
)
TEXTS = st.lists(FRAGMENTS | st.text(max_size=4), max_size=25).map("".join)


def cut(text: str, cuts: Sequence[int]) -> list[str]:
    bounds = [0, *sorted(min(at, len(text)) for at in cuts), len(text)]
    return [text[start:end] for start, end in pairwise(bounds)]


@given(TEXTS, st.lists(st.integers(0, 200), max_size=10), st.sampled_from(REASONS))
@example("cat > a.ts << EOF\n  EOF\n\ncat > b.ts \\\n << EOF\nx", [19, 26, 27, 40], "stop")
def test_no_way_of_cutting_changes_the_events(text: str, cuts: list[int], reason: str) -> None:
    whole = parse([text], reason)
    assert parse(cut(text, cuts), reason) == whole
    assert parse(text, reason) == whole


@given(TEXTS, st.lists(st.integers(0, 200), max_size=10), st.sampled_from(REASONS))
def test_no_way_of_cutting_changes_where_a_limit_is_met(
    text: str, cuts: list[int], reason: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scof, "MAX_LINE_CHARS", 24)
        patch.setattr(scof_blocks, "MAX_FILE_CHARS", 20)
        patch.setattr(scof, "MAX_TOTAL_CHARS", 120)
        whole = parse_to_limit([text], reason)
        assert parse_to_limit(cut(text, cuts), reason) == whole
        assert parse_to_limit(text, reason) == whole


@given(TEXTS, st.sampled_from(REASONS))
def test_events_are_well_formed_and_nothing_is_invented(text: str, reason: str) -> None:
    found = parse([text], reason)
    is_open = False
    for row, after in pairwise([*found, ["end"]]):
        if row[0] == "open":
            assert not is_open
            is_open = True
        elif row[0] == "close":
            assert is_open
            is_open = False
        else:
            assert is_open == (row[0] == "chunk" or after[0] == "close")
        if row[0] == "chunk":
            assert after[0] in {"close", "warn"}
            assert row[2] in text.replace("\r\n", "\n") or "<<-" in text
    assert not is_open


def as_lines(text: str) -> str:
    """Make it what a body can hold: lines that end in LF, without a CR before it."""
    return re.sub(r"\r+\n", "\n", f"{text}\n") if text else ""


CHARACTERS = st.characters(exclude_categories=["Cs"])
CONTENTS = st.lists(FRAGMENTS | st.text(CHARACTERS, max_size=20), max_size=12).map(
    lambda parts: as_lines("".join(parts))
)
PATHS = st.sampled_from(["a.sh", "docs/b.md", "c d.yml", "Makefile"])


@given(
    st.lists(st.tuples(PATHS, CONTENTS, st.sampled_from(["write", "append"])), max_size=4),
    st.lists(st.integers(0, 400), max_size=10),
)
def test_any_files_with_a_marker_they_do_not_contain_come_back_byte_for_byte(
    files: list[tuple[str, str, str]], cuts: list[int]
) -> None:
    operators = {"write": ">", "append": ">>"}
    text = "".join(
        f"cat {operators[mode]} '{path}' << 'FILE_7'\n{content}FILE_7\n\n"
        for path, content, mode in files
    )
    expected = [row for path, content, mode in files for row in block(path, content, mode=mode)]
    assert without_prose(parse(cut(text, cuts))) == expected
    assert without_prose(parse(text)) == expected


PLAIN = st.text(CHARACTERS).map(as_lines)


@given(st.lists(PLAIN, max_size=4), st.lists(st.integers(0, 400), max_size=10))
def test_files_of_any_kind_and_text_come_back_byte_for_byte(
    contents: list[str], cuts: list[int]
) -> None:
    text = "".join(
        f"cat > src/{number}.ts << 'FILE_7'\n{content}FILE_7\n"
        for number, content in enumerate(contents)
    )
    expected = [
        row for number, content in enumerate(contents) for row in block(f"src/{number}.ts", content)
    ]
    assert parse(cut(text, cuts)) == expected
    assert parse(text) == expected
