"""Where the apps of projects are found: a host name for each, so that each is an origin of its own.

A host label holds 1 to 63 of a-z, 0-9 and `-`, and neither begins nor ends with `-`; a project's id
has 1 to 64 of A-Z, a-z, 0-9, `_` and `-`. An id that is a label is its own slug; the slug of any
other is what is left of it, and a digest. No id that looks like the latter is its own slug, so no
two ids share one, short of two equal digests of 80 bits.
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import urlsplit

DIGEST_CHARS = 20  # of SHA-256 in hexadecimal
MAX_LABEL_CHARS = 63
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_WITH_DIGEST = re.compile(rf"(?:.*-)?p([0-9a-f]{{{DIGEST_CHARS}}})")
_RESERVED = re.compile(r"..--.*|" + _WITH_DIGEST.pattern)  # RFC 5891, 4.2.3.1: xn-- and the like


def slug_of(project_id: str) -> str:
    """Return a project's host label."""
    if _LABEL.fullmatch(project_id) and not _RESERVED.fullmatch(project_id):
        return project_id
    digest = f"p{id_digest(project_id)}"
    kept = re.sub(r"[^a-z0-9]+", "-", project_id.lower()).strip("-")
    kept = kept[: MAX_LABEL_CHARS - len(digest) - 1].rstrip("-")
    return f"{kept}-{digest}" if kept else digest


def id_digest(project_id: str) -> str:
    """Return the digest in the slug of an id; `Reader.project_of_digest` computes the same."""
    return hashlib.sha256(project_id.encode()).hexdigest()[:DIGEST_CHARS]


def digest_in(slug: str) -> str | None:
    """Return the digest of a slug that has one; any other slug is the project's id."""
    found = _WITH_DIGEST.fullmatch(slug)
    return found[1] if found else None


def preview_url(base: str, project_id: str) -> str:
    """Return where a project's app is found as long as there is the project.

    `base` is `Settings.preview_base`: `http://localhost:8080` makes `http://SLUG.localhost:8080/`.
    """
    parts = urlsplit(base)
    return f"{parts.scheme}://{slug_of(project_id)}.{parts.netloc}/"
