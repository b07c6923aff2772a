"""The actor system as the gateway sees it: started, asked, watched, replaced, stopped.

The system is a process of its own (`actors/system.py`), so it forks from a process that has no
threads. The gateway holds the write end of a pipe, the lifeline: whatever ends the gateway closes
it, and the supervisor saves everything and ends the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable

import orjson

from actors import wire
from actors.errors import ActorsUnavailable, ServiceError
from actors.messages import Answer, GetStatus, Request, Shutdown
from actors.settings import Settings
from actors.watchdog import HUNG_SECONDS, PING_SECONDS
from gateway.mailbox import ASK_SECONDS, Mailbox

log = logging.getLogger(__name__)

START_SECONDS = 20.0
END_SECONDS = 5.0  # from the supervisor's last answer to the end of its processes
RESTART_PAUSE_SECONDS = (0.0, 0.5, 2.0, 5.0)  # before the first, second, ... restart in a row
LEFTOVER_SECONDS = 8.0  # for what a dead guard left to save; a kill leaves nothing for above 10
HEALTHY_SECONDS = 60.0  # a system that lived this long begins a new row
QUESTIONS = 3  # that a supervisor leaves unanswered before it counts as hung
END_SIGNAL = signal.SIGUSR2  # the guard (actors/system.py) then kills all its descendants


class ActorSystem:
    """Keeps one actor system running until `stop`, or until an admin message shuts it down.

    `closed` is set in the latter case. `on_restart` is awaited after a crash, when the fresh
    system answers: the gateway then revives the projects that have work.
    """

    def __init__(
        self,
        settings: Settings,
        on_restart: Callable[[], Awaitable[None]] | None = None,
        *,
        inherited_fds: tuple[int, ...] = (),
    ) -> None:
        self._settings = settings
        self._on_restart = on_restart
        self._inherited_fds = inherited_fds
        self._mailbox: Mailbox | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._ready: asyncio.StreamReader | None = None
        self._ready_pipe: asyncio.ReadTransport | None = None
        self._lifeline: int | None = None
        self._group: int | None = None
        self._keepers: list[asyncio.Task[None]] = []
        self.restarts = 0
        self.closed = asyncio.Event()

    @property
    def is_up(self) -> bool:
        return self._mailbox is not None and self._mailbox.is_working

    async def start(self) -> None:
        """Start the system; raises ActorsUnavailable when it does not come up."""
        wire.install(wire.load_or_create_key(self._settings.key_file))
        await self._launch()
        self._keepers = [
            asyncio.create_task(self._keep(), name="actor-system"),
            asyncio.create_task(self._look_after(), name="actor-system-watchdog"),
        ]

    async def ask(self, request: Request, timeout_seconds: float = ASK_SECONDS) -> Answer:
        """Ask the supervisor; see `Mailbox.ask`."""
        if self._mailbox is None:
            raise ActorsUnavailable()
        return await self._mailbox.ask(request, timeout_seconds)

    async def _launch(self) -> None:
        reader, self._lifeline = os.pipe()
        ready_reader, ready_writer = os.pipe()
        self._ready, self._ready_pipe = await _read_pipe(ready_reader)
        self._group = None
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "actors.system",
                str(reader),
                str(ready_writer),
                stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, **self._settings.environment(), "PYTHONPATH": _python_path()},
                pass_fds=(reader, ready_writer, *self._inherited_fds),
                start_new_session=True,  # Ctrl-C in the terminal is for the gateway alone
            )
        finally:
            os.close(reader)
            os.close(ready_writer)
        try:
            async with asyncio.timeout(START_SECONDS):
                line = await self._ready.readline()
            ready = orjson.loads(line)
        except (TimeoutError, orjson.JSONDecodeError):
            await self._end_process()
            raise ActorsUnavailable(
                f"The actor system did not start; see {self._settings.log_file}."
            ) from None
        self._group = ready["group"]
        self._write_actors_file(ready)
        self._mailbox = Mailbox(ready["supervisor"], ready["admin_port"])
        log.info("actor system up: supervisor %s, pid %d", ready["supervisor"], ready["pid"])

    def _write_actors_file(self, ready: dict[str, object]) -> None:
        path = self._settings.actors_file
        draft = path.with_suffix(".new")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(
                orjson.dumps({**ready, "url": self._settings.url, "gateway_pid": os.getpid()})
            )
        draft.replace(path)

    async def _keep(self) -> None:
        """Replace the system whenever it ends without having been asked to."""
        crashes_in_a_row = 0
        while True:
            assert self._process is not None
            launched_at = time.monotonic()
            status = await self._process.wait()
            await self._all_gone(min(self._settings.shutdown_seconds, LEFTOVER_SECONDS))
            await self._disconnect()
            if status == 0:
                log.info("the actor system was shut down by an admin message")
                self.closed.set()
                return
            self.restarts += 1
            if time.monotonic() - launched_at > HEALTHY_SECONDS:
                crashes_in_a_row = 0
            pause = RESTART_PAUSE_SECONDS[min(crashes_in_a_row, len(RESTART_PAUSE_SECONDS) - 1)]
            crashes_in_a_row += 1
            log.error("the actor system ended (status %s); starting afresh", status)
            await asyncio.sleep(pause)
            try:
                await self._launch()
                if self._on_restart is not None:
                    await self._on_restart()
            except (ServiceError, OSError) as error:
                log.error("the actor system cannot be started: %s", error)

    async def _look_after(self) -> None:
        """End a system whose supervisor gives no sign of life; `_keep` starts another."""
        while True:
            await asyncio.sleep(PING_SECONDS)
            mailbox = self._mailbox
            if mailbox is None:
                continue
            if not await _is_alive(mailbox) and mailbox is self._mailbox:
                log.error("the supervisor gives no sign of life; its system is ended")
                await self._end_guard()

    async def _all_gone(self, seconds: float) -> None:
        """Wait until every process of the system has ended: each holds the ready pipe's other end.

        Where the guard was killed the others still save; the next system must not meet them. Those
        that stay are ended by force: they are in one process group, whose number is nobody else's
        as long as there are any.
        """
        if self._ready is None:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._ready.read()
        except TimeoutError:
            log.error("processes of the actor system are left; ending them by force")
            if self._group is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._group, signal.SIGKILL)

    async def _disconnect(self) -> None:
        if self._mailbox is not None:
            mailbox, self._mailbox = self._mailbox, None
            await mailbox.close()
        self._close_lifeline()
        if self._ready_pipe is not None:
            self._ready_pipe.close()
            self._ready_pipe = None

    def _close_lifeline(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    async def stop(self, deadline_seconds: float) -> None:
        """Have everything saved and every process ended, by force at the deadline."""
        for keeper in self._keepers:
            keeper.cancel()  # first: what ends from now on is not replaced
        if self._keepers:
            await asyncio.wait(self._keepers)
        try:
            async with asyncio.timeout(deadline_seconds):
                request = Shutdown(
                    request_id=os.urandom(8).hex(),
                    deadline_seconds=max(1.0, deadline_seconds - END_SECONDS),
                )
                try:
                    await self.ask(request, deadline_seconds)
                except ActorsUnavailable:
                    self._close_lifeline()  # which has everything saved as well
                if self._process is not None:
                    await self._process.wait()
        except TimeoutError:
            log.error("the actor system did not end in time")
        await self._end_process()
        await self._disconnect()
        self._settings.actors_file.unlink(missing_ok=True)

    async def _end_process(self) -> None:
        if self._process is not None and self._process.returncode is None:
            await self._end_guard()
            await self._all_gone(END_SECONDS)

    async def _end_guard(self) -> None:
        """Have the guard end all others and itself; one that does not is killed."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(END_SIGNAL)
        try:
            async with asyncio.timeout(END_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _read_pipe(reader: int) -> tuple[asyncio.StreamReader, asyncio.ReadTransport]:
    """Return a stream of what is written into a pipe of our own.

    Not the process's stdout: asyncio's `Process.wait` of 3.11 also waits for the end of its pipes,
    which the process's children keep open.
    """
    stream = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reader, "rb", buffering=0)
    )
    return stream, transport


async def _is_alive(mailbox: Mailbox) -> bool:
    """Whether the supervisor answers one of a few questions.

    A gateway that was stopped itself finds the first one too old as it wakes, whoever answered. One
    that cannot be asked takes its time, too: the supervisor may just have ended in order.
    """
    for _ in range(QUESTIONS):
        next_at = time.monotonic() + HUNG_SECONDS / QUESTIONS
        with contextlib.suppress(ActorsUnavailable):
            await mailbox.ask(GetStatus(request_id=os.urandom(8).hex()), HUNG_SECONDS / QUESTIONS)
            return True
        await asyncio.sleep(next_at - time.monotonic())
    return False


def _python_path() -> str:
    """Have the child import the same `actors` package, whatever its working directory."""
    return os.pathsep.join(path for path in sys.path if path)
