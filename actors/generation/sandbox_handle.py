"""The handle on a project's sandbox: made when it is needed, started in the background, let go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from actors.sandbox.base import Sandbox, StartedSandbox


class SandboxHandle:
    """One sandbox at a time. `on_started` is called with what `Sandbox.start` says."""

    def __init__(
        self,
        make_sandbox: Callable[[], Sandbox],
        on_started: Callable[[StartedSandbox], None],
    ) -> None:
        self._make_sandbox = make_sandbox
        self._on_started = on_started
        self._sandbox: Sandbox | None = None
        self._starting: asyncio.Task[StartedSandbox] | None = None

    @property
    def sandbox(self) -> Sandbox:
        """The sandbox, whether it runs or not."""
        if self._sandbox is None:
            self._sandbox = self._make_sandbox()
        return self._sandbox

    def begin(self) -> None:
        """Start the sandbox in the background, unless that is under way or done."""
        if self._starting is not None and self._starting.done() and not _succeeded(self._starting):
            self._starting = None
        if self._starting is None:
            self._starting = asyncio.create_task(self._start(), name="sandbox-start")

    async def _start(self) -> StartedSandbox:
        started = await self.sandbox.start()
        self._on_started(started)
        return started

    async def ready(self) -> StartedSandbox:
        """Wait until the sandbox runs; a failed start is tried afresh the next time."""
        self.begin()
        assert self._starting is not None
        return await asyncio.shield(self._starting)  # a cancelled run does not undo it

    def forget(self) -> None:
        """Know of no start: the sandbox has failed as such, and is started again when needed."""
        self._starting = None

    async def stop(self, *, exists: bool) -> None:
        """Stop the sandbox; what it holds is kept where the sandbox can keep it.

        `exists` says that there is one, maybe of an earlier life of the project's actor.
        """
        await self._abandon_start()
        if self._sandbox is not None or exists:
            sandbox, self._sandbox = self.sandbox, None
            try:
                await sandbox.stop()
            finally:
                await sandbox.close()

    async def remove(self) -> None:
        """Remove the sandbox, also one of an earlier life."""
        await self._abandon_start()
        await self.sandbox.remove()
        await self.sandbox.close()
        self._sandbox = None

    async def _abandon_start(self) -> None:
        task, self._starting = self._starting, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            _succeeded(task)  # its failure is of no interest any more, but must be seen


def _succeeded(task: asyncio.Task[StartedSandbox]) -> bool:
    return not task.cancelled() and task.exception() is None
