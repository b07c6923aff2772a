"""Waiting for what nothing announces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

WAIT_SECONDS = 30.0
POLL_SECONDS = 0.005


async def wait_until(is_so: Callable[[], bool]) -> None:
    """Return as soon as it is so."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not is_so():  # noqa: ASYNC110  # there is no event for it
            await asyncio.sleep(POLL_SECONDS)
