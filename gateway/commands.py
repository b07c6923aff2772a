"""Carrying out a client's command, whichever way it came in: ask the project's actor."""

from __future__ import annotations

from uuid import uuid4

from actors.messages import Accepted, CancelGeneration, Done, StartGeneration
from gateway.context import Actors
from gateway.frames import CancelFrame, ClientFrame, GenerateFrame

COMMAND_SECONDS = 20.0  # a revival takes well under a second; the rest is a busy machine


async def carry_out(actors: Actors, project_id: str, frame: ClientFrame) -> Accepted | Done:
    """Have the actor system carry out a command; `Accepted` answers generate, `Done` cancel.

    Raises the ServiceError that the command was refused with, ActorsUnavailable without an answer.
    Being cancelled gives up the answer, not the command.
    """
    match frame:
        case GenerateFrame():
            answer = await actors.ask(
                StartGeneration(
                    request_id=uuid4().hex,
                    project_id=project_id,
                    description=frame.description,
                    command_id=frame.id,
                    model=frame.model,
                    max_phases=frame.max_phases,
                    mode=frame.mode,
                ),
                COMMAND_SECONDS,
            )
            assert isinstance(answer, Accepted)
        case CancelFrame():
            answer = await actors.ask(
                CancelGeneration(request_id=uuid4().hex, project_id=project_id), COMMAND_SECONDS
            )
            assert isinstance(answer, Done)
    return answer
