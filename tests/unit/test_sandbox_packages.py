"""What a path of a registry means, and under which name its answer is kept."""

from __future__ import annotations

import pytest

from actors.sandbox.packages import ABBREVIATED, FULL, Wanted, read_wanted


def wanted(path: str, accept: str = "") -> Wanted:
    found = read_wanted(path, accept)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/vite", "/vite"),
        ("/JSONStream", "/JSONStream"),
        ("/@types%2fnode", "/@types%2fnode"),
        ("/@types%2Fnode", "/@types%2fnode"),
        ("/@types/node", "/@types%2fnode"),
        ("/lodash.merge", "/lodash.merge"),
    ],
)
def test_a_package_is_known_by_its_name(path: str, asked: str) -> None:
    assert wanted(path) == Wanted(path=asked, accept=FULL, is_tarball=False)


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/vite/-/vite-7.0.0-beta.1+b.tgz", "/vite/-/vite-7.0.0-beta.1+b.tgz"),
        ("/@types/node/-/node-22.0.0.tgz", "/@types/node/-/node-22.0.0.tgz"),
        ("/@types%2fnode/-/node-22.0.0.tgz", "/@types/node/-/node-22.0.0.tgz"),
    ],
)
def test_a_tarball_is_known_by_its_package_and_file(path: str, asked: str) -> None:
    assert wanted(path, ABBREVIATED) == Wanted(path=asked, accept="*/*", is_tarball=True)


def test_forms_and_registries_are_kept_apart() -> None:
    short = wanted("/vite", f"{ABBREVIATED}; q=1.0, */*")
    assert short.accept == ABBREVIATED
    names = {
        short.file_name("https://a"),
        short.file_name("https://b"),
        wanted("/vite").file_name("https://a"),
        wanted("/vue").file_name("https://a"),
    }
    assert len(names) == 4
    assert all(len(name) == 64 and name.isalnum() for name in names)


@pytest.mark.parametrize(
    "path",
    [
        *(
            "",
            "/",
            "vite",
            "/.vite",
            "/..",
            "/a/b",
            "/a/../b",
            "/@a",
            "/@a/b/c",
            "/@a%2f..",
            "/a%2fb",
        ),
        *("/a?b", "/a#b", "/a b", "/a\n", "/é", "/a/-/b", "/a/-/.tgz", "/a/-/../b.tgz", "/-/all"),
        *("/" + "a" * 215, "/a/-/" + "b" * 300 + ".tgz", "/" + "a" * 215 + "/-/b.tgz"),
    ],
)
def test_anything_else_is_neither(path: str) -> None:
    assert read_wanted(path, "") is None
