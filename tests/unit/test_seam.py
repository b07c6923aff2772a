"""The seam: which lines are chosen, and that a joint is exact or is told to be none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors.generation.seam import (
    MAX_OVERLAP_CHARS,
    MIN_OVERLAP_CHARS,
    Joint,
    SeamJoiner,
    UnfinishedFile,
    continuable,
    find_head,
    find_seam,
)

LONG = "const answer = computeTheAnswerTo(everything);"  # 43 characters that are no blanks
ALSO_LONG = "const question = computeTheQuestionTo(everything);"

#: Lines that repeat, that are blank, that have no end of their own, that are long enough alone.
LINES = st.sampled_from(
    [
        *("", " ", "}", "  }", "\r", "x\r", "ab\u2028cd", "caf\xe9"),
        *(LONG, ALSO_LONG, "#" * 90, "\U0001f345" * 45),
    ]
)
TEXTS = st.builds(
    lambda lines, last: "".join(line + "\n" for line in lines) + last,
    st.lists(LINES | st.text(max_size=30), max_size=40),
    LINES | st.just(""),
)


def occurrences(text: str, part: str) -> int:
    """How often `part` occurs, overlaps included."""
    return sum(text.startswith(part, at) for at in range(len(text) - len(part) + 1))


def is_good(text: str, part: str) -> bool:
    size = sum(not char.isspace() for char in part)
    return (
        size >= MIN_OVERLAP_CHARS
        and len(part) <= MAX_OVERLAP_CHARS
        and occurrences(text, part) == 1
    )


def tails(text: str) -> Iterator[str]:
    """Every tail that begins at a line's beginning, shortest first."""
    for at in range(len(text) - 1, -1, -1):
        if at == 0 or text[at - 1] == "\n":
            yield text[at:]


def heads(text: str) -> Iterator[str]:
    """Every head of whole lines, shortest first."""
    for end in range(1, len(text) + 1):
        if text[end - 1] == "\n":
            yield text[:end]


# --- which lines ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"a\nb\n{LONG}\n", f"{LONG}\n"),
        (f"a\nb\n{LONG}", LONG),
        (f"{ALSO_LONG}\n{LONG}\n}}\n", f"{LONG}\n}}\n"),
        (f"{LONG}\n}}\n{LONG}\n}}\n", f"}}\n{LONG}\n}}\n"),
        (f"{LONG}\n{LONG}\n{LONG}\n", f"{LONG}\n{LONG}\n{LONG}\n"),
        (f"{ALSO_LONG}\n{LONG}\n\n\n", f"{LONG}\n\n\n"),
        (f"a\r\n{LONG}\r\n}}\r\n", f"{LONG}\r\n}}\r\n"),
        ("x" * 39 + "\n", None),
        ("x" * 40 + "\n", "x" * 40 + "\n"),
        (" " * 60 + "x" * 39 + "\n", None),
        ("", None),
        ("\n" * 50, None),
        ("x" * (MAX_OVERLAP_CHARS + 1), None),
        ("x" * MAX_OVERLAP_CHARS, "x" * MAX_OVERLAP_CHARS),
        ("row\n" * 1_000, None),
        (f"{LONG}\n" + "\n" * MAX_OVERLAP_CHARS, None),
    ],
)
def test_the_seam_is_the_shortest_tail_of_lines_that_is_long_enough_and_unique(
    text: str, expected: str | None
) -> None:
    assert find_seam(text) == expected


@given(TEXTS)
@example(f"{LONG}\n{LONG}\n{LONG}\n")
def test_the_seam_is_what_trying_every_tail_finds(text: str) -> None:
    expected = next((tail for tail in tails(text) if is_good(text, tail)), None)
    assert find_seam(text) == expected
    found = continuable("a.js", text)
    assert found == (None if expected is None else UnfinishedFile("a.js", text, expected))


@given(TEXTS)
@example(f"{LONG}\n{LONG}\n{LONG}\n")
@example(f"{LONG}\n{ALSO_LONG}\n{LONG}\n{LONG}\n")
def test_the_head_is_what_trying_every_head_finds(text: str) -> None:
    assert find_head(text) == next((head for head in heads(text) if is_good(text, head)), None)


def test_a_head_is_not_sought_further_than_a_model_would_repeat() -> None:
    assert find_head("x" * (MAX_OVERLAP_CHARS - 1) + "\n") is not None
    assert find_head("x" * MAX_OVERLAP_CHARS + "\n") is None


# --- joining -------------------------------------------------------------------------------------


def join(unfinished: UnfinishedFile, block: str, step: int) -> tuple[Joint, str]:
    """Feed a block in pieces; return the joint and the text that the file then has."""
    joiner = SeamJoiner(unfinished)
    new = "".join(joiner.feed(block[at : at + step]) for at in range(0, len(block), step))
    return joiner.joint, new if joiner.joint is Joint.REWRITTEN else unfinished.text + new


@given(TEXTS, st.integers(0, 2_000), st.integers(1, 80))
def test_a_text_cut_anywhere_is_whole_again(text: str, cut: int, step: int) -> None:
    so_far = text[:cut]
    unfinished = continuable("a.js", so_far)
    if unfinished is None:
        return
    at = text.index(unfinished.seam)
    assert at == len(so_far) - len(unfinished.seam)
    assert join(unfinished, text[at:], step) == (Joint.CONTINUED, text)


@given(TEXTS, TEXTS, st.integers(0, 2_000), st.integers(0, 80), st.integers(1, 80))
@example(f"{LONG}\n{ALSO_LONG}\n", f"{LONG}\n", 0, 0, 1)
def test_a_block_either_joins_exactly_or_brings_nothing(
    text: str, other: str, start: int, dropped: int, step: int
) -> None:
    """The blocks are any text, and tails of the text so far with something wrong about them."""
    unfinished = continuable("a.js", text)
    if unfinished is None:
        return
    head = find_head(text)
    for block in (other, text[start:] + other, unfinished.seam[dropped:] + other, text[:start]):
        joint, result = join(unfinished, block, step)
        if block.startswith(unfinished.seam):
            assert (joint, result) == (
                Joint.CONTINUED,
                text.removesuffix(unfinished.seam) + block,
            )
        elif head is not None and block.startswith(head) and not unfinished.seam.startswith(block):
            assert (joint, result) == (Joint.REWRITTEN, block)
        else:
            assert joint in (Joint.UNDECIDED, Joint.MISMATCHED)
            assert result == text


@pytest.mark.parametrize("step", [1, 1_000])
@pytest.mark.parametrize(
    ("block", "joint"),
    [
        ("", Joint.UNDECIDED),
        (LONG, Joint.UNDECIDED),
        (f"{LONG}\n}}", Joint.UNDECIDED),
        (f"{LONG}\n}}\n", Joint.CONTINUED),
        (f"{LONG}\n}}\nmore", Joint.CONTINUED),
        (f"{LONG}\n }}\n", Joint.MISMATCHED),
        (f" {LONG}\n}}\n", Joint.MISMATCHED),
        (f"{LONG}\r\n}}\n", Joint.MISMATCHED),
        ("}\nmore\n", Joint.MISMATCHED),
        (ALSO_LONG, Joint.UNDECIDED),
        (f"{ALSO_LONG}\n", Joint.REWRITTEN),
        (f"{ALSO_LONG}\nmore", Joint.REWRITTEN),
        (f"{ALSO_LONG};\n", Joint.MISMATCHED),
    ],
)
def test_the_joint_is_known_as_soon_as_it_can_be(block: str, joint: Joint, step: int) -> None:
    unfinished = continuable("a.js", f"{ALSO_LONG}\n\n{LONG}\n}}\n")
    assert unfinished is not None
    assert join(unfinished, block, step)[0] is joint


def test_a_text_so_far_that_is_all_seam_is_continued_and_not_written_anew() -> None:
    unfinished = continuable("a.js", f"{LONG}\n")
    assert unfinished is not None
    assert join(unfinished, f"{LONG}\nmore\n", 1_000) == (Joint.CONTINUED, f"{LONG}\nmore\n")


def test_a_text_without_a_head_of_its_own_is_not_taken_for_written_anew() -> None:
    text = "x" * 3_000 + f"\n{LONG}\n"
    unfinished = continuable("a.js", text)
    assert unfinished is not None
    assert join(unfinished, text, 1_000) == (Joint.MISMATCHED, text)
