"""The line at the foot of an app's pages while the app is behind its project's newest files. Pure.

It is added to what a browser is shown as a page, behind the page's own end, where HTML's parser
takes it for a part of the body (WHATWG HTML, 13.2.6.4.19). Such a page is for one look: it must not
be found in a cache once the app is up to date.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import hdrs

from gateway.proxy_headers import Headers

BEHIND = (
    b'<div role="status" style="position:fixed;inset:auto 0 0 0;z-index:2147483647;margin:0;'
    b"padding:.5rem 1rem;background:#7a4a00;color:#fff;font:14px/1.4 system-ui,sans-serif;"
    b'text-align:center">The newest version of this app does not run yet; this is the one before '
    b'it. <a href="" style="color:inherit">Look again</a></div>'
)

#: With these an app may answer with less than the page, or in a form to which nothing can be added.
_PARTIAL = (
    hdrs.ACCEPT_ENCODING,
    hdrs.IF_MODIFIED_SINCE,
    hdrs.IF_NONE_MATCH,
    hdrs.IF_RANGE,
    hdrs.RANGE,
)
_OF_THE_WHOLE = (hdrs.CONTENT_LENGTH, hdrs.ETAG, hdrs.LAST_MODIFIED, "Content-MD5", "Digest")


def ask_for_whole(headers: Headers) -> None:
    """Change a request's headers so that its answer is a whole page in plain bytes."""
    for name in _PARTIAL:
        headers.popall(name, None)


def takes_footer(method: str, status: int, headers: Mapping[str, str]) -> bool:
    """Say whether an answer is a page to which something can be added."""
    kind = headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
    encoding = headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower()
    return (method, status, kind, encoding) == (hdrs.METH_GET, 200, "text/html", "identity")


def for_one_look(headers: Headers) -> None:
    """Change an answer's headers so that they fit a page to which something is added."""
    for name in _OF_THE_WHOLE:
        headers.popall(name, None)
    headers[hdrs.CACHE_CONTROL] = "no-store"
