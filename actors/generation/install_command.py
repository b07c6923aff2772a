"""A line such as `npm install zod` in a model's answer: an argument vector, or a refusal. No I/O.

The line is text of a model and is never given to a shell. Whichever manager it names, the vector
is npm's, `npm install [--save-dev] PACKAGE...`: the sandbox's image has npm, and the packages are
added to package.json (`package_json.py`), from where the ordinary install step takes them.
"""

from __future__ import annotations

import re
import shlex

MAX_COMMAND_CHARS = 4_096
MAX_PACKAGES = 50  # of one command
MAX_NAME_CHARS = 214  # npm's own limit, the scope included
MAX_VERSION_CHARS = 64

_MANAGERS = ("npm", "pnpm", "yarn", "bun")
_VERBS = ("install", "i", "add")
_DEV_FLAGS = ("-D", "--save-dev", "--dev")
#: Say what is done anyway: it is saved as a dependency, with exactly the version that is given.
_PLAIN_FLAGS = ("-S", "--save", "-P", "--save-prod", "-E", "--save-exact", "--exact")

# docs.npmjs.com/cli/configuring-npm/package-json#name, for new packages: no capitals
_NAME = re.compile(r"(?:@[a-z0-9][a-z0-9._~-]*/)?[a-z0-9][a-z0-9._~-]*")
_RESERVED = ("node_modules", "favicon.ico")
# github.com/npm/node-semver#ranges; without `:` and `/` there is no URL, path or alias
_NUMBER = r"(?:\d{1,16}|[xX*])"
_PARTIAL = rf"v?{_NUMBER}(?:\.{_NUMBER}){{0,2}}(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?"
_COMPARATOR = rf"(?:(?:[<>]=?|[=^~]) ?)?{_PARTIAL}"
_RANGE = re.compile(rf"{_COMPARATOR}(?:(?: - | ?\|\| ?| ){_COMPARATOR})*")
_TAG = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")


class InstallRefused(Exception):
    """The command is not carried out; `str` says why, in a few words."""


def argument_vector(line: str) -> tuple[str, ...] | None:
    """Return what npm is asked for, or None where the install step does it anyway: no packages.

    A package is `name`, `name@range` or `name@tag`, each once. Raises InstallRefused.
    """
    words = _words(line)
    if not words or words[0] not in _MANAGERS:
        raise InstallRefused(f"it does not begin with {', '.join(_MANAGERS)}")
    if len(words) < 2 or words[1] not in _VERBS:
        raise InstallRefused("only install and add are carried out")
    packages: dict[str, None] = {}
    is_dev = False
    for word in words[2:]:
        if word in _DEV_FLAGS:
            is_dev = True
        elif word not in _PLAIN_FLAGS:
            _check_package(word)
            packages[word] = None
    if len(packages) > MAX_PACKAGES:
        raise InstallRefused(f"it names more than {MAX_PACKAGES} packages")
    if not packages:
        return None
    return ("npm", "install", *(("--save-dev",) if is_dev else ()), *packages)


def packages_of(vector: tuple[str, ...]) -> tuple[str, ...]:
    """Return the packages of what `argument_vector` returned."""
    return tuple(word for word in vector[2:] if word != "--save-dev")


def is_dev(vector: tuple[str, ...]) -> bool:
    """Say whether they are needed for development only."""
    return "--save-dev" in vector


def split_package(package: str) -> tuple[str, str | None]:
    """Return the name, and the version that is asked for: `@scope/name@^1` -> two of them."""
    name, at, version = package[1:].partition("@")
    return package[0] + name, version if at else None


def _words(line: str) -> list[str]:
    if len(line) > MAX_COMMAND_CHARS:
        raise InstallRefused(f"it is longer than {MAX_COMMAND_CHARS:,} characters")
    line = line.replace("\t", " ")
    if not line.isprintable():
        raise InstallRefused("it holds control characters")
    try:
        return shlex.split(line)
    except ValueError as error:
        raise InstallRefused("a quotation is not closed") from error


def _check_package(word: str) -> None:
    if word.startswith("-"):
        raise InstallRefused(f"the flag {_shown(word)} is not allowed")
    name, version = split_package(word) if word else ("", None)
    if len(name) > MAX_NAME_CHARS or not _NAME.fullmatch(name) or name in _RESERVED:
        raise InstallRefused(f"{_shown(word)} does not name a package of the registry")
    if version is None:
        return
    is_known = len(version) <= MAX_VERSION_CHARS and (
        _RANGE.fullmatch(version) or _TAG.fullmatch(version)
    )
    if not is_known:
        raise InstallRefused(f"{_shown(word)} does not name a version of the registry")


def _shown(word: str) -> str:
    return repr(word if len(word) <= 80 else word[:80] + "...")
