"""The benchmarks work: each case measures, checks what it measured, and writes its figures."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import orjson
import pytest

pytestmark = pytest.mark.usefixtures("unmeasured")

MAX_SECONDS = 100.0
CASES = ("stream", "journal", "revive", "recovery", "storm", "parser", "sandbox")


async def benchmark(*arguments: str) -> None:
    """Run `python -m tests.benchmarks`, once and quickly."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.benchmarks",
        *("--quick", "--runs", "1"),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(MAX_SECONDS):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()  # it then ends what it has started
            await process.wait()
    assert process.returncode == 0, output.decode()


@pytest.mark.parametrize("case", CASES)
async def test_every_byte_of_a_short_run_is_checked_and_its_figures_are_written(
    case: str, tmp_path: Path
) -> None:
    file = tmp_path / "figures.json"
    await benchmark("--json", str(file), case)
    document = orjson.loads(file.read_bytes())
    figures = {(f["figure"], f["unit"]): f for f in document["figures"]}
    assert {f["case"].split()[0] for f in document["figures"]} == {case}
    for (name, _), figure in figures.items():
        assert len(figure["values"]) == 1
        # Processor time is counted in ticks of 10 ms: a short run may take none of PostgreSQL's.
        assert figure["min"] > 0 or name.startswith("CPU"), figure
    assert document["machine"]["cores"] >= 1
    if case == "stream":
        lines = figures["lines checked", "lines"]
        assert lines["values"] == [7.0]  # of 100 tokens, and three without a time
