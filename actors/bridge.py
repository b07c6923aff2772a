"""The bridge between Thespian's receive loop (main thread) and asyncio (one other thread).

In an actor process Thespian owns the main thread and asyncio runs in one thread beside it. What
the mailbox receives is handed to the loop with `submit`; what the loop wants sent is put into an
outbox, and a byte in a self-pipe, watched by `ThespianWatch`, makes the main thread send it.

Only an actor that never forks may have a bridge: threads do not survive a fork.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

log = logging.getLogger(__name__)

Outgoing = tuple[Any, Any]  # (address, message)


class Bridge:
    """One asyncio loop in one thread, and an outbox towards the receive loop."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._outbox: deque[Outgoing] = deque()
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="bridge", daemon=True)

    @property
    def fileno(self) -> int:
        """The descriptor that the receive loop watches; readable when the outbox has messages."""
        return self._reader

    def start(self) -> None:
        self._thread.start()

    def submit(self, function: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
        """Run `function(*arguments)` as a task of the loop; called by the main thread.

        Tasks start in the order of their submission. An exception in one is our bug: it is logged.
        """
        self._loop.call_soon_threadsafe(self._start_task, function, arguments)

    def send(self, address: Any, message: Any) -> None:
        """Have the main thread send a message; called by the loop's thread, keeps the order."""
        self._outbox.append((address, message))
        with contextlib.suppress(BlockingIOError):  # full of wake-ups: one of them will do
            os.write(self._writer, b"\0")

    def drain(self) -> list[Outgoing]:
        """Return what is to be sent; called by the main thread when `fileno` is readable."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 65536)
        ready = []
        while self._outbox:
            ready.append(self._outbox.popleft())
        return ready

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _start_task(
        self, function: Callable[..., Coroutine[Any, Any, None]], arguments: tuple[Any, ...]
    ) -> None:
        task = self._loop.create_task(function(*arguments), name=function.__name__)
        self._tasks.add(task)
        task.add_done_callback(self._end_task)

    def _end_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task %s failed", task.get_name(), exc_info=error)
