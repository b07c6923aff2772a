"""No process of an actor system outlives the one that it depends on, from its birth on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.faults.census import Census, in_words

WAIT_SECONDS = 20.0
ORPHANED_SECONDS = 10.0  # the contract's: after any kill nothing is left for longer
POLL_SECONDS = 0.0005  # a birth takes a few milliseconds
#: A family of three, none of whom is ever told anything; each says its number.
FAMILY = """
import os, signal
from actors.lineage import Lineage

Lineage().begin()
for _ in range(2):
    os.write(1, b"%d\\n" % os.getpid())
    if os.fork():
        signal.pause()
os.write(1, b"%d\\n" % os.getpid())
signal.pause()
"""


@pytest.fixture
def family() -> Iterator[list[psutil.Process]]:
    """Parent, child and grandchild."""
    parent = subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    family = [psutil.Process(int(parent.stdout.readline())) for _ in range(3)]
    try:
        yield family
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()


@pytest.mark.parametrize("killed", [0, 1])
def test_the_end_of_a_process_is_that_of_all_below_it(
    family: list[psutil.Process], killed: int
) -> None:
    family[killed].kill()
    for process in family[killed + 1 :]:
        process.wait(WAIT_SECONDS)
    assert all(process.is_running() for process in family[:killed])


@contextlib.contextmanager
def killed_guard(born: int, state_dir: Path) -> Iterator[Census]:
    """Kill a guard as soon as it has so many descendants: the admin, the logger, ..."""
    census = Census(state_dir)
    (state_dir / "logs").mkdir(parents=True)
    lifeline_reader, lifeline = os.pipe()
    ready, ready_writer = os.pipe()
    guard = subprocess.Popen(
        [sys.executable, "-m", "actors.system", str(lifeline_reader), str(ready_writer)],
        env={**os.environ, "CODEGEN_STATE_DIR": str(state_dir), "CODEGEN_SANDBOX": "static"},
        pass_fds=(lifeline_reader, ready_writer),
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        while len(psutil.Process(guard.pid).children(recursive=True)) < born:
            assert time.monotonic() < deadline, "the guard forks nobody"
            time.sleep(POLL_SECONDS)
        guard.send_signal(signal.SIGKILL)
        guard.wait()
        yield census
    finally:
        guard.kill()
        for process in census.all():
            with contextlib.suppress(psutil.Error):
                process.kill()
        for descriptor in (lifeline_reader, lifeline, ready, ready_writer):
            os.close(descriptor)


def test_a_guard_that_is_killed_while_it_starts_leaves_nobody(tmp_path: Path) -> None:
    """Three of them, one after the other; then they wait for the same deadline."""
    with contextlib.ExitStack() as stack:
        censuses = [stack.enter_context(killed_guard(n, tmp_path / f"{n}")) for n in (2, 3, 4)]
        deadline = time.monotonic() + ORPHANED_SECONDS
        while (left := [p for census in censuses for p in census.all()]) and (
            time.monotonic() < deadline
        ):
            time.sleep(0.05)
        assert not left, [in_words(process) for process in left]
