"""What a package manager may ask a registry for while it installs. Pure.

Two kinds of things: what is known of a package (its "packument"), whole or cut down to what an
install needs, and tarballs, which never change. Anything else is left to the registry itself.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

MAX_NAME_CHARS = 214  # npm's own limit
MAX_FILE_CHARS = 300
FULL = "application/json"
ABBREVIATED = "application/vnd.npm.install-v1+json"

_WORD = r"[A-Za-z0-9~_-][A-Za-z0-9._~-]*"
_NAME = rf"(?P<name>(?:@{_WORD}(?:/|%2[fF]))?{_WORD})"
_FILE = r"(?P<file>[A-Za-z0-9~_-][A-Za-z0-9._~+-]*\.tgz)"
_PACKUMENT = re.compile(rf"/{_NAME}")
_TARBALL = re.compile(rf"/{_NAME}/-/{_FILE}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Something of a registry: the path there, and in which form; a tarball never changes."""

    path: str
    accept: str
    is_tarball: bool

    def file_name(self, registry_url: str) -> str:
        """Return the name under which it is stored; nothing of a request is in it as it came."""
        whole = "\0".join((registry_url, self.path, self.accept))
        return hashlib.sha256(whole.encode()).hexdigest()


def read_wanted(path: str, accept: str) -> Wanted | None:
    """Read a request's path, as it came, and its Accept header; None for anything else."""
    if (found := _TARBALL.fullmatch(path)) and len(found["file"]) <= MAX_FILE_CHARS:
        name = _plain(found["name"])
        wanted = Wanted(path=f"/{name}/-/{found['file']}", accept="*/*", is_tarball=True)
    elif found := _PACKUMENT.fullmatch(path):
        name = _plain(found["name"])
        form = ABBREVIATED if ABBREVIATED in accept else FULL
        wanted = Wanted(path=f"/{name.replace('/', '%2f')}", accept=form, is_tarball=False)
    else:
        return None
    return wanted if len(name) <= MAX_NAME_CHARS else None


def _plain(name: str) -> str:
    return name.replace("%2F", "/").replace("%2f", "/")
