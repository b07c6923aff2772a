"""Install commands of a model: what npm is asked for, and everything that is refused."""

from __future__ import annotations

import contextlib
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.generation.install_command import (
    MAX_COMMAND_CHARS,
    MAX_NAME_CHARS,
    MAX_PACKAGES,
    MAX_VERSION_CHARS,
    InstallRefused,
    argument_vector,
    is_dev,
    packages_of,
    split_package,
)


@pytest.mark.parametrize("manager", ["npm", "pnpm", "yarn", "bun"])
@pytest.mark.parametrize("verb", ["install", "i", "add"])
def test_whatever_the_manager_it_is_npm_that_is_asked(manager: str, verb: str) -> None:
    assert argument_vector(f"{manager} {verb} zod") == ("npm", "install", "zod")


@pytest.mark.parametrize(
    ("line", "vector"),
    [
        ("npm i -D vite", "npm install --save-dev vite"),
        ("npm i vite --save-dev", "npm install --save-dev vite"),
        ("bun add --dev vite typescript", "npm install --save-dev vite typescript"),
        ("npm i --save -S -P --save-prod -E --save-exact --exact zod", "npm install zod"),
        ("npm i zod react zod", "npm install zod react"),
        ("npm  install\tzod ", "npm install zod"),
        ("npm i @types/node @a-b/c.d_e~f", "npm install @types/node @a-b/c.d_e~f"),
        ("npm i zod@3 @types/node@^22.1.0", "npm install zod@3 @types/node@^22.1.0"),
    ],
)
def test_packages_and_their_kind_are_kept_each_once(line: str, vector: str) -> None:
    assert argument_vector(line) == tuple(vector.split())


@pytest.mark.parametrize("line", ["npm install", "yarn install", "npm i -D", "pnpm i --save"])
def test_without_a_package_there_is_nothing_to_ask_for(line: str) -> None:
    assert argument_vector(line) is None


@pytest.mark.parametrize(
    "version",
    [
        *("1", "1.2", "1.2.3", "v1.2.3", "^1.2.3", "~1.2", "=1.2.3", "1.x", "1.2.X", "*", "x"),
        *(">=1.2", "<2", "<=1", ">1.0.0-0", "1.0.0-beta.1+build-5", ">=1.2.0 <2", "1.2 - 2.0"),
        *("18 || 19", "^18||^19", ">= 1.2 < 2", "latest", "next", "canary-2_x.1"),
    ],
)
def test_a_version_may_be_a_range_or_a_tag(version: str) -> None:
    assert argument_vector(f"npm i 'zod@{version}'") == ("npm", "install", f"zod@{version}")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "begin with npm, pnpm, yarn, bun"),
        ("npx i zod", "begin with"),
        ("NPM i zod", "begin with"),
        ("sudo npm i zod", "begin with"),
        ("npm", "only install and add"),
        ("npm run dev", "only install and add"),
        ("npm uninstall zod", "only install and add"),
        ("npm -g install zod", "only install and add"),
        ("npm i 'zod", "not closed"),
        ("npm i zod\nrm -rf /", "control characters"),
        ("npm i zod\x1b[2J", "control characters"),
        ("npm i zod" + " " * MAX_COMMAND_CHARS, "longer than 4,096"),
        ("npm i " + " ".join(f"p{n}" for n in range(MAX_PACKAGES + 1)), "more than 50 packages"),
    ],
)
def test_what_is_no_install_command_is_refused(line: str, reason: str) -> None:
    with pytest.raises(InstallRefused, match=reason):
        argument_vector(line)


@pytest.mark.parametrize(
    "flag",
    [
        *("-g", "--global", "--ignore-scripts=false", "--prefix", "--prefix=/", "--force"),
        *("--registry=http://x", "--legacy-peer-deps", "-DE", "--save-dev=true", "-", "--"),
        "--" + "x" * 200,
    ],
)
def test_any_other_flag_is_refused(flag: str) -> None:
    with pytest.raises(InstallRefused, match=r"the flag '.*' is not allowed"):
        argument_vector(f"npm i {flag} zod")


@pytest.mark.parametrize(
    "word",
    [
        *(".", "..", "./local", "../up", "/etc", "~/x", "a/b", "user/repo#main", "", "@", "@a"),
        *("@a/", "@/b", "@a/b/c", "_x", ".x", "Zod", "zod!", "zod;", "&&", "|", ">", "$x", "`x`"),
        *("$(x)", "a*", "zod,", "#zod", "http://x/y.tgz", "git+ssh://git@h/r.git", "file:x"),
        *("x.tgz:1", "node_modules", "favicon.ico", "zöd", "a" * (MAX_NAME_CHARS + 1), "a%2fb"),
    ],
)
def test_what_is_no_name_of_a_package_is_refused(word: str) -> None:
    with pytest.raises(InstallRefused, match="does not name a package of the registry"):
        argument_vector(shlex.join(["npm", "i", word]))


@pytest.mark.parametrize(
    "version",
    [
        *("", "npm:other@1", "workspace:*", "file:../x", "http://x", "git+https://h/r", "user/r"),
        *("1.2.3.4", "^", "1 -2", "1;2", "$x", "1`x`", "@", "1@2", "a b", "lat est", "#main"),
        *("1" * 17, "1." + "0" * MAX_VERSION_CHARS, "t" * (MAX_VERSION_CHARS + 1), "1 || "),
    ],
)
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(InstallRefused, match="does not name a version of the registry"):
        argument_vector(f"npm i 'zod@{version}'")


@given(
    st.text(max_size=80) | st.from_regex(r"\A(npm|yarn) (i|add)( [@\w^~*<>|. /:;$'\"-]{1,20}){0,4}")
)
def test_any_line_is_asked_for_refused_or_nothing(line: str) -> None:
    with contextlib.suppress(InstallRefused):
        vector = argument_vector(line) or ()
        assert vector[:2] in ((), ("npm", "install"))
        for package in packages_of(vector):
            name, version = split_package(package)
            assert name[0] not in "-./~"
            assert not set(package) & set(";&$`\\'\"\n(){}#%:!?,")
            assert "/" not in (version or "")


def test_a_vector_says_what_it_asks_for() -> None:
    vector = ("npm", "install", "--save-dev", "@types/node@^22", "vite")
    assert packages_of(vector) == ("@types/node@^22", "vite")
    assert is_dev(vector)
    assert not is_dev(("npm", "install", "vite"))
    assert [split_package(package) for package in packages_of(vector)] == [
        ("@types/node", "^22"),
        ("vite", None),
    ]
