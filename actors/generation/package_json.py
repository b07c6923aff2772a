"""What a project's package.json says and is to say. No I/O.

Packages that a phase asked for become dependencies in its text. Files are the truth from which a
sandbox is built, so that this, other than an `npm install` in the sandbox, can be lost by no
crash, takes no time, and works with whatever manager installs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from actors import events as ev
from actors.events import Event
from actors.generation.install_command import is_dev, packages_of, split_package
from actors.paths import clashing_path

PATH = "package.json"
NEW = '{\n  "private": true\n}\n'  # where there is none, as npm would make one
ANY_VERSION = "latest"

#: Scripts that tell whether the app builds, the first that there is. A type check is quicker than
#: a build and says where; a build finds what a dev server shows only to whoever opens that page.
CHECKS = ("typecheck", "type-check", "build")

_SECTIONS = ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies")
_INDENT = re.compile(r'\s*\{\s*\n([ \t]*)"')
_SURROGATE = re.compile("[\ud800-\udfff]")


class ManifestUnusable(Exception):
    """The text is no package.json to which packages can be added; `str` says why."""


def with_installs(files: dict[str, str], vectors: Sequence[tuple[str, ...]]) -> list[Event]:
    """Add the packages of these argument vectors to package.json among the files; tell of it.

    Where there is none it is made, as npm does it; where it cannot be used, it is left alone.
    """
    if not vectors:
        return []
    former = files.get(PATH)
    try:
        if clashing_path(PATH, files):
            raise ManifestUnusable("is a directory")
        text = with_packages(NEW if former is None else former, vectors)
    except ManifestUnusable as error:
        names = " ".join(package for vector in vectors for package in packages_of(vector))
        return [ev.ModelWarning(kind="install_command", detail=f"{names}: package.json {error}")]
    if text == former:
        return []
    files[PATH] = text
    return [ev.FileStart(path=PATH), ev.FileEnd(path=PATH, content=text)]


def check_script(files: Mapping[str, str]) -> str | None:
    """Return the name of the script that checks these files, if package.json has one."""
    try:
        scripts = _parse(files.get(PATH, "{}")).get("scripts")
    except (ManifestUnusable, RecursionError):
        return None  # the install says so
    known = scripts if isinstance(scripts, dict) else {}
    return next((name for name in CHECKS if str(known.get(name) or "").strip()), None)


def with_packages(text: str, vectors: Sequence[tuple[str, ...]]) -> str:
    """Return package.json's text with the packages of these argument vectors; later ones win.

    A package that is listed already stays in its section, and keeps its version unless another
    one is asked for. Members keep their order and the text its indentation; where nothing
    changes, it is returned as it is. Raises ManifestUnusable.
    """
    try:
        manifest = _parse(text)
        for vector in vectors:
            for package in packages_of(vector):
                _add(manifest, *split_package(package), is_dev=is_dev(vector))
        return text if manifest == _parse(text) else _render(manifest, text)
    except RecursionError as error:
        raise ManifestUnusable("is nested too deeply") from error


def _parse(text: str) -> dict[str, Any]:
    try:
        manifest = json.loads(text.removeprefix("\ufeff"))
    except ValueError as error:
        raise ManifestUnusable("is not JSON") from error
    if not isinstance(manifest, dict):
        raise ManifestUnusable("is not a JSON object")
    for name in _SECTIONS:
        if not isinstance(manifest.get(name, {}), dict):
            raise ManifestUnusable(f"has {name} that are not an object")
    return manifest


def _add(manifest: dict[str, Any], name: str, version: str | None, *, is_dev: bool) -> None:
    usual = "devDependencies" if is_dev else "dependencies"
    listed = [section for section in _SECTIONS if name in manifest.get(section, {})]
    section = manifest.setdefault(listed[0] if listed else usual, {})
    section[name] = version or section.get(name) or ANY_VERSION


def _render(manifest: dict[str, Any], former: str) -> str:
    found = _INDENT.match(former)
    is_one_line = "\n" not in former.strip()
    indent = None if is_one_line else found[1] if found else "  "
    text = json.dumps(manifest, indent=indent, ensure_ascii=False)
    # half a pair, which JSON can hold as an escape, can be stored as nothing else
    text = _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)
    return text + former[len(former.rstrip()) :]
