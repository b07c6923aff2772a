"""`--out DIR`: write a project's files below a directory, and nowhere else."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from actors.paths import is_safe_path
from gateway.client.service import CommandFailed


class OutputDirectory:
    """A directory of one's own that mirrors a project's files.

    Paths come from the model by way of the network: those that `actors.paths` refuses, or that
    leave the directory through a symbolic link, are refused here too. Errors are CommandFailed.
    """

    def __init__(self, directory: str) -> None:
        self.root = Path(directory).expanduser().absolute()
        self.written: set[str] = set()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.root = self.root.resolve(strict=True)
        except OSError as error:
            raise _unwritable(self.root, error) from error

    def write(self, path: str, content: str) -> None:
        """Write one file, whole or not at all; a former one is replaced, a link not followed."""
        target = self._target(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._replace(target, content)
        except OSError as error:
            raise _unwritable(target, error) from error
        self.written.add(path)

    def delete(self, path: str) -> None:
        """Delete one file, if it is there, and the directories that are empty without it."""
        target = self._target(path)
        try:
            target.unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(target, error) from error
        self.written.discard(path)
        with contextlib.suppress(OSError):  # of the first that is not empty
            for directory in list(target.parents)[: path.count("/")]:
                directory.rmdir()

    def _target(self, path: str) -> Path:
        if not is_safe_path(path):
            raise CommandFailed("unsafe_path", f"The path {path!r} would leave {self.root}.")
        target = self.root / path
        try:
            is_inside = target.parent.resolve().is_relative_to(self.root)
        except OSError as error:
            raise _unwritable(target, error) from error
        if not is_inside:
            raise CommandFailed(
                "unsafe_path", f"{target.parent} is a link that leaves {self.root}; remove it."
            )
        return target

    @staticmethod
    def _replace(target: Path, content: str) -> None:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:64]}.", dir=target.parent)
        try:
            with open(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(content)
                os.fchmod(descriptor, 0o666 & ~_umask())
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise


def _umask() -> int:
    """Return the process's umask; POSIX can only be asked by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _unwritable(path: Path, error: OSError) -> CommandFailed:
    return CommandFailed(
        "output_unwritable", f"{path} cannot be written: {error.strerror}; choose another --out."
    )
