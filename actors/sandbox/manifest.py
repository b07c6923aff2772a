"""What a project's files ask for: how to install them and how to serve them. Pure.

The facts come from inside the container, where anything may have been written: a `Survey` is
bounded and none of it is trusted.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from actors.errors import ServerFailed
from actors.sandbox.relay import PORT
from actors.sandbox.static_server import STATIC_SERVER

MAX_MANIFEST_BYTES = 262_144
MODULES = "node_modules"
NPM_SETTINGS = ".npmrc"

#: lock file -> (tool, its install command); the first match wins, without one it is npm.
_INSTALLERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "package-lock.json": ("npm", ("npm", "install")),
    "pnpm-lock.yaml": ("pnpm", ("pnpm", "install", "--no-frozen-lockfile")),
    "yarn.lock": ("yarn", ("yarn", "install")),
    "bun.lock": ("bun", ("bun", "install")),
    "bun.lockb": ("bun", ("bun", "install")),
}
_SEEN = (*_INSTALLERS, "index.html", "server.js")

#: Prints the facts that `parse_survey` reads; runs in the project's directory.
SURVEY_SCRIPT = (
    f'for name in {" ".join(_SEEN)}; do [ -f "$name" ] && echo "file $name"; done\n'
    'for name in pnpm yarn bun; do command -v "$name" >/dev/null && echo "tool $name"; done\n'
    f'{{ [ -e {MODULES} ] || [ -L {MODULES} ]; }} && echo "file {MODULES}"\n'
    # npm's own settings: of the project, of the user, of the installation
    "node=$(command -v node)\n"
    f'for name in {NPM_SETTINGS} ~/{NPM_SETTINGS} "${{node%/bin/node}}/etc/npmrc"; do\n'
    f'[ -e "$name" ] && echo "file {NPM_SETTINGS}"; done\n'
    "[ -f package.json ] || exit 0\n"
    "echo manifest\n"
    f"head -c {MAX_MANIFEST_BYTES} package.json\n"
)

_LONG_FLAGS = ("--host", "0.0.0.0", "--port", str(PORT))  # noqa: S104  # inside the container
#: program -> flags that make it listen where the relay connects; others read HOST and PORT.
_SERVER_FLAGS: dict[str, tuple[str, ...]] = {
    "vite": (*_LONG_FLAGS, "--strictPort"),
    "next": ("--hostname", "0.0.0.0", "--port", str(PORT)),  # noqa: S104  # as above
    "astro": _LONG_FLAGS,
    "nuxt": _LONG_FLAGS,
    "nuxi": _LONG_FLAGS,
    "ng": _LONG_FLAGS,
    "parcel": _LONG_FLAGS,
    "webpack": _LONG_FLAGS,
    "webpack-dev-server": _LONG_FLAGS,
    "vue-cli-service": _LONG_FLAGS,
    "http-server": ("-a", "0.0.0.0", "-p", str(PORT)),  # noqa: S104  # as above
    "serve": ("-l", f"tcp://0.0.0.0:{PORT}"),
    "live-server": ("--host=0.0.0.0", f"--port={PORT}", "--no-browser"),
}
#: program -> the subcommands ("" is none) with which it shows changed files to the open page, by
#: itself and with the same process. What serves a build, or starts its process again for a change,
#: is started again by us: then it is known that the app starts with what is new.
_RELOADING: dict[str, tuple[str, ...]] = {
    "vite": ("", "dev", "serve"),
    "next": ("", "dev"),
    "astro": ("", "dev"),
    "nuxt": ("", "dev"),
    "nuxi": ("", "dev"),
    "ng": ("serve",),
    "parcel": ("", "serve", "index.html", "src/index.html"),
    "webpack": ("serve",),
    "webpack-dev-server": ("",),
    "vue-cli-service": ("serve",),
    "react-scripts": ("start",),
    "remix": ("dev", "vite:dev"),
}
_NOT_SERVING = ("build", "watch", "optimize", "generate", "export", "check", "lint", "test")
_PREFIXES = ("npx", "cross-env", "env", "exec", "pnpm", "yarn", "bunx")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")

_STATIC = ("node", "-e", STATIC_SERVER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Which known files and package managers there are, and the text of package.json."""

    files: frozenset[str] = field(default_factory=frozenset)
    tools: frozenset[str] = field(default_factory=frozenset)
    manifest: str | None = None


def parse_survey(output: bytes) -> Survey:
    """Read what `SURVEY_SCRIPT` printed."""
    head, has_manifest, manifest = output.decode(errors="replace").partition("manifest\n")
    facts = [line.partition(" ") for line in head.splitlines()]
    return Survey(
        files=frozenset(name for kind, _, name in facts if kind == "file"),
        tools=frozenset(name for kind, _, name in facts if kind == "tool"),
        manifest=manifest if has_manifest else None,
    )


def install_command(survey: Survey) -> tuple[str, ...] | None:
    """Return the command that installs the dependencies, or None without a package.json.

    A lock file of pnpm, yarn or bun counts only where the image has that tool.
    """
    if survey.manifest is None:
        return None
    for lock_file, (tool, command) in _INSTALLERS.items():
        if lock_file in survey.files and (tool == "npm" or tool in survey.tools):
            return command
    return ("npm", "install")


def dev_command(survey: Survey) -> tuple[str, ...]:
    """Return the command that serves the project on `PORT`.

    The scripts `dev` and `start` come first, then Vite as a dependency, `server.js`, and last the
    folder as it is. Raises ServerFailed where there is nothing to serve.
    """
    if survey.manifest is None:
        if "server.js" in survey.files and "index.html" not in survey.files:
            return ("node", "server.js")
        return _STATIC
    manifest = _parse_manifest(survey.manifest)
    scripts = _mapping(manifest, "scripts")
    for name in ("dev", "start"):
        script = scripts.get(name)
        if isinstance(script, str) and script.strip():
            flags = server_flags(script)
            return ("npm", "run", name, *(("--", *flags) if flags else ()))
    if any("vite" in _mapping(manifest, key) for key in ("dependencies", "devDependencies")):
        return ("node_modules/.bin/vite", *_SERVER_FLAGS["vite"])
    if "server.js" in survey.files:
        return ("node", "server.js")
    if "index.html" in survey.files:
        return _STATIC
    raise ServerFailed(
        "package.json has no `dev` or `start` script and there is no index.html; "
        "ask for one of them and generate again."
    )


def reloads_files(survey: Survey) -> bool:
    """Say whether what `dev_command` returns shows changed files without being started again."""
    command = dev_command(survey)
    if command == _STATIC:
        return True
    if command[:2] == ("npm", "run"):
        scripts = _mapping(_parse_manifest(survey.manifest or ""), "scripts")
        words = _program(_last_command(scripts[command[2]]))
    else:
        words = list(command)
    if not words:
        return False
    subcommand = words[1] if words[1:] and not words[1].startswith("-") else ""
    return subcommand in _RELOADING.get(_name(words[0]), ())


def command_label(command: Sequence[str]) -> str:
    """Return how a command is shown to a user."""
    return "serve the folder" if tuple(command) == _STATIC else " ".join(command)


def server_flags(script: str) -> tuple[str, ...]:
    """Return the flags to append to a package.json script so that it serves on `PORT`.

    They belong to the script's last command, since npm appends them at its end. A program that is
    not known gets none: it is expected to read HOST and PORT.
    """
    words = _program(_last_command(script))
    if not words:
        return ()
    subcommand = next((word for word in words[1:] if not word.startswith("-")), "")
    return () if subcommand in _NOT_SERVING else _SERVER_FLAGS.get(_name(words[0]), ())


def _program(words: list[str]) -> list[str]:
    """Return a command without what only leads to its program."""
    while words and (_ASSIGNMENT.match(words[0]) or words[0] in _PREFIXES or words[0][0] == "-"):
        words = words[1:]
    return words


def _name(program: str) -> str:
    return program.rsplit("/", 1)[-1]


def _last_command(script: str) -> list[str]:
    lexer = shlex.shlex(script, posix=True, punctuation_chars=True)
    words: list[str] = []
    try:
        for word in lexer:
            words = [] if set(word) <= set("&|;()") else [*words, word]
    except ValueError:  # an open quotation: npm's shell will say so
        return []
    return words


def _parse_manifest(text: str) -> Mapping[str, Any]:
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError):
        manifest = None
    if not isinstance(manifest, dict):
        raise ServerFailed("package.json is not a JSON object; ask for it anew.")
    return manifest


def _mapping(manifest: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = manifest.get(key)
    return value if isinstance(value, dict) else {}
