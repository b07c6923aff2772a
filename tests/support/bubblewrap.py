"""What sandboxes without containers need of this machine: bubblewrap, node and npm.

Where the machine's own node will not do, as in the image of the tests of Docker, node and npm come
from the npm registry and are kept beside that image.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.support.node_image import cache_directory, fetched, host_source, npm_machine


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
            draft.rename(place)
    return place
