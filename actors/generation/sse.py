"""Server-Sent Events: bytes in, events out, no I/O.

The format is the WHATWG's HTML standard, section 9.2.6, "Interpreting an event stream". Comments,
which the standard drops, are returned too: `: OPENROUTER PROCESSING` is how a server says that it
is still there, and a reader's idle timer has to see it.

No way of cutting the bytes into chunks changes what is returned.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass

from actors.errors import ModelStreamBroken

MAX_LINE_CHARS = 1 << 20  # one line, its end not counted
MAX_EVENT_CHARS = 4 << 20  # the data of one event, LFs included

_LINE_END = re.compile(r"\r\n|\r|\n")
_DIGITS = re.compile(r"[0-9]{1,15}")  # 15: what every reader can hold; 31,000 years of waiting


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event. `id` is the last event id and `retry` the reconnection time (ms) so far."""

    event: str
    data: str
    id: str = ""
    retry: int | None = None


@dataclass(frozen=True, slots=True)
class SseComment:
    """A line that starts with a colon, without it and without one blank after it."""

    text: str


SseItem = SseEvent | SseComment


class SseLimitError(ModelStreamBroken):
    """The server sent more than a line or an event may hold; nothing more can be read."""

    def __init__(self, what: str, max_chars: int) -> None:
        super().__init__()
        self.what = what
        self.max_chars = max_chars

    def __str__(self) -> str:
        return (
            f"The model's server sent {self.what} of more than {self.max_chars:,} characters; "
            "check OPENROUTER_BASE_URL or choose another model."
        )


class SseDecoder:
    """Decodes one stream; a new connection takes a new decoder."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._is_first = True
        self._is_after_cr = False
        self._partial: list[str] = []
        self._partial_chars = 0
        self._items: list[SseItem] = []
        self._event = ""
        self._data: list[str] = []
        self._data_chars = 0
        self._id = ""
        self._retry: int | None = None
        self._failure: SseLimitError | None = None
        self._is_closed = False

    def feed(self, data: bytes) -> list[SseItem]:
        """Take more bytes and return what they completed, in order.

        Raises SseLimitError; every later call raises it again.
        """
        if self._is_closed:
            raise RuntimeError("the decoder is closed; a new stream takes a new one")
        if self._failure is not None:
            raise self._failure
        try:
            self._take(self._decoder.decode(data))
        except SseLimitError as error:
            self._failure = error
            raise
        items, self._items = self._items, []
        return items

    def close(self) -> list[SseItem]:
        """End the stream and return what its end completed, so that a reader has one loop.

        By the standard that is nothing: an event whose blank line never came is dropped.
        """
        self._is_closed = True
        return []

    def _take(self, text: str) -> None:
        if not text:
            return
        if self._is_first:
            self._is_first = False
            text = text.removeprefix("\ufeff")
        if self._is_after_cr:
            text = text.removeprefix("\n")  # the CR has ended the line already
            self._is_after_cr = False
        if text.endswith("\r"):
            self._is_after_cr = True
        *lines, partial = _LINE_END.split(text)
        if lines:
            lines[0] = "".join([*self._partial, lines[0]])
            self._partial = []
            self._partial_chars = 0
            for line in lines:
                self._line(line)
        if partial:
            self._partial.append(partial)
            self._partial_chars += len(partial)
            _check("a line", self._partial_chars, MAX_LINE_CHARS)

    def _line(self, line: str) -> None:
        _check("a line", len(line), MAX_LINE_CHARS)
        if not line:
            self._dispatch()
            return
        name, _, value = line.partition(":")
        field = _FIELDS.get(name)
        if field is not None:
            field(self, value.removeprefix(" "))

    def _dispatch(self) -> None:
        if self._data:
            data = "\n".join(self._data)
            self._items.append(SseEvent(self._event or "message", data, self._id, self._retry))
            self._data = []
            self._data_chars = 0
        self._event = ""

    def _on_comment(self, value: str) -> None:
        self._items.append(SseComment(value))

    def _on_event(self, value: str) -> None:
        self._event = value

    def _on_data(self, value: str) -> None:
        self._data_chars += len(value) + 1
        _check("an event", self._data_chars, MAX_EVENT_CHARS)
        self._data.append(value)

    def _on_id(self, value: str) -> None:
        if "\0" not in value:
            self._id = value

    def _on_retry(self, value: str) -> None:
        if _DIGITS.fullmatch(value):
            self._retry = int(value)


def _check(what: str, chars: int, max_chars: int) -> None:
    if chars > max_chars:
        raise SseLimitError(what, max_chars)


#: field name -> what it does; any other field is ignored. A comment's name is empty.
_FIELDS: dict[str, Callable[[SseDecoder, str], None]] = {
    "": SseDecoder._on_comment,
    "event": SseDecoder._on_event,
    "data": SseDecoder._on_data,
    "id": SseDecoder._on_id,
    "retry": SseDecoder._on_retry,
}
