"""The small pages that stand where an app does not answer yet, or not any more."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from aiohttp import hdrs, web

RETRY_SECONDS = 1
STARTING = "The app is being built or started."

_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:18vh auto;padding:0 1.5rem}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:13px}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    # Without `allow-scripts` a browser ignores a sandboxed page's refresh; scripts are kept out by
    # `default-src`. Anybody's page may show previews in a frame, so there is no `frame-ancestors`.
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "base-uri 'none'; form-action 'none'; sandbox allow-scripts",
    "Cache-Control": "no-store",
}


def waiting_page(sentence: str) -> web.Response:
    """Say what goes on; the browser asks again by itself."""
    refresh = f'<meta http-equiv="refresh" content="{RETRY_SECONDS}">'
    body = f"<p>{escape(sentence or STARTING)}</p><p>It appears here as soon as it answers.</p>"
    response = _page(503, "Starting the app", body, refresh)
    response.headers[hdrs.RETRY_AFTER] = str(RETRY_SECONDS)
    return response


def not_yet() -> web.Response:
    """Tell a script that the app does not answer."""
    headers = {hdrs.RETRY_AFTER: str(RETRY_SECONDS), hdrs.CACHE_CONTROL: "no-store"}
    return web.Response(status=503, headers=headers)


def failed_page(message: str) -> web.Response:
    """Show a sentence, and below it the lines that follow in `message`."""
    sentence, _, output = message.partition("\n")
    lines = f"<pre>{escape(output)}</pre>" if output else ""
    body = f'<p>{escape(sentence)}</p>{lines}<p><a href="">Try again</a></p>'
    return _page(502, "The app does not start", body)


def broken_page(sentence: str) -> web.Response:
    """Say that the app runs, and what is wrong with its answer."""
    return _page(502, "No answer", f'<p>{escape(sentence)}</p><p><a href="">Try again</a></p>')


def missing_page(sentence: str) -> web.Response:
    """Say that there is nothing at this address."""
    return _page(404, "Nothing here", f"<p>{escape(sentence)}</p>")


def _page(status: int, title: str, body: str, head: str = "") -> web.Response:
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title>{head}<style>{_STYLE}</style></head><body>{body}</body></html>"
    )
    return web.Response(
        status=status, text=html, content_type="text/html", charset="utf-8", headers=_HEADERS
    )
