"""What decides an install, taken from a project's files: the recipe of a prepared one. Pure.

An install is shared among projects only where nothing but the recipe decides its outcome. So a
recipe is all that npm is given when it is prepared; whatever else it could look at (scripts of the
project's own, settings, local packages, addresses) means that there is none.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

FORMAT = 1  # part of every key; raise it when what is prepared changes for the same recipe

#: Members of package.json that say what is installed under which name.
_SECTIONS = ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies")
#: Members that npm does not look at when it installs the package that has them. All others count.
_INERT = frozenset(
    {
        *("name", "version", "private", "description", "keywords", "homepage", "bugs", "license"),
        *("author", "contributors", "funding", "repository", "type", "main", "module", "browser"),
        *("exports", "imports", "types", "typings", "files", "sideEffects", "scripts"),
        *("browserslist", "eslintConfig", "prettier", "babel", "jest", "postcss"),
    }
)
_LIFECYCLE = frozenset(
    {
        *("preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare"),
        *("postprepare", "predependencies", "dependencies", "postdependencies"),
    }
)
#: Files that tell npm, or who installs in its place, more than package.json does.
_SETTINGS = frozenset(
    {
        *(".npmrc", ".yarnrc", ".yarnrc.yml", ".pnpmfile.cjs", "pnpm-workspace.yaml"),
        *("pnpm-lock.yaml", "yarn.lock", "bun.lock", "bun.lockb", "npm-shrinkwrap.json"),
        "binding.gyp",
    }
)
#: A version, a range or a tag of a registry; no path, address, alias or file.
_PLAIN = re.compile(
    r"(?!\.)[\w.+~^<>=|*\s-]*(?<!\.tgz)(?<!\.tar)(?<!\.tar\.gz)", re.ASCII | re.IGNORECASE
)
_REFERENCE = re.compile(r"\$[\w@./-]+", re.ASCII)  # an override: the version of a dependency
_REGISTRY_TARBALL = "https://"

#: Packages whose install scripts look at nothing but their own directory, and their own kind.
_SELF_CONTAINED = frozenset(
    {
        *("esbuild", "core-js", "core-js-pure", "es5-ext", "protobufjs", "sharp", "bcrypt"),
        *("better-sqlite3", "bufferutil", "utf-8-validate", "unrs-resolver", "workerd"),
        *("@swc/core", "@parcel/watcher", "@tailwindcss/oxide", "@biomejs/biome"),
    }
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """The texts of package.json, cut down to what counts, and of its lock file, if there is one."""

    files: Mapping[str, str]

    def key(self, platform: str) -> str:
        """Return a name for what comes of it; `platform` names who installs, and for which."""
        parts = [str(FORMAT), platform]
        parts += (part for path in sorted(self.files) for part in (path, self.files[path]))
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def read_recipe(files: Mapping[str, str]) -> Recipe | None:
    """Return the recipe of a project's files; None where an install depends on more than that."""
    if _SETTINGS & files.keys() or any(path.startswith("node_modules/") for path in files):
        return None
    try:
        manifest = json.loads(files.get("package.json", "").removeprefix("\ufeff"))
        lock = files.get("package-lock.json")
        if not _is_plain_manifest(manifest) or (lock is not None and not _is_plain_lock(lock)):
            return None
        counted = {name: value for name, value in manifest.items() if name not in _INERT}
        text = json.dumps(counted | {"private": True}, sort_keys=True)
    except (ValueError, RecursionError):
        return None
    return Recipe({"package.json": text} | ({"package-lock.json": lock} if lock else {}))


def are_self_contained(packages: str) -> bool:
    """Say whether the install scripts of these packages, a name a line, depend on nothing else."""
    return set(packages.split()) <= _SELF_CONTAINED


def _is_plain_manifest(manifest: object) -> bool:
    if not isinstance(manifest, dict) or "workspaces" in manifest:
        return False
    scripts = manifest.get("scripts", {})
    if not isinstance(scripts, dict) or _LIFECYCLE & scripts.keys():
        return False
    sections = [manifest.get(name, {}) for name in _SECTIONS]
    if not any(sections) or not all(isinstance(section, dict) for section in sections):
        return False
    specs = [spec for section in sections for spec in section.values()]
    overrides = list(_leaves(manifest.get("overrides", {})))
    return all(map(_is_plain, specs)) and all(
        _is_plain(spec) or _REFERENCE.fullmatch(str(spec)) for spec in overrides
    )


def _is_plain(spec: object) -> bool:
    return isinstance(spec, str) and _PLAIN.fullmatch(spec) is not None


def _leaves(value: Any) -> Iterator[object]:
    if isinstance(value, dict):
        for member in value.values():
            yield from _leaves(member)
    else:
        yield value


def _is_plain_lock(text: str) -> bool:
    """Say whether a lock file names packages of registries alone."""
    lock = json.loads(text)
    packages = lock.get("packages") if isinstance(lock, dict) else None
    if not isinstance(packages, dict):  # as npm 6 wrote it
        return False
    return all(
        path == "" or (path.startswith("node_modules/") and _is_from_registry(package))
        for path, package in packages.items()
    )


def _is_from_registry(package: object) -> bool:
    if not isinstance(package, dict) or package.get("link"):
        return False
    return str(package.get("resolved", _REGISTRY_TARBALL)).startswith(_REGISTRY_TARBALL)
