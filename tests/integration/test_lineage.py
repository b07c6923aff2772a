"""Every process that is forked below a supervisor ends with the one that forked it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

WAIT_SECONDS = 20.0
#: A family of three, none of whom is ever told anything; each says its number.
FAMILY = """
import os, signal
from actors.actor import Lineage

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
