"""One socket: connect, loop, disconnect.

The socket's frames come from a `Viewer`; its commands are carried out one after the other while
frames and pings go on. Whatever a client sends, it gets an answer and the socket stays open, with
two exceptions: text that is not UTF-8 (1007, by RFC 6455) and a frame above
`MAX_MESSAGE_BYTES` (1009).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from socket import SO_SNDBUF, SOL_SOCKET
from typing import Any

import orjson
from aiohttp import WSCloseCode, WSMessage, WSMsgType, hdrs, web

from actors import codec
from actors.errors import InternalError, InvalidFrame, ProjectBusy, ServiceError
from actors.messages import Accepted
from gateway.commands import carry_out
from gateway.context import CONTEXT, Actors, Context
from gateway.frames import (
    ClientFrame,
    check_project_id,
    decode_object,
    echoed_id,
    parse_command,
)
from gateway.viewer import Viewer, parse_since

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 4 * 1024 * 1024  # up to here a frame that is too long is answered
HEARTBEAT_SECONDS = 30.0
MAX_WAITING_COMMANDS = 32
# What the kernel holds for a slow client: little, so that a ping behind it is answered in time.
SEND_BUFFER_BYTES = 256 * 1024
CLOSE_SECONDS = 1.0  # for a client that does not answer the closing handshake


async def serve_socket(request: web.Request) -> web.WebSocketResponse:
    """Handle `/ws/{projectId}`, with `?since=seq` for a viewer that was here before."""
    context = request.app[CONTEXT]
    project_id = check_project_id(request.match_info["project_id"])
    if request.headers.get(hdrs.UPGRADE, "").lower() != "websocket":
        raise web.HTTPUpgradeRequired
    socket = web.WebSocketResponse(
        heartbeat=HEARTBEAT_SECONDS,
        compress=False,
        max_msg_size=MAX_MESSAGE_BYTES,
        timeout=CLOSE_SECONDS,
    )
    await socket.prepare(request)
    connection = socket.get_extra_info("socket")
    if connection is not None:  # it may be lost already
        connection.setsockopt(SOL_SOCKET, SO_SNDBUF, SEND_BUFFER_BYTES)
    context.sockets.add(socket)
    viewer = context.hub.join(project_id, parse_since(request.query.get("since")))
    commands = CommandQueue(context.actors, viewer)
    writer = asyncio.create_task(_write(socket, viewer, context), name=f"viewer of {project_id}")
    try:
        async for message in socket:
            await _take(message, viewer, commands)
    finally:
        writer.cancel()
        context.hub.leave(viewer)
        context.sockets.discard(socket)
        await asyncio.wait([writer])
        await commands.finish()
    return socket


async def close_sockets(context: Context) -> None:
    """Say goodbye to every viewer: the service is going away."""
    closing = [
        asyncio.ensure_future(socket.close(code=WSCloseCode.GOING_AWAY, message=b"shutting down"))
        for socket in context.sockets
    ]
    if closing:
        _, late = await asyncio.wait(closing, timeout=CLOSE_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.wait(closing)


async def _write(socket: web.WebSocketResponse, viewer: Viewer, context: Context) -> None:
    """Write the viewer's stream until it ends; then the socket is closed as well."""

    async def send(frame: bytes) -> None:
        await socket.send_frame(frame, WSMsgType.TEXT)

    try:
        await viewer.run(send)
    except ConnectionError:
        pass  # the client has gone; the reading side ends by itself
    except Exception:
        log.exception("a viewer of %s failed", viewer.project_id)
        await _give_up(socket, viewer)
    finally:
        context.hub.leave(viewer)


async def _give_up(socket: web.WebSocketResponse, viewer: Viewer) -> None:
    data = orjson.dumps(error_data(InternalError(), None))
    try:
        await socket.send_frame(codec.frame("error", data, viewer.cursor), WSMsgType.TEXT)
        await socket.close(code=WSCloseCode.INTERNAL_ERROR)
    except ConnectionError:
        pass  # it has gone before it could be told


async def _take(message: WSMessage, viewer: Viewer, commands: CommandQueue) -> None:
    """Take one frame of the client; what cannot be read is answered with an error frame."""
    members: Mapping[str, Any] = {}
    try:
        if message.type is not WSMsgType.TEXT:
            raise InvalidFrame("Binary frames are not understood; send JSON as text.")
        members = decode_object(message.data)
        commands.put(parse_command(members))
    except ServiceError as error:
        await viewer.reply("error", error_data(error, echoed_id(members)))


def error_data(error: ServiceError, command_id: str | None) -> dict[str, Any]:
    """Return the `data` of an error frame; `id` names the command that it answers."""
    data = {"message": str(error), "code": error.code}
    return data if command_id is None else {**data, "id": command_id}


class CommandQueue:
    """The commands of one socket, carried out in order; its task lives while there are some."""

    def __init__(self, actors: Actors, viewer: Viewer) -> None:
        self._actors = actors
        self._viewer = viewer
        self._waiting: deque[ClientFrame] = deque()
        self._task: asyncio.Task[None] | None = None

    def put(self, frame: ClientFrame) -> None:
        """Queue a command. Raises ProjectBusy where the client sends faster than we work."""
        if len(self._waiting) >= MAX_WAITING_COMMANDS:
            raise ProjectBusy(
                f"{MAX_WAITING_COMMANDS} commands of this socket are waiting; "
                "send the next one after an answer."
            )
        self._waiting.append(frame)
        if self._task is None:
            self._task = asyncio.create_task(self._work(), name="commands of a socket")

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._carry_out(self._waiting.popleft())
        finally:
            self._task = None

    async def _carry_out(self, frame: ClientFrame) -> None:
        try:
            answer = await carry_out(self._actors, self._viewer.project_id, frame)
        except ServiceError as error:
            await self._viewer.reply("error", error_data(error, frame.id))
        except Exception:
            log.exception("a command of %s failed", self._viewer.project_id)
            await self._viewer.reply("error", error_data(InternalError(), frame.id))
        else:
            if isinstance(answer, Accepted):
                accepted = {"id": answer.command_id, "place": answer.place, "seq": answer.seq}
                await self._viewer.reply("accepted", accepted)
            elif frame.id is not None:
                await self._viewer.reply("done", {"id": frame.id})

    async def finish(self) -> None:
        """Carry out what was received before the client left; each command has its own deadline."""
        if self._task is not None:
            await self._task
