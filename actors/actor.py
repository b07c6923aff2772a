"""The base of all actors: the only `receiveMessage`, its guard, and the watched descriptors.

What Thespian does that shapes this file: a handler that raises is run a second time and its
sender gets a `PoisonMessage`, so nothing may raise; a `ThespianWatch` holds for one return only,
so it is returned every time; log records are mailed to a logger process through the transport,
which is not safe from other threads, so logging is set up afresh.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from actors import wire  # noqa: F401  # sets the loopback address before thespian is imported

from thespian.actors import (  # isort: skip
    Actor,
    ActorExitRequest,
    ChildActorExited,
    PoisonMessage,
    ThespianWatch,
    WakeupMessage,
    WatchMessage,
)

from actors.errors import InternalError
from actors.messages import Failed, Request
from actors.service_log import configure_logging
from actors.settings import Settings

log = logging.getLogger(__name__)

Handler = Callable[[Any, Any, Any], None]
H = TypeVar("H", bound=Handler)


def handles(*types: type) -> Callable[[H], H]:
    """Mark a method `(self, message, sender)` as the handler of these message types."""

    def mark(method: H) -> H:
        method.handled_types = types  # type: ignore[attr-defined]  # read by __init_subclass__
        return method

    return mark


class BaseActor(Actor):  # type: ignore[misc]  # thespian has no types
    """Dispatches by type through a table; handlers never block, never sleep, never raise."""

    _handlers: ClassVar[dict[type, Handler]] = {}

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls._handlers = dict(cls._handlers)
        for method in list(vars(cls).values()):
            for type_ in getattr(method, "handled_types", ()):
                cls._handlers[type_] = method

    def __init__(self) -> None:
        super().__init__()
        self.settings = Settings.read(os.environ)
        self.watched_fds: list[int] = []
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Thespian would exit at once, unsaved
        configure_logging(self.settings)

    def receiveMessage(self, message: Any, sender: Any) -> Any:  # noqa: N802  # Thespian's name
        """Handle one message; whatever goes wrong is logged and, for a request, answered."""
        handler = self._handlers.get(type(message))
        try:
            if handler is not None:
                handler(self, message, sender)
            elif not isinstance(message, (ActorExitRequest, ChildActorExited)):
                log.warning("%s ignores a %s", type(self).__name__, type(message).__name__)
        except Exception:
            log.exception("%s failed at %s", type(self).__name__, type(message).__name__)
            if isinstance(message, Request):
                failed = Failed(
                    request_id=message.request_id,
                    code=InternalError.code,
                    message=str(InternalError()),
                )
                self.send(message.reply_to or sender, failed)
        return ThespianWatch(self.watched_fds)

    @handles(PoisonMessage)
    def note_poison(self, message: Any, sender: Any) -> None:
        """A message of ours could not be handled there; the guard above makes that a bug."""
        log.error("%s could not handle a %s", sender, type(message.poisonMessage).__name__)


__all__ = [
    "ActorExitRequest",
    "BaseActor",
    "ChildActorExited",
    "WakeupMessage",
    "WatchMessage",
    "handles",
]
