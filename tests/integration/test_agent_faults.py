"""Fault of the model's server -> what a viewer sees -> what is stored: a table.

Every run ends complete, cancelled, paused by its cap, or with a stable code; what is asserted in
every row stands in `tests/support/fault_row.py`. `test_agent_answers.py` has the rows of answers
that come whole and are of no use, `test_pipeline_cuts.py` cuts a short answer at every byte.
`test_agent_continuation.py` says more of files that break off, `test_agent_model.py` of fallbacks
and recordings.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from actors.generation.retry import ATTEMPTS
from tests.support.agent import World
from tests.support.fault_row import (
    AGAIN,
    FIRST,
    FULL,
    PAGE,
    PLAN_TEXT,
    SITE,
    WELL,
    Row,
    play,
    texts_seen,
)
from tests.support.openrouter import Answer
from tests.support.sse_stream import stream_of

PRICED = {"models": "", "model": "dear/model", "prices": "dear/model=1/10"}

BROKEN = "plan implement model_stream_broken missing_files implement complete"


def until(word: str, text: str = FULL) -> str:
    """The text up to the end of the word, where it occurs for the last time."""
    return text[: text.rindex(word) + len(word)]


def after(word: str, text: str = FULL) -> int:
    return len(until(word, text))


def length(text: str) -> Row:
    """The output's limit is reached behind that text; what is missing is asked for."""
    return Row(implement=(Answer(text=text, finish_reason="length"),), sees=AGAIN, stored=SITE)


def statuses() -> Iterator[tuple[str, Row]]:
    """A refused call: made again where waiting can help, else the end, with the cure."""
    html = Answer(status=502, body=b"<html><h1>Bad Gateway</h1></html>", content_type="text/html")
    for name, answer, says in (
        ("429", Answer(status=429), "asks for a pause (429: scripted error)"),
        ("408", Answer(status=408), "asks for a pause"),
        ("500", Answer(status=500), "failed (500: scripted error); try again later"),
        ("502 with HTML", html, "The model's server failed (502); try again later."),
        ("no answer", Answer(is_dropped=True), "broke before it answered"),
        ("an error chunk at once", Answer(error_at_chars=0), "failed (502: Provider disconnected)"),
        ("a cut before any text", Answer(cut_at_chars=0), "middle of its answer"),
        ("an empty stream", Answer(raw_stream=b""), "ended before it was complete"),
    ):
        yield (
            f"{name}, for the plan",
            Row(plan=(answer,), sees="plan retry plan implement complete", says=says, stored=SITE),
        )
        yield (
            f"{name}, twice, for the files",
            Row(
                implement=(answer, answer),
                sees="plan implement retry implement retry implement complete",
                says=says,
                stored=SITE,
            ),
        )
    for status, code, cure in (
        (401, "model_unauthorized", "check OPENROUTER_API_KEY"),
        (402, "model_payment_required", "add credit and generate again"),
        (403, "model_unauthorized", "check OPENROUTER_API_KEY"),
        (404, "model_not_found", "check CODEGEN_MODEL"),
    ):
        answer = Answer(status=status)
        yield (
            f"{status} for the plan",
            Row(plan=(answer,), sees=f"plan {code}", says=cure, stored={}),
        )
        yield (
            f"{status} for what is left of the files",
            Row(
                implement=(FIRST, answer),
                sees=f"plan implement missing_files implement {code}",
                says=cure,
                stored={"index.html": PAGE},
            ),
        )


SERVER = {
    **dict(statuses()),
    "429 with Retry-After": Row(
        plan=(Answer(status=429, headers={"Retry-After": "7"}),),
        implement=(Answer(status=429, headers={"Retry-After": "60"}),),
        sees="plan retry plan implement retry implement complete",
        says="asks for a pause of 60 seconds",
        asked_pauses=(7.0, 60.0),
        stored=SITE,
    ),
    "429 with a Retry-After beyond patience": Row(
        plan=(Answer(status=429, headers={"Retry-After": "61"}),),
        sees="plan model_rate_limited",
        says="asks for a pause of 61 seconds",
        stored={},
    ),
    "429 for ever": Row(
        plan=(Answer(status=429),),
        always=True,
        sees="plan retry " * (ATTEMPTS - 1) + "plan model_rate_limited",
        says="try again later",
        stored={},
    ),
    "500 for ever, for what is left": Row(
        implement=(FIRST, Answer(status=500)),
        always=True,
        sees="plan implement missing_files "
        + "implement retry " * (ATTEMPTS - 1)
        + "implement model_unavailable",
        says="try again later",
        stored={"index.html": PAGE},
    ),
    "connection refused": Row(
        settings={"openrouter_base_url": "http://127.0.0.1:1/api/v1"},
        sees="plan retry " * (ATTEMPTS - 1) + "plan model_unavailable",
        says="127.0.0.1:1 cannot be reached; check OPENROUTER_BASE_URL",
        stored={},
    ),
    "a stall before any text": Row(
        plan=(Answer(never_answer=True),),
        implement=(Answer(stall_at_chars=0),),
        stalls=True,
        sees="plan retry plan implement retry implement complete",
        says="sent nothing for 1 seconds",
        stored=SITE,
    ),
    "a stall": Row(
        plan=(Answer(stall_at_chars=30),),
        implement=(Answer(stall_at_chars=after("value_20")),),
        stalls=True,
        sees="plan model_stream_broken plan implement model_stream_broken missing_files implement "
        "complete",
        says="app.js",
        stored=SITE,
    ),
    "a stall that the user cancels": Row(
        implement=(Answer(stall_at_chars=after("value_20")),),
        cancel_at="file_end",
        sees="plan implement restored cancelled",
        stored={"index.html": PAGE},
    ),
    "a broken plan, twice": Row(
        plan=(Answer(cut_at_chars=40), Answer(error_at_chars=40)),
        sees="plan model_stream_broken plan model_stream_broken plan implement complete",
        says="broke off (Provider disconnected)",
        stored=SITE,
    ),
    "a broken plan, for ever": Row(
        plan=(Answer(cut_at_chars=40),),
        always=True,
        sees="plan model_stream_broken plan model_stream_broken plan model_stream_broken",
        says="middle of its answer",
        stored={},
    ),
    "a cut in a file": Row(
        implement=(Answer(cut_at_chars=after("value_20")),), sees=BROKEN, stored=SITE
    ),
    "an error chunk in a file": Row(
        implement=(Answer(error_at_chars=after("value_20")),), sees=BROKEN, stored=SITE
    ),
    "no finish reason in a file": Row(
        implement=(Answer(text=until("value_20"), finish_reason=None),), sees=BROKEN, stored=SITE
    ),
    "no finish reason behind the last file": Row(
        implement=(Answer(text=FULL, finish_reason=None),),
        sees="plan implement model_stream_broken complete",
        says="ended before it was complete",
        stored=SITE,
    ),
    "neither usage nor [DONE]": Row(
        implement=(Answer(usage=None, is_done_sent=False),), sees=WELL, stored=SITE
    ),
    "a filtered plan": Row(
        plan=(Answer(text="", finish_reason="content_filter"),),
        sees="plan model_refused",
        says="change the description",
        stored={},
    ),
    "a filtered file": Row(
        implement=(Answer(text=until("value_20"), finish_reason="content_filter"),),
        sees="plan implement restored model_refused",
        says="change the description",
        stored={"index.html": PAGE},
    ),
    "an answer that spends the cap": Row(
        implement=(
            Answer(text=FIRST, usage={"prompt_tokens": 9, "completion_tokens": 9, "cost": 0.9}),
        ),
        settings={**PRICED, "max_cost_usd": 1.0},
        sees="plan implement budget_exceeded",
        says="more than CODEGEN_MAX_COST_USD",
        stored={"index.html": PAGE},
    ),
}

LIMIT = {
    "length in the plan": Row(
        plan=(Answer(text=PLAN_TEXT[:60], finish_reason="length"),),
        sees="plan plan_invalid plan implement complete",
        says="no JSON object",
        stored=SITE,
    ),
    "length in the first header": length("cat > index.h"),
    "length in a header": length(until("cat > app.j")),
    "length behind a header": length(until("cat > app.js << 'EOF'")),
    "length in a marker": length(FULL[:-2]),
    "length in the marker of a file too short for a seam": Row(
        implement=(Answer(text=FIRST[:-2], finish_reason="length"),),
        sees="plan implement restored missing_files implement complete",
        stored=SITE,
    ),
    "length behind a marker without its LF": Row(
        implement=(Answer(text=FULL[:-1], finish_reason="length"),), sees=WELL, stored=SITE
    ),
    "length in a line": length(until("value_30 =")),
    "length at the end of a line": length(until("value_30 = 30; // größer ☃ 😀\t\n")),
    "length in a character": Row(
        implement=(
            Answer(
                raw_stream=stream_of(
                    until("value_30 = 30; // größer ☃ "), "\udcf0\udc9f", finish_reason="length"
                )
            ),
        ),
        sees=AGAIN,
        stored=SITE,
    ),
    "characters split between packets": Row(
        implement=(Answer(raw_stream=stream_of(FULL), raw_piece_bytes=5),), sees=WELL, stored=SITE
    ),
    "length before any text": Row(
        implement=(Answer(text="", finish_reason="length"),), sees=AGAIN, stored=SITE
    ),
}

ROWS = SERVER | LIMIT


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
async def test_a_fault_of_the_server_is_told_and_what_is_stored_is_exact(
    world: World, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    await play(world, row, monkeypatch)
    seen = texts_seen(world.sink.frames)  # never anything but the file, as far as it has come
    assert all(SITE[path].startswith(text) for path, text in seen)
