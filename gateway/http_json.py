"""What handlers read from a request, and the JSON that they answer with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import hdrs, web

from actors.errors import InvalidInput, NotFound
from actors.state import ProjectState
from gateway.context import CONTEXT
from gateway.frames import check_project_id, decode_object


async def known_project(request: web.Request) -> ProjectState:
    project_id = check_project_id(request.match_info["project_id"])
    state = await request.app[CONTEXT].reader.state(project_id)
    if state is None:
        raise NotFound(f"There is no project {project_id}.")
    return state


async def json_body(request: web.Request) -> Mapping[str, Any]:
    """Read a JSON object; no body at all is an empty one.

    A content type other than JSON is refused: it is what a foreign page can send unasked.
    """
    if not request.body_exists:
        return {}
    if request.content_type != "application/json" or hdrs.CONTENT_ENCODING in request.headers:
        raise web.HTTPUnsupportedMediaType
    data = await request.read()
    return decode_object(data) if data else {}


def number_in(request: web.Request, name: str, default: int, *, low: int, high: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise InvalidInput(f"{name} must be a whole number from {low} to {high}.")
    return int(text)


def json_response(value: Any, *, status: int = 200) -> web.Response:
    body = orjson.dumps(value, option=orjson.OPT_UTC_Z)
    return web.Response(body=body, status=status, content_type="application/json")
