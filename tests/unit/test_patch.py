"""Unified diffs by context: where a hunk may go, what it keeps, and when it is refused."""

from __future__ import annotations

import contextlib
import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.generation.patch import MAX_COMPARISONS, PatchRejected, apply_patch

ABC = "a\nb\nc\n"

#: name -> (original, diff, result)
APPLIED: dict[str, tuple[str, str, str]] = {
    "replaces a line": (ABC, "@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n", "a\nB\nc\n"),
    "ignores the line numbers": (ABC, "@@ -70,3 +99,1 @@ def f():\n a\n-b\n+B\n", "a\nB\nc\n"),
    "needs no line numbers": (ABC, "@@\n-b\n", "a\nc\n"),
    "needs no LF at its end": (ABC, "@@\n-b\n+B", "a\nB\nc\n"),
    "adds at the start": (ABC, "@@\n+0\n a\n", "0\na\nb\nc\n"),
    "adds at the end": (ABC, "@@\n c\n+d\n", "a\nb\nc\nd\n"),
    "removes everything": (ABC, "@@\n-a\n-b\n-c\n", ""),
    "changes nothing": (ABC, "@@\n a\n b\n", ABC),
    "two hunks": (
        "a\nb\nc\nd\ne\nf\n",
        "@@\n a\n-b\n+B\n@@\n-e\n f\n+g\n",
        "a\nB\nc\nd\nf\ng\n",
    ),
    "two hunks that touch": (ABC, "@@\n-a\n+A\n@@\n-b\n+B\n", "A\nB\nc\n"),
    "file headers": (
        ABC,
        "diff --git a/x b/x\nindex 12..34 100644\n--- a/x\t2024\n+++ b/x\t2024\n"
        "@@ -2 +2 @@\n-b\n+B\n",
        "a\nB\nc\n",
    ),
    "headers of a new file": (
        "",
        "diff --git a/x b/x\nnew file mode 100644\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+a\n",
        "a\n",
    ),
    "Subversion's header": (
        ABC,
        "Index: x\n===================\n--- x\n+++ x\n@@\n-b\n+B\n",
        "a\nB\nc\n",
    ),
    "the header again before each hunk": (
        ABC,
        "--- a/x\n+++ b/x\n@@\n-a\n+A\n--- a/x\n+++ b/x\n@@\n-c\n+C\n",
        "A\nb\nC\n",
    ),
    "a git header between hunks of one file": (
        ABC,
        "+++ b/x\n@@\n-a\n+A\ndiff --git a/x b/x\n\n--- a/x\n+++ b/x\n@@\n-c\n+C\n",
        "A\nb\nC\n",
    ),
    "lines that look like headers": (
        "-- x\n++ y\nz\n",
        "@@\n--- x\n+-- X\n ++ y\n+++ Y\n z\n",
        "-- X\n++ y\n++ Y\nz\n",
    ),
    "a removed and an added line that look like headers": (
        "-- x\nz\n",
        "@@\n--- x\n+++ y\n z\n",
        "++ y\nz\n",
    ),
    "a new file": ("", "@@ -0,0 +1,2 @@\n+a\n+b\n", "a\nb\n"),
    "a new file without a last newline": (
        "",
        "@@\n+a\n+b\n\\ No newline at end of file\n",
        "a\nb",
    ),
    "blank context with its blank": ("a\n\nb\n", "@@\n a\n \n-b\n+B\n", "a\n\nB\n"),
    "blank context without its blank": ("a\n\nb\n", "@@\n a\n\n-b\n+B\n", "a\n\nB\n"),
    "blank context at the end": ("a\n\nb\n", "@@\n-a\n+A\n\n", "A\n\nb\n"),
    "blank lines between hunks": (
        "a\nb\nc\nd\n",
        "@@\n-a\n+A\n\n\n@@\n-c\n+C\n d\n\n",
        "A\nb\nC\nd\n",
    ),
    "one blank context and one blank line between": (
        "a\n\nb\nc\n",
        "@@\n-a\n+A\n\n\n@@\n-c\n+C\n",
        "A\n\nb\nC\n",
    ),
    "the last newline stays away": ("a\nb", "@@\n-a\n+A\n", "A\nb"),
    "the last newline stays away behind an added line": ("a\nb", "@@\n b\n+c\n", "a\nb\nc"),
    "the last newline comes": (
        "a\nb",
        "@@\n a\n-b\n\\ No newline at end of file\n+b\n",
        "a\nb\n",
    ),
    "the last newline goes": (
        "a\nb\n",
        "@@\n a\n-b\n+b\n\\ No newline at end of file\n",
        "a\nb",
    ),
    "no last newline on both sides": (
        "a\nb",
        "@@\n a\n-b\n\\ No newline at end of file\n+c\n\\ No newline at end of file\n",
        "a\nc",
    ),
    "no last newline, added first": (
        "a\nb",
        "@@\n a\n+c\n\\ No newline at end of file\n-b\n\\ No newline at end of file\n",
        "a\nc",
    ),
    "no last newline in the context": (
        "a\nb",
        "@@\n-a\n+A\n b\n\\ No newline at end of file\n",
        "A\nb",
    ),
    "the remark about the last newline makes a place unique": (
        "a\nb\na",
        "@@\n-a\n+A\n\\ No newline at end of file\n",
        "a\nb\nA",
    ),
    "CRLF in the text": ("a\r\nb\r\nc\r\n", "@@\n a\n-b\n+B\n", "a\r\nB\r\nc\r\n"),
    "CRLF in both": ("a\r\nb\r\n", "@@\r\n a\r\n-b\r\n+B\r\n", "a\r\nB\r\n"),
    "CRLF in the diff": ("a\nb\n", "@@\r\n a\r\n-b\r\n+B\r\n", "a\nB\n"),
    "CRLF and a blank line without its blank": (
        "a\r\n\r\nb\r\n",
        "@@\r\n a\r\n\r\n-b\r\n+B\r\n",
        "a\r\n\r\nB\r\n",
    ),
    "CRLF behind a last line without newline": (
        "a\r\nb\r\nc",
        "@@\n c\n+d\n\\ No newline at end of file\n",
        "a\r\nb\r\nc\r\nd",
    ),
    "mixed ends: context keeps its own": (
        "a\r\nb\nc\r\nd\r\n",
        "@@\n a\n b\n+x\n c\n",
        "a\r\nb\nx\r\nc\r\nd\r\n",
    ),
    "a CR inside a line": ("a\rb\nc\n", "@@\n a\rb\n+x\n", "a\rb\nx\nc\n"),
    "U+2028 is no line end": ("a\u2028b\nc\n", "@@\n a\u2028b\n-c\n", "a\u2028b\n"),
    "whitespace is tolerated, the text's own stays": (
        "if  x:\n\treturn 1\nend\n",
        "@@\n if x:\n-    return 1\n+    return 2\n end  \n",
        "if  x:\n    return 2\nend\n",
    ),
    "an exact place wins over a tolerated one": (
        "  a\nx\na\n",
        "@@\n-a\n+A\n",
        "  a\nx\nA\n",
    ),
    "a blank line of blanks is tolerated": ("a\n   \nb\n", "@@\n a\n \n-b\n", "a\n   \n"),
    "the order makes it unique: behind": (
        "x\na\nx\n",
        "@@\n-a\n+A\n@@\n-x\n+X\n",
        "x\nA\nX\n",
    ),
    "the order makes it unique: before": (
        "x\na\nx\n",
        "@@\n-x\n+X\n@@\n-a\n+A\n",
        "X\nA\nx\n",
    ),
    "the order makes it unique: both": (
        "x\nx\n",
        "@@\n-x\n+1\n@@\n-x\n+2\n",
        "1\n2\n",
    ),
    "hunks do not overlap": (
        "x\nx\nx\nx\n",
        "@@\n-x\n-x\n+1\n@@\n-x\n-x\n+2\n",
        "1\n2\n",
    ),
    "a context that overlaps itself": (
        "a\na\nb\na\na\nc\n",
        "@@\n a\n a\n-c\n+C\n",
        "a\na\nb\na\na\nC\n",
    ),
    "a long border": (
        "a\nb\na\nb\na\nc\n",
        "@@\n a\n b\n a\n-c\n+C\n",
        "a\nb\na\nb\na\nC\n",
    ),
    "an empty hunk is skipped": (ABC, "@@ -1 +1 @@\n@@\n-b\n", "a\nc\n"),
    "the remark alone is skipped": (ABC, "@@\n\\ No newline at end of file\n@@\n-b\n", "a\nc\n"),
}

#: name -> (original, diff, part of the reason)
REJECTED: dict[str, tuple[str, str, str]] = {
    "nothing": (ABC, "", "no hunk"),
    "headers only": (ABC, "--- a/x\n+++ b/x\n", "no hunk"),
    "an empty hunk": (ABC, "@@ -1 +1 @@\n", "no hunk"),
    "no @@ line": (ABC, "--- a/x\n+++ b/x\n a\n-b\n", "line 3 of the diff stands outside"),
    "prose": (ABC, "Here it is:\n@@\n-b\n", "line 1 of the diff stands outside"),
    "a fence": (ABC, "@@\n-b\n```\n", "line 3 of the diff begins with"),
    "context that lost its blank": (ABC, "@@\na\n-b\n", "line 2 of the diff begins with"),
    "other context": (ABC, "@@\n a\n-x\n", "hunk 1 does not fit"),
    "context longer than the text": (ABC, "@@\n a\n b\n c\n d\n", "hunk 1 does not fit"),
    "removal from a missing file": ("", "@@\n-a\n+b\n", "hunk 1 does not fit"),
    "the second hunk does not fit": (ABC, "@@\n-a\n+A\n@@\n-x\n", "hunk 2 does not fit"),
    "two places": ("a\nb\na\n", "@@\n-a\n+A\n", "hunk 1 fits in 2 places"),
    "two tolerated places": (" a\nb\n  a\n", "@@\n-a\n+A\n", "hunk 1 fits in 2 places"),
    "two places for the second": ("x\na\nb\na\n", "@@\n-x\n@@\n-a\n", "hunk 2 fits in 2 places"),
    "only additions to a text": (ABC, "@@\n+x\n", "hunk 1 fits in 4 places"),
    "hunks in another order": (ABC, "@@\n-c\n@@\n-a\n", "hunk 1 fits only in another order"),
    "hunks that overlap": (ABC, "@@\n a\n-b\n@@\n-b\n c\n", "hunk 1 fits only in another order"),
    "not at the end": (ABC, "@@\n-b\n+B\n\\ No newline at end of file\n", "hunk 1 does not fit"),
    "two files": (
        ABC,
        "--- a/x\n+++ b/x\n@@\n-a\n--- a/y\n+++ b/y\n@@\n-b\n",
        "more than one file",
    ),
    "two files, git's way": (
        ABC,
        "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@\n-a\n"
        "diff --git a/y b/y\n--- a/y\n+++ b/y\n@@\n-b\n",
        "more than one file",
    ),
}


@pytest.mark.parametrize("name", APPLIED)
def test_a_patch_is_applied(name: str) -> None:
    original, diff, result = APPLIED[name]
    assert apply_patch(original, diff) == result


@pytest.mark.parametrize("name", REJECTED)
def test_a_patch_is_rejected_with_its_reason(name: str) -> None:
    original, diff, reason = REJECTED[name]
    with pytest.raises(PatchRejected) as raised:
        apply_patch(original, diff)
    assert reason in raised.value.reason
    assert str(raised.value) == raised.value.reason
    assert isinstance(raised.value, ValueError)


def test_a_patch_that_would_take_too_long_is_rejected() -> None:
    hunks = "@@\n-x\n" * (MAX_COMPARISONS // 1000 + 1)
    with pytest.raises(PatchRejected, match="too many for a file of 1000 lines"):
        apply_patch("x\n" * 1000, hunks)


LINES = st.lists(st.sampled_from(["a", "b", "  b", "", " ", "-", "+", "@@", "-- x", "\\", "c\r"]))
TEXTS = st.tuples(LINES, st.booleans()).map(
    lambda drawn: "\n".join(drawn[0]) + ("\n" if drawn[0] and drawn[1] else "")
)


def unified_diff(before: str, after: str, context: int) -> str:
    """Return what `diff -u` says, with its remark about a missing last newline."""
    lines: list[str] = []
    for line in difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), "a/x", "b/x", n=context
    ):
        lines.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return "".join(lines)


@given(
    TEXTS.map(lambda text: text.replace("\r", "")), TEXTS.map(lambda text: text.replace("\r", ""))
)
def test_a_diff_with_the_whole_text_as_context_gives_the_other_text(
    before: str, after: str
) -> None:
    diff = unified_diff(before, after, 1000)
    if diff:
        assert apply_patch(before, diff) == after


@given(TEXTS, TEXTS.map(lambda text: text.replace("\r", "")), st.integers(0, 3))
def test_a_diff_gives_the_other_text_or_is_rejected(before: str, after: str, context: int) -> None:
    before = before.replace("\r", "")
    diff = unified_diff(before, after, context)
    try:
        result = apply_patch(before, diff)
    except PatchRejected:
        return
    assert result == after


@given(
    TEXTS, st.lists(st.sampled_from([" a", "-a", "+x", "", " ", "@@", "\\ No", "--- a", "+++ b"]))
)
def test_any_diff_is_applied_or_rejected(before: str, lines: list[str]) -> None:
    with contextlib.suppress(PatchRejected):
        assert isinstance(apply_patch(before, "\n".join(lines)), str)
