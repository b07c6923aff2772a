"""The programs of this machine that sandboxes without containers run: bubblewrap, node, npm."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from actors.sandbox.namespace import HOST_PATH, PROGRAMS, PROGRAMS_OF_ROOT, TOOLS_DIR

OLDEST_NODE = 20  # major version; what Vite 7 asks for
ASK_SECONDS = 5.0
_ELF = b"\x7fELF"


class ToolMissing(Exception):
    """A program is not there or does not run; the text says so as a part of a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTools:
    """Where bubblewrap is, and what is to be bound inside: a place there -> a path of the host.

    `version` differs wherever node or npm do.
    """

    bwrap: str
    binds: Mapping[str, str]
    version: str


async def find_tools() -> HostTools:
    """Look for all programs that a sandbox needs; ToolMissing says which there is not."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise ToolMissing(
            "bubblewrap is not installed (Debian and Ubuntu: `apt-get install bubblewrap`)"
        )
    for program in PROGRAMS + (PROGRAMS_OF_ROOT if os.getuid() == 0 else ()):
        if shutil.which(program, path=HOST_PATH) is None:
            raise ToolMissing(f"the program `{program}` is missing")
    binds, version = await _find_node()
    return HostTools(bwrap=bwrap, binds=binds, version=version)


async def _find_node() -> tuple[dict[str, str], str]:
    """Return what is to be bound for node and npm, and what tells them from others."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        missing = "node" if node is None else "npm"
        raise ToolMissing(
            f"`{missing}` is not on the PATH (Debian and Ubuntu: `apt-get install nodejs npm`)"
        )
    real = _real(node)
    if not _is_binary(real):  # a version manager's: it knows the real one
        real = _real(await _ask(node, "-p", "process.execPath"))
    binds = {}
    if not _is_systems(real):
        binds[f"{TOOLS_DIR}/bin/node"] = str(real)
    package = _npm_package(_real(npm), real)
    if not _is_systems(package):
        binds[f"{TOOLS_DIR}/lib/node_modules/npm"] = str(package)
    return binds, " ".join(_stamp(path) for path in (real, package / "package.json"))


def _stamp(path: Path) -> str:
    found = path.stat()
    return f"{path}:{found.st_size}:{found.st_mtime_ns}"


def _npm_package(npm: Path, node: Path) -> Path:
    """Return npm's directory: the one that its command leads to, else the one beside node."""
    for package in (
        npm.parent.parent,
        node.parent.parent / "lib" / "node_modules" / "npm",
    ):
        if (package / "bin" / "npm-cli.js").is_file():
            return package.resolve()
    raise ToolMissing(f"{npm} leads to no npm that could be shown to a sandbox")


def _real(path: str) -> Path:
    return Path(path).resolve()


def _is_systems(path: Path) -> bool:
    return path.is_relative_to("/usr")


def _is_binary(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_ELF)) == _ELF and path.name.startswith("node")
    except OSError:
        return False


async def _ask(*command: str) -> str:
    """Return what a program of the host prints; ToolMissing where it fails."""
    try:
        async with asyncio.timeout(ASK_SECONDS):
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                output, _ = await process.communicate()
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
    except (OSError, TimeoutError) as error:
        raise ToolMissing(f"{command[0]} does not run ({error})") from error
    if process.returncode != 0:
        raise ToolMissing(f"{command[0]} does not run (exit code {process.returncode})")
    return output.decode(errors="replace").strip()
