"""The one rule for paths: which are refused, and that a safe path has one spelling."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.paths import (
    MAX_NAME_BYTES,
    MAX_PATH_CHARS,
    clashing_path,
    is_safe_path,
    normalized_path,
)

SAFE = [
    "a.ts",
    "src/components/Button.tsx",
    "my file.ts",
    "app/(group)/[id]/page.tsx",
    "routes/$id.tsx",
    ".env",
    ".gitignore",
    ".github/workflows/ci.yml",
    "src/...rest.ts",
    "a~b",
    "...",
    "ünïcode/日本語.md",
    "a" * MAX_NAME_BYTES,
    "d/" * 127 + "a",
]

UNSAFE = [
    "",
    "/",
    "/etc/passwd",
    "//a",
    "~",
    "~/a",
    "~root/.ssh/id",
    "C:",
    "c:/a",
    "C:\\a",
    "src\\a.ts",
    "..",
    "../a",
    "a/..",
    "a/../b",
    ".git",
    ".git/hooks/pre-commit",
    ".GIT/config",
    "packages/a/.git/config",
    "a/",
    "a\0b",
    "a\nb",
    "a\x1bb",
    "a\u202eb",
    "a\u2028b",
    "a\ud800",
    "a" * (MAX_PATH_CHARS + 1),
    "日" * (MAX_NAME_BYTES // 3 + 1),
    "d/" * 128,
]


@pytest.mark.parametrize("path", SAFE)
def test_a_relative_path_inside_the_project_is_safe_and_keeps_its_spelling(path: str) -> None:
    assert is_safe_path(path)
    assert normalized_path(path) == path


@pytest.mark.parametrize("path", UNSAFE)
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    assert not is_safe_path(path)
    assert normalized_path(path) is None


@pytest.mark.parametrize(
    ("path", "normalized"),
    [
        ("./a.ts", "a.ts"),
        ("././a.ts", "a.ts"),
        (".//a.ts", "a.ts"),
        ("src//a.ts", "src/a.ts"),
        ("src/./a.ts", "src/a.ts"),
        ("src/././/./a.ts", "src/a.ts"),
    ],
)
def test_other_spellings_become_the_one(path: str, normalized: str) -> None:
    assert not is_safe_path(path)
    assert normalized_path(path) == normalized


@pytest.mark.parametrize(
    "path",
    [".", "./", "./.", "a/.", "./..", "././../a", "a/./../b", "./.git/x", ".//../a", "./~/.."],
)
def test_another_spelling_of_an_unsafe_path_is_refused(path: str) -> None:
    assert normalized_path(path) is None


@given(st.text(alphabet="ab.~/\\: git\0\n日C", max_size=20))
def test_what_is_accepted_stays_inside_and_is_its_own_normal_form(path: str) -> None:
    normalized = normalized_path(path)
    if normalized is not None:
        assert is_safe_path(normalized)
        assert normalized_path(normalized) == normalized
        assert posixpath.normpath(posixpath.join("/app", normalized)) == f"/app/{normalized}"


@pytest.mark.parametrize(
    ("path", "others", "clashing"),
    [
        ("a/b.js", {"a/b.js", "a/c.js", "b"}, None),
        ("a/b.js", {"a"}, "a"),
        ("a/b/c/d.js", {"a/b"}, "a/b"),
        ("a", {"a/b/c.js", "a/b.js"}, "a/b.js"),
        ("a", {"ab/c.js", "a.js"}, None),
        ("a", set(), None),
    ],
)
def test_a_path_is_a_file_or_a_directory_and_never_both(
    path: str, others: set[str], clashing: str | None
) -> None:
    assert clashing_path(path, others) == clashing
