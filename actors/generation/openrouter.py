"""The client of OpenRouter, and of any server that speaks OpenAI's streaming chat completions.

One call is one POST whose answer is an SSE stream; https://openrouter.ai/docs/api-reference/streaming
describes it. `completion.py` reads the chunks and the errors, `OpenRouterModel` performs the call,
`retry_before_first_text` repeats it while nothing has been seen of it.

The key is sent to the server and appears nowhere else: no message, log line or repr holds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import logging
import random
import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from actors.errors import (
    ModelError,
    ModelRateLimited,
    ModelStreamBroken,
    ModelUnauthorized,
    ModelUnavailable,
)
from actors.generation.completion import Completion, Explainer, error_member, status_in
from actors.generation.model import ModelEvent, ModelFacts, ModelRequest, ModelText
from actors.generation.sse import SseDecoder, SseEvent

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
FIRST_BYTE_SECONDS = 60.0
IDLE_SECONDS = 60.0
TRAILER_SECONDS = 5.0  # for the usage chunk, once the text is finished
ANSWER_SECONDS = 1_800.0  # keep-alive comments could otherwise go on for ever
ERROR_BODY_SECONDS = 5.0
MAX_ERROR_BODY_BYTES = 64 * 1024

MAX_RETRIES = 2
FIRST_PAUSE_SECONDS = 0.5
PAUSE_FACTOR = 4.0
MAX_RETRY_AFTER_SECONDS = 20.0

APP_TITLE = "codegen-agents"
APP_URL = "http://localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and after which pauses a call is repeated that has failed before its first text."""

    retries: int = MAX_RETRIES
    first_pause_seconds: float = FIRST_PAUSE_SECONDS
    max_retry_after_seconds: float = MAX_RETRY_AFTER_SECONDS

    def pause_seconds(self, error: ModelError, failures: int) -> float | None:
        """Return the pause after the `failures`-th failure, or None to give up.

        A server that asks for more patience than we have is not asked again: it would only answer
        the same.
        """
        if failures > self.retries or not error.retryable:
            return None
        pause = self.first_pause_seconds * PAUSE_FACTOR ** (failures - 1)
        pause *= random.uniform(0.75, 1.25)  # noqa: S311  # spreads the load, protects nothing
        asked = error.retry_after_seconds if isinstance(error, ModelRateLimited) else None
        if asked is None:
            return pause
        return max(asked, pause) if asked <= self.max_retry_after_seconds else None


async def retry_before_first_text(
    call: Callable[[], AsyncGenerator[ModelEvent, None]], policy: RetryPolicy
) -> AsyncGenerator[ModelEvent, None]:
    """Yield the events of `call()`, calling anew when it fails before its first text.

    Later failures are raised: the text has been seen, only the consumer can tell what to do.
    """
    failures = 0
    while True:
        has_begun = False
        try:
            async with aclosing(call()) as events:
                async for event in events:
                    has_begun = True
                    yield event
            return
        except ModelError as error:
            failures += 1
            pause = None if has_begun else policy.pause_seconds(error, failures)
            if pause is None:
                raise
            log.warning("model call failed (%s), trying again in %.1f s", error.code, pause)
        await asyncio.sleep(pause)


class OpenRouterModel:
    """The `Model` port over HTTP; one per event loop. Durations are in seconds."""

    is_demo = False

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        connect_seconds: float = CONNECT_SECONDS,
        first_byte_seconds: float = FIRST_BYTE_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
        retry: RetryPolicy = RetryPolicy(),
        app_title: str = APP_TITLE,
        app_url: str = APP_URL,
    ) -> None:
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._api_key = api_key.strip()
        self._explainer = Explainer(self._api_key)
        self._app_headers = {"HTTP-Referer": app_url, "X-Title": app_title}
        self._connect_seconds = connect_seconds
        self._first_byte_seconds = first_byte_seconds
        self._idle_seconds = idle_seconds
        self._retry = retry
        self._session: aiohttp.ClientSession | None = None

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Make one call; see `Model.stream`. Retried only before its first text."""
        return retry_before_first_text(lambda: self._call(request), self._retry)

    async def facts(self, model: str) -> ModelFacts:
        """Return what is known of the model."""
        return ModelFacts()

    async def close(self) -> None:
        """Close the connections, those in use included."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _call(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        response = await self._open(request)
        completion = Completion(request.model, self._explainer)
        decoder = SseDecoder()
        deadline = time.monotonic() + ANSWER_SECONDS
        try:
            while not completion.is_done:
                data = await self._read(response, completion)
                if not data:
                    break
                items = decoder.feed(data)
                text = completion.feed(item.data for item in items if isinstance(item, SseEvent))
                if text:
                    yield ModelText(text=text)
                completion.check()
                if time.monotonic() > deadline:
                    raise ModelStreamBroken(
                        f"The model's answer took longer than {ANSWER_SECONDS / 60:g} minutes."
                    )
        finally:
            # Not release(): a connection with an unread answer is closed, now and not later, so
            # that the server stops generating (and charging).
            response.close()
        for event in completion.end():
            yield event

    async def _open(self, request: ModelRequest) -> aiohttp.ClientResponse:
        """Send the request and return the response once it is known to be a stream.

        A server that refuses the request as such may not know `response_format`: it is asked
        once more without, since the prompt says the same in words and the answer is checked.
        """
        body = _body(request)
        response = await self._post(body)
        try:
            if response.status in (400, 422) and "response_format" in body:
                refusal = await self._refusal(response, request.model)
                if type(refusal) is not ModelError:
                    raise refusal
                log.info("model %s refused structured output, asking without", request.model)
                response.close()
                del body["response_format"]
                response = await self._post(body)
            if response.status != 200:
                raise await self._refusal(response, request.model)
            if response.content_type in ("text/html", "application/json"):
                raise await self._no_stream(response, request.model)
        except BaseException:
            response.close()
            raise
        return response

    async def _post(self, body: Mapping[str, Any]) -> aiohttp.ClientResponse:
        headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",  # a compressing proxy would hold chunks back
            **self._app_headers,
        }
        if self._api_key:
            if not (self._api_key.isascii() and self._api_key.isprintable()):
                raise ModelUnauthorized(
                    "The key of the model's server holds characters that no key has; set "
                    "OPENROUTER_API_KEY again."
                )
            headers["Authorization"] = f"Bearer {self._api_key}"
        try:
            async with asyncio.timeout(self._first_byte_seconds):
                return await self._opened_session().post(
                    self._url, data=orjson.dumps(body), headers=headers, allow_redirects=False
                )
        except aiohttp.ConnectionTimeoutError as error:
            raise ModelUnavailable(
                f"The model's server could not be reached within {self._connect_seconds:g} "
                "seconds; check OPENROUTER_BASE_URL and the network."
            ) from error
        except TimeoutError as error:
            raise ModelUnavailable(
                f"The model's server did not answer within {self._first_byte_seconds:g} seconds; "
                "try again later."
            ) from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise ModelUnavailable(
                "The certificate of the model's server cannot be verified; check "
                "OPENROUTER_BASE_URL and the system's certificates."
            ) from error
        except aiohttp.ClientConnectorError as error:
            raise ModelUnavailable(
                f"The model's server {error.host}:{error.port} cannot be reached; check "
                "OPENROUTER_BASE_URL and the network."
            ) from error
        except aiohttp.ClientResponseError:
            # Its repr shows the request's headers, the key among them: it is not chained.
            raise ModelUnavailable(
                "The model's server does not answer in HTTP; check OPENROUTER_BASE_URL."
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise ModelUnavailable(
                "The connection to the model's server broke before it answered; try again later."
            ) from error

    def _opened_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_seconds),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def _read(self, response: aiohttp.ClientResponse, completion: Completion) -> bytes:
        """Return the next bytes, b"" at the end; any byte, also of a comment, resets the timer."""
        is_finished = completion.finish_reason is not None
        seconds = min(TRAILER_SECONDS, self._idle_seconds) if is_finished else self._idle_seconds
        try:
            async with asyncio.timeout(seconds):
                return await response.content.readany()
        except TimeoutError as error:
            problem = f"The model's server sent nothing for {seconds:g} seconds."
            cause: Exception = error
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            # RuntimeError is how aiohttp says that the transport was closed just now, by the peer
            # or by `close`, and that nobody has been told yet.
            problem = "The connection to the model's server broke in the middle of its answer."
            cause = error
        if is_finished:
            return b""  # the text is complete; only its usage is missing
        raise ModelStreamBroken(problem) from cause

    async def _refusal(self, response: aiohttp.ClientResponse, model: str) -> ModelError:
        """Return the error that an answer other than 200 means."""
        error = error_member(await _read_error_body(response))
        return self._explainer.explain(
            response.status, error, model, _retry_after_seconds(response.headers)
        )

    async def _no_stream(self, response: aiohttp.ClientResponse, model: str) -> ModelError:
        """Return the error that a 200 without a stream means: OpenRouter reports some that way."""
        error = error_member(await _read_error_body(response))
        if isinstance(error, Mapping):
            return self._explainer.explain(status_in(error), error, model)
        return ModelUnavailable(
            f"The model's server answered with {response.content_type} instead of a stream; check "
            "OPENROUTER_BASE_URL."
        )


def _body(request: ModelRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.json_schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {
                "name": request.schema_name,
                "strict": True,
                "schema": request.json_schema,
            },
        }
    if request.max_tokens is not None:
        body["max_tokens"] = request.max_tokens
    return body


async def _read_error_body(response: aiohttp.ClientResponse) -> bytes:
    """Return what can be had of an error's body in a reasonable time; maybe nothing."""
    body = bytearray()
    with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
        async with asyncio.timeout(ERROR_BODY_SECONDS):
            async for piece in response.content.iter_any():
                body += piece
                if len(body) >= MAX_ERROR_BODY_BYTES:
                    break
    return bytes(body[:MAX_ERROR_BODY_BYTES])


def _retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After (RFC 9110, 10.2.3): seconds, or a date."""
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", value):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
