"""`scripts/bench`: run the cases, print their figures, write them as JSON."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import signal
import sys
from pathlib import Path

import orjson

from tests.benchmarks.cases import CASES
from tests.benchmarks.failure import BenchmarkFailed
from tests.benchmarks.figures import Figure, Summary, summarise, table
from tests.benchmarks.machine import describe_machine, in_words
from tests.benchmarks.options import QUICK, Options

CASE_SECONDS = 300.0  # the longest that one case may take
MAX_STREAM_SECONDS = 60


def main() -> int:
    """Return 0, or 1 when a case failed: then what was measured before it is still shown."""
    arguments = _parse()
    options = _options(arguments)
    machine = describe_machine()
    print(in_words(machine), flush=True)
    figures: list[Figure] = []
    try:
        asyncio.run(_run(arguments.cases or list(CASES), arguments.runs, options, figures))
        status = 0
    except BenchmarkFailed as error:
        print(f"Failed: {error}", file=sys.stderr)
        status = 1
    except (asyncio.CancelledError, KeyboardInterrupt):
        print("Stopped.", file=sys.stderr)
        status = 130
    summaries = summarise(figures)
    print(table(summaries))
    if arguments.json is not None and status == 0:
        _write_json(arguments.json, {**machine, "runs": arguments.runs}, summaries)
    return status


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measure the service on this machine."
    )
    parser.add_argument(
        "cases", nargs="*", metavar="case", help=f"any of {', '.join(CASES)}; default: all"
    )
    parser.add_argument("--runs", type=_count, default=3, help="how often each case is run (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument(
        "--projects",
        type=_count,
        nargs="+",
        help="how many projects stream at once (1 10 50)",
    )
    parser.add_argument(
        "--seconds", type=_count, help=f"how long they stream ({Options().stream_seconds})"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="few and short: shows that the cases work, not how fast the service is",
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    if arguments.seconds is not None and arguments.seconds > MAX_STREAM_SECONDS:
        parser.error(f"--seconds is at most {MAX_STREAM_SECONDS}")
    return arguments


def _options(arguments: argparse.Namespace) -> Options:
    options = QUICK if arguments.quick else Options()
    if arguments.projects is not None:
        options = dataclasses.replace(options, stream_projects=tuple(arguments.projects))
    if arguments.seconds is not None:
        options = dataclasses.replace(options, stream_seconds=arguments.seconds)
    return options


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


async def _run(cases: list[str], runs: int, options: Options, figures: list[Figure]) -> None:
    """Append the figures of every run; SIGTERM ends it in order, as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    for run in range(1, runs + 1):
        for name in cases:
            print(f"run {run} of {runs}: {name} ...", file=sys.stderr, flush=True)
            try:
                async with asyncio.timeout(CASE_SECONDS) as deadline:
                    figures += await CASES[name].measure(options)
            except TimeoutError as error:
                if not deadline.expired():
                    raise BenchmarkFailed(f"{name}: the service hangs") from error
                raise BenchmarkFailed(f"{name} took more than {CASE_SECONDS:.0f} s") from None


def _write_json(path: Path, machine: dict[str, object], summaries: list[Summary]) -> None:
    document = {"machine": machine, "figures": [summary.as_json() for summary in summaries]}
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
