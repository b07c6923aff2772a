"""A short answer that is cut at every byte: the run is completed, and no file is ever wrong.

The pipeline and the model client are real, and so are HTTP and its breaks; the journal is left
out, since each byte takes a whole run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from actors import events as ev
from actors.events import Event
from actors.generation.budget import Budget
from actors.generation.deployment import Deployment
from actors.generation.meter import Meter
from actors.generation.model import Model
from actors.generation.pipeline import Pipeline
from actors.generation.prompts import write_scof
from actors.sandbox.static import StaticSandbox
from actors.state import ProjectState, apply
from tests.support.model_client import AT_ONCE, Make
from tests.support.openrouter import Answer, Purpose, ScriptedOpenRouter
from tests.support.sse_stream import stream_of

PAGE = "<h1>Größe 😀</h1>\n"
APP = "".join(f"export const value_{n} = '{n} ☃';\n" for n in range(3))  # a seam is two lines
SITE = {"index.html": PAGE, "app.js": APP}
PLAN = (
    '{"name":"Bäse","description":"d","files":[{"path":"index.html","purpose":"p"},'
    '{"path":"app.js","purpose":"q"}],"isLastPhase":true}'
)
FILES = "".join(write_scof(path, text, "EOF") for path, text in SITE.items())


def pieces(text: str, count: int) -> list[str]:
    size = -(-len(text) // count)
    return [text[start : start + size] for start in range(0, len(text), size)]


#: The text of the files, torn within each marker, too.
TORN = [
    piece for part in FILES.replace("\nEOF\n", "\nE|OF\n").split("|") for piece in pieces(part, 3)
]
STREAMS: dict[Purpose, bytes] = {
    "plan": stream_of(*pieces(PLAN, 3)),
    "implement": stream_of(*TORN),
}


class Watched:
    """One run of a pipeline, its events, and the state that they fold to."""

    def __init__(self, model: Model) -> None:
        self.events: list[Event] = []
        self.state = ProjectState(project_id="p1")
        self.files: dict[str, str] = {}
        self._take(ev.RunStarted(id="c1", description="d", model="m", max_phases=1, first_phase=1))
        self._pipeline = Pipeline(
            state=self.state,
            meter=Meter(model, Budget(run_usd=0.0, day_usd=0.0, reserve=_refuse)),
            deployment=Deployment(lambda: StaticSandbox("p1", "http://localhost", _ignore), "/"),
            load_files=self._no_files,
            settled=self._settled,
            max_repairs=0,
        )

    async def go(self) -> None:
        async for batch in self._pipeline.events():
            for event in batch:
                self._take(event)
        self._take(*self._pipeline.completion())

    def kinds(self) -> list[str]:
        """The retries and the warnings."""
        return [
            event.kind if isinstance(event, ev.ModelWarning) else event.type
            for event in self.events
            if isinstance(event, ev.ModelRetry | ev.ModelWarning)
        ]

    def _take(self, *events: Event) -> None:
        """Fold events; what is open is always a beginning of the file that is to be written."""
        for event in events:
            if isinstance(event, ev.FileEnd):
                assert self.state.open_file is not None
                assert self.state.open_file.text == event.content
                self.files[event.path] = event.content
            self.events.append(event)
            apply(self.state, event, len(self.events))
            if self.state.open_file is not None:
                assert SITE[self.state.open_file.path].startswith(self.state.open_file.text)

    async def _settled(self) -> None:
        """Everything is in the state at once."""

    async def _no_files(self, _paths: Sequence[str] | None = None) -> dict[str, str]:
        return {}


async def _refuse(_needed: float, _cap: float) -> bool:
    raise AssertionError("there is no cap")


def _ignore(_stream: str, _line: str) -> None:
    pass


@pytest.mark.parametrize("purpose", ["plan", "implement"])
async def test_an_answer_that_is_cut_at_any_byte_is_made_whole(
    openrouter: ScriptedOpenRouter, make: Make, purpose: Purpose
) -> None:
    openrouter.add_phase("Base", SITE, last=True)
    stream, model = STREAMS[purpose], make(retry=AT_ONCE)
    first_text = stream.index(b"\n\n") + 2
    end = b'"stop"}]}\n\n'
    is_whole_from = stream.index(end) + len(end)
    for count in range(len(stream) + 1):
        for other in STREAMS:
            answer = Answer(raw_stream=STREAMS[other])
            if other == purpose:
                answer = Answer(raw_stream=stream, cut_at_bytes=count)
            openrouter.answer_next(answer, purpose=other)
        run = Watched(model)

        async with asyncio.timeout(30):
            await run.go()

        assert run.files == SITE, f"cut at byte {count}"
        assert run.events[-1] == ev.GenerationComplete(files=("app.js", "index.html"), phases=1)
        kinds = run.kinds()
        if count < first_text:
            assert kinds == ["model_retry"]
        elif count >= is_whole_from:
            assert kinds == []
        elif purpose == "plan":
            assert kinds == ["model_stream_broken"]
        else:
            assert kinds in (["model_stream_broken"], ["model_stream_broken", "missing_files"])
        assert sum(isinstance(event, ev.PhaseDesigned) for event in run.events) == 1
    if purpose == "implement":  # what has a seam was continued, the rest was written anew
        asked = {request.brief.unfinished_path for request in openrouter.received(purpose)}
        assert asked == {"", "app.js"}
