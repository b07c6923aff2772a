"""Where the service is: its address, while it has one."""

from __future__ import annotations

import asyncio


class Place:
    """Viewers and clients wait here while no gateway is up."""

    def __init__(self) -> None:
        self._url = ""
        self._is_open = asyncio.Event()

    async def address(self) -> str:
        """Return the gateway's address, once there is one."""
        await self._is_open.wait()
        return self._url

    def open(self, url: str) -> None:
        self._url = url
        self._is_open.set()

    def close(self) -> None:
        """Take note that the gateway ends, or is about to."""
        self._is_open.clear()
