"""The nursery: forks blank project actors and reports when one of its children ends.

Children are born here rather than in the supervisor because a birth costs 13 ms with few siblings
and 60 ms as the 100th child of one parent: a nursery has at most `MAX_CHILDREN`.
"""

from __future__ import annotations

import os
from typing import Any

from actors.actor import BaseActor, ChildActorExited, handles
from actors.messages import ActorExited, BreedSpares, ConfigureActor, ConfigureNursery, Ping, Pong
from actors.project import ProjectActor

MAX_CHILDREN = 32


class Nursery(BaseActor):
    """Forks; therefore never starts a thread."""

    def __init__(self) -> None:
        super().__init__()
        self._supervisor: Any = None
        self._number = 0
        self._children: list[Any] = []

    @handles(ConfigureNursery)
    def configure(self, message: ConfigureNursery, sender: Any) -> None:
        self._supervisor, self._number = message.supervisor, message.number
        self.send(message.supervisor, Pong(pid=os.getpid(), nursery=self._number))

    @handles(Ping)
    def answer(self, message: Ping, sender: Any) -> None:
        self.send(sender, Pong(pid=os.getpid(), nursery=self._number))

    @handles(BreedSpares)
    def breed(self, message: BreedSpares, sender: Any) -> None:
        for _ in range(message.count):
            child = self.createActor(ProjectActor)
            self._children.append(child)
            self.send(child, ConfigureActor(supervisor=self._supervisor, nursery=self._number))

    @handles(ChildActorExited)
    def report_exit(self, message: Any, sender: Any) -> None:
        """Thespian reports an orderly exit twice; a port may be another actor's by then."""
        for child in self._children:
            if child == message.childAddress:  # its address of birth and its port are equal
                self._children.remove(child)
                self.send(self._supervisor, ActorExited(address=message.childAddress))
                return
