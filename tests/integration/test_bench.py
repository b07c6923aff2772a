"""The benchmarks work: a short stream is measured and checked byte for byte."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import orjson

MAX_SECONDS = 60.0


async def test_a_short_stream_is_delivered_whole_and_its_figures_are_written(
    tmp_path: Path,
) -> None:
    file = tmp_path / "figures.json"
    options = ["--runs", "1", "--projects", "1", "--seconds", "1", "--json", str(file)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.benchmarks",
        "stream",
        *options,
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
    document = orjson.loads(file.read_bytes())
    figures = {(f["figure"], f["unit"]): f["values"] for f in document["figures"]}
    assert figures["lines checked", "lines"] == [7.0]  # of 100 tokens, and three without a time
    assert figures["delivery of a line, p50", "ms"][0] > 0
    assert document["machine"]["cores"] >= 1
