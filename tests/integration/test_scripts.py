"""The scripts, run as after a fresh clone: `sh`, Python, nothing else.

One real set-up (the packages come from the configured registry) serves all tests of this module.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ("serve", "test", "check")
PARTS = ("actors", "gateway", "scripts", "setup.cfg", "pyproject.toml")
#: What the scripts use of a Debian without anything installed.
TOOLS = ("cat", "flock", "id", "readlink", "rm", "sha256sum")


End = tuple[int, str, str]  # exit status, stdout, stderr
Starts = tuple[Path, list[End]]


def environment(path: str) -> dict[str, str]:
    """A bare environment; what pip needs to reach its registry is kept."""
    kept = {k: v for k, v in os.environ.items() if k.startswith("PIP_") or k == "HOME"}
    return {**kept, "PATH": path}


def python_directory(tmp_path: Path, body: str = "") -> Path:
    """A directory with a `python3` that is this one, run after the shell commands of `body`."""
    directory = tmp_path / "python"
    directory.mkdir(exist_ok=True)
    base = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    python = directory / "python3"
    python.write_text(f'#!/bin/sh\n{body}\nexec "{base}" "$@"\n')
    python.chmod(0o755)
    return directory


def start(checkout: Path, path: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [shutil.which("sh") or "/bin/sh", str(checkout / "scripts" / "serve"), "--help"],
        cwd="/",
        env=environment(path),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> End:
    output, errors = process.communicate(timeout=100)
    return process.returncode, output, errors


def copy_checkout(directory: Path) -> Path:
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, directory / part, ignore=ignored)
        else:
            directory.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, directory / part)
    return directory


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"{python_directory(tmp_path_factory.mktemp('bin'))}:/usr/bin:/bin"


@pytest.fixture(scope="module")
def first_starts(tmp_path_factory: pytest.TempPathFactory, path: str) -> Starts:
    """A checkout in a directory with a space, started twice at once for the first time."""
    checkout = copy_checkout(tmp_path_factory.mktemp("home") / "my checkout")
    processes = [start(checkout, path), start(checkout, path)]
    return checkout, [end(process) for process in processes]


@pytest.mark.parametrize("name", [*SCRIPTS, "bench", "faults", "lib.sh"])
def test_the_scripts_are_plain_sh(name: str) -> None:
    shell = shutil.which("dash") or "sh"
    subprocess.run([shell, "-n", str(ROOT / "scripts" / name)], check=True)


def test_the_first_start_sets_everything_up_even_twice_at_once(
    first_starts: Starts,
) -> None:
    _, ends = first_starts
    assert [status for status, _, _ in ends] == [0, 0], ends
    assert all(output.startswith("usage: codegen serve") for _, output, _ in ends)
    assert sum("Making .venv" in errors for _, _, errors in ends) == 1


def test_a_second_start_sets_nothing_up(first_starts: Starts, path: str) -> None:
    status, output, errors = end(start(first_starts[0], path))
    assert (status, errors) == (0, "")
    assert output.startswith("usage: codegen serve")


def test_an_interrupted_set_up_is_done_again_and_keeps_the_venv(
    first_starts: Starts, path: str
) -> None:
    checkout, _ = first_starts
    (checkout / ".venv" / ".ready-base").unlink()
    status, _, errors = end(start(checkout, path))
    assert status == 0
    assert "Installing the packages" in errors
    assert "Making .venv" not in errors


def test_changed_requirements_are_installed(first_starts: Starts, path: str) -> None:
    checkout, _ = first_starts
    with (checkout / "setup.cfg").open("a") as file:
        file.write("\n# changed\n")
    assert "Installing the packages" in end(start(checkout, path))[2]
    assert end(start(checkout, path))[2] == ""


def test_a_moved_checkout_gets_a_venv_of_its_new_place(
    first_starts: Starts, path: str, tmp_path: Path
) -> None:
    checkout, _ = first_starts
    moved = Path(shutil.copytree(checkout, tmp_path / "moved", symlinks=True))
    status, output, errors = end(start(moved, path))
    assert status == 0, errors
    assert "Making .venv" in errors
    assert output.startswith("usage: codegen serve")


def tools_only(tmp_path: Path) -> Path:
    """A directory with what every Debian has, and no apt-get."""
    directory = tmp_path / "tools"
    directory.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found is not None
        (directory / name).symlink_to(found)
    return directory


def test_without_the_venv_module_the_one_command_to_run_is_told(tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    python = python_directory(tmp_path, 'case "$*" in *ensurepip*) exit 1 ;; esac')
    status, output, errors = end(start(checkout, f"{python}:{tools_only(tmp_path)}"))
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    assert (status, output) == (1, "")
    assert f"apt-get update && apt-get install -y {package}" in errors
    assert not (checkout / ".venv").exists()


def test_without_python_the_package_to_install_is_told(tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    status, output, errors = end(start(checkout, str(tools_only(tmp_path))))
    assert (status, output) == (1, "")
    assert "Python 3.11 or newer is needed" in errors
