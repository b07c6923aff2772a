"""The contract under seeded faults: what CI plays of what `scripts/faults` plays at any length."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests.faults.census import GUARD_MODULE, is_alive
from tests.faults.round import play
from tests.faults.schedule import DECK, Kind, plan_round
from tests.support.docker import DockerEngine

FAULTS = 20  # of one round
SEEDS = (1, 2, 6)  # of those with plain files
DOCKER_SEED, DOCKER_FAULTS = 14, 8
WAIT_SECONDS = 60.0


@pytest.mark.parametrize("seed", SEEDS)
async def test_nothing_is_lost_doubled_or_left_over(seed: int, tmp_path: Path) -> None:
    outcome = await play(plan_round(seed, FAULTS), tmp_path)
    assert outcome.faults == FAULTS


async def test_nothing_is_lost_doubled_or_left_over_with_containers(
    tmp_path: Path, docker_engine: DockerEngine
) -> None:
    plan = plan_round(DOCKER_SEED, DOCKER_FAULTS, uses_docker=True)
    assert Kind.CONTAINER in {fault.kind for fault in plan.faults}
    outcome = await play(plan, tmp_path, docker_engine.environment)
    assert outcome.faults == DOCKER_FAULTS


def test_the_rounds_kill_and_stop_everything_there_is() -> None:
    faults = [fault for seed in SEEDS for fault in plan_round(seed, FAULTS).faults]
    assert len(faults) >= 60
    assert {(fault.kind, fault.way) for fault in faults} == DECK.keys()


async def test_an_interrupted_run_ends_everything_that_it_started() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults", "--seed", "1", "--count", "20"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(WAIT_SECONDS):
        line = await process.stdout.readline()
        started = await asyncio.to_thread(_service_below, process.pid)
        process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()
    assert line == b"20 faults, seed 1\n"
    assert process.returncode == 130, errors.decode()
    assert not [process for process in started if is_alive(process)]


def _service_below(pid: int) -> list[psutil.Process]:
    """Wait until a service with actors runs; return its processes."""
    while True:
        below = psutil.Process(pid).children(recursive=True)
        if sum(_is_of_actor_system(process) for process in below) > 3:
            return below


def _is_of_actor_system(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):  # it ended as it was looked at
        return GUARD_MODULE in process.cmdline()
    return False
