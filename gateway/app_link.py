"""The way from a preview's address to the container that serves the app, which may have to start.

A container's own address changes with each start. While there is none, a small page says what goes
on and asks again by itself; a start that failed is shown with its last lines.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape

from aiohttp import hdrs, web

from actors.errors import (
    ActorsUnavailable,
    NotFound,
    ProjectBusy,
    ServiceError,
    StorageUnavailable,
)
from gateway.commands import open_preview
from gateway.context import CONTEXT

RETRY_SECONDS = 1
STARTING = "The app is being built or started; it appears here as soon as it answers."

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
    "Cross-Origin-Resource-Policy": "cross-origin",
}


async def lead_to_app(request: web.Request, project_id: str) -> web.Response:
    """Redirect to the app, or say in a page why it is not there yet: 503 to wait, 502 if it failed.

    A project without files is not found, and wakes nobody.
    """
    context = request.app[CONTEXT]
    try:
        if not await context.reader.has_files(project_id):
            raise NotFound(f"Project {project_id} has no files to be shown yet.")
        url = await open_preview(context.actors, project_id)
    except NotFound:
        raise
    except (ActorsUnavailable, ProjectBusy, StorageUnavailable) as error:
        return _waiting_page(str(error))  # as a rule all is well a moment later
    except ServiceError as error:
        return _failed_page(str(error))
    if url is None:
        return _waiting_page(STARTING)
    raise web.HTTPFound(f"{url.rstrip('/')}/{_asked_for(request)}")


def _asked_for(request: web.Request) -> str:
    """Return the path below the preview's address, and the query, with the escapes as they came."""
    asked = request.rel_url
    path = asked.raw_path.split("/", 3)[3]  # behind "", "preview", the project's id
    return f"{path}?{asked.raw_query_string}" if asked.raw_query_string else path


def _waiting_page(sentence: str) -> web.Response:
    refresh = f'<meta http-equiv="refresh" content="{RETRY_SECONDS}">'
    response = _page(503, "Starting the app", f"<p>{escape(sentence)}</p>", refresh)
    response.headers[hdrs.RETRY_AFTER] = str(RETRY_SECONDS)
    return response


def _failed_page(message: str) -> web.Response:
    sentence, _, output = message.partition("\n")
    lines = f"<pre>{escape(output)}</pre>" if output else ""
    body = f'<p>{escape(sentence)}</p>{lines}<p><a href="">Try again</a></p>'
    return _page(502, "The app does not start", body)


def _page(status: int, title: str, body: str, head: str = "") -> web.Response:
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title>{head}<style>{_STYLE}</style></head><body>{body}</body></html>"
    )
    return web.Response(
        status=status, text=html, content_type="text/html", charset="utf-8", headers=_HEADERS
    )
