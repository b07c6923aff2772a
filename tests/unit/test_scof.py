"""ScofParser: the shared vectors, the calls, and the end of the stream.

Here too is how the tests of SCOF read an answer and write down its events: each input is read
whole, cut in two at each position, and one character at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from actors.generation.scof import (
    FileChunk,
    FileClosed,
    FileOpened,
    InstallCommand,
    ParserWarning,
    Prose,
    ScofEvent,
    ScofLimitError,
    ScofParser,
)

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "scof.json").read_text()
)

A = "cat > a.ts << 'EOF'\n"
REASONS = ["stop", "length", "error", "cancelled", ""]

Row = list[Any]


def rows(events: Iterable[ScofEvent]) -> list[Row]:
    """Write events as the vectors do, and prose as ["prose", text]; adjacent text is joined."""
    found: list[Row] = []
    for event in events:
        match event:
            case FileOpened(path, mode):
                found.append(["open", path, mode])
            case FileChunk(path, text):
                assert text
                assert found[-1][:2] == ["open", path] or found[-1][:2] == ["chunk", path]
                if found[-1][0] == "chunk":
                    found[-1][2] += text
                else:
                    found.append(["chunk", path, text])
            case FileClosed(path, content, completion):
                found.append(["close", path, content, completion])
            case InstallCommand(line):
                found.append(["install", line])
            case ParserWarning(kind, detail):
                assert detail
                found.append(["warn", kind])
            case Prose(text):
                assert text
                if found and found[-1][0] == "prose":
                    found[-1][1] += text
                else:
                    found.append(["prose", text])
    return found


def parse(chunks: Iterable[str], reason: str = "stop") -> list[Row]:
    parser = ScofParser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return rows(events + parser.close(reason))


def without_prose(found: list[Row]) -> list[Row]:
    return [row for row in found if row[0] != "prose"]


def assert_however_cut(text: str, reason: str, expected: list[Row]) -> None:
    """Read `text` whole, in all halves, and by the character."""
    whole = parse([text], reason)
    assert without_prose(whole) == expected
    assert parse(text, reason) == whole
    for at in range(len(text) + 1):
        assert parse([text[:at], text[at:]], reason) == whole


def block(path: str, content: str, completion: str = "complete", mode: str = "write") -> list[Row]:
    chunk = [["chunk", path, content]] if content else []
    return [["open", path, mode], *chunk, ["close", path, content, completion]]


def warned(*kinds: str) -> list[Row]:
    return [["warn", kind] for kind in kinds]


def install(line: str) -> list[Row]:
    return [["install", line]]


def parse_to_limit(chunks: Iterable[str], reason: str = "stop") -> list[Row]:
    """As `parse`, with ["limit", what, max_chars] where a limit was met."""
    parser = ScofParser()
    events: list[ScofEvent] = []
    limit: list[Row] = []
    try:
        for chunk in chunks:
            events += parser.feed(chunk)
        events += parser.close(reason)
    except ScofLimitError as error:
        limit.append(["limit", error.what, error.max_chars])
        events += [*error.events, *parser.close(reason)]
    return rows(events) + limit


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_a_shared_vector_gives_its_events_however_it_is_cut(vector: dict[str, Any]) -> None:
    assert without_prose(parse(vector["chunks"], vector["finish"])) == vector["expected"]
    assert_however_cut("".join(vector["chunks"]), vector["finish"], vector["expected"])


def test_prose_is_everything_outside_of_blocks_verbatim() -> None:
    text = "Hi \r\n\n```sh\n$ npm i\n" + A + "x\n EOF\n\n```\n\tbye"
    assert parse([text]) == [
        ["prose", "Hi \n\n```sh\n"],
        *install("npm i"),
        *block("a.ts", "x\n"),
        ["prose", "\n```\n\tbye"],
    ]


# --- the calls -----------------------------------------------------------------------------------


def test_text_is_handed_on_with_the_call_that_completes_its_line() -> None:
    parser = ScofParser()
    assert parser.feed("cat > a.ts << EOF") == []
    assert parser.feed("\nx") == [FileOpened("a.ts", "write")]
    assert parser.feed("y\nz\nEO") == [FileChunk("a.ts", "xy\nz\n")]
    assert parser.feed("F\n") == [FileClosed("a.ts", "xy\nz\n", "complete")]
    assert parser.feed("") == []
    assert parser.close() == []


def test_a_closed_parser_takes_nothing_more() -> None:
    parser = ScofParser()
    assert parser.close() == []
    with pytest.raises(RuntimeError, match="closed"):
        parser.feed("x")
    with pytest.raises(RuntimeError, match="closed"):
        parser.close()


# --- the end of the stream -----------------------------------------------------------------------


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (A + "x\ny", block("a.ts", "x\ny", "truncated")),
        (A + "x\n", block("a.ts", "x\n", "truncated")),
        (A, block("a.ts", "", "truncated")),
        (A + "x\nEOF", block("a.ts", "x\n")),
        (A + "x\nEOF\n", block("a.ts", "x\n")),
        (A + "x\n  EOF", block("a.ts", "x\n")),
        (A + "x\n  EOF\n\n ", block("a.ts", "x\n")),
        ("", []),
        ("cat > a.t", []),
        ("npm i zod\n", install("npm i zod")),
    ],
)
def test_every_reason_closes_an_open_file_the_same(
    text: str, expected: list[Row], reason: str
) -> None:
    assert_however_cut(text, reason, expected)


@pytest.mark.parametrize("reason", REASONS[1:])
@pytest.mark.parametrize(
    "text",
    ["npm install zo", "cat << EOF > a.t", "cat > a.ts << EO", "cat > a.ts \\\n<< EO", "cat \\\n"],
)
def test_a_line_that_was_cut_off_opens_and_installs_nothing(text: str, reason: str) -> None:
    assert_however_cut(text, reason, [])
    assert parse([text], reason) == [["prose", text]]


def test_a_header_that_was_cut_off_does_not_end_a_file() -> None:
    text = A + "x\ncat > b.ts << E"
    expected = block("a.ts", "x\ncat > b.ts << E", "truncated")
    assert_however_cut(text, "length", expected)
    text = A + "  EOF\ncat > b.ts << E"
    expected = block("a.ts", "  EOF\ncat > b.ts << E", "truncated")
    assert_however_cut(text, "length", expected)
    text = A + "x\ncat > b.ts \\\n<< E\\"
    expected = block("a.ts", "x\ncat > b.ts \\\n<< E\\", "truncated")
    assert_however_cut(text, "length", expected)
