"""Who gives the commands: sends each until it is answered, as a careful client does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
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
#: Refusals that are an answer: a cancel came too late.
FINAL = ("nothing_running",)


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
    """Carries out a project's orders, and keeps the first answer to each command by its id.

    A command that is repeated must be answered the same: else Violation is raised. `cancelled`
    has None where a cancel was carried out, or the code of its refusal.
    """

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
        self.cancelled: dict[str, str | None] = {}
        self._story = story
        self._place = place
        self._watchers = watchers
        self._choose = random.Random(f"{seed}/{project.id}")

    async def run(self, injector: Injector) -> None:
        """Send every order when its time has come; returns once all are answered."""
        async with asyncio.TaskGroup() as group:
            for order in self.project.orders:
                await injector.after(order.after_faults)
                group.create_task(self._carry_out(order))

    @property
    def last_seq(self) -> int:
        """The number of the last command that was queued."""
        return max(answer.seq for answer in self.accepted.values())

    async def _carry_out(self, order: Order) -> None:
        await self._send_copies(order, self._generate)
        if order.cancel_seconds is not None:
            await asyncio.sleep(order.cancel_seconds)
            await self._send_copies(order, self._cancel)
        if order.is_repeated:
            await self._generate(order)
            if order.cancel_seconds is not None:
                await self._cancel(order)

    @staticmethod
    async def _send_copies(
        order: Order, send: Callable[[Order], Coroutine[Any, Any, None]]
    ) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(order.copies):
                group.create_task(send(order))

    async def _generate(self, order: Order) -> None:
        command = {
            "type": "generate",
            "id": order.id,
            "description": self._story.description(order.id),
            "maxPhases": order.phases,
            "mode": order.mode,
        }
        answer = await self._ask_patiently(command, by_socket=order.by_socket)
        accepted = Accepted(answer["place"], answer["seq"])
        self._compare(order.id, self.accepted.setdefault(order.id, accepted), accepted)

    async def _cancel(self, order: Order) -> None:
        command = {"type": "cancel", "id": cancel_id(order)}
        if order.cancel_names_it:
            command["commandId"] = order.id
        code: str | None = None
        try:
            await self._ask_patiently(command, by_socket=order.by_socket)
        except Refused as error:
            code = error.code
        self._compare(command["id"], self.cancelled.setdefault(command["id"], code), code)

    def _compare(self, command_id: str, first: object, second: object) -> None:
        if first != second:
            raise Violation(
                f"{self.project.id}: {command_id} was answered in two ways", first, second
            )

    async def _ask_patiently(self, command: dict[str, Any], *, by_socket: bool) -> dict[str, Any]:
        """Return the answer; raises Refused with a code of `FINAL`, Violation with any other."""
        while True:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    if by_socket:
                        return await self._ask_by_socket(command)
                    return await self._post(command)
            except (SocketLost, *LOST):
                by_socket = self._choose.random() < 0.5  # what comes next need not be the same way
            except Refused as error:
                if error.code in FINAL:
                    raise
                if error.code not in PASSING:
                    raise Violation(f"{self.project.id}: {command['id']}: {error}") from error
            await asyncio.sleep(self._choose.uniform(*RETRY_SECONDS))

    async def _ask_by_socket(self, command: dict[str, Any]) -> dict[str, Any]:
        frame = await self._choose.choice(self._watchers).ask(command)
        if frame["type"] == "error":
            raise Refused(frame["data"]["code"], frame["data"]["message"])
        data: dict[str, Any] = frame["data"]
        return data

    async def _post(self, command: dict[str, Any]) -> dict[str, Any]:
        url = f"{await self._place.address()}/api/projects/{self.project.id}/{command['type']}"
        async with aiohttp.ClientSession() as session, session.post(url, json=command) as answer:
            told: dict[str, Any] = await answer.json()
        if "error" in told:
            raise Refused(told["error"]["code"], told["error"]["message"])
        return told


def cancel_id(order: Order) -> str:
    """Return the id of the cancel that follows a command."""
    return f"cancel-of-{order.id}"
