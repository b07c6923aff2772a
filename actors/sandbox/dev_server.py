"""A dev server inside a container: its first answer, its output, its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import aclosing

import aiohttp

from actors.errors import SandboxError
from actors.sandbox.doors import Door, DoorConnector, app_url
from actors.sandbox.output import CommandOutput, OutputLog
from actors.sandbox.runtime import RunningTask

FIRST_POLL_SECONDS = 0.02
LONGEST_POLL_SECONDS = 0.25
FAILING_SECONDS = 10.0  # that answers may tell of errors behind the first one: it may warm up
SERVER_ERROR = 500
ANY_APP_URL = app_url("")  # the door says which


class DevServer:
    """A started dev server whose output flows to the log for as long as both of us run.

    Until `detach` it ends with `close`; after that it goes on alone.
    """

    def __init__(self, task: RunningTask, log: OutputLog) -> None:
        self._task = task
        self._log = log
        self._output = CommandOutput(log)
        self._has_answered = False
        self.exit_code: int | None = None  # None also where the engine could not tell
        self._reader = asyncio.create_task(self._follow(), name="dev server's output")

    @property
    def is_serving(self) -> bool:
        """Whether it has answered and, as far as we can see, runs."""
        return self._has_answered and not self._reader.done()

    @property
    def last_lines(self) -> tuple[str, ...]:
        return self._output.last_lines

    @property
    def recent_lines(self) -> tuple[str, ...]:
        return self._output.recent_lines

    async def wait_until_serving(self, door: Door) -> int | None:
        """Wait for what `first_answer` returns; None if the process ended before."""
        poll = asyncio.create_task(first_answer(door), name="dev server's first answer")
        try:
            await asyncio.wait({poll, self._reader}, return_when=asyncio.FIRST_COMPLETED)
            if self._reader.done():
                return None
            status = poll.result()  # raises what only a bug of ours can cause
            self._has_answered = status < SERVER_ERROR
            return status
        finally:
            poll.cancel()
            await asyncio.wait({poll})

    async def wait_until_ended(self) -> None:
        """Wait until its output has ended: it has ended, or the connection has."""
        await asyncio.wait({self._reader})

    async def detach(self) -> None:
        """Let it go on when the connection ends."""
        await self._task.detach()

    async def close(self) -> None:
        """Close the connection; the output is followed no longer."""
        self._reader.cancel()
        await asyncio.wait({self._reader})
        await self._task.close()

    async def _follow(self) -> None:
        try:
            with contextlib.suppress(SandboxError):
                while (part := await self._task.read()) is not None:
                    self._output.feed(*part)
                self.exit_code = await self._task.exit_code()
                self._log.add("progress", f"The dev server ended with exit code {self.exit_code}")
        finally:
            self._output.finish()


async def first_answer(door: Door) -> int:
    """Return the status of the app's first answer below 500; the caller sets the deadline.

    Or return that of its last one, where it tells of errors for `FAILING_SECONDS` in a row.
    """
    loop = asyncio.get_running_loop()
    failing_since: float | None = None
    async with aclosing(_answers(door)) as answers:
        while True:
            status = await anext(answers)
            if status is None:
                failing_since = None
                continue
            now = loop.time()
            failing_since = now if failing_since is None else failing_since
            if status < SERVER_ERROR or now - failing_since >= FAILING_SECONDS:
                return status


async def is_well(door: Door, seconds: float) -> bool:
    """Say whether the app behind a door answers with a status below 500 in so many seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await first_answer(door) < SERVER_ERROR
    return False


async def is_answering(door: Door, seconds: float) -> bool:
    """Say whether the app behind a door answers in so many seconds, whatever it answers."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds), aclosing(_answers(door)) as answers:
            while await anext(answers) is None:
                pass
            return True
    return False


async def _answers(door: Door) -> AsyncGenerator[int | None, None]:
    """Ask the app behind a door again and again; yield the statuses, None where nobody answers.

    The relay takes connections before anything listens inside, so only an answer counts.
    """
    pause_seconds = FIRST_POLL_SECONDS
    async with aiohttp.ClientSession(
        connector=DoorConnector(lambda _: door, force_close=True),
        timeout=aiohttp.ClientTimeout(total=None),
        headers={"Host": "localhost"},  # dev servers know this one
    ) as session:
        while True:
            status: int | None = None
            with contextlib.suppress(aiohttp.ClientError, OSError):
                async with session.get(ANY_APP_URL, allow_redirects=False) as response:
                    status = response.status
            yield status
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 1.5, LONGEST_POLL_SECONDS)
