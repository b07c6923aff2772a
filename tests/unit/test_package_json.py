"""package.json: packages are added to its text, and the script that checks an app is found."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import events as ev
from actors.generation.package_json import (
    NEW,
    PATH,
    ManifestUnusable,
    check_script,
    with_installs,
    with_packages,
)


def install(*packages: str) -> tuple[str, ...]:
    return ("npm", "install", *packages)


def install_dev(*packages: str) -> tuple[str, ...]:
    return ("npm", "install", "--save-dev", *packages)


# --- adding packages -----------------------------------------------------------------------------

APP = """\
{
  "name": "app",
  "scripts": {
    "dev": "vite"
  },
  "dependencies": {
    "zod": "^3.0.0",
    "b": "1"
  },
  "type": "module"
}
"""


def test_packages_are_added_and_the_rest_stays_as_it_was() -> None:
    assert with_packages(APP, [install("a@^2", "@s/c"), install_dev("vite@7")]) == (
        APP.replace(
            '    "b": "1"\n', '    "b": "1",\n    "a": "^2",\n    "@s/c": "latest"\n'
        ).replace('"module"\n', '"module",\n  "devDependencies": {\n    "vite": "7"\n  }\n')
    )


@pytest.mark.parametrize(
    "vectors", [[], [install("zod")], [install_dev("zod", "b")], [install("zod@^3.0.0")]]
)
def test_where_nothing_changes_the_text_is_returned_as_it_is(
    vectors: list[tuple[str, ...]],
) -> None:
    awkward = APP.replace('"name": "app"', '"name":"app", "name":"app"')
    assert with_packages(awkward, vectors) == awkward


@pytest.mark.parametrize(
    "section", ["dependencies", "devDependencies", "optionalDependencies", "peerDependencies"]
)
def test_a_package_that_is_listed_stays_in_its_section(section: str) -> None:
    text = json.dumps({section: {"zod": "^3"}})
    assert json.loads(with_packages(text, [install("zod@4")])) == {section: {"zod": "4"}}
    assert json.loads(with_packages(text, [install_dev("zod@4")])) == {section: {"zod": "4"}}


def test_the_later_of_two_wishes_wins_and_one_without_a_version_has_none() -> None:
    text = with_packages(NEW, [install("zod@3"), install("zod@4"), install("zod")])
    assert json.loads(text) == {"private": True, "dependencies": {"zod": "4"}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", '{"dependencies": {"a": "1"}}'),
        ('{"n":1}\n', '{"n": 1, "dependencies": {"a": "1"}}\n'),
        ('{\n\t"n": 1\n}', '{\n\t"n": 1,\n\t"dependencies": {\n\t\t"a": "1"\n\t}\n}'),
        (
            '\n{\n\n    "n": "ü"\n}\n\n',
            '{\n    "n": "ü",\n    "dependencies": {\n        "a": "1"\n    }\n}\n\n',
        ),
        ('{\n"n": 1\n}', '{\n"n": 1,\n"dependencies": {\n"a": "1"\n}\n}'),
        (
            '{ "n": 1,\n "m": 2 }',
            '{\n  "n": 1,\n  "m": 2,\n  "dependencies": {\n    "a": "1"\n  }\n}',
        ),
        ("{\n}", '{\n  "dependencies": {\n    "a": "1"\n  }\n}'),
        ("\ufeff{}", '{"dependencies": {"a": "1"}}'),
        ('{"n": "\\ud83d\\ude00 \\ud800"}', '{"n": "😀 \\ud800", "dependencies": {"a": "1"}}'),
    ],
)
def test_the_text_keeps_its_form(text: str, expected: str) -> None:
    changed = with_packages(text, [install("a@1")])
    assert changed == expected
    changed.encode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ('{"a": 1,}', "is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "is not a JSON object"),
        ("null", "is not a JSON object"),
        ('{"dependencies": []}', "has dependencies that are not an object"),
        ('{"devDependencies": null}', "has devDependencies that are not an object"),
    ],
)
def test_what_is_no_manifest_is_told(text: str, reason: str) -> None:
    with pytest.raises(ManifestUnusable, match=reason):
        with_packages(text, [install("zod")])


MEMBERS = st.dictionaries(
    st.text(max_size=4), st.none() | st.integers() | st.text(max_size=4) | st.lists(st.text())
)
VERSIONS = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sampled_from(["1", "^2"]))


@given(
    MEMBERS,
    st.fixed_dictionaries({}, optional={"dependencies": VERSIONS, "devDependencies": VERSIONS}),
    st.none() | st.integers(0, 4) | st.just("\t"),
    st.lists(st.sampled_from([install("a", "d@1"), install_dev("b@next"), install("c@3")])),
)
def test_adding_keeps_every_member_and_adding_again_changes_nothing(
    members: dict[str, Any],
    sections: dict[str, dict[str, str]],
    indent: int | str | None,
    vectors: list[tuple[str, ...]],
) -> None:
    manifest = members | sections
    text = json.dumps(manifest, indent=indent) + "\n"
    changed = with_packages(text, vectors)
    assert with_packages(changed, vectors) == changed
    after = json.loads(changed)
    for name, value in manifest.items():
        if name in sections:
            assert value.keys() <= after[name].keys()
        else:
            assert after[name] == value
    assert list(after)[: len(manifest)] == list(manifest)


# --- a phase's commands --------------------------------------------------------------------------


def test_a_phase_tells_its_package_json_once_it_has_changed() -> None:
    files = {PATH: '{"n": 1}\n'}
    text = '{"n": 1, "dependencies": {"zod": "latest"}}\n'
    assert with_installs(files, [install("zod")]) == [
        ev.FileStart(path=PATH),
        ev.FileEnd(path=PATH, content=text),
    ]
    assert files == {PATH: text}
    assert with_installs(files, [install("zod")]) == []


def test_without_a_package_json_one_is_made() -> None:
    files = {"server.js": "1\n"}
    with_installs(files, [install("express@5")])
    assert files[PATH] == (
        '{\n  "private": true,\n  "dependencies": {\n    "express": "5"\n  }\n}\n'
    )


@pytest.mark.parametrize(
    ("files", "reason"),
    [({PATH: "{"}, "is not JSON"), ({f"{PATH}/a.json": "{}"}, "is a directory")],
)
def test_one_that_cannot_be_used_is_left_alone_and_told(files: dict[str, str], reason: str) -> None:
    before = dict(files)
    assert with_installs(files, [install("zod@3"), install_dev("vite")]) == [
        ev.ModelWarning(kind="install_command", detail=f"zod@3 vite: package.json {reason}")
    ]
    assert files == before


def test_without_a_command_no_package_json_is_touched() -> None:
    for files in ({}, {PATH: "{"}):
        before = dict(files)
        assert with_installs(files, []) == []
        assert files == before


# --- the check -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scripts", "name"),
    [
        ({"dev": "vite"}, None),
        ({"build": "vite build", "dev": "vite"}, "build"),
        ({"build": "vite build", "typecheck": "tsc"}, "typecheck"),
        ({"build": "vite build", "type-check": "tsc"}, "type-check"),
        ({"typecheck": " ", "build": "vite build"}, "build"),
        ({"typecheck": None}, None),
        ([], None),
        ("build", None),
    ],
)
def test_a_type_check_goes_before_a_build(scripts: object, name: str | None) -> None:
    assert check_script({PATH: json.dumps({"scripts": scripts})}) == name


@pytest.mark.parametrize("files", [{}, {PATH: "{"}, {PATH: "[]"}, {PATH: "[" * 100_000}])
def test_without_a_manifest_there_is_no_check(files: dict[str, str]) -> None:
    assert check_script(files) is None
