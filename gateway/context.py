"""What every request handler needs, in one place."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Protocol

from aiohttp import web

from actors.messages import Answer, Request
from actors.reader import Reader
from actors.sandbox.choose import SandboxChoice
from actors.settings import Settings
from gateway.hub import Hub

MAX_ARCHIVES_AT_ONCE = 3  # each holds a database connection for as long as its client reads


class Actors(Protocol):
    """The actor system as handlers see it."""

    async def ask(self, request: Request, timeout_seconds: float) -> Answer:
        """Send a request to the supervisor and return its answer.

        Raises the ServiceError of a `Failed` answer, ActorsUnavailable where none comes in time.
        """
        ...

    @property
    def is_up(self) -> bool: ...

    @property
    def restarts(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Context:
    """The running service's parts. `settings` are the effective ones: real port, real database."""

    settings: Settings
    reader: Reader
    hub: Hub
    actors: Actors
    sandbox: SandboxChoice
    is_database_embedded: bool
    started_at: float = field(default_factory=time.monotonic)
    archives: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(MAX_ARCHIVES_AT_ONCE)
    )
    sockets: set[web.WebSocketResponse] = field(default_factory=set)


CONTEXT = web.AppKey("context", Context)
