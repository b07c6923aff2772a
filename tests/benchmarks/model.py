"""A paced model server: OpenAI's streaming chat completions, as `script.py` asks for.

`python -m tests.benchmarks.model` prints its port and ends with its standard input. It remembers
what it has written, so that it can go on with a file where a prompt's seam asks for it.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web

from tests.benchmarks.link import open_stdin
from tests.benchmarks.script import LINE_TOKENS, PATH, TOKEN_CHARS, Script

TOGETHER_SECONDS = 60.0  # the longest that a stream waits for the others of its group
MARKER = "END_OF_FILE"
SEAM = re.compile(r".*<seam>\n(.*)</seam>", re.DOTALL)  # of a prompt, the last one
GOLDEN_RATIO = 0.618034  # multiples of it, modulo 1, never bunch

Write = Callable[[bytes], Awaitable[None]]


class PacedModel:
    """Answers plan requests at once and implement requests at their pace."""

    def __init__(self) -> None:
        self._own_ns: dict[str, int] = {}  # by key: what the plan took, until the file has it
        self._groups: dict[str, asyncio.Barrier] = {}
        self._drafts: dict[str, Draft] = {}

    async def handle(self, http: web.Request) -> web.StreamResponse:
        received_ns = time.monotonic_ns()
        body = orjson.loads(await http.read())
        script = Script.parse(body["model"])
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(http)
        if "response_format" in body:
            self._own_ns[script.key] = _since(received_ns)
            await response.write(_delta(_plan(script.key)))
        else:
            await self._wait_for_group(script)
            pace = Pace(script)
            await pace.begin()
            draft = self._draft(script, body["messages"][-1]["content"], received_ns)
            await response.write(_delta(f"cat > {PATH} << '{MARKER}'\n{draft.seam}"))
            await _write_file(response.write, script, pace, draft)
            await response.write(_delta(f"{MARKER}\n"))
        await response.write(_END)
        return response

    def _draft(self, script: Script, prompt: str, received_ns: int) -> Draft:
        """Begin the file, or what is left of it after the seam."""
        if seam := SEAM.match(prompt):
            draft = self._drafts[script.key].continued(seam[1])
        else:
            draft = Draft(script.header(self._own_ns[script.key] + _since(received_ns)))
        draft.received_ns = received_ns
        self._drafts[script.key] = draft
        return draft

    async def tell_times(self, http: web.Request) -> web.Response:
        """Tell when the newest answer for a key was asked for, and when its first line was sent."""
        draft = self._drafts[http.match_info["key"]]
        return web.json_response([draft.received_ns, draft.sent_ns])

    async def _wait_for_group(self, script: Script) -> None:
        barrier = self._groups.setdefault(script.group, asyncio.Barrier(script.together))
        async with asyncio.timeout(TOGETHER_SECONDS):
            await barrier.wait()


class Draft:
    """A file as far as it is written. `text` ends with a line; `unsent` is the end of it.

    `received_ns` is when the newest answer was asked for; `sent_ns` is just before its first line
    was complete, not counting the seam, and 0 until then.
    """

    def __init__(self, text: str, seam: str = "", unsent: str | None = None) -> None:
        self.text = text
        self.seam = seam
        self.unsent = text if unsent is None else unsent
        self.received_ns = self.sent_ns = 0

    def continued(self, seam: str) -> Draft:
        """Return the draft up to the seam and the end of the line in which it ends.

        Raises ValueError for a seam that is not in the file: the service has made it up.
        """
        at = self.text.index(seam) + len(seam)
        end = self.text.index("\n", at - 1) + 1
        return Draft(self.text[:end], seam, self.text[at:end])


def _since(ns: int) -> int:
    return time.monotonic_ns() - ns


async def _write_file(write: Write, script: Script, pace: Pace, draft: Draft) -> None:
    sent_ns = draft.sent_ns = await _write_line(write, pace, draft.unsent)
    for number in range(draft.text.count("\n"), script.numbered_lines + 1):
        line = script.line(number, sent_ns)
        draft.text += line
        sent_ns = await _write_line(write, pace, line)
        draft.sent_ns = draft.sent_ns or sent_ns
    await _write_line(write, pace, script.footer(draft.text))


async def _write_line(write: Write, pace: Pace, line: str) -> int:
    """Write a line by tokens, or whole where there is no pace; return when its end was sent."""
    step = TOKEN_CHARS if pace.rate else max(1, len(line))
    sent_ns = 0
    for start in range(0, len(line), step):
        await pace.wait()
        sent_ns = time.monotonic_ns()
        await write(_delta(line[start : start + step]))
    return sent_ns


class Pace:
    """When the next token is due. One that is late does not delay those after it.

    The streams of a group are spread over the time of one line, as independent ones would be.
    """

    def __init__(self, script: Script) -> None:
        self.rate = script.rate
        self._loop = asyncio.get_running_loop()
        self._tokens = 0
        self._start = self._loop.time()
        if self.rate:
            self._start += (script.number * GOLDEN_RATIO) % 1 * LINE_TOKENS / self.rate

    async def begin(self) -> None:
        """Wait until the first token is due."""
        await self._sleep_until(self._start)

    async def wait(self) -> None:
        """Wait until the next token is due."""
        if self.rate:
            await self._sleep_until(self._start + self._tokens / self.rate)
            self._tokens += 1

    async def _sleep_until(self, due: float) -> None:
        delay = due - self._loop.time()
        if delay > 0:
            await asyncio.sleep(delay)


def _plan(key: str) -> str:
    plan = {
        "name": "Measured",
        "description": "A file that arrives at a measured pace.",
        "files": [{"path": PATH, "purpose": f"holds the lines of {key}"}],
        "isLastPhase": True,
    }
    return orjson.dumps(plan).decode()


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


async def main() -> None:
    """Serve on a free loopback port until standard input ends."""
    app = web.Application(client_max_size=64 * 2**20)
    model = PacedModel()
    app.router.add_post("/api/v1/chat/completions", model.handle)
    app.router.add_get("/times/{key}", model.tell_times)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    stdin = await open_stdin()
    await stdin.read()
    await runner.cleanup()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
