"""Turns: the messages of one project are carried out one after another, unless they are refused.

A request is refused with StorageUnavailable while PostgreSQL is away, or where that turns out
before its turn has come: nothing has been changed, and nothing queues behind a call that is stuck.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

from actors import messages as m
from actors.errors import StorageUnavailable
from actors.outage import Outage
from actors.store import Store


class Turns:
    """Who is carried out, and who waits for that."""

    def __init__(self, store: Store, outage: Outage) -> None:
        self._store = store
        self._outage = outage
        self._lock = asyncio.Lock()
        self._under_way: m.Message | None = None

    @contextlib.asynccontextmanager
    async def taken(self, message: m.Message | None = None) -> AsyncIterator[None]:
        """Wait for the turn of `message` and hold it; None is no message but our own business."""
        if isinstance(message, m.ProjectRequest):
            await self._wait_or_refuse(message)
        else:
            await self._lock.acquire()
        self._under_way = message
        try:
            yield
        finally:
            self._under_way = None
            self._lock.release()

    async def _wait_or_refuse(self, request: m.ProjectRequest) -> None:
        try:
            async with self._outage.unless_away():
                await self._store.ping()
                await self._lock.acquire()
        except StorageUnavailable as error:
            if not self._is_under_way(request):
                raise
            sentence = f"{error} The request has been taken and waits for it."
            raise StorageUnavailable(sentence) from error

    def _is_under_way(self, request: m.ProjectRequest) -> bool:
        """Whether the same is being carried out already, for whoever has asked again."""
        first = self._under_way
        return isinstance(first, m.ProjectRequest) and _content(first) == _content(request)


def _content(request: m.ProjectRequest) -> m.ProjectRequest:
    return replace(request, request_id="", reply_to=None)
