"""What a sandbox holds of a project, as it is noted in the sandbox itself. Pure.

The note goes where the sandbox goes: one that was made anew has none, and an actor that wakes in
another process reads there what needs not be written, installed or checked again. The code in the
sandbox could forge it, and would fool nobody but itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import orjson

from actors.paths import is_safe_path
from actors.sandbox.base import TakeOver

DIGEST_BYTES = 12

#: Files that decide what `install_dependencies` does.
MANIFESTS = (
    "package.json",
    "package-lock.json",
    "pnpm-lock.yaml",
    "yarn.lock",
    "bun.lock",
    ".npmrc",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The files that are there (path -> digest), nothing else of the project being there.

    `installed` is the digest of the manifests that were installed last, `checked` that of the
    files that passed their check; None where an attempt did not end well. `is_good` says that the
    app has answered with these very files, and `failed` is the digest of those that were tried
    since and did not do.
    """

    files: Mapping[str, str]
    installed: str | None = None
    checked: str | None = None
    is_good: bool = False
    failed: str | None = None

    def dump(self) -> str:
        return orjson.dumps(asdict(self)).decode()

    @classmethod
    def parse(cls, note: str) -> Inventory | None:
        """Read what `dump` has written; None for anything else."""
        try:
            match orjson.loads(note):
                case {
                    "files": dict() as files,
                    "installed": str() | None as installed,
                    "checked": str() | None as checked,
                    "is_good": bool() as is_good,
                    "failed": str() | None as failed,
                } if all(map(is_safe_path, files)):
                    return cls(
                        files=files,
                        installed=installed,
                        checked=checked,
                        is_good=is_good,
                        failed=failed,
                    )
        except orjson.JSONDecodeError:
            pass
        return None


def file_digests(files: Mapping[str, str]) -> dict[str, str]:
    """Return each file's digest by its path."""
    return {path: _digest(text) for path, text in files.items()}


def changed_files(
    files: Mapping[str, str], digests: Mapping[str, str], held: Inventory
) -> dict[str, str]:
    """Return those of the files that are not held with this digest."""
    return {path: files[path] for path in files if held.files.get(path) != digests[path]}


def take_over_order(
    former: Inventory, draft: Inventory, *, builds: bool, dependencies: bool
) -> TakeOver:
    """Return what makes of an app's folder, which is as `former` says, what the draft is."""
    return TakeOver(
        changed=[path for path in draft.files if draft.files[path] != former.files.get(path)],
        gone=sorted(former.files.keys() - draft.files.keys()),
        own=sorted(former.files.keys() | draft.files.keys()),
        builds=builds,
        dependencies=dependencies,
        note=former.dump(),
    )


def manifest_digest(files: Mapping[str, str]) -> str:
    """Return a digest of all manifests among the files."""
    return content_digest({name: files[name] for name in MANIFESTS if name in files})


def content_digest(files: Mapping[str, str]) -> str:
    """Return one digest of all these files, by their paths and texts."""
    return _digest("".join(f"{path}\0{_digest(files[path])}\0" for path in sorted(files)))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()
