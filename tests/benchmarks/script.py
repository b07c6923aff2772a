"""What the model is to do, written into the model id: so the model needs no memory of its own.

The file that it writes proves itself. All lines but the last are LINE_CHARS long:

    g-7 183000                               the script's key, the model's own time so far in ns
    00004d2a8c1f3 000001 9c1185a5c5e9fc5461  when the line before was sent, line number, noise
    ...
    sha256 ...                               of everything above

The time of a line is that of its last token: just before it is sent, on the clock that all
processes of the machine share. It is therefore in the line that follows.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from tests.benchmarks.failure import BenchmarkFailed

TOKEN_CHARS = 4
LINE_TOKENS = 10
LINE_CHARS = TOKEN_CHARS * LINE_TOKENS
FOOTER_CHARS = 2 * LINE_CHARS
FRAME_LINES = 3  # the header, and the footer, which is as long as two lines
PATH = "index.html"
NOISE_CHARS = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One generation: one phase, one file of `tokens` tokens at `rate` tokens/s, 0 = at once.

    The streams of `together` scripts of one group begin at the same time, when all were asked for.
    """

    group: str
    number: int = 0
    tokens: int = 4 * LINE_TOKENS
    rate: int = 0
    together: int = 1

    @property
    def model(self) -> str:
        """The model id that asks for this."""
        return f"paced/{self.group}/{self.number}/{self.tokens}/{self.rate}/{self.together}"

    @classmethod
    def parse(cls, model: str) -> Script:
        _, group, number, tokens, rate, together = model.split("/")
        return cls(
            group=group,
            number=int(number),
            tokens=int(tokens),
            rate=int(rate),
            together=int(together),
        )

    @property
    def key(self) -> str:
        return f"{self.group}-{self.number}"

    @property
    def numbered_lines(self) -> int:
        return self.tokens // LINE_TOKENS - FRAME_LINES

    # --- writing ---------------------------------------------------------------------------------

    def header(self, own_ns: int) -> str:
        return _padded(f"{self.key} {own_ns}", LINE_CHARS)

    def line(self, number: int, sent_ns: int) -> str:
        return f"{sent_ns:013x} {number:06d} {self._noise(number)}\n"

    def footer(self, above: str) -> str:
        return _padded(f"sha256 {hashlib.sha256(above.encode()).hexdigest()}", FOOTER_CHARS)

    def _noise(self, number: int) -> str:
        return hashlib.sha256(f"{self.key}/{number}".encode()).hexdigest()[:NOISE_CHARS]

    # --- checking --------------------------------------------------------------------------------

    def sent_times(self, text: str) -> list[int]:
        """Check every byte of the file; return when each line that has a follower was sent, in ns.

        Raises BenchmarkFailed where anything is missing, doubled or not ours.
        """
        size = (self.numbered_lines + FRAME_LINES) * LINE_CHARS
        if len(text) != size:
            raise BenchmarkFailed(f"{self.key}: {len(text)} of {size} characters arrived")
        above, footer = text[:-FOOTER_CHARS], text[-FOOTER_CHARS:]
        header, *lines = above.splitlines(keepends=True)
        if footer != self.footer(above) or header != self.header(own_time_ns(header)):
            raise BenchmarkFailed(f"{self.key}: the file is not what the model sent")
        times = [int(line.partition(" ")[0], 16) for line in lines]
        for number, (line, sent_ns) in enumerate(zip(lines, times, strict=True), 1):
            if line != self.line(number, sent_ns):
                raise BenchmarkFailed(f"{self.key}: line {number} arrived as {line!r}")
        return times


def own_time_ns(header: str) -> int:
    """Return how long the model itself took from its being asked to the file's first token."""
    return int(header.split()[1])


def _padded(text: str, chars: int) -> str:
    return text.ljust(chars - 1) + "\n"
