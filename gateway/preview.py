"""A project's app below `/preview/{projectId}/`, the address that does not change.

With the static sandbox this is the app's web server: it serves the stored files and wakes nobody.
The pages were written by a model. They are served with `Content-Security-Policy: sandbox`, which
gives them an origin of their own: they run their scripts, but to the API they are foreign pages.
With Docker it leads on to the project's container (`gateway/app_link.py`).
"""

from __future__ import annotations

from urllib.parse import quote

from aiohttp import web

from actors.errors import NotFound
from actors.paths import is_safe_path
from actors.reader import Reader
from gateway.api import text_response
from gateway.app_link import lead_to_app
from gateway.context import CONTEXT
from gateway.frames import check_project_id

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
    "Content-Security-Policy": "sandbox allow-scripts allow-forms allow-modals allow-popups",
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


async def serve_preview(request: web.Request) -> web.StreamResponse:
    """Serve a file of the app, or lead to where it is served."""
    project_id = check_project_id(request.match_info["project_id"])
    if request.app[CONTEXT].sandbox.kind == "docker":
        return await lead_to_app(request, project_id)
    return await _serve_stored(request, project_id)


async def _serve_stored(request: web.Request, project_id: str) -> web.StreamResponse:
    """Serve one stored file; a directory is its index.html."""
    path = request.match_info["path"]
    reader = request.app[CONTEXT].reader
    name = f"{path}index.html" if not path or path.endswith("/") else path
    found = await _find(reader, project_id, name)
    if found is None and await _find(reader, project_id, f"{path}/index.html"):
        # the page's relative links need the slash
        raise web.HTTPFound(f"/preview/{project_id}/{quote(path)}/")
    if found is None:
        raise NotFound(f"Project {project_id} has no file for this address yet.")
    text, sha256 = found
    response = text_response(request, text, sha256, content_type(name))
    response.headers.update(_HEADERS)
    return response


async def _find(reader: Reader, project_id: str, name: str) -> tuple[str, str] | None:
    return await reader.file(project_id, name) if is_safe_path(name) else None


async def add_slash(request: web.Request) -> web.StreamResponse:
    """Lead `/preview/{projectId}` to its directory."""
    project_id = check_project_id(request.match_info["project_id"])
    raise web.HTTPFound(f"/preview/{project_id}/")


def content_type(path: str) -> str:
    """Return the content type for a file's name; text where the name does not tell."""
    return CONTENT_TYPES.get(path.rpartition(".")[2].lower(), "text/plain")
