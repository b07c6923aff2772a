"""The CLI's side of the public protocol: where the service is, its endpoints, its refusals."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp

from actors.errors import InvalidSetting
from actors.settings import Settings

ANSWER_SECONDS = 30.0  # a service that is there answers in milliseconds; a cancel in 200 ms
CONNECT_SECONDS = 5.0


class CommandFailed(Exception):
    """A command's end with an error: a stable code, a sentence, the process's exit status."""

    def __init__(self, code: str, message: str, *, exit_status: int = 1) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.exit_status = exit_status


def not_running(url: str) -> CommandFailed:
    """Return the error for a service that does not answer."""
    return CommandFailed(
        "not_running", f"No service answers at {url}; start one with scripts/serve, or give --url."
    )


def service_url(environment: Mapping[str, str], flag: str | None, settings: Settings) -> str:
    """Return the service's address without a trailing slash.

    The first of: the flag, CODEGEN_URL, what the service that runs from the state directory has
    written there, CODEGEN_HOST and CODEGEN_PORT. Raises InvalidSetting.
    """
    url = flag or environment.get("CODEGEN_URL") or _written_url(settings)
    if not url:
        host = "127.0.0.1" if settings.host in ("0.0.0.0", "::", "") else settings.host  # noqa: S104  # compared, not bound
        host = f"[{host}]" if ":" in host else host
        url = f"http://{host}:{settings.port or 8080}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InvalidSetting(
            f"The service's address must be like http://127.0.0.1:8080, not {url!r}"
        )
    return url.rstrip("/")


def _written_url(settings: Settings) -> str | None:
    try:
        content = json.loads(settings.actors_file.read_bytes())
    except (OSError, ValueError):  # no service runs from here, or it is just being started
        return None
    url = content.get("url") if isinstance(content, dict) else None
    return url if isinstance(url, str) else None


class ServiceClient:
    """One service's JSON endpoints. Every refusal is a CommandFailed with the service's code."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session

    async def get(self, path: str, **query: str) -> Any:
        return await self._request("GET", path, params=query)

    async def post(self, path: str, body: Any) -> Any:
        return await self._request("POST", path, json=body)

    async def delete(self, path: str) -> Any:
        return await self._request("DELETE", path)

    async def file_text(self, project_id: str, path: str) -> str:
        """Return one stored file, as it is."""
        return (await self._send("GET", f"{project_path(project_id)}/files/{quote(path)}")).decode()

    async def lines(self, path: str, **query: str) -> AsyncIterator[Any]:
        """Yield the lines of JSON of an answer without an end, until it ends all the same."""
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS)
        try:
            async with self.session.get(self.url + path, params=query, timeout=timeout) as response:
                if response.status >= 400:
                    raise self._refusal(response.status, await response.read())
                async for line in response.content:
                    yield json.loads(line)
        except (aiohttp.ClientError, TimeoutError):
            raise not_running(self.url) from None

    async def _request(self, method: str, path: str, **arguments: Any) -> Any:
        body = await self._send(method, path, **arguments)
        try:
            return json.loads(body) if body else None
        except ValueError:
            raise self._foreign() from None

    async def _send(self, method: str, path: str, **arguments: Any) -> bytes:
        try:
            async with self.session.request(method, self.url + path, **arguments) as response:
                body = await response.read()
        except (aiohttp.ClientConnectionError, TimeoutError):
            raise not_running(self.url) from None
        except aiohttp.ClientError:
            raise self._foreign() from None
        if response.status >= 400:
            raise self._refusal(response.status, body)
        return body

    def _refusal(self, status: int, body: bytes) -> CommandFailed:
        try:
            error = json.loads(body)["error"]
            return CommandFailed(str(error["code"]), str(error["message"]))
        except (ValueError, KeyError, TypeError):
            return self._foreign(f" (it answered with HTTP status {status})")

    def _foreign(self, detail: str = "") -> CommandFailed:
        return CommandFailed(
            "not_this_service",
            f"What answers at {self.url} is not this service{detail}; check --url.",
        )


def project_path(project_id: str) -> str:
    """Return the path of a project's endpoints."""
    return f"/api/projects/{quote(project_id, safe='')}"


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[ServiceClient]:
    """Open a client for the length of a command; nothing is sent yet."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=CONNECT_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield ServiceClient(url, session)
