"""The built-in page: `/` and the files below `/static/`, out of the installed package."""

from __future__ import annotations

from pathlib import Path

from aiohttp import hdrs, web

from actors.paths import is_safe_path
from gateway.stored_app import content_type

STATIC_DIRECTORY = Path(__file__).resolve().parent / "static"
_HEADERS = {
    # Apps, which are shown in a frame, have host names of their own (gateway/preview.py).
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; frame-src http: https:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    hdrs.CACHE_CONTROL: "no-cache",
}


async def serve_page(request: web.Request) -> web.StreamResponse:
    """Serve the page."""
    return _file("index.html")


async def serve_static(request: web.Request) -> web.StreamResponse:
    """Serve one of the page's files."""
    path = request.match_info["path"]
    if not is_safe_path(path):
        raise web.HTTPNotFound
    return _file(path)


def _file(path: str) -> web.FileResponse:
    file = STATIC_DIRECTORY / path
    if not file.is_file():
        raise web.HTTPNotFound
    headers = {**_HEADERS, hdrs.CONTENT_TYPE: f"{content_type(path)}; charset=utf-8"}
    return web.FileResponse(file, headers=headers)
