"""PostgreSQL away: who knows of it, who waits for its return, who is refused meanwhile.

An *outage* is known from the first call that fails, or that is not answered for `SLOW_SECONDS`,
until every call that has met it is answered. What has begun to be recorded waits (`Patience`):
it may have been committed, so it cannot be taken back. What has changed nothing yet is refused
(`Outage.unless_away`), for nothing must queue behind a call that is stuck.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import chain, repeat
from typing import TypeVar

from actors.errors import StorageUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

SLOW_SECONDS = 2.0  # a call that takes longer counts as an outage: stopped, or far too slow
RETRY_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)  # then every two seconds

_NO_ANSWER = (
    f"PostgreSQL has not answered for {SLOW_SECONDS:.0f} seconds: "
    "it has been stopped, or its machine is overloaded."
)
_GIVEN_UP = "PostgreSQL was away when the service stopped."


class Outage:
    """Whether PostgreSQL is away; `problem` says how, None while it is not known to be."""

    def __init__(self) -> None:
        self.problem: StorageUnavailable | None = None
        self._told = ""
        self._waiting: set[asyncio.Timeout] = set()

    def begin(self, problem: StorageUnavailable) -> None:
        """Let whoever waits in `unless_away` or `unless_told` know."""
        self.problem, self._told = problem, str(problem)
        now = asyncio.get_running_loop().time()
        while self._waiting:
            self._waiting.pop().reschedule(now)

    def end(self) -> None:
        self.problem = None

    @contextlib.asynccontextmanager
    async def unless_away(self) -> AsyncIterator[None]:
        """Cut the block off with StorageUnavailable as soon as PostgreSQL is known to be away."""
        if self.problem is not None:
            raise StorageUnavailable(self._told)
        async with self.unless_told():
            yield

    @contextlib.asynccontextmanager
    async def unless_told(self) -> AsyncIterator[None]:
        """Cut the block off with StorageUnavailable at the next sign that PostgreSQL is away."""
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._waiting.add(limit)
                yield
        except TimeoutError:
            if limit.expired():
                raise StorageUnavailable(self._told) from None
            raise
        finally:
            self._waiting.discard(limit)


class Patience:
    """Calls to the store that are repeated until PostgreSQL answers them.

    `on_away(sentence)` is called once when an outage becomes known, `on_back()` when it is over.
    """

    def __init__(self, on_away: Callable[[str], None], on_back: Callable[[], None]) -> None:
        self.outage = Outage()
        self._on_away = on_away
        self._on_back = on_back
        self._stuck: set[asyncio.Timeout] = set()  # the calls that have met the outage
        self._under_way: set[asyncio.Timeout] = set()
        self._seconds: float | None = None  # how long a call may take, once we have to leave
        self._has_given_up = False

    async def until_done(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what the call returns, repeating it while PostgreSQL is away.

        Raises StorageUnavailable only after `give_up_in`; the call may have had its effect then.
        """
        if self._has_given_up:
            raise StorageUnavailable(_GIVEN_UP)
        loop = asyncio.get_running_loop()
        limit = asyncio.timeout(self._seconds)
        slow = loop.call_later(SLOW_SECONDS, self._meet, limit, StorageUnavailable(_NO_ANSWER))
        try:
            async with limit:
                self._under_way.add(limit)
                return await self._repeat(call, limit)
        except TimeoutError:
            if not limit.expired():
                raise
            self._has_given_up = True
            raise StorageUnavailable(_GIVEN_UP) from None
        finally:
            slow.cancel()
            self._under_way.discard(limit)
            self._leave(limit)

    async def _repeat(self, call: Callable[[], Awaitable[T]], limit: asyncio.Timeout) -> T:
        for pause in chain(RETRY_SECONDS, repeat(RETRY_SECONDS[-1])):
            try:
                return await call()
            except StorageUnavailable as problem:
                self._meet(limit, problem)
            await asyncio.sleep(pause)
        raise AssertionError("the pauses never end")

    def give_up_in(self, seconds: float) -> None:
        """From now on let no call take longer: the service stops, PostgreSQL may stay away.

        After the first that does, all fail at once: what follows it must not be saved without it.
        """
        self._seconds = seconds
        now = asyncio.get_running_loop().time()
        for limit in self._under_way:
            if not limit.expired():
                limit.reschedule(now + seconds)

    def _meet(self, limit: asyncio.Timeout, problem: StorageUnavailable) -> None:
        """Take note that a call has met an outage."""
        is_new = self.outage.problem is None
        self._stuck.add(limit)
        self.outage.begin(problem)
        if is_new:
            log.warning("%s Waiting for it.", problem)
            self._on_away(str(problem))

    def _leave(self, limit: asyncio.Timeout) -> None:
        """Take note that a call has ended; with the last that had met the outage, it is over."""
        if limit not in self._stuck:
            return
        self._stuck.discard(limit)
        if not self._stuck and not self._has_given_up:
            log.warning("PostgreSQL answers again.")
            self.outage.end()
            self._on_back()
