"""Asking an app in a sandbox, as the gateway does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from actors.sandbox.doors import DoorConnector
from actors.settings import Settings
from gateway.doors import Doors

Fetch = Callable[[str], Awaitable[str]]


@pytest.fixture
async def fetch(tmp_path: Path) -> AsyncIterator[Fetch]:
    """Ask an app of the service in `tmp_path`, and return the text of its answer."""
    doors = Doors(Settings.read({}, state_dir=str(tmp_path)))
    async with aiohttp.ClientSession(connector=DoorConnector(doors.find)) as session:

        async def fetch_one(url: str) -> str:
            async with session.get(url, headers={"Host": "demo.localhost"}) as response:
                return await response.text()

        yield fetch_one
    doors.close()
