"""A scripted OpenRouter server: real HTTP and SSE on a free loopback port, in a thread of its own.

The service under test reaches it from this process or from another one. By default it answers as
a good model would, from plain data:

    openrouter.add_phase("Site", {"index.html": "<h1>Hello</h1>\\n"}, last=True)

A plan request for phase N is answered with the N-th phase, an implement request with those files
that the prompt asks for, one of them from its seam on if it broke off. `answer_next` replaces one
answer by something else (an error, a cut, a pause, any text); `hold` stops a stream at a given
text until the test lets it go on; `requests` is what was received. Nothing here sleeps unless an
answer says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from socket import SO_SNDBUF, SOL_SOCKET
from typing import Any, Literal, NoReturn

import pytest
from aiohttp import web

from actors.generation.prompts import Brief, free_marker, read_brief, write_scof

TEST_KEY = "sk-or-v1-0123456789abcdef-only-for-tests"
WAIT_SECONDS = 30.0  # the longest that a test waits for something to happen
CHARS_PER_TOKEN = 4

Purpose = Literal["plan", "implement"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How to answer one request; the default answers what was asked, at once.

    `text` replaces the scripted text. `status` other than 200 answers with an error body, or with
    `body`. Positions (`*_at_chars`) count characters of the text that have been sent.
    """

    text: str | None = None
    chunk_chars: int = 64
    tokens_per_second: float = 0.0  # 0 = as fast as possible
    first_byte_delay_seconds: float = 0.0
    never_answer: bool = False  # not even headers, until the client goes
    is_dropped: bool = False  # the connection is closed without an answer
    comments: int = 0  # keep-alive comments before the first chunk
    comment_seconds: float = 0.0  # between them
    stall_at_chars: int | None = None  # send nothing more until the client goes
    cut_at_chars: int | None = None  # close the connection
    error_at_chars: int | None = None  # send `error_chunk` and end
    error_chunk: Mapping[str, Any] = field(
        default_factory=lambda: {"error": {"code": 502, "message": "Provider disconnected"}}
    )
    finish_reason: str | None = "stop"
    usage: Mapping[str, Any] | None = field(
        default_factory=lambda: {
            "prompt_tokens": 120,
            "completion_tokens": 80,
            "total_tokens": 200,
            "cost": 0.00125,
        }
    )
    is_done_sent: bool = True
    send_buffer_bytes: int | None = None  # what the kernel holds for a client that does not read
    raw_stream: bytes | None = None  # the whole body of the event stream, as it is
    raw_piece_bytes: int | None = None  # of `raw_stream` that are sent at a time
    cut_at_bytes: int | None = None  # of `raw_stream`: close the connection
    status: int = 200
    message: str = "scripted error"
    metadata: Mapping[str, Any] | None = None
    body: bytes | None = None
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ScriptedPhase:
    """A phase as plain data."""

    name: str
    description: str
    files: Mapping[str, str]
    is_last: bool
    delete: tuple[str, ...] = ()

    def plan_text(self, number: int = 1) -> str:
        files = [{"path": p, "purpose": f"holds {p} of phase {number}"} for p in self.files]
        return json.dumps(
            {
                "name": self.name,
                "description": self.description,
                "files": files,
                "delete": list(self.delete),
                "isLastPhase": self.is_last,
            }
        )

    def files_text(self, brief: Brief) -> str:
        files = {path: self.files[path] for path in brief.paths_to_write if path in self.files}
        marker = free_marker(files.values())
        if brief.unfinished_path in files:
            text = files[brief.unfinished_path]
            files[brief.unfinished_path] = text[max(0, text.find(brief.seam)) :]
        return "\n".join(write_scof(path, text, marker) for path, text in files.items())


DEFAULT_PHASE = ScriptedPhase(
    name="Site",
    description="A page that says hello.",
    files={"index.html": "<!doctype html>\n<title>Hello</title>\n<h1>Hello</h1>\n"},
    is_last=True,
)


class Signal:
    """Something that happens once; waited for by threads and by coroutines."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._event = threading.Event()
        self.at = 0.0  # time.monotonic() of when it happened

    def set(self) -> None:
        if not self._event.is_set():
            self.at = time.monotonic()
            self._event.set()

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, timeout_seconds: float = WAIT_SECONDS) -> None:
        assert self._event.wait(timeout_seconds), f"never happened: {self._what}"

    async def happened(self, timeout_seconds: float = WAIT_SECONDS) -> None:
        await asyncio.to_thread(self.wait, timeout_seconds)


class RecordedRequest:
    """One request as it was received."""

    def __init__(self, body: dict[str, Any], headers: Mapping[str, str], number: int) -> None:
        self.body = body
        self.headers = dict(headers)
        self.number = number
        self.chars_sent = 0
        self.is_cut = False  # by the script
        self.client_gone = Signal(f"the client leaves request {number}")
        self.ended = Signal(f"request {number} ends")

    @property
    def prompt(self) -> str:
        """The text of all messages."""
        return "\n\n".join(message["content"] for message in self.body["messages"])

    @property
    def brief(self) -> Brief:
        return read_brief(self.body["messages"][-1]["content"])

    @property
    def purpose(self) -> Purpose:
        """What the request asks for, by its prompt: `response_format` may have been dropped."""
        return "implement" if "<files_to_write>\n" in self.prompt else "plan"

    @property
    def phase_number(self) -> int:
        return self.brief.phase_number


@dataclass(kw_only=True)
class _Filter:
    """Which requests something applies to; None matches all."""

    purpose: Purpose | None = None
    project: str | None = None
    phase: int | None = None

    def matches(self, request: RecordedRequest) -> bool:
        return (
            self.purpose in (None, request.purpose)
            and (self.project is None or self.project in request.prompt)
            and self.phase in (None, request.phase_number)
        )


class Gate:
    """A hold on one stream: it stops once `at` has been sent, until `release()`."""

    def __init__(self, at: str | int, applies_to: _Filter) -> None:
        self.at = at
        self.applies_to = applies_to
        self.reached = Signal(f"a stream reaches {at!r}")
        self.request: RecordedRequest | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._released = threading.Event()
        self._waiter: asyncio.Event | None = None

    def position(self, text: str) -> int | None:
        """Return how many characters are sent before the stream stops, or None to pass by."""
        if isinstance(self.at, int):
            return min(self.at, len(text))
        found = text.find(self.at)
        return None if found < 0 else found + len(self.at)

    async def pass_through(self) -> None:
        self._loop, self._waiter = asyncio.get_running_loop(), asyncio.Event()
        self.reached.set()
        if not self._released.is_set():
            await self._waiter.wait()

    def release(self) -> None:
        """Let the stream go on; callable from any thread, before or after it was reached."""
        self._released.set()
        if self._loop is not None and self._waiter is not None:
            with contextlib.suppress(RuntimeError):  # the server has been stopped
                self._loop.call_soon_threadsafe(self._waiter.set)


class ScriptedOpenRouter:
    """The server; `start` and `stop` are called by the fixture."""

    def __init__(self) -> None:
        self.base_url = ""
        self.requests: list[RecordedRequest] = []
        self.models: list[Mapping[str, Any]] | None = None  # None: there is no such list
        self.lists_sent = 0
        self.unsupported: set[str] = set()  # words; a request that holds one of them is refused
        self._phases: dict[str | None, list[ScriptedPhase]] = {}
        self._answers: list[tuple[_Filter, Answer, bool]] = []
        self._gates: list[Gate] = []
        self._end_gates: list[Gate] = []
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="openrouter-server")
        self._runner: web.AppRunner | None = None
        self._is_stopping = False

    # --- the script ------------------------------------------------------------------------------

    def add_phase(
        self,
        name: str,
        files: Mapping[str, str],
        *,
        last: bool = False,
        description: str = "A scripted phase.",
        delete: tuple[str, ...] = (),
        project: str | None = None,
    ) -> None:
        """Append a phase: to all projects, or to those whose prompts contain `project`."""
        phase = ScriptedPhase(
            name=name, description=description, files=dict(files), is_last=last, delete=delete
        )
        with self._lock:
            self._phases.setdefault(project, []).append(phase)

    def answer_next(
        self,
        answer: Answer | str,
        *,
        purpose: Purpose | None = None,
        project: str | None = None,
        phase: int | None = None,
        always: bool = False,
    ) -> None:
        """Answer the next matching request with this; with `always`, every one from now on.

        Answers are used in the order in which they were given.
        """
        chosen = Answer(text=answer) if isinstance(answer, str) else answer
        applies_to = _Filter(purpose=purpose, project=project, phase=phase)
        with self._lock:
            self._answers.append((applies_to, chosen, always))

    def hold(
        self,
        at: str | int,
        *,
        purpose: Purpose | None = "implement",
        project: str | None = None,
        phase: int | None = None,
    ) -> Gate:
        """Stop the next matching stream right after the text `at`, or after `at` characters."""
        gate = Gate(at, _Filter(purpose=purpose, project=project, phase=phase))
        with self._lock:
            self._gates.append(gate)
        return gate

    def hold_end(self, *, purpose: Purpose | None = None, project: str | None = None) -> Gate:
        """Stop the next matching stream between its finish reason and its usage."""
        gate = Gate("", _Filter(purpose=purpose, project=project))
        with self._lock:
            self._end_gates.append(gate)
        return gate

    # --- what was received -----------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make a service use this server."""
        return {"OPENROUTER_API_KEY": TEST_KEY, "OPENROUTER_BASE_URL": self.base_url}

    def received(self, purpose: Purpose) -> list[RecordedRequest]:
        with self._lock:
            return [request for request in self.requests if request.purpose == purpose]

    def wait_for_requests(self, count: int) -> list[RecordedRequest]:
        """Block until at least `count` requests have arrived; from a loop, use `to_thread`."""
        with self._arrived:
            arrived = self._arrived.wait_for(lambda: len(self.requests) >= count, WAIT_SECONDS)
            assert arrived, f"only {len(self.requests)} of {count} requests arrived"
            return list(self.requests)

    # --- running ---------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()
        self._call(self._open())

    def stop(self) -> None:
        self._is_stopping = True
        for gate in (*self._gates, *self._end_gates):
            gate.release()
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_SECONDS)
        self._loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(WAIT_SECONDS)

    async def _open(self) -> None:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/api/v1/chat/completions", self._handle)
        app.router.add_get("/api/v1/models", self._list_models)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.base_url = f"http://{host}:{port}/api/v1"

    async def _close(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._loop.shutdown_default_executor()

    # --- answering -------------------------------------------------------------------------------

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        request = self._record(await http.json(), http.headers)
        try:
            return await self._respond(http, request, self._choose_answer(request))
        except (asyncio.CancelledError, ConnectionError):
            if not self._is_stopping and not request.is_cut:
                request.client_gone.set()
            raise asyncio.CancelledError from None  # nobody is left to answer; not worth a log
        finally:
            request.ended.set()

    def _record(self, body: dict[str, Any], headers: Mapping[str, str]) -> RecordedRequest:
        with self._arrived:
            request = RecordedRequest(body, headers, len(self.requests) + 1)
            self.requests.append(request)
            self._arrived.notify_all()
        return request

    async def _list_models(self, _http: web.Request) -> web.Response:
        self.lists_sent += 1
        if self.models is None:
            return web.json_response({"error": {"message": "no such page"}}, status=404)
        return web.json_response({"object": "list", "data": self.models})

    def _choose_answer(self, request: RecordedRequest) -> Answer:
        members = json.dumps({k: v for k, v in request.body.items() if k != "messages"})
        if refused := sorted(word for word in self.unsupported if f'"{word}"' in members):
            return Answer(status=400, message=f"unknown input: {refused[0]}")
        with self._lock:
            for entry in self._answers:
                applies_to, answer, is_kept = entry
                if applies_to.matches(request):
                    if not is_kept:
                        self._answers.remove(entry)
                    return answer
        return Answer()

    def _take_gates(self, request: RecordedRequest, text: str) -> dict[int, Gate]:
        """Return the unused gates for this stream, by the position of each."""
        taken: dict[int, Gate] = {}
        with self._lock:
            for gate in self._gates:
                position = gate.position(text)
                if (
                    position is not None
                    and position not in taken
                    and gate.request is None
                    and gate.applies_to.matches(request)
                ):
                    gate.request = request
                    taken[position] = gate
        return taken

    def _scripted_text(self, request: RecordedRequest) -> str | None:
        phase = self._phase_for(request)
        if phase is None:
            return None
        if request.purpose == "plan":
            return phase.plan_text(request.phase_number)
        return phase.files_text(request.brief)

    def _phase_for(self, request: RecordedRequest) -> ScriptedPhase | None:
        with self._lock:
            if not self._phases:
                return DEFAULT_PHASE
            named = [project for project in self._phases if project and project in request.prompt]
            phases = self._phases.get(named[0] if named else None, [])
        number = request.phase_number
        return phases[number - 1] if number <= len(phases) else None

    async def _respond(
        self, http: web.Request, request: RecordedRequest, answer: Answer
    ) -> web.StreamResponse:
        if answer.never_answer:
            await asyncio.Event().wait()
        if answer.is_dropped:
            _cut(http, request)
        if answer.first_byte_delay_seconds:
            await asyncio.sleep(answer.first_byte_delay_seconds)
        text = answer.text if answer.text is not None else self._scripted_text(request)
        if text is None:
            message = f"the script has no phase {request.phase_number} for this request"
            answer = Answer(status=400, message=message)
        if answer.status != 200 or answer.body is not None:
            return _error_response(answer)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(http)
        if answer.send_buffer_bytes is not None:
            assert http.transport is not None
            connection = http.transport.get_extra_info("socket")
            connection.setsockopt(SOL_SOCKET, SO_SNDBUF, answer.send_buffer_bytes)
        if answer.raw_stream is not None:
            stream = answer.raw_stream[: answer.cut_at_bytes]
            size = answer.raw_piece_bytes or len(stream) or 1
            for start in range(0, len(stream), size):
                await response.write(stream[start : start + size])
                await asyncio.sleep(0)
            if answer.cut_at_bytes is not None:
                _cut(http, request)
        else:
            await self._stream(http, response, request, answer, text or "")
        return response

    async def _stream(
        self,
        http: web.Request,
        response: web.StreamResponse,
        request: RecordedRequest,
        answer: Answer,
        text: str,
    ) -> None:
        model = request.body.get("model")
        for _ in range(answer.comments):
            await response.write(b": OPENROUTER PROCESSING\n\n")
            if answer.comment_seconds:
                await asyncio.sleep(answer.comment_seconds)
        gates = self._take_gates(request, text)
        ends = (answer.stall_at_chars, answer.cut_at_chars, answer.error_at_chars)
        stops = {min(end, len(text)) for end in ends if end is not None} | set(gates)
        started = self._loop.time()
        for position in _positions(len(text), stops, answer.chunk_chars):
            piece = text[request.chars_sent : position]
            if piece:
                await response.write(_chunk(model, {"delta": {"content": piece}}))
                request.chars_sent = position
            if position in gates:
                await gates[position].pass_through()
            if position == answer.stall_at_chars:
                await asyncio.Event().wait()
            if position == answer.cut_at_chars:
                _cut(http, request)
            if position == answer.error_at_chars:
                await response.write(_event({"model": model, **answer.error_chunk}))
                return
            if answer.tokens_per_second:
                due = started + position / CHARS_PER_TOKEN / answer.tokens_per_second
                await asyncio.sleep(max(0.0, due - self._loop.time()))
        if answer.finish_reason is not None:
            await response.write(
                _chunk(model, {"delta": {}, "finish_reason": answer.finish_reason})
            )
        for gate in self._end_gates:
            if gate.request is None and gate.applies_to.matches(request):
                gate.request = request
                await gate.pass_through()
        if answer.usage is not None:
            await response.write(_event({"model": model, "choices": [], "usage": answer.usage}))
        if answer.is_done_sent:
            await response.write(b"data: [DONE]\n\n")


def _cut(http: web.Request, request: RecordedRequest) -> NoReturn:
    """Close the connection in the middle of the answer."""
    assert http.transport is not None
    request.is_cut = True
    http.transport.close()
    raise ConnectionResetError


def _positions(length: int, stops: set[int], chunk_chars: int) -> Iterator[int]:
    """Yield the ends of the chunks to send: every `chunk_chars`, and at every stop."""
    if 0 in stops:
        yield 0
    position = 0
    while position < length:
        ahead = [stop for stop in stops if stop > position]
        position = min([position + chunk_chars, length, *ahead])
        yield position


def _error_response(answer: Answer) -> web.Response:
    if answer.body is not None:
        return web.Response(
            status=answer.status,
            body=answer.body,
            content_type=answer.content_type,
            headers=answer.headers,
        )
    error: dict[str, Any] = {"code": answer.status, "message": answer.message}
    if answer.metadata is not None:
        error["metadata"] = answer.metadata
    return web.json_response({"error": error}, status=answer.status, headers=answer.headers)


def _event(data: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def _chunk(model: Any, choice: Mapping[str, Any]) -> bytes:
    return _event(
        {
            "id": "gen-1",
            "object": "chat.completion.chunk",
            "model": model,
            "choices": [{"index": 0, "finish_reason": None, **choice}],
        }
    )


@pytest.fixture
def openrouter() -> Iterator[ScriptedOpenRouter]:
    """A scripted OpenRouter server that runs for one test."""
    server = ScriptedOpenRouter()
    server.start()
    try:
        yield server
    finally:
        server.stop()
