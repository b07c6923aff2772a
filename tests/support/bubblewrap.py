"""What sandboxes without containers need of this machine: bubblewrap, node and npm.

Where the machine's own node will not do, as in the image of the tests of Docker, node and npm come
from the npm registry and are kept beside that image.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import psutil
import pytest

from actors.sandbox.namespace import user_of
from actors.settings import Settings
from tests.support.node_image import cache_directory, fetched, host_source, npm_machine

BOUND_SECONDS = 30.0
LOOK_SECONDS = 0.01


def running(project_id: str, state_dir: Path) -> list[psutil.Process]:
    """Return what runs of a project of a service of root's: it has a user of its own."""
    return running_as(user_of(project_id, Settings.read({}, state_dir=str(state_dir))))


def running_as(user_id: int) -> list[psutil.Process]:
    """Return what runs as this user."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.uids().real == user_id and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


async def until_gone(project_id: str, state_dir: Path) -> None:
    """Return when nothing of a project runs."""
    await until_nothing_runs_as(user_of(project_id, Settings.read({}, state_dir=str(state_dir))))


async def until_nothing_runs_as(user_id: int) -> None:
    """Return when nothing runs as this user."""
    async with asyncio.timeout(BOUND_SECONDS):
        while running_as(user_id):  # noqa: ASYNC110  # the kernel tells nobody
            await asyncio.sleep(LOOK_SECONDS)


def open_way(path: Path) -> None:
    """Let every user pass through the directories above: pytest's are its own user's."""
    for parent in path.parents:
        mode = parent.stat().st_mode
        if not mode & 0o001:
            parent.chmod(mode | 0o001)


@pytest.fixture(scope="session")
def node_path() -> str:
    """Return a PATH with bubblewrap and a node that is new enough."""
    if shutil.which("bwrap") is None:
        raise RuntimeError("bwrap is missing; run scripts/test, which installs bubblewrap")
    path = os.environ["PATH"]
    return path if host_source() is not None else f"{_fetched_node() / 'bin'}:{path}"


@pytest.fixture
def bubblewrap(node_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the sandboxes of this process find what they need."""
    monkeypatch.setenv("PATH", node_path)


@pytest.fixture
def bubblewrap_environment(node_path: str) -> dict[str, str]:
    """The variables that make a service run its apps in bubblewrap."""
    return {"CODEGEN_SANDBOX": "bubblewrap", "PATH": node_path}


def _fetched_node() -> Path:
    """Return a directory laid out as an installation of node, made now unless there is one."""
    place = cache_directory() / "node22-npm11"
    if not place.exists():
        with tempfile.TemporaryDirectory(dir=cache_directory()) as scratch:
            draft = Path(scratch, "draft")
            node = fetched(f"node-linux-{npm_machine()}", "22", scratch) / "bin" / "node"
            npm = fetched("npm", "11", scratch)
            (draft / "lib" / "node_modules").mkdir(parents=True)
            (draft / "bin").mkdir()
            node.rename(draft / "bin" / "node")
            npm.rename(draft / "lib" / "node_modules" / "npm")
            for name in ("npm", "npx"):
                link = Path("..", "lib", "node_modules", "npm", "bin", f"{name}-cli.js")
                (draft / "bin" / name).symlink_to(link)
            with contextlib.suppress(OSError):  # another worker was quicker
                draft.rename(place)
    return place
