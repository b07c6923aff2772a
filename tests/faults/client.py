"""Who gives the commands: sends each until it is answered, as a careful client does."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.faults.injector import Injector
from tests.faults.place import Place
from tests.faults.schedule import Order, Project
from tests.faults.story import Story
from tests.faults.violation import Violation
from tests.faults.watcher import LOST, SocketLost, Watcher

ANSWER_SECONDS = 30.0  # longer than the gateway takes to give up
RETRY_SECONDS = (0.05, 0.4)
#: Refusals that say: try again.
PASSING = ("actors_unavailable", "storage_unavailable", "project_busy")


class Refused(Exception):
    """The service answered with an error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a generate command was answered: its place in the queue, and its number."""

    place: int
    seq: int


class Client:
    """Carries out a project's orders; what it was answered is in `accepted` and `cancels`."""

    def __init__(
        self,
        project: Project,
        place: Place,
        watchers: list[Watcher],
        story: Story,
        seed: int,
    ) -> None:
        self.project = project
        self.accepted: dict[str, Accepted] = {}
        self.cancels_sent = 0
        self.cancels_done = 0
        self._story = story
        self._place = place
        self._watchers = watchers
        self._choose = random.Random(f"{seed}/{project.id}")

    async def run(self, injector: Injector) -> None:
        """Send every order when its time has come; returns once all are accepted."""
        async with asyncio.TaskGroup() as group:
            for order in self.project.orders:
                await injector.after(order.after_faults)
                group.create_task(self._carry_out(order))

    @property
    def last_seq(self) -> int:
        """The number of the last command that was queued."""
        return max(answer.seq for answer in self.accepted.values())

    async def _carry_out(self, order: Order) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(order.copies):
                group.create_task(self._send(order))
        if order.cancel_seconds is not None:
            await asyncio.sleep(order.cancel_seconds)
            await self._cancel()
        if order.is_repeated:
            await self._send(order)

    async def _send(self, order: Order) -> None:
        """Have a command accepted; raises Violation where two answers to it differ."""
        command = {
            "type": "generate",
            "id": order.id,
            "description": self._story.description(order.id),
            "maxPhases": order.phases,
            "mode": order.mode,
        }
        answer = await self._ask_patiently(command, by_socket=order.by_socket)
        accepted = Accepted(answer["place"], answer["seq"])
        known = self.accepted.setdefault(order.id, accepted)
        if known != accepted:
            raise Violation(
                f"{self.project.id}: {order.id} was answered in two ways", known, accepted
            )

    async def _ask_patiently(self, command: dict[str, Any], *, by_socket: bool) -> dict[str, Any]:
        while True:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    if by_socket:
                        return await self._ask_by_socket(command)
                    return await self._post("generate", command)
            except (SocketLost, *LOST):
                by_socket = self._choose.random() < 0.5  # what comes next need not be the same way
            except Refused as error:
                if error.code not in PASSING:
                    raise Violation(f"{self.project.id}: {command['id']}: {error}") from error
            await asyncio.sleep(self._choose.uniform(*RETRY_SECONDS))

    async def _ask_by_socket(self, command: dict[str, Any]) -> dict[str, Any]:
        frame = await self._choose.choice(self._watchers).ask(command)
        if frame["type"] == "error":
            raise Refused(frame["data"]["code"], frame["data"]["message"])
        data: dict[str, Any] = frame["data"]
        return data

    async def _post(self, what: str, body: dict[str, Any]) -> dict[str, Any]:
        url = f"{await self._place.address()}/api/projects/{self.project.id}/{what}"
        async with aiohttp.ClientSession() as session, session.post(url, json=body) as answer:
            told: dict[str, Any] = await answer.json()
        if "error" in told:
            raise Refused(told["error"]["code"], told["error"]["message"])
        return told

    async def _cancel(self) -> None:
        """Send one cancel; it may come too late, and its answer may be lost."""
        self.cancels_sent += 1
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._post("cancel", {})
        except LOST:
            return
        except Refused as error:
            if error.code not in (*PASSING, "nothing_running", "not_found"):
                raise Violation(f"{self.project.id}: cancel: {error}") from error
        else:
            self.cancels_done += 1
