"""The HTTP connection to a model's server: what is sent, and what its failures are called.

The key is sent to the server and appears nowhere else: no message, log line or repr holds it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiohttp

from actors.errors import ModelStreamBroken, ModelUnauthorized, ModelUnavailable
from actors.generation.model import ModelRequest

CONNECT_SECONDS = 10.0
LIST_SECONDS = 10.0  # for the list of models, as a whole
MAX_LIST_BYTES = 32 * 1024 * 1024  # OpenRouter's has 400 models and half a megabyte

APP_TITLE = "codegen-agents"
APP_URL = "http://localhost"


class HttpTransport:
    """The `Transport` port over HTTP; one per event loop. Durations are in seconds."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        first_byte_seconds: float,
        connect_seconds: float = CONNECT_SECONDS,
        app_title: str = APP_TITLE,
        app_url: str = APP_URL,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._api_key = api_key.strip()
        self._app_headers = {"HTTP-Referer": app_url, "X-Title": app_title}
        self._first_byte_seconds = first_byte_seconds
        self._connect_seconds = connect_seconds
        self._session: aiohttp.ClientSession | None = None

    async def post(self, request: ModelRequest, body: bytes) -> HttpExchange:
        """Send a chat completion; see `Transport.post`."""
        headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",  # a compressing proxy would hold chunks back
        }
        url = f"{self._base_url}/chat/completions"
        return HttpExchange(await self._send("POST", url, headers, body))

    async def list_models(self) -> bytes:
        """Return the server's list of its models, as JSON if it has one.

        Raises ModelError, also for an answer other than 200.
        """
        try:
            async with asyncio.timeout(LIST_SECONDS):
                response = await self._send("GET", f"{self._base_url}/models", {}, None)
                try:
                    if response.status != 200:
                        raise ModelUnavailable(
                            f"The model's server has no list of its models ({response.status})."
                        )
                    body = await response.content.read(MAX_LIST_BYTES)
                    while piece := await response.content.read(MAX_LIST_BYTES - len(body)):
                        body += piece
                    return body
                finally:
                    response.close()
        except (aiohttp.ClientError, OSError) as error:
            raise ModelUnavailable("The list of the server's models could not be read.") from error

    async def close(self) -> None:
        """Close the connections, those in use included."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> aiohttp.ClientResponse:
        headers = {**headers, **self._app_headers, **self._authorization()}
        try:
            async with asyncio.timeout(self._first_byte_seconds):
                return await self._opened_session().request(
                    method, url, data=body, headers=headers, allow_redirects=False
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
                "OPENROUTER_BASE_URL and the system's certificates.",
                retryable=False,
            ) from error
        except aiohttp.ClientConnectorError as error:
            raise ModelUnavailable(
                f"The model's server {error.host}:{error.port} cannot be reached; check "
                "OPENROUTER_BASE_URL and the network."
            ) from error
        except aiohttp.ClientResponseError:
            # Its repr shows the request's headers, the key among them: it is not chained.
            raise ModelUnavailable(
                "The model's server does not answer in HTTP; check OPENROUTER_BASE_URL.",
                retryable=False,
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise ModelUnavailable(
                "The connection to the model's server broke before it answered; try again later."
            ) from error

    def _authorization(self) -> dict[str, str]:
        if not self._api_key:
            return {}
        if not (self._api_key.isascii() and self._api_key.isprintable()):
            raise ModelUnauthorized(
                "The key of the model's server holds characters that no key has; set "
                "OPENROUTER_API_KEY again."
            )
        return {"Authorization": f"Bearer {self._api_key}"}

    def _opened_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_seconds),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


class HttpExchange:
    """The `Exchange` port over a response."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def content_type(self) -> str:
        return self._response.content_type

    @property
    def retry_after(self) -> str:
        return self._response.headers.get("Retry-After", "")

    async def read(self) -> bytes:
        """Return what has arrived; see `Exchange.read`."""
        content = self._response.content
        try:
            return await content.readany()
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            # What came before the break is still there, but aiohttp gives it to nobody any more.
            if rest := content._read_nowait(-1):
                return rest
            # RuntimeError is how aiohttp says that the transport was closed just now, by the peer
            # or by `close`, and that nobody has been told yet.
            raise ModelStreamBroken(
                "The connection to the model's server broke in the middle of its answer."
            ) from error

    def close(self) -> None:
        """Close the connection.

        Not release(): one with an unread answer is closed, now and not later, so that the server
        stops generating (and charging).
        """
        self._response.close()
