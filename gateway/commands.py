"""Carrying out a client's command, whichever way it came in: ask the project's actor.

A generate command always has an id, ours if the client gave none. So when no answer comes, since
the actor died or the actor system is being replaced, it is simply asked again: what was carried
out the first time is answered, not repeated.
"""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

from actors.errors import ActorsUnavailable
from actors.messages import Accepted, CancelGeneration, Done, StartGeneration
from gateway.context import Actors
from gateway.frames import CancelFrame, ClientFrame, GenerateFrame

COMMAND_SECONDS = 20.0  # a revival takes well under a second; the rest is a busy machine
ATTEMPT_SECONDS = 5.0  # a healthy actor has answered by then
PAUSE_SECONDS = 0.25  # while the actor system is being replaced


async def carry_out(actors: Actors, project_id: str, frame: ClientFrame) -> Accepted | Done:
    """Have the actor system carry out a command; `Accepted` answers generate, `Done` cancel.

    Raises the ServiceError that the command was refused with, ActorsUnavailable without an answer.
    Being cancelled gives up the answer, not the command.
    """
    match frame:
        case GenerateFrame():
            return await _generate(actors, project_id, frame)
        case CancelFrame():
            answer = await actors.ask(
                CancelGeneration(request_id=uuid4().hex, project_id=project_id), COMMAND_SECONDS
            )
            assert isinstance(answer, Done)
            return answer


async def _generate(actors: Actors, project_id: str, frame: GenerateFrame) -> Accepted:
    command_id = frame.id or uuid4().hex
    deadline = time.monotonic() + COMMAND_SECONDS
    while True:
        request = StartGeneration(
            request_id=uuid4().hex,
            project_id=project_id,
            description=frame.description,
            command_id=command_id,
            model=frame.model,
            max_phases=frame.max_phases,
            mode=frame.mode,
        )
        left = deadline - time.monotonic()
        try:
            answer = await actors.ask(request, min(ATTEMPT_SECONDS, left))
        except ActorsUnavailable:
            if left <= ATTEMPT_SECONDS:
                raise
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            assert isinstance(answer, Accepted)
            return answer
