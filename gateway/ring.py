"""The ring: a project's live frames that are not yet known to be in PostgreSQL."""

from __future__ import annotations

from collections import deque

MAX_RING_FRAMES = 2_000
MAX_RING_BYTES = 4 * 1024 * 1024  # reached only while PostgreSQL does not keep up

Numbered = tuple[int, bytes]


class Ring:
    """Frames in the order of their numbers, bounded.

    Who has read what PostgreSQL holds goes on with the ring, without a gap if it got to `floor`:
    above that, every frame is in PostgreSQL or here.
    """

    __slots__ = ("_bytes", "floor", "frames")

    def __init__(self) -> None:
        self.frames: deque[Numbered] = deque()
        self.floor = 0
        self._bytes = 0

    @property
    def last_seq(self) -> int:
        """The newest frame's number, 0 where there is none."""
        return self.frames[-1][0] if self.frames else 0

    def keep(self, seq: int, frame: bytes) -> None:
        """Append a frame, dropping the oldest ones beyond the bounds."""
        self.frames.append((seq, frame))
        self._bytes += len(frame)
        while len(self.frames) > MAX_RING_FRAMES or self._bytes > MAX_RING_BYTES:
            self.floor = self._drop_oldest()

    def mark_durable(self, seq: int) -> None:
        """Let go of the frames up to `seq`: PostgreSQL has them."""
        while self.frames and self.frames[0][0] <= seq:
            self._drop_oldest()

    def restart(self, floor: int) -> None:
        """Drop everything; the next frame is above `floor`."""
        self.frames.clear()
        self._bytes = 0
        self.floor = floor

    def _drop_oldest(self) -> int:
        seq, frame = self.frames.popleft()
        self._bytes -= len(frame)
        return seq
