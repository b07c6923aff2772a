"""parser: how fast an answer of a model is read, in this process alone.

An answer of files is fed in chunks of one size, as text, to one parser: lines of 80 columns, or
files of a single line each. MB are millions of characters, all of them ASCII. Where the time grows
with the size of the answer, and not faster, the figures of all sizes are alike.
"""

from __future__ import annotations

import time

from actors.generation.scof import FileClosed, ScofParser
from tests.benchmarks.failure import BenchmarkFailed
from tests.benchmarks.figures import Figure
from tests.benchmarks.options import Options

FILE_CHARS = 1_000_000  # below the limit of a line
LINE = 'export const value = compute(state.items, "a text of some length", options); //\n'
TOKEN_CHARS = 4
CHUNKS = {"1 character": 1, "a token": TOKEN_CHARS, "4 KB": 4096}

#: The text of one file, by what it is like.
BODIES = {
    "80 columns": LINE * (FILE_CHARS // len(LINE)),
    "one line": LINE.rstrip("\n") * (FILE_CHARS // len(LINE)) + "\n",
}


async def measure(options: Options) -> list[Figure]:
    figures: list[Figure] = []
    for shape, body in BODIES.items():
        for chunk, chars in CHUNKS.items():
            for megabytes in options.parsed_megabytes:
                seconds, chunks = _parse(body, megabytes, chars)
                size = f"{shape}, chunks of {chunk}, {megabytes} MB"
                figures.append(Figure("parser", size, megabytes / seconds, "MB/s"))
            if chars <= TOKEN_CHARS:
                name = f"{shape}, each chunk of {chunk}"
                figures.append(Figure("parser", name, seconds / chunks * 1e6, "us"))
    return figures


def _parse(body: str, files: int, chunk_chars: int) -> tuple[float, int]:
    """Read an answer of so many files; return the seconds and the number of chunks."""
    answer = "".join(f"cat > src/{n}.js << 'EOF'\n{body}EOF\n" for n in range(files))
    chunks = [answer[at : at + chunk_chars] for at in range(0, len(answer), chunk_chars)]
    parser, events = ScofParser(), []
    began = time.perf_counter()
    for chunk in chunks:
        events += parser.feed(chunk)
    events += parser.close()
    seconds = time.perf_counter() - began
    if [e.content for e in events if isinstance(e, FileClosed)] != [body] * files:
        raise BenchmarkFailed("the parser has not given back what it was fed")
    return seconds, len(chunks)
