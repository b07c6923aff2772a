"""Who may talk to the service: checks of the Host and Origin headers, and headers for browsers.

A service on the loopback interface trusts whoever can reach it, but a browser can be made to reach
it by any web page. So a page of another origin may neither open a socket nor change anything
(Origin), and a foreign name that resolves to 127.0.0.1 is not accepted (Host, DNS rebinding).
"""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from gateway.context import CONTEXT

IS_PREVIEW = web.RequestKey("is_preview", bool)  # an app answers: its headers are its own
_SAFE_METHODS = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_DEFAULT_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Cache-Control": "no-store",
}


@web.middleware
async def refuse_foreign_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer 403 to a foreign Host, and to a foreign Origin where it could do harm."""
    host = request.headers.get(hdrs.HOST, "")
    if not is_trusted_host(host, request.app[CONTEXT].settings.host):
        raise web.HTTPForbidden
    origin = request.headers.get(hdrs.ORIGIN)
    is_harmless = request.method in _SAFE_METHODS and hdrs.UPGRADE not in request.headers
    if origin is not None and not is_harmless and not is_same_origin(origin, host):
        raise web.HTTPForbidden
    return await handler(request)


async def add_default_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers that every answer has unless its handler knows better, or is an app."""
    if request.get(IS_PREVIEW):
        return
    for name, value in _DEFAULT_HEADERS.items():
        response.headers.setdefault(name, value)


def is_trusted_host(host: str, listening_host: str) -> bool:
    """Say whether a Host header names this service.

    On the loopback interface only loopback names and the configured one do; on any other
    interface the service cannot know its names.
    """
    parts = _split(f"//{host}")
    if parts is None:
        return False
    if not is_loopback(listening_host):
        return True
    return is_loopback(parts.hostname) or parts.hostname == listening_host.lower()


def is_same_origin(origin: str, host: str) -> bool:
    """Say whether a page of `origin` was served by what `host` names; loopback names are one."""
    page, service = _split(origin), _split(f"//{host}")
    if page is None or service is None or page.scheme not in _DEFAULT_PORTS:
        return False
    default_port = _DEFAULT_PORTS[page.scheme]
    if (page.port or default_port) != (service.port or default_port):
        return False
    return page.hostname == service.hostname or (
        is_loopback(page.hostname) and is_loopback(service.hostname)
    )


def is_loopback(hostname: str | None) -> bool:
    """Say whether a name or an address can only mean this machine."""
    if not hostname:
        return False
    name = hostname.lower().rstrip(".")
    if name == "localhost":  # its subdomains are the apps' (gateway/preview.py)
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _split(url: str) -> SplitResult | None:
    """Split an address; None where it has no host or an impossible port."""
    try:
        parts = urlsplit(url)
        return parts if parts.hostname and (parts.port is None or parts.port > 0) else None
    except ValueError:
        return None
