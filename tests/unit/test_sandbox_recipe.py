"""Which installs may be prepared for others, and when two of them are the same."""

from __future__ import annotations

import json

import pytest

from actors.sandbox.recipe import Recipe, are_self_contained, read_recipe

VITE = {"devDependencies": {"vite": "^7.0.0"}}
LOCK = {
    "name": "app",
    "lockfileVersion": 3,
    "packages": {
        "": {"name": "app"},
        "node_modules/vite": {"resolved": "https://registry.npmjs.org/vite/-/vite-7.0.0.tgz"},
        "node_modules/vite/node_modules/a": {"inBundle": True},
    },
}


def files(lock: object = None, **members: object) -> dict[str, str]:
    manifest = {"package.json": json.dumps(VITE | members)}
    return manifest if lock is None else manifest | {"package-lock.json": json.dumps(lock)}


def recipe(files: dict[str, str]) -> Recipe:
    found = read_recipe(files)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "same",
    [
        files(name="other", version="2.0.0", private=True, type="module"),
        files(scripts={"dev": "vite", "build": "vite build"}),
        files() | {"src/main.ts": "x", "README.md": "y"},
        {"package.json": "\ufeff" + json.dumps(VITE, indent=4)},
    ],
)
def test_what_npm_does_not_look_at_makes_no_difference(same: dict[str, str]) -> None:
    assert recipe(same).key("p") == recipe(files()).key("p")
    assert json.loads(recipe(same).files["package.json"]) == VITE | {"private": True}


@pytest.mark.parametrize(
    "other",
    [
        files(devDependencies={"vite": "^7.0.1"}),
        files(dependencies={"vite": "^7.0.0"}),
        files(optionalDependencies={"a": "1"}),
        files(peerDependencies={"a": "1"}, peerDependenciesMeta={"a": {"optional": True}}),
        files(bundleDependencies=["vite"]),
        files(overrides={"a": "1", "b": {"c": "$vite"}}),
        files(resolutions={"a": "1"}),
        files(engines={"node": ">=22"}),
        files(packageManager="npm@11.0.0"),
        files(os=["linux"]),
        files(allowScripts={"esbuild": True}),
        files(lock=LOCK),
        files(lock=LOCK | {"lockfileVersion": 2}),
    ],
)
def test_what_decides_an_install_decides_the_key(other: dict[str, str]) -> None:
    keys = {recipe(each).key("p") for each in (files(), other)}
    assert len(keys) == 2


def test_the_order_of_dependencies_makes_no_difference_and_the_platform_does() -> None:
    one, two = ({"a": "1", "b": "2"}, {"b": "2", "a": "1"})
    first, second = (recipe(files(dependencies=each)) for each in (one, two))
    assert first.key("p") == second.key("p")
    assert first.key("p") != first.key("q")


def test_texts_do_not_run_into_each_other() -> None:
    first, second = Recipe({"a": "bc"}), Recipe({"ab": "c"})
    assert first.key("p") != second.key("p")


@pytest.mark.parametrize(
    "spec",
    [
        "1.2.3",
        "^1.0.0-rc.1+b2",
        "~1",
        ">=1 <2",
        "1 || 2",
        "1 - 2",
        "*",
        "",
        "latest",
        "next-14",
        "x",
    ],
)
def test_versions_ranges_and_tags_are_shared(spec: str) -> None:
    assert read_recipe(files(dependencies={"a": spec}))


@pytest.mark.parametrize(
    "spec",
    [
        *("file:../a", "link:./a", "./a", "../a", "/a", "~/a", ".", "a.tgz", "a.tar.gz", "A.TGZ"),
        *("git+https://h/a.git", "git://h/a", "github:u/a", "u/a", "u/a#main", "http://h/a.tgz"),
        *(
            "workspace:*",
            "portal:a",
            "patch:a",
            "catalog:",
            "npm:b@1",
            "a.tar",
            "é",
            1,
            None,
            ["1"],
        ),
    ],
)
@pytest.mark.parametrize("section", ["dependencies", "peerDependencies", "overrides"])
def test_what_comes_from_elsewhere_is_not_shared(spec: object, section: str) -> None:
    assert read_recipe(files(**{section: {"a": spec}})) is None


def test_overrides_are_looked_at_all_the_way_down() -> None:
    assert read_recipe(files(overrides={"a": {"b": {".": "1", "c": "file:x"}}})) is None


@pytest.mark.parametrize(
    "script",
    [
        "preinstall",
        "install",
        "postinstall",
        "prepublish",
        "prepare",
        "postprepare",
        "dependencies",
    ],
)
def test_a_project_with_install_scripts_of_its_own_installs_for_itself(script: str) -> None:
    assert read_recipe(files(scripts={script: "node x.js"})) is None


@pytest.mark.parametrize(
    "path",
    [
        *(".npmrc", ".yarnrc", ".yarnrc.yml", "pnpm-lock.yaml", "yarn.lock", "bun.lock"),
        *("npm-shrinkwrap.json", "binding.gyp", "pnpm-workspace.yaml", "node_modules/a/index.js"),
    ],
)
def test_a_project_with_settings_or_another_manager_installs_for_itself(path: str) -> None:
    assert read_recipe(files() | {path: ""}) is None


@pytest.mark.parametrize(
    "manifest",
    [
        *("", "[]", "{", "null", '{"dependencies": []}', '{"dependencies": "a"}', "[" * 100_000),
        *("{}", '{"dependencies": {}}', '{"dependencies": {"a": "1"}, "workspaces": ["x"]}'),
        *('{"dependencies": {"a": "1"}, "scripts": []}', '{"dependencies": {"a": 1}}'),
    ],
)
def test_a_manifest_that_asks_for_nothing_or_makes_no_sense_has_no_recipe(manifest: str) -> None:
    assert read_recipe({"package.json": manifest}) is None


def test_without_a_manifest_there_is_no_recipe() -> None:
    assert read_recipe({"index.html": ""}) is None


@pytest.mark.parametrize(
    "packages",
    [
        None,
        [],
        {"node_modules/a": {"link": True, "resolved": "packages/a"}},
        {"packages/a": {}},
        {"node_modules/a": {"resolved": "file:a"}},
        {"node_modules/a": {"resolved": "git+ssh://h/a"}},
        {"node_modules/a": None},
    ],
)
def test_a_lock_file_that_names_local_or_foreign_packages_is_not_shared(packages: object) -> None:
    assert read_recipe(files(lock={"packages": packages})) is None


@pytest.mark.parametrize("lock", ["", "{", "[]"])
def test_a_lock_file_that_makes_no_sense_is_not_shared(lock: str) -> None:
    assert read_recipe(files() | {"package-lock.json": lock}) is None


def test_packages_whose_scripts_look_around_are_not_shared() -> None:
    assert are_self_contained("")
    assert are_self_contained("esbuild\n@swc/core\n")
    assert not are_self_contained("esbuild\n@prisma/client\n")
