"""Which headers of a request or an answer go on through the proxy, and which it adds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy

Headers = CIMultiDict[str]

#: RFC 9110, 7.6.1, and the older ones of RFC 2616, 13.5.1.
_HOP_BY_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)
#: The web server has answered it before any handler sees the request.
_ANSWERED = frozenset({"expect"})
HANDSHAKE = frozenset(
    {"sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions"}
    | {"sec-websocket-protocol", "sec-websocket-accept"}
)
_COOKIE_DOMAIN = re.compile(r";\s*domain\s*=[^;]*", re.IGNORECASE)


def request_headers(
    request: web.Request, host: str, also_dropped: frozenset[str] = frozenset()
) -> Headers:
    """Return what the app is told: the browser's own headers, and how it was reached.

    `host` is the app's own name to itself; its pages are of that origin then.
    """
    headers = _end_to_end(request.headers, _ANSWERED | also_dropped)
    asked_host = request.headers[hdrs.HOST]
    if host != asked_host:
        headers[hdrs.HOST] = host
        if headers.get(hdrs.ORIGIN, "").partition("://")[2] == asked_host:
            headers[hdrs.ORIGIN] = f"http://{host}"
    headers["X-Forwarded-Host"] = asked_host
    headers.setdefault("X-Forwarded-Proto", request.scheme)
    if request.remote:
        headers.add("X-Forwarded-For", request.remote)
    headers.add(hdrs.VIA, f"{request.version.major}.{request.version.minor} codegen")
    return headers


def response_headers(headers: CIMultiDictProxy[str], host: str) -> Headers:
    """Return what the browser is told; a cookie is for the app's own host, never a wider domain."""
    kept = _end_to_end(headers)
    if (place := kept.get(hdrs.LOCATION, "")).startswith(f"http://{host}/"):
        kept[hdrs.LOCATION] = place.removeprefix(f"http://{host}")
    cookies = [_COOKIE_DOMAIN.sub("", text) for text in kept.popall(hdrs.SET_COOKIE, [])]
    kept.extend((hdrs.SET_COOKIE, text) for text in cookies)
    return kept


def target_of(request: web.Request) -> str | None:
    """Return the path and the query as they came; None for what is neither origin nor absolute.

    An absolute target (`GET http://host/path`) is for proxies, but every server must understand it.
    """
    if request.raw_path.startswith("/"):
        return request.raw_path
    if "://" in request.raw_path:
        return request.rel_url.raw_path_qs
    return None


def _end_to_end(headers: Mapping[str, str], also_dropped: frozenset[str] = frozenset()) -> Headers:
    """Return the headers that are not for one connection alone."""
    multi = CIMultiDict(headers)
    named = {
        name.strip().lower()
        for text in multi.getall(hdrs.CONNECTION, [])
        for name in text.split(",")
    }
    dropped = _HOP_BY_HOP | also_dropped | named
    return CIMultiDict(_utf8(multi, dropped))


def _utf8(headers: Headers, dropped: frozenset[str] | set[str]) -> Iterator[tuple[str, str]]:
    """Yield the headers that stay; bytes that are not UTF-8, which cannot be sent, are replaced."""
    for name, text in headers.items():
        if name.lower() not in dropped:
            yield name, text.encode(errors="surrogateescape").decode(errors="replace")
