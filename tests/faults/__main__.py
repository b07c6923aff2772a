"""`scripts/faults`: rounds of faults until so many were injected, or one broke the contract."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.faults.round import Outcome, RoundFailed, play
from tests.faults.schedule import plan_round
from tests.support.docker import running_engine

ROUND_FAULTS = 20
MAX_SEED = 1_000_000
INTERRUPTED = 130


def main() -> int:
    """Return 0 where every round kept the contract, 1 after the first that did not."""
    arguments = _parse()
    seed = random.randrange(MAX_SEED) if arguments.seed is None else arguments.seed
    print(f"{arguments.count} faults, seed {seed}", flush=True)
    try:
        with _engine_environment(is_wanted=arguments.docker) as environment:
            asyncio.run(_run(arguments.count, seed, environment))
    except RoundFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    except (asyncio.CancelledError, KeyboardInterrupt):
        print("Stopped; everything that was started has ended.", file=sys.stderr)
        return INTERRUPTED
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/faults",
        description="Kill and stop the parts of a working service at random, and check after each "
        f"round of {ROUND_FAULTS} faults that nothing was lost, doubled or left over.",
    )
    parser.add_argument("--count", type=_count, default=60, help="how many faults (60)")
    parser.add_argument(
        "--seed",
        type=int,
        help="what decides on everything, so that a round can be played again [a random one]",
    )
    parser.add_argument(
        "--docker", action="store_true", help="with sandboxes in containers, on an engine of ours"
    )
    return parser.parse_args()


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


@contextlib.contextmanager
def _engine_environment(*, is_wanted: bool) -> Iterator[Mapping[str, str] | None]:
    if not is_wanted:
        yield None
        return
    with running_engine() as engine:
        yield engine.environment


async def _run(count: int, seed: int, engine: Mapping[str, str] | None) -> None:
    """Play the rounds; the seeds of a run's rounds follow one another."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    outcomes: list[Outcome] = []
    left = count
    while left > 0:
        plan = plan_round(seed, min(left, ROUND_FAULTS), uses_docker=engine is not None)
        with tempfile.TemporaryDirectory(prefix="codegen-faults-") as directory:
            outcome = await play(plan, Path(directory), engine)
        outcomes.append(outcome)
        print(f"seed {seed}: {outcome}", flush=True)
        left -= outcome.faults
        seed += 1
    print(f"all: {Outcome.together(outcomes)}; the contract held")


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
