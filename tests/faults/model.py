"""The model's server of the fault suite: it writes stories, at a pace, in a thread of its own.

What it answers follows from the prompt alone (`story.py`), so it may be asked by any life of any
actor. It keeps what it was asked, and its streams can be cut and held up.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from actors.generation.prompts import Brief, free_marker, read_brief, write_scof
from tests.faults.story import Story
from tests.support.openrouter import TEST_KEY

WAIT_SECONDS = 10.0
CHUNK_CHARS = 40
CHARS_PER_SECOND = (1_500.0, 4_000.0)
PLAN_SECONDS = (0.02, 0.3)  # before its first text
#: Of one phase's plan, or of its files: after another one the run would end, by design.
MAX_CUTS = 2


@dataclass(slots=True, eq=False)
class Asked:
    """One request: `purpose` is plan or implement, `paths` the files that it wants.

    `text_so_far` is what the service has of the first of them, if it is to be continued.
    """

    story: int
    purpose: str
    phase: int
    paths: tuple[str, ...]
    text_so_far: str | None
    at: float = field(default_factory=time.monotonic)
    is_answered: bool = False  # to its end

    def __str__(self) -> str:
        wanted = f" {', '.join(self.paths)}" if self.paths else ""
        again = "" if self.text_so_far is None else f", from {len(self.text_so_far)} characters on"
        return f"{self.at:.3f} story {self.story}: {self.purpose} {self.phase}{wanted}{again}"


class Stream:
    """One answer under way."""

    def __init__(self, asked: Asked, http: web.Request) -> None:
        self.asked = asked
        self._http = http
        self._is_free = asyncio.Event()
        self._is_free.set()

    def cut(self) -> None:
        """Break the connection."""
        if self._http.transport is not None:
            self._http.transport.abort()

    def hold(self, seconds: float) -> None:
        """Send nothing for so long."""
        self._is_free.clear()
        asyncio.get_running_loop().call_later(seconds, self._is_free.set)

    async def send(self, response: web.StreamResponse, text: str) -> None:
        """Send the answer's text at the phase's pace."""
        choose = random.Random(f"{self.asked.story}/{self.asked.phase}/{self.asked.purpose}")
        if self.asked.purpose == "plan":
            await asyncio.sleep(choose.uniform(*PLAN_SECONDS))
        pause = CHUNK_CHARS / choose.uniform(*CHARS_PER_SECOND)
        for start in range(0, len(text), CHUNK_CHARS):
            await self._is_free.wait()
            await response.write(_delta(text[start : start + CHUNK_CHARS]))
            await asyncio.sleep(pause)


class StoryModel:
    """The server; `start` and `stop` may be called from any thread without a loop of ours."""

    def __init__(self) -> None:
        self.base_url = ""
        self._lock = threading.Lock()
        self._asked: list[Asked] = []
        self._streams: list[Stream] = []
        self._cuts: Counter[tuple[int, int, str]] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="story-model")
        self._runner: web.AppRunner | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make a service use this server."""
        return {"OPENROUTER_API_KEY": TEST_KEY, "OPENROUTER_BASE_URL": self.base_url}

    @property
    def asked(self) -> list[Asked]:
        """Every request so far, in the order of arrival."""
        with self._lock:
            return list(self._asked)

    # --- faults ----------------------------------------------------------------------------------

    def cut(self, choice: int) -> Asked | None:
        """Break one connection that may be broken; None where there is none."""
        with self._lock:
            stream = _chosen([s for s in self._streams if self._may_cut(s)], choice)
            if stream is not None:
                self._cuts[_kind(stream)] += 1
        return self._do(stream, Stream.cut)

    def hold(self, choice: int, seconds: float) -> Asked | None:
        """Let one stream say nothing for so long; None where there is none."""
        with self._lock:
            stream = _chosen(self._streams, choice)
        return self._do(stream, lambda held: held.hold(seconds))

    def _may_cut(self, stream: Stream) -> bool:
        return self._cuts[_kind(stream)] < MAX_CUTS

    def _do(self, stream: Stream | None, act: Any) -> Asked | None:
        if stream is None:
            return None
        self._loop.call_soon_threadsafe(act, stream)
        return stream.asked

    # --- running ---------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()
        self._call(self._open())

    def stop(self) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_SECONDS)
        self._loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(WAIT_SECONDS)

    async def _open(self) -> None:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/api/v1/chat/completions", self._handle)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/api/v1"

    async def _close(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    # --- answering -------------------------------------------------------------------------------

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        prompt = (await http.json())["messages"][-1]["content"]
        story = Story.of(prompt)
        brief = read_brief(prompt)
        asked = Asked(
            story=story.number,
            purpose="implement" if brief.paths_to_write else "plan",
            phase=brief.phase_number,
            paths=brief.paths_to_write,
            text_so_far=_text_so_far(prompt) if brief.unfinished_path else None,
        )
        stream = Stream(asked, http)
        with self._lock:
            self._asked.append(asked)
            self._streams.append(stream)
        try:
            return await self._respond(http, stream, _answer(story, brief, asked.text_so_far))
        except ConnectionError:
            raise asyncio.CancelledError from None  # nobody is left to answer; not worth a log
        finally:
            with self._lock:
                self._streams.remove(stream)

    async def _respond(self, http: web.Request, stream: Stream, text: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(http)
        await stream.send(response, text)
        await response.write(_END)
        stream.asked.is_answered = True
        return response


def _chosen(streams: list[Stream], choice: int) -> Stream | None:
    return streams[choice % len(streams)] if streams else None


def _kind(stream: Stream) -> tuple[int, int, str]:
    return stream.asked.story, stream.asked.phase, stream.asked.purpose


def _text_so_far(prompt: str) -> str:
    """Read the section that shows the file to be continued; the stories' files fit into it."""
    begin, end = "<unfinished_text>\n", "</unfinished_text>"
    return prompt[prompt.rfind(begin) + len(begin) : prompt.rfind(end)]


def _answer(story: Story, brief: Brief, text_so_far: str | None) -> str:
    """Answer as a good model does: a file to be continued begins with the seam and goes on."""
    phase = story.phase(brief.phase_number)
    if not brief.paths_to_write:
        return phase.plan_text(brief.phase_number)
    texts = {path: phase.files[path] for path in brief.paths_to_write}
    if text_so_far is not None:
        path = brief.unfinished_path
        texts[path] = brief.seam + texts[path][len(text_so_far) :]
    marker = free_marker(texts.values())
    return "\n".join(write_scof(path, text, marker) for path, text in texts.items())


def _event(data: object) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"


def _delta(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return _event({"id": "gen-1", "object": "chat.completion.chunk", "choices": [choice]})


_END = b"".join(
    (
        _event({"id": "gen-1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
        _event({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}),
        b"data: [DONE]\n\n",
    )
)
