"""The vigil beside a project's app: a dev server that ends or hangs is started again.

It begins with whatever has started the server, a run or a visit, and lasts as long as the project's
actor. Whoever uses the sandbox has the deployment's `turn`, and what they end is no business of the
vigil; it takes the turn itself for each start. It tells the supervisor nothing, so no project stays
awake for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import StrEnum

from actors.errors import Fenced, ServiceError, StorageUnavailable
from actors.events import ServerStopped
from actors.generation.deployment import Deployment
from actors.sandbox.base import Sandbox, ServerReport

log = logging.getLogger(__name__)

PROBE_PAUSE_SECONDS = 30.0
PROBES = 2  # without an answer, in a row: it hangs
ANSWER_SECONDS = 10.0
STEADY_SECONDS = 60.0  # a server that has served for so long counts as one that works
FIRST_PAUSE_SECONDS = 1.0  # before a restart; twice as long before each further one in a row
MAX_RESTARTS = 5  # in a row; the last one comes 16 s after what made it necessary

LEFT = "It is not started again until somebody opens it, or the next run."


class Reason(StrEnum):
    """How an app came to answer no more; the wire's `server_stopped.reason`."""

    EXITED = "exited"
    HUNG = "hung"


class Vigil:
    """Watches over one deployment's dev server; one at a time, the newest.

    `tell` makes an event known and lasting. `start_app` starts the app, and raises ServiceError
    where it cannot.
    """

    def __init__(
        self,
        deployment: Deployment,
        *,
        tell: Callable[[ServerStopped], Awaitable[object]],
        start_app: Callable[[], Awaitable[None]],
    ) -> None:
        self._deployment = deployment
        self._tell = tell
        self._start_app = start_app
        self._task: asyncio.Task[None] | None = None
        self._sandbox: Sandbox | None = None
        self._has_new_server = asyncio.Event()
        self._is_restarting = False
        self._restarts = 0  # in a row

    def watch(self, sandbox: Sandbox) -> None:
        """Take note that this sandbox's dev server has been started and answers."""
        if not self._is_restarting:
            self._restarts = 0
        self._sandbox = sandbox
        self._has_new_server.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work(), name="vigil")

    def cancel(self) -> None:
        """Begin to end it; nothing is started from here on."""
        if self._task is not None:
            self._task.cancel()

    async def stop(self) -> None:
        """End it, a restart that is under way included, until the next `watch`."""
        self.cancel()
        task, self._task = self._task, None
        if task is not None:
            await asyncio.wait({task})

    async def _work(self) -> None:
        try:
            while True:
                await self._has_new_server.wait()
                self._has_new_server.clear()
                await self._keep_watch()
        except (Fenced, StorageUnavailable):
            return  # the agent is leaving
        except Exception:
            log.exception("a dev server is watched no longer")

    async def _keep_watch(self) -> None:
        """Watch the newest server until it stops by itself, and start it again then."""
        assert self._sandbox is not None
        loop = asyncio.get_running_loop()
        begun = loop.time()
        reason = await self._until_stopped(self._sandbox)
        if reason is None or not self._deployment.is_serving:
            return  # somebody is about to start another one, or has
        if loop.time() - begun >= STEADY_SECONDS:
            self._restarts = 0
        self._deployment.lose_server()
        await self._revive(reason, self._sandbox.server_report())

    async def _until_stopped(self, sandbox: Sandbox) -> Reason | None:
        """Return why the server has stopped; None where it was stopped by who uses the sandbox."""
        ended = asyncio.create_task(sandbox.wait_until_ended(), name="dev server's end")
        hung = asyncio.create_task(self._until_hung(sandbox), name="dev server's silence")
        try:
            await asyncio.wait({ended, hung}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return Reason.EXITED if ended.result() else None
            hung.result()  # raises what only a bug of ours can cause
            return Reason.HUNG
        finally:
            for task in (ended, hung):
                task.cancel()
            await asyncio.wait({ended, hung})

    async def _until_hung(self, sandbox: Sandbox) -> None:
        """Return when the app has left `PROBES` in a row without an answer.

        While a run installs or builds, an app may well be slow: that is not held against it.
        """
        failures = 0
        while failures < PROBES:
            if failures == 0:
                await asyncio.sleep(PROBE_PAUSE_SECONDS)
            is_answering = await sandbox.is_answering(ANSWER_SECONDS)
            is_excused = self._deployment.turn.locked()
            failures = 0 if is_answering or is_excused else failures + 1

    async def _revive(self, reason: Reason, report: ServerReport) -> None:
        """Start the app until it serves, somebody else has started it, or it is time to give up."""
        cause = _cause(reason, report)
        if self._restarts < MAX_RESTARTS:
            following = f"It is started again in {self._pause_seconds:g} s."
            await self._tell(_event(reason, f"{cause} {following}", report.output))
        while self._restarts < MAX_RESTARTS:
            pause_seconds = self._pause_seconds
            self._restarts += 1
            if await self._is_served_within(pause_seconds):
                return
            try:
                await self._start()
            except (Fenced, StorageUnavailable):
                raise
            except ServiceError as error:
                log.warning("a dev server that stopped cannot be started: %s", error)
                cause, *output = str(error).splitlines()
                report = ServerReport(output=tuple(output))
            else:
                return
        await self._tell(_event(reason, f"{cause} {LEFT}", report.output))

    @property
    def _pause_seconds(self) -> float:
        return float(FIRST_PAUSE_SECONDS * 2**self._restarts)

    async def _is_served_within(self, seconds: float) -> bool:
        """Pause; say whether somebody else has started a server meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                await self._has_new_server.wait()
        except TimeoutError:
            return False
        return True

    async def _start(self) -> None:
        async with self._deployment.turn:
            if self._deployment.is_serving:
                return  # whoever had the turn has started it
            self._is_restarting = True
            try:
                await self._start_app()
            finally:
                self._is_restarting = False


def _cause(reason: Reason, report: ServerReport) -> str:
    match reason:
        case Reason.HUNG:
            cause = f"The app has not answered for {PROBES * ANSWER_SECONDS:g} s."
        case Reason.EXITED if report.exit_code is None:
            cause = "The app's sandbox was stopped or has gone."
        case Reason.EXITED:
            cause = f"The app's server ended with exit code {report.exit_code}."
    return f"{cause} {report.limit}".rstrip()


def _event(reason: Reason, sentence: str, output: tuple[str, ...]) -> ServerStopped:
    return ServerStopped(reason=reason, message="\n".join([sentence, *output]))
