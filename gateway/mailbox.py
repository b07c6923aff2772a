"""The gateway's mailbox: one thread that talks to the supervisor through Thespian's transport.

`ActorSystem()` in this process could fork an admin, which must never happen once there are
threads, so the transport is used directly: it only ever joins an actor system that is there. One
thread serves any number of requests at once; answers find their request by `request_id`, so a late
answer to a request that was given up cannot be taken for another's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections import deque
from datetime import timedelta
from typing import Any

import orjson

from actors import wire
from actors.errors import ActorsUnavailable, error_from_code
from actors.messages import Answer, Failed, Request, Shutdown, ShutdownComplete
from actors.settings import Settings

from thespian.actors import WatchMessage  # isort: skip  # after wire, which sets its address
from thespian.system.transport import (  # isort: skip
    ExternalInterfaceTransportInit,
    ReceiveEnvelope,
    TransmitIntent,
)
from thespian.system.transport.TCPTransport import TCPTransport  # isort: skip

log = logging.getLogger(__name__)

TURN_SECONDS = 60.0  # the receive loop turns at least this often; it is woken when there is work
SEND_SECONDS = 5.0  # a supervisor that takes no message for this long is gone
ASK_SECONDS = 30.0


class Mailbox:
    """Requests to one supervisor, from one asyncio loop."""

    def __init__(self, supervisor: str, admin_port: int) -> None:
        """`supervisor` is "host:port"; `wire.install` has been called."""
        self._loop = asyncio.get_running_loop()
        self._supervisor = TCPTransport.getAddressFromString(supervisor)
        self._admin_port = admin_port
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._outbox: deque[Request] = deque()
        self._pending: dict[str, asyncio.Future[Answer]] = {}
        self._is_closed = False
        self._is_broken = False
        self._thread = threading.Thread(target=self._serve, name="mailbox", daemon=True)
        self._thread.start()

    @property
    def is_working(self) -> bool:
        return not (self._is_closed or self._is_broken)

    async def ask(self, request: Request, timeout_seconds: float = ASK_SECONDS) -> Answer:
        """Send a request and return its answer.

        Raises the ServiceError that a `Failed` answer names, or ActorsUnavailable when none comes
        in time. Cancelling gives the answer up; the request is carried out all the same.
        """
        if not self.is_working:
            raise ActorsUnavailable()
        future = self._loop.create_future()
        self._pending[request.request_id] = future
        self._outbox.append(request)
        self._wake()
        try:
            async with asyncio.timeout(timeout_seconds):
                answer: Answer = await future
        except TimeoutError:
            raise ActorsUnavailable() from None
        finally:
            self._pending.pop(request.request_id, None)
        if isinstance(answer, Failed):
            raise error_from_code(answer.code, answer.message)
        return answer

    async def close(self) -> None:
        """End the thread; whoever still waits is told that the actors are unavailable."""
        if not self._is_closed:
            self._is_closed = True
            self._wake()
            await asyncio.to_thread(self._thread.join)
            os.close(self._reader)
            os.close(self._writer)
            self._give_up()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full of wake-ups: one of them will do
            os.write(self._writer, b"\0")

    # --- in the thread ---------------------------------------------------------------------------

    def _serve(self) -> None:
        transport = None
        try:
            transport = _open_transport(self._admin_port)
            transport.set_watch([self._reader])
            while not self._is_closed:
                received = transport.run(None, timedelta(seconds=TURN_SECONDS))
                if not isinstance(received, ReceiveEnvelope):
                    continue
                match received.message:
                    case WatchMessage():
                        self._send_outbox(transport)
                    case Answer() as answer:
                        self._hand_over(answer)
        except Exception:
            log.exception("the mailbox failed")
        finally:
            if transport is not None:
                _close_transport(transport)
            if not self._is_closed:
                with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
                    self._loop.call_soon_threadsafe(self._fail)

    def _fail(self) -> None:
        """The thread has ended by itself: nothing is answered any more."""
        self._is_broken = True
        self._give_up()

    def _give_up(self) -> None:
        for future in self._pending.values():
            if not future.done():
                future.set_exception(ActorsUnavailable())

    def _send_outbox(self, transport: Any) -> None:
        with contextlib.suppress(BlockingIOError):  # an earlier turn has read it
            os.read(self._reader, 65536)
        while self._outbox:
            request = self._outbox.popleft()
            transport.scheduleTransmit(None, self._intent(request))

    def _intent(self, request: Request) -> Any:
        def fail(_status: Any, _intent: Any) -> None:
            self._hand_over(
                Failed(
                    request_id=request.request_id,
                    code=ActorsUnavailable.code,
                    message=str(ActorsUnavailable()),
                )
            )

        return TransmitIntent(
            self._supervisor, request, onError=fail, maxPeriod=timedelta(seconds=SEND_SECONDS)
        )

    def _hand_over(self, answer: Answer) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
            self._loop.call_soon_threadsafe(self._resolve, answer)

    def _resolve(self, answer: Answer) -> None:
        future = self._pending.get(answer.request_id)
        if future is not None and not future.done():
            future.set_result(answer)


def _open_transport(admin_port: int) -> Any:
    return TCPTransport(ExternalInterfaceTransportInit(), {"Admin Port": admin_port}, None, None)


def _close_transport(transport: Any) -> None:
    """Close its sockets too: Thespian's own close means to, and does not (4.0.1)."""
    sockets = [transport.socket, *transport._openSockets.values()]
    sockets += [intent.socket for intent in transport._transmitIntents.values()]
    transport.close()
    for each in sockets:
        each.close()


def shut_down(settings: Settings) -> ShutdownComplete:
    """Send the admin message `Shutdown` to the service that owns this state directory.

    Blocks until everything is saved. Raises ActorsUnavailable when no service runs there.
    """

    async def run() -> ShutdownComplete:
        mailbox = open_mailbox(settings)
        try:
            request = Shutdown(
                request_id=os.urandom(8).hex(), deadline_seconds=settings.shutdown_seconds
            )
            answer = await mailbox.ask(request, settings.shutdown_seconds + SEND_SECONDS)
        finally:
            await mailbox.close()
        assert isinstance(answer, ShutdownComplete)
        return answer

    return asyncio.run(run())


def open_mailbox(settings: Settings) -> Mailbox:
    """Join the running service of this state directory, as an admin does."""
    try:
        running = orjson.loads(settings.actors_file.read_bytes())
        supervisor, admin_port = running["supervisor"], running["admin_port"]
    except (OSError, ValueError, KeyError):
        raise ActorsUnavailable(
            f"No service runs with the state directory {settings.state_dir}."
        ) from None
    wire.install(wire.load_or_create_key(settings.key_file))
    return Mailbox(supervisor, admin_port)
