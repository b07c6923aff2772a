"""The limits of an answer: where they are met, what they say, and what can follow."""

from __future__ import annotations

import pytest

from actors.errors import OutputInvalid
from actors.generation.scof import (
    MAX_FILE_CHARS,
    MAX_LINE_CHARS,
    MAX_TOTAL_CHARS,
    FileClosed,
    ScofLimitError,
    ScofParser,
)
from tests.unit.test_scof import A, Row, block, parse_to_limit, rows

LINE = MAX_LINE_CHARS
FILE = MAX_FILE_CHARS
TOTAL = MAX_TOTAL_CHARS


def pieces(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


@pytest.mark.parametrize("size", [65536, LINE + 1, TOTAL * 2])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (A + "x" * LINE + "\nEOF\n", block("a.ts", "x" * LINE + "\n")),
        (
            A + "y\n" + "x" * (LINE + 1),
            [*block("a.ts", "y\n", "truncated"), ["limit", "a line", LINE]],
        ),
        (
            A + "x" * (LINE + 1) + "\nEOF\n",
            [*block("a.ts", "", "truncated"), ["limit", "a line", LINE]],
        ),
        ("x" * (LINE + 1), [["limit", "a line", LINE]]),
        (A + "xxx\n" * (FILE // 4) + "EOF\n", block("a.ts", "xxx\n" * (FILE // 4))),
        (
            A + "xxx\n" * (FILE // 4) + "\nEOF\n",
            [*block("a.ts", "xxx\n" * (FILE // 4), "truncated"), ["limit", "a file", FILE]],
        ),
        (
            A + "yxxx\n" * (FILE // 5 + 1) + "EOF\n",
            [
                *block("a.ts", ("yxxx\n" * (FILE // 5 + 1))[:FILE], "truncated"),
                ["limit", "a file", FILE],
            ],
        ),
    ],
    ids=["line", "line-in-part", "line-whole", "prose", "file", "file-by-one", "file-in-a-line"],
)
def test_a_limit_is_met_at_the_same_character_however_cut(
    text: str, expected: list[Row], size: int
) -> None:
    # Compared without pytest's help: to explain a difference of megabytes takes it minutes.
    if parse_to_limit(pieces(text, size)) != expected:
        pytest.fail("other events than expected")


@pytest.mark.parametrize("size", [1 << 20, TOTAL * 2])
def test_the_total_is_limited(size: int) -> None:
    line = "x" * 1023 + "\n"
    text = line * (TOTAL // 1024)
    if parse_to_limit(pieces(text, size)) != [["prose", text]]:
        pytest.fail("other events than expected")
    if parse_to_limit(pieces(text + "x", size)) != [["prose", text], ["limit", "text", TOTAL]]:
        pytest.fail("other events than expected")


def test_a_limit_is_an_error_that_tells_what_to_do() -> None:
    with pytest.raises(ScofLimitError) as raised:
        ScofParser().feed("x" * (LINE + 1))
    assert isinstance(raised.value, OutputInvalid)
    assert raised.value.code == "output_invalid"
    assert str(raised.value) == (
        "The model's answer holds a line of more than 1,048,576 characters; "
        "generate again or choose another model."
    )


def test_after_a_limit_text_is_refused_and_the_file_can_be_closed() -> None:
    parser = ScofParser()
    with pytest.raises(ScofLimitError) as raised:
        parser.feed(A + "y\n" + "x" * (LINE + 1))
    assert rows(raised.value.events) == [["open", "a.ts", "write"], ["chunk", "a.ts", "y\n"]]
    with pytest.raises(ScofLimitError) as raised:
        parser.feed("EOF\n")
    assert raised.value.events == []
    assert parser.close() == [FileClosed("a.ts", "y\n", "truncated")]


def test_a_limit_met_by_the_end_of_the_stream_leaves_the_file_to_close() -> None:
    parser = ScofParser()
    parser.feed(A + "xxx\n" * (FILE // 4) + "EO")
    with pytest.raises(ScofLimitError, match="a file"):
        parser.close()
    (closed,) = parser.close()
    assert isinstance(closed, FileClosed)
    assert (len(closed.content), closed.completion) == (FILE, "truncated")
