"""Pulling the sandbox's image on first use, told in human lines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import aiodocker
import aiohttp

from actors.errors import SandboxImageMissing
from actors.sandbox.engine import CONNECT_SECONDS, NOT_CONNECTED, ClientFactory, reason_of

PROGRESS_SECONDS = 1.0  # between two lines
STALLED_SECONDS = 120.0  # without any sign from the engine
MEGABYTE = 1_000_000


class PullProgress:
    """Turn the engine's many progress messages into a line now and then. No I/O."""

    def __init__(self, image: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._image = image
        self._clock = clock
        self._layers: dict[str, tuple[int, int]] = {}
        self._told = ""
        self._told_at = float("-inf")

    def feed(self, message: Mapping[str, Any]) -> str | None:
        """Take one message; return a line if it is time for another one."""
        layer, detail = message.get("id"), message.get("progressDetail") or {}
        if message.get("status") == "Downloading" and isinstance(layer, str):
            self._layers[layer] = (detail.get("current") or 0, detail.get("total") or 0)
        elif message.get("status") == "Download complete" and layer in self._layers:
            total = self._layers[layer][1]
            self._layers[layer] = (total, total)
        line = self._line()
        if line == self._told or self._clock() - self._told_at < PROGRESS_SECONDS:
            return None
        self._told, self._told_at = line, self._clock()
        return line

    def _line(self) -> str:
        done = sum(current for current, _ in self._layers.values()) / MEGABYTE
        total = sum(total for _, total in self._layers.values()) / MEGABYTE
        amount = f": {done:.0f} of {total:.0f} MB" if total else ""
        return f"Pulling the image {self._image}{amount}"


async def pull_image(connect: ClientFactory, image: str, on_line: Callable[[str], None]) -> None:
    """Pull `image`; cancelling ends the pull.

    It has a connection of its own, since closing it is the only way to end a pull. Raises
    SandboxImageMissing with the reason, or DockerError where the engine went away.
    """
    progress = PullProgress(image)
    try:
        async with (
            connect() as docker,
            contextlib.aclosing(_messages(docker, image)) as messages,
            asyncio.timeout(STALLED_SECONDS) as stalled,
        ):
            async for message in messages:
                stalled.reschedule(asyncio.get_running_loop().time() + STALLED_SECONDS)
                if "error" in message:
                    raise missing(image, " ".join(str(message["error"]).split()))
                if line := progress.feed(message):
                    on_line(line)
    except TimeoutError as error:
        raise missing(image, "the pull stalled") from error
    except aiodocker.DockerError as error:
        if error.status == NOT_CONNECTED:
            raise
        raise missing(image, reason_of(error)) from error
    on_line(f"Pulled the image {image}")


async def _messages(docker: aiodocker.Docker, image: str) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the engine's messages of a pull.

    aiodocker's own `images.pull` leaves the connection to the garbage collector when it is
    cancelled, and takes a pull that was cut for one that succeeded; hence the plain request.
    """
    params = {"fromImage": image}
    if not {":", "@"} & set(image.rsplit("/", 1)[-1]):
        params["tag"] = "latest"  # without a tag the engine would pull all there are
    timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS)
    async with docker._query("images/create", "POST", params=params, timeout=timeout) as response:
        try:
            async for line in response.content:
                yield json.loads(line)
        finally:
            response.close()


def missing(image: str, reason: str) -> SandboxImageMissing:
    """Say why the image cannot be had, and what to check."""
    return SandboxImageMissing(
        f"The sandbox image {image} cannot be pulled ({reason}); "
        "check CODEGEN_SANDBOX_IMAGE and the network."
    )
