"""A registry of our own that a sandbox can ask while it installs.

What is known is answered from the cache, the rest is fetched from the real registry and kept. It
is read-only: it knows GET alone and takes nothing from a sandbox but the name of what is wanted, so
no project can change what another one gets. Tarballs never change; what is known of a package is
asked for again after `FRESH_SECONDS`, and is used beyond that only where the registry fails.
Whoever installs verifies the tarballs' checksums itself; no answer that was cut short is kept.

Where the cache cannot be written it steps aside: answers pass through.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import hdrs, web
from yarl import URL

from actors.registries import Place, Registries
from actors.sandbox.cache import Draft
from actors.sandbox.doors import PACKAGES_DOOR, listen_at
from actors.sandbox.package_store import PackageStore, Stored
from actors.sandbox.packages import Wanted, read_wanted
from actors.sandbox.places import PlaceResolver
from actors.sandbox.relay import PACKAGES_PORT

log = logging.getLogger(__name__)

FRESH_SECONDS = 300.0  # as long as the npm registry lets its answers be used
MAX_ANSWER_BYTES = 512 * 1024 * 1024  # what is longer is cut off
MAX_REFUSAL_BYTES = 65_536  # of an answer that is not kept: why there is none
MAX_CONNECTIONS = 64  # from a sandbox at once; npm opens up to 15
MAX_FETCHES = 16  # at once
PART_BYTES = 65_536
PRUNE_BYTES = 256 * 1024 * 1024  # written by one install without a look at the whole
CONNECT_SECONDS = 15.0
SILENT_SECONDS = 30.0
END_SECONDS = 0.01  # for connections that wait for a next request, which will not come

#: What makes npm ask here.
MIRRORED = {"NPM_CONFIG_REGISTRY": f"http://127.0.0.1:{PACKAGES_PORT}/"}

_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """The real registry, and how it is reached: `proxy` is the operator's, if there is one."""

    url: str
    registries: Registries
    proxy: Place | None = None


@contextlib.asynccontextmanager
async def mirror(
    directory: Path, upstream: Upstream, store: PackageStore, tell: Callable[[str], None]
) -> AsyncIterator[None]:
    """Have the registry at a door for as long as the context lasts; all it does ends with it.

    `tell` is called with sentences for the project's log, each once. Raises OSError where there is
    no place for the door.
    """
    listener = listen_at(directory, PACKAGES_DOOR, MAX_CONNECTIONS)
    async with _session(upstream) as session:
        registry = _Mirror(upstream, store, session, tell)
        server = web.Server(registry.answer, access_log=None, tcp_keepalive=False)

        def take() -> asyncio.Protocol:
            return server() if len(server.connections) < MAX_CONNECTIONS else _Refusing()

        listening = await asyncio.get_running_loop().create_unix_server(take, sock=listener)
        try:
            yield
        finally:
            listening.close()
            (directory / PACKAGES_DOOR).unlink(missing_ok=True)
            await registry.close()
            await server.shutdown(END_SECONDS)


def _session(upstream: Upstream) -> aiohttp.ClientSession:
    """Make a client that reaches the registry alone, by https verified with the system's CAs."""
    resolver = None if upstream.proxy else PlaceResolver(upstream.registries)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=resolver, limit=MAX_FETCHES),
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


class _Refusing(asyncio.Protocol):
    """A connection beyond the most that there may be."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class _Mirror:
    def __init__(
        self,
        upstream: Upstream,
        store: PackageStore,
        session: aiohttp.ClientSession,
        tell: Callable[[str], None],
    ) -> None:
        self._upstream = upstream
        self._proxy = f"http://{upstream.proxy.authority}" if upstream.proxy else None
        self._store = store
        self._session = session
        self._tell = tell
        self._told: set[str] = set()
        self._answers: set[asyncio.Task[None]] = set()
        self._unpruned_bytes = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request of a package manager."""
        self._answers.add(request.task)
        try:
            return await self._answer(request)
        finally:
            self._answers.discard(request.task)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method != hdrs.METH_GET:
            return web.Response(status=405, headers={hdrs.ALLOW: hdrs.METH_GET})
        if hdrs.AUTHORIZATION in request.headers:
            return web.Response(status=403, text="nothing here is for one user alone")
        wanted = read_wanted(request.raw_path, request.headers.get(hdrs.ACCEPT, ""))
        if wanted is None:
            return web.Response(status=404, text="no package or tarball has this path")
        with contextlib.ExitStack() as stack:
            stored = self._find(wanted)
            if stored is not None:
                stack.callback(stored.file.close)
                if wanted.is_tarball or stored.age_seconds < FRESH_SECONDS:
                    return await _send(request, stored)
            return await self._ask(request, wanted, stored)

    async def close(self) -> None:
        """End every answer; bring the cache back to its size, if something was written."""
        tasks = list(self._answers)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._unpruned_bytes:
            await self._prune()

    async def _ask(
        self, request: web.BaseRequest, wanted: Wanted, stored: Stored | None
    ) -> web.StreamResponse:
        """Ask the registry; an answer of old is better than none."""
        headers = {hdrs.ACCEPT: wanted.accept}
        if stored is not None and stored.etag:
            headers[hdrs.IF_NONE_MATCH] = stored.etag
        if wanted.is_tarball:
            headers[hdrs.ACCEPT_ENCODING] = "identity"  # it is compressed itself
        url = URL(self._upstream.url + wanted.path, encoded=True)
        try:
            far = await self._session.get(
                url, headers=headers, allow_redirects=False, proxy=self._proxy
            )
        except (aiohttp.ClientError, OSError) as error:  # a timeout is one as well
            reason = str(error) or type(error).__name__
            return await self._make_do(request, stored, reason) or web.Response(
                status=502, text=f"the registry cannot be reached: {reason}"
            )
        async with far:
            if far.status == 304 and stored is not None:
                with contextlib.suppress(OSError):  # then it is asked for again
                    self._store.confirm(stored)
                return await _send(request, stored)
            if far.status == 200:
                return await self._pass_on(request, wanted, far)
            if far.status >= 500 or far.status == 429:
                made = await self._make_do(request, stored, f"it answers {far.status}")
                if made is not None:
                    return made
            return await _refusal(far)

    async def _make_do(
        self, request: web.BaseRequest, stored: Stored | None, reason: str
    ) -> web.StreamResponse | None:
        """Answer with what was known before, if anything was."""
        if stored is None:
            return None
        self._tell_once(
            f"The registry fails ({reason}); what is known of packages from earlier installs is "
            "used, and newer versions are not seen."
        )
        return await _send(request, stored)

    async def _pass_on(
        self, request: web.BaseRequest, wanted: Wanted, far: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        """Hand an answer on as it comes, and keep it once it has come as a whole."""
        etag = far.headers.get(hdrs.ETAG, "")
        response = web.StreamResponse(headers=_headers(etag, far.content_type))
        if hdrs.CONTENT_ENCODING not in far.headers:  # else it is longer here than on its way
            response.content_length = far.content_length
        await response.prepare(request)
        length = 0
        with contextlib.ExitStack() as stack:
            draft = self._begin(stack) if _has_end(far) else None
            try:
                async for part in far.content.iter_chunked(PART_BYTES):
                    length += len(part)
                    if length > MAX_ANSWER_BYTES:
                        raise aiohttp.ClientPayloadError("the answer is too long")
                    draft = self._write(draft, part, length)
                    await response.write(part)
            except (aiohttp.ClientError, OSError) as error:
                self._tell_once(f"An answer of the registry broke off ({error!r}).")
                assert request.transport is not None
                request.transport.abort()  # so that it is not taken for the whole
                return response
            if draft is not None:
                self._keep(draft, wanted, etag, far.content_type)
        await response.write_eof()
        if self._unpruned_bytes > PRUNE_BYTES:
            await self._prune()
        return response

    # --- the cache, which may fail: then answers pass through ------------------------------------

    def _find(self, wanted: Wanted) -> Stored | None:
        try:
            return self._store.find(wanted)
        except OSError as error:
            self._step_aside(error)
            return None

    def _begin(self, stack: contextlib.ExitStack) -> Draft | None:
        try:
            return stack.enter_context(self._store.begin())
        except OSError as error:
            self._step_aside(error)
            return None

    def _write(self, draft: Draft | None, part: bytes, length: int) -> Draft | None:
        """Write a part; returns the draft, or None where it is given up."""
        if draft is None or length > self._store.largest_bytes:
            return None
        try:
            draft.file.write(part)
        except OSError as error:
            self._step_aside(error)
            return None
        self._unpruned_bytes += len(part)
        return draft

    def _keep(self, draft: Draft, wanted: Wanted, etag: str, media_type: str) -> None:
        try:
            self._store.keep(draft, wanted, etag=etag, media_type=media_type)
        except OSError as error:
            self._step_aside(error)

    async def _prune(self) -> None:
        self._unpruned_bytes = 0
        try:
            await asyncio.to_thread(self._store.prune)
        except OSError as error:
            self._step_aside(error)

    def _step_aside(self, error: OSError) -> None:
        self._tell_once(f"The package cache cannot be used ({error.strerror}).")

    def _tell_once(self, sentence: str) -> None:
        if sentence not in self._told and len(self._told) < MAX_CONNECTIONS:
            self._told.add(sentence)
            log.warning("%s", sentence)
            self._tell(sentence)


async def _send(request: web.BaseRequest, stored: Stored) -> web.StreamResponse:
    headers = _headers(stored.etag, stored.media_type)
    if stored.etag and request.headers.get(hdrs.IF_NONE_MATCH) == stored.etag:
        return web.Response(status=304, headers=headers)
    response = web.StreamResponse(headers=headers)
    response.content_length = stored.length
    await response.prepare(request)
    for part in stored.parts(PART_BYTES):
        await response.write(part)
    await response.write_eof()
    return response


def _headers(etag: str, media_type: str) -> dict[str, str]:
    headers: dict[str, str] = {hdrs.CONTENT_TYPE: media_type, hdrs.CACHE_CONTROL: "no-cache"}
    return headers | {hdrs.ETAG: etag} if etag else headers


def _has_end(far: aiohttp.ClientResponse) -> bool:
    """Say whether an answer tells where it ends; of any other nobody knows if it was whole."""
    encoding = far.headers.get(hdrs.TRANSFER_ENCODING, "")
    return far.content_length is not None or "chunked" in encoding.lower()


async def _refusal(far: aiohttp.ClientResponse) -> web.Response:
    """Hand on an answer that holds nothing: a redirect, or the reason why there is none."""
    if far.status in _REDIRECTS and hdrs.LOCATION in far.headers:
        place = far.url.join(URL(far.headers[hdrs.LOCATION]))
        return web.Response(status=far.status, headers={hdrs.LOCATION: str(place)})
    try:
        body = await far.content.read(MAX_REFUSAL_BYTES)
    except (aiohttp.ClientError, OSError):
        body = b""
    return web.Response(status=far.status, body=body, content_type=far.content_type)
