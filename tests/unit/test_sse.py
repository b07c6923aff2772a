"""The SSE decoder: the standard's rules, comments, limits, and that cutting changes nothing."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import ModelStreamBroken
from actors.generation.sse import (
    MAX_EVENT_CHARS,
    MAX_LINE_CHARS,
    SseComment,
    SseDecoder,
    SseEvent,
    SseItem,
    SseLimitError,
)


def decoded(*chunks: bytes) -> list[SseItem]:
    decoder = SseDecoder()
    items = [item for chunk in chunks for item in decoder.feed(chunk)]
    return items + decoder.close()


def message(data: str, event: str = "message", **more: object) -> SseEvent:
    return SseEvent(event, data, **more)  # type: ignore[arg-type]  # of id and retry


CASES: dict[str, tuple[bytes, list[SseItem]]] = {
    "one event": (b"data: x\n\n", [message("x")]),
    "LF, CR and CRLF": (
        b"data: 1\n\ndata: 2\r\rdata: 3\r\n\r\n",
        [message("1"), message("2"), message("3")],
    ),
    "mixed ends in one event": (b"data: 1\rdata: 2\ndata: 3\r\n\n", [message("1\n2\n3")]),
    "the standard's stocks": (
        b"data: YHOO\ndata: +2\ndata: 10\n\n",
        [message("YHOO\n+2\n10")],
    ),
    "the standard's four blocks": (
        b": test stream\n\ndata: first event\nid: 1\n\n"
        b"data:second event\nid\n\ndata:  third event\n\n",
        [
            SseComment("test stream"),
            message("first event", id="1"),
            message("second event"),
            message(" third event"),
        ],
    ),
    "the standard's empty data": (
        b"data\n\ndata\ndata\n\ndata:\n",
        [message(""), message("\n")],
    ),
    "one blank is taken off": (b"data:test\n\ndata: test\n\n", [message("test"), message("test")]),
    "a keep-alive": (
        b": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\ndata: x\n\n",
        [SseComment("OPENROUTER PROCESSING"), SseComment("OPENROUTER PROCESSING"), message("x")],
    ),
    "a comment inside an event": (
        b"data: 1\n:\ndata: 2\n\n",
        [SseComment(""), message("1\n2")],
    ),
    "an event's name lasts for one event": (
        b"event: ping\ndata: 1\n\ndata: 2\n\n",
        [message("1", "ping"), message("2")],
    ),
    "an event without data is none": (b"event: ping\n\ndata: 2\n\n", [message("2")]),
    "blank lines are nothing": (b"\n\n\r\n\r\rdata: 1\n\n\n\n", [message("1")]),
    "an id lasts": (
        b"id: 7\ndata: 1\n\ndata: 2\n\nid: 8\n\ndata: 3\n\n",
        [message("1", id="7"), message("2", id="7"), message("3", id="8")],
    ),
    "an id with NUL is ignored": (b"id: 7\nid: a\0b\ndata: 1\n\n", [message("1", id="7")]),
    "retry lasts": (
        b"retry: 1500\n\ndata: 1\n\ndata: 2\n\n",
        [message("1", retry=1500), message("2", retry=1500)],
    ),
    "retry holds digits only": (
        "retry: -1\nretry: 1.5\nretry:\nretry: x\nretry: \u0661\ndata: 1\n\n".encode(),
        [message("1")],
    ),
    "unknown fields are ignored": (b"foo: x\nDATA: x\n data: x\ndata: 1\n\n", [message("1")]),
    "a colon in the data": (b'data: {"a": 1}\n\n', [message('{"a": 1}')]),
    "a BOM at the start": (b"\xef\xbb\xbfdata: 1\n\n", [message("1")]),
    "a BOM later is data": (b"data: \xef\xbb\xbf1\n\n", [message("\ufeff1")]),
    "two BOMs": (b"\xef\xbb\xbf\xef\xbb\xbfdata: 1\n\ndata: 2\n\n", [message("2")]),
    "only these end lines": (
        "data: a\u2028b\u0085c\vd\fe\x1cf\n\n".encode(),
        [message("a\u2028b\u0085c\vd\fe\x1cf")],
    ),
    "characters of 1 to 4 bytes": ("data: aé日😀\n\n".encode(), [message("aé日😀")]),
    "broken UTF-8 is replaced": (
        b"data: \xff \xe6\x97 \xf0\x9f\x98\n\n",
        [message("\ufffd \ufffd \ufffd")],
    ),
    "an unfinished event is dropped": (b"data: 1\n\ndata: 2\n", [message("1")]),
    "an unfinished line is dropped": (b"data: 1\n\ndata: 2", [message("1")]),
    "nothing": (b"", []),
    "the end of OpenAI's streams": (b"data: [DONE]\r\n\r\n", [message("[DONE]")]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_stream_is_decoded_whole(name: str) -> None:
    data, expected = CASES[name]
    assert decoded(data) == expected


@pytest.mark.parametrize("name", CASES)
def test_a_stream_cut_anywhere_is_decoded_the_same(name: str) -> None:
    data, expected = CASES[name]
    for at in range(len(data) + 1):
        assert decoded(data[:at], data[at:]) == expected
        assert decoded(data[:at], b"", data[at:]) == expected


@pytest.mark.parametrize("name", CASES)
def test_a_stream_is_decoded_byte_by_byte(name: str) -> None:
    data, expected = CASES[name]
    assert decoded(*(data[at : at + 1] for at in range(len(data)))) == expected


def test_an_event_is_returned_by_the_call_that_completes_it() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: 1\r") == []
    assert decoder.feed(b"\r") == [message("1")]
    assert decoder.feed(b"\n: x") == []
    assert decoder.feed(b"y\n") == [SseComment("xy")]


FRAGMENTS = st.sampled_from(
    b"data|data: |: |:|id: |event: |retry: |7|x|\0| |\n|\r|\r\n|\n\n".split(b"|")
) | st.sampled_from([b"\xef\xbb\xbf", b"\xe6\x97\xa5", b"\xe6", b"\x97", b"\xff"])
STREAMS = st.lists(FRAGMENTS | st.binary(max_size=3), max_size=30).map(b"".join)


@given(STREAMS, st.data())
def test_no_way_of_cutting_changes_the_events(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    bounds = [0, *cuts, len(stream)]
    chunks = [stream[start:end] for start, end in pairwise(bounds)]
    assert decoded(*chunks) == decoded(stream)


LINES = st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])))


@given(st.lists(LINES.filter(bool)), st.sampled_from(["\n", "\r", "\r\n"]), st.integers(1, 9))
def test_what_is_sent_as_data_comes_back(events: list[list[str]], end: str, size: int) -> None:
    text = "".join(
        "".join(f"data: {line}{end}" for line in lines) + f"event: e{end}{end}" for lines in events
    )
    data = text.encode()
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    assert decoded(*chunks) == [message("\n".join(lines), "e") for lines in events]


@pytest.mark.parametrize("size", [MAX_LINE_CHARS + 1, 65536])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_past_the_limit_is_an_error(size: int, end: bytes) -> None:
    data = b"data: " + b"x" * (MAX_LINE_CHARS - 6)
    assert decoded(data + b"\n\n") == [message("x" * (MAX_LINE_CHARS - 6))]
    data += b"x" + end
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    with pytest.raises(SseLimitError, match="a line of more than 1,048,576 characters"):
        decoded(*chunks)


def test_an_event_past_the_limit_is_an_error() -> None:
    line = b"data: " + b"x" * (MAX_EVENT_CHARS // 8 - 1) + b"\n"
    assert len(decoded(line * 8 + b"\n" + line * 8 + b"\n")) == 2
    with pytest.raises(SseLimitError, match="an event of more than 4,194,304 characters"):
        SseDecoder().feed(line * 8 + b"data\n")


def test_after_a_limit_error_every_call_raises_it() -> None:
    decoder = SseDecoder()
    with pytest.raises(SseLimitError):
        decoder.feed(b"x" * (MAX_LINE_CHARS + 1))
    with pytest.raises(ModelStreamBroken) as raised:
        decoder.feed(b"\n\ndata: x\n\n")
    assert raised.value.code == "model_stream_broken"
    assert decoder.close() == []


def test_a_closed_decoder_takes_nothing_more() -> None:
    decoder = SseDecoder()
    assert decoder.close() == []
    with pytest.raises(RuntimeError, match="closed"):
        decoder.feed(b"data: x\n\n")
