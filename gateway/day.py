"""A new day (UTC) by PostgreSQL's clock: then the runs that wait for the day's cap can go on.

It is looked for once a minute instead of slept for: a sleep stands still while the machine is
suspended, and PostgreSQL, whose clock says which day a call is counted for, may run on another one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from actors.errors import StorageUnavailable

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0


async def on_each_new_day(
    today: Callable[[], Awaitable[str]],
    begin: Callable[[], Awaitable[None]],
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Call `begin` whenever `today` has changed, until cancelled; it may take a minute."""
    known: str | None = None
    while True:
        try:
            day = await today()
        except StorageUnavailable as error:
            log.warning("which day it is cannot be asked now: %s", error)
        else:
            if known is not None and day != known:
                await begin()
            known = day
        await sleep(LOOK_SECONDS)
