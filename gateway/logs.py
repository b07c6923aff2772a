"""What a project's sandbox has said: the newest lines, and with `?follow=1` all that come."""

from __future__ import annotations

import contextlib

import orjson
from aiohttp import hdrs, web

from actors.events import SandboxLog
from actors.projections import KEPT_SANDBOX_LOG_ROWS
from gateway.context import CONTEXT
from gateway.departure import ClientGone, while_connected
from gateway.http_json import json_response, known_project, number_in

DEFAULT_LINES = 100
_IS_LOG = f'{{"type":"{SandboxLog.type}"'.encode()


async def show_logs(request: web.Request) -> web.StreamResponse:
    """List the newest `?limit=` lines, oldest first: `{"lines":[{seq, stream, line}]}`.

    With `?follow=1` each line is a line of JSON, and those to come follow as they are said.
    """
    limit = number_in(request, "limit", DEFAULT_LINES, low=0, high=KEPT_SANDBOX_LOG_ROWS)
    is_followed = number_in(request, "follow", 0, low=0, high=1)
    state = await known_project(request)
    reader = request.app[CONTEXT].reader
    lines = await reader.sandbox_lines(state.project_id, state.last_seq, limit)
    if not is_followed:
        return json_response({"lines": [{"seq": seq, **data} for seq, data in lines]})
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "application/x-ndjson"})
    await response.prepare(request)
    with contextlib.suppress(ClientGone, ConnectionError):
        for seq, data in lines:
            await response.write(_line(seq, data))
        await _follow(request, response, state.project_id, state.last_seq)
    return response


async def _follow(
    request: web.Request, response: web.StreamResponse, project_id: str, since: int
) -> None:
    """Write the lines after a number; raises ClientGone or ConnectionError as the client goes."""

    async def send(frame: bytes) -> None:
        if frame.startswith(_IS_LOG):
            event = orjson.loads(frame)
            await response.write(_line(event["seq"], event["data"]))

    hub = request.app[CONTEXT].hub
    viewer = hub.join(project_id, since)
    try:
        async with while_connected(request, set()):
            await viewer.run(send)
    finally:
        hub.leave(viewer)


def _line(seq: int, data: dict[str, str]) -> bytes:
    return orjson.dumps({"seq": seq, **data}) + b"\n"
