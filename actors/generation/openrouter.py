"""The client of OpenRouter, and of any server that speaks OpenAI's streaming chat completions.

One call is one POST whose answer is an SSE stream; https://openrouter.ai/docs/api-reference/streaming
describes it. `transport.py` carries it, `dialect.py` words the request, `completion.py` reads the
chunks, `explainer.py` the errors.
"""

from __future__ import annotations

import asyncio
import email.utils
import logging
import re
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import orjson

from actors.errors import ModelError, ModelStreamBroken, ModelUnavailable
from actors.generation.catalog import Catalog
from actors.generation.completion import Completion
from actors.generation.dialect import Dialects
from actors.generation.explainer import Explainer, error_member, status_in
from actors.generation.model import ModelEvent, ModelFacts, ModelRequest, ModelText
from actors.generation.sse import SseDecoder, SseEvent
from actors.generation.transport import Exchange, Transport

log = logging.getLogger(__name__)

FIRST_TEXT_SECONDS = 180.0  # a model on one's own machine may first be loaded, and read the prompt
IDLE_SECONDS = 60.0
TRAILER_SECONDS = 5.0  # for the usage chunk, once the text is finished
ANSWER_SECONDS = 1_800.0  # keep-alive comments could otherwise go on for ever
ERROR_BODY_SECONDS = 5.0
MAX_ERROR_BODY_BYTES = 64 * 1024


class OpenRouterModel:
    """The `Model` port over a transport. Durations are in seconds.

    `api_key` is known only to be kept out of what is said.
    """

    is_demo = False

    def __init__(
        self,
        transport: Transport,
        catalog: Catalog,
        *,
        api_key: str,
        first_text_seconds: float = FIRST_TEXT_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._transport = transport
        self._catalog = catalog
        self._explainer = Explainer(api_key.strip())
        self._dialects = Dialects()
        self._first_text_seconds = first_text_seconds
        self._idle_seconds = idle_seconds

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Make one call, and only one; see `Model.stream`."""
        exchange = await self._open(request)
        completion = Completion(request, self._explainer)
        broken: ModelError | None = None
        try:
            async with aclosing(self._texts(exchange, completion)) as texts:
                async for text in texts:
                    yield ModelText(text=text)
        except ModelError as error:
            broken = error
        finally:
            exchange.close()
        for event in completion.end(broken):
            yield event

    async def facts(self, model: str) -> ModelFacts:
        """Return what is known of a model."""
        return await self._catalog.facts(model)

    async def close(self) -> None:
        """Close the connections, those in use included."""
        await self._catalog.close()
        await self._transport.close()

    async def _open(self, request: ModelRequest) -> Exchange:
        """Send the request, in the dialect that the server accepts, and return its stream."""
        dialect = self._dialects.first(request.model)
        while True:
            body = orjson.dumps(dialect.body(request))
            exchange = await self._transport.post(request, body)
            is_stream = False
            try:
                is_stream = _is_stream(exchange)
                if is_stream:
                    self._dialects.accept(request, dialect)
                    return exchange
                said = await _error_body(exchange)
            finally:
                if not is_stream:
                    exchange.close()
            error = error_member(said)
            # OpenRouter reports some errors with a 200.
            status = status_in(error) if exchange.status == 200 else exchange.status
            refusal = self._refusal(exchange, status, error, request.model)
            if status not in (400, 422) or type(refusal) is not ModelError:
                raise refusal
            simpler = self._dialects.next(request, dialect, said.decode(errors="replace"))
            if simpler is None:
                raise refusal
            log.info("model %s refused a request (%s), asking more simply", request.model, dialect)
            dialect = simpler

    def _refusal(
        self, exchange: Exchange, status: int | None, error: Any, model: str
    ) -> ModelError:
        """Return the error that an answer without a stream means."""
        if exchange.status == 200 and not isinstance(error, Mapping):
            return ModelUnavailable(
                f"The model's server answered with {exchange.content_type} instead of a stream; "
                "check OPENROUTER_BASE_URL.",
                retryable=False,
            )
        pause = retry_after_seconds(exchange.retry_after, time.time())
        return self._explainer.explain(status, error, model, pause)

    async def _texts(self, exchange: Exchange, completion: Completion) -> AsyncGenerator[str, None]:
        """Yield the texts of the stream; raises ModelError where it breaks."""
        decoder = SseDecoder()
        deadline = time.monotonic() + ANSWER_SECONDS
        while not completion.is_done and (data := await self._read(exchange, completion)):
            items = decoder.feed(data)
            text = completion.feed(item.data for item in items if isinstance(item, SseEvent))
            if text:
                yield text
            completion.check()
            if time.monotonic() > deadline:
                raise ModelStreamBroken(
                    f"The model's answer took longer than {ANSWER_SECONDS / 60:g} minutes."
                )

    async def _read(self, exchange: Exchange, completion: Completion) -> bytes:
        """Return the next bytes, b"" at the end; any byte, also of a comment, resets the timer."""
        seconds = self._idle_seconds if completion.has_text else self._first_text_seconds
        is_finished = completion.finish_reason is not None
        if is_finished:
            seconds = min(TRAILER_SECONDS, seconds)
        try:
            async with asyncio.timeout(seconds):
                return await exchange.read()
        except (TimeoutError, ModelStreamBroken) as error:
            if is_finished:
                return b""  # the text is complete; only its usage is missing
            if isinstance(error, ModelStreamBroken):
                raise
            raise ModelStreamBroken(
                f"The model's server sent nothing for {seconds:g} seconds."
            ) from error


def _is_stream(exchange: Exchange) -> bool:
    """Say whether an answer may be a stream; not every server names its type rightly."""
    return exchange.status == 200 and exchange.content_type not in ("text/html", "application/json")


async def _error_body(exchange: Exchange) -> bytes:
    """Return what can be had of an error's body in a reasonable time; maybe nothing."""
    body = bytearray()
    try:
        async with asyncio.timeout(ERROR_BODY_SECONDS):
            while len(body) < MAX_ERROR_BODY_BYTES and (data := await exchange.read()):
                body += data
    except (TimeoutError, ModelStreamBroken):
        pass
    return bytes(body[:MAX_ERROR_BODY_BYTES])


def retry_after_seconds(value: str, now: float) -> float | None:
    """Read Retry-After (RFC 9110, 10.2.3): seconds, or a date; `now` is Unix time."""
    value = value.strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", value):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None
