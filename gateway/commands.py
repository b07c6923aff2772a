"""Carrying out a client's command, whichever way it came in: ask the project's actor.

A command always has an id, ours if the client gave none. So when no answer comes, since the actor
died or the actor system is being replaced, it is simply asked again: what was carried out the
first time is answered, not repeated.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import assert_never
from uuid import uuid4

from actors.errors import ActorsUnavailable
from actors.messages import (
    Accepted,
    Answer,
    CancelGeneration,
    Done,
    FindPreview,
    OpenPreview,
    PreviewOpened,
    ProjectRequest,
    RemoveProject,
    RemoveSandbox,
    ReportProblem,
    StartGeneration,
)
from gateway.context import Actors
from gateway.frames import CancelFrame, ClientFrame, GenerateFrame, ProblemFrame

COMMAND_SECONDS = 30.0  # a revival takes well under a second; the rest is a busy machine
ATTEMPT_SECONDS = 5.0  # a healthy actor has answered by then
PAUSE_SECONDS = 0.25  # while the actor system is being replaced


async def carry_out(actors: Actors, project_id: str, frame: ClientFrame) -> Accepted | Done:
    """Have the actor system carry out a command; `Accepted` answers generate.

    Raises the ServiceError that the command was refused with, ActorsUnavailable without an answer.
    Being cancelled gives up the answer, not the command.
    """
    command_id = frame.id or uuid4().hex
    request: ProjectRequest
    match frame:
        case GenerateFrame():
            request = StartGeneration(
                request_id="",
                project_id=project_id,
                description=frame.description,
                command_id=command_id,
                model=frame.model,
                max_phases=frame.max_phases,
                mode=frame.mode,
            )
        case CancelFrame():
            request = CancelGeneration(
                request_id="",
                project_id=project_id,
                command_id=command_id,
                target=frame.command_id,
            )
        case ProblemFrame():
            request = ReportProblem(request_id="", project_id=project_id, message=frame.message)
        case _:
            assert_never(frame)
    answer = await _ask_until_answered(actors, request)
    assert isinstance(answer, Accepted | Done)
    return answer


async def remove(actors: Actors, project_id: str) -> None:
    """Have the project removed with all its data; errors as above."""
    await _ask_until_answered(actors, RemoveProject(request_id="", project_id=project_id))


async def remove_sandbox(actors: Actors, project_id: str, message: str) -> None:
    """Have the project's sandbox removed, for a problem that the next plan is to know."""
    request = RemoveSandbox(request_id="", project_id=project_id, message=message)
    await _ask_until_answered(actors, request)


async def open_preview(actors: Actors, project_id: str) -> PreviewOpened:
    """Have the project's app started, waking its actor; return where it answers, if it does yet.

    Asked once: whoever waits for the app asks again. Raises what the start has failed with.
    """
    answer = await actors.ask(
        OpenPreview(request_id=uuid4().hex, project_id=project_id), ATTEMPT_SECONDS
    )
    assert isinstance(answer, PreviewOpened)
    return answer


async def find_preview(actors: Actors, project_id: str) -> PreviewOpened:
    """Return where the project's app answers, if it does; wakes and starts nothing."""
    answer = await actors.ask(
        FindPreview(request_id=uuid4().hex, project_id=project_id), ATTEMPT_SECONDS
    )
    assert isinstance(answer, PreviewOpened)
    return answer


async def _ask_until_answered(actors: Actors, request: ProjectRequest) -> Answer:
    """Ask again and again; only for requests that may be carried out twice."""
    deadline = time.monotonic() + COMMAND_SECONDS
    while True:
        left = deadline - time.monotonic()
        try:
            return await actors.ask(
                replace(request, request_id=uuid4().hex), min(ATTEMPT_SECONDS, left)
            )
        except ActorsUnavailable:
            if left <= ATTEMPT_SECONDS:
                raise
            await asyncio.sleep(PAUSE_SECONDS)
