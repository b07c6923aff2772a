"""What surrounds a project agent: its way out to others, and the adapters that it works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from actors import messages as m
from actors.generation.model import Model
from actors.sandbox.base import LogSink, Sandbox
from actors.store import Store


class Office(Protocol):
    """The agent's way out, in the order of the calls."""

    def tell_supervisor(self, message: m.Message) -> None: ...

    def answer(self, request: m.Request, answer: m.Answer) -> None: ...

    def leave(self) -> None:
        """End the process once everything said so far is sent."""
        ...

    def crash(self) -> None:
        """End the process at once: what it has in memory is of no use; a successor will come."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """The adapters that an agent works with."""

    store: Store
    model: Model
    make_sandbox: Callable[[LogSink], Sandbox]
