"""The contract under seeded faults: what CI plays of what `scripts/faults` plays at any length."""

from __future__ import annotations

import asyncio
import contextlib
import os
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
SEEDS = (2, 6, 13)  # of those with plain files
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


@pytest.mark.parametrize("born", [1, 3, 5])
async def test_an_interrupted_run_ends_everything_that_it_started(
    born: int, tmp_path: Path
) -> None:
    """Interrupted as soon as the actor system has so many processes, most of them being born."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults", "--seed", "1", "--count", "20"),
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(WAIT_SECONDS):
        line = await process.stdout.readline()
        await asyncio.to_thread(_wait_for_actors, born, tmp_path)
        process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()
    assert line == b"20 faults, seed 1\n"
    assert process.returncode == 130, errors.decode()
    assert not _services_in(tmp_path)


def _wait_for_actors(count: int, directory: Path) -> None:
    while sum(_is_of_actor_system(process) for process in _services_in(directory)) < count:
        pass


def _services_in(directory: Path) -> list[psutil.Process]:
    """Return the living processes of all services with their state below a directory."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it ended as it was looked at
            state_dir = process.environ().get("CODEGEN_STATE_DIR", "")
            if state_dir.startswith(f"{directory}/") and is_alive(process):
                found.append(process)
    return found


def _is_of_actor_system(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):  # it ended as it was looked at
        return GUARD_MODULE in process.cmdline()
    return False
