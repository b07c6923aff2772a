"""An app that is served from its stored files, without a sandbox; wakes nobody."""

from __future__ import annotations

from urllib.parse import quote

from aiohttp import hdrs, web

from actors.paths import is_safe_path
from actors.reader import Reader
from gateway.api import text_response
from gateway.preview_pages import missing_page

#: Not `mimetypes`: its answers depend on the machine. Only text is ever stored.
CONTENT_TYPES = {
    "html": "text/html",
    "htm": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "mjs": "text/javascript",
    "json": "application/json",
    "map": "application/json",
    "webmanifest": "application/manifest+json",
    "svg": "image/svg+xml",
    "xml": "application/xml",
    "csv": "text/csv",
}
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
}


def content_type(path: str) -> str:
    """Return the content type for a file's name; text where the name does not tell."""
    return CONTENT_TYPES.get(path.rpartition(".")[2].lower(), "text/plain")


async def serve_stored(request: web.Request, reader: Reader, project_id: str) -> web.Response:
    """Serve one file: a directory is its index.html, and so is what a page's own router shows."""
    if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
        raise web.HTTPMethodNotAllowed(request.method, (hdrs.METH_GET, hdrs.METH_HEAD))
    path = request.path.removeprefix("/")
    name = f"{path}index.html" if not path or path.endswith("/") else path
    found = await _find(reader, project_id, name)
    if found is None and await _find(reader, project_id, f"{path}/index.html"):
        raise web.HTTPFound(_with_slash(request, path))  # which the page's relative links need
    if found is None and _is_page(request, path):
        name = "index.html"
        found = await _find(reader, project_id, name)
    if found is None:
        return missing_page("The app has no file for this address yet.")
    text, sha256 = found
    response = text_response(request, text, sha256, content_type(name))
    response.headers.update(_HEADERS)
    return response


def _with_slash(request: web.Request, path: str) -> str:
    query = request.rel_url.raw_query_string
    return f"/{quote(path)}/?{query}" if query else f"/{quote(path)}/"


def _is_page(request: web.Request, path: str) -> bool:
    """Say whether a browser goes there, and not for a file by its name."""
    wants_page = "text/html" in request.headers.get(hdrs.ACCEPT, "")
    return wants_page and "." not in path.rpartition("/")[2]


async def _find(reader: Reader, project_id: str, name: str) -> tuple[str, str] | None:
    return await reader.file(project_id, name) if is_safe_path(name) else None
