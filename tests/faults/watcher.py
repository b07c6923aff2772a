"""A viewer of the fault suite: it comes back whatever happens, and folds what it is shown."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import orjson

from tests.faults.chronicle import Chronicle, Stretch
from tests.faults.place import Place
from tests.faults.schedule import Habit
from tests.faults.story import Story
from tests.faults.violation import Violation
from tests.support.fold import Fold, FoldError, Frame

STAY_SECONDS = (0.2, 2.5)  # of those who leave by themselves
AWAY_SECONDS = (0.0, 1.2)
RETRY_SECONDS = (0.02, 0.2)
CONNECT_SECONDS = 10.0  # a gateway may stand still meanwhile
CLOSE_SECONDS = 2.0
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST, as a broken line does
TAIL_FRAMES = 12
#: After these it is known which file is open, and all of its text, whatever was missed before.
TELLS_FILE = ("snapshot", "file_start", "file_end", "file_restored", "run_resumed")

LOST = (aiohttp.ClientError, OSError, TimeoutError)


class SocketLost(Exception):
    """The socket ended before a command was answered."""


class Watcher:
    """One viewer of one project over any number of sockets."""

    def __init__(
        self, name: str, place: Place, chronicle: Chronicle, story: Story, habit: Habit, seed: str
    ) -> None:
        self.name = name
        self.habit = habit
        self.fold = Fold(chronicle.project_id)
        self.stretches: list[Stretch] = []
        self.sockets = 0
        self.resyncs = 0
        self._place = place
        self._chronicle = chronicle
        self._story = story
        self._choose = random.Random(seed)
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._held_until = 0.0
        self._is_settling = False
        self._tail: list[str] = []
        self._last_seq = 0
        self._knows_file = False  # whether it has seen all of the open file
        self._changed = asyncio.Condition()
        self._answers: dict[str, list[asyncio.Future[Frame]]] = {}

    # --- what the round does with it -------------------------------------------------------------

    async def run(self) -> None:
        """Watch until cancelled; raises Violation."""
        while True:
            url = await self._place.address()
            try:
                await self._watch(url)
            except LOST:
                await asyncio.sleep(self._choose.uniform(*RETRY_SECONDS))
            finally:
                self._lose_answers()

    async def until(self, is_reached: Callable[[Fold], bool]) -> None:
        """Wait until what it knows fulfils a condition; the caller bounds the time."""
        async with self._changed:
            await self._changed.wait_for(lambda: is_reached(self.fold))

    async def ask(self, command: dict[str, Any]) -> Frame:
        """Send a command with an id and return the frame that answers it; raises SocketLost."""
        if self._socket is None or self._socket.closed:
            raise SocketLost
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        waiting = self._answers.setdefault(command["id"], [])
        waiting.append(answer)
        try:
            await self._socket.send_str(orjson.dumps(command).decode())
            return await answer
        except LOST:
            raise SocketLost from None
        finally:
            with contextlib.suppress(ValueError):
                waiting.remove(answer)

    def settle(self) -> None:
        """Stay from now on; so that the end of the story is seen."""
        self._is_settling = True

    async def drop(self) -> None:
        """Break its connection, as a line that fails does."""
        if self._socket is not None and self._session is not None:
            connection = self._socket.get_extra_info("socket")
            if connection is not None:
                with contextlib.suppress(OSError):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            await self._session.close()

    def hold(self, seconds: float) -> None:
        """Read nothing for so long."""
        self._held_until = time.monotonic() + seconds

    @property
    def tail(self) -> list[str]:
        """The last frames that it was shown."""
        return [f"... {text[:300]}" for text in self._tail]

    # --- watching --------------------------------------------------------------------------------

    async def _watch(self, url: str) -> None:
        """Follow one socket to its end."""
        since = self.fold.open()
        query = "" if since is None else f"?since={since}"
        if since == 0:
            self.stretches.append(Stretch(0))
        async with aiohttp.ClientSession() as self._session:
            async with asyncio.timeout(CONNECT_SECONDS):
                self._socket = await self._session.ws_connect(
                    f"{url}/ws/{self._chronicle.project_id}{query}",
                    max_msg_size=0,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
                )
            self.sockets += 1
            try:
                if await self._read():
                    return
            finally:
                await self._socket.close()
        if not self._is_settling:
            await asyncio.sleep(self._choose.uniform(*AWAY_SECONDS))
        if self.habit is Habit.FORGETFUL:
            self.fold.forget(self._choose.choice((None, 0)))

    async def _read(self) -> bool:
        """Take frames; returns True where the socket was lost, False where it is time to leave."""
        assert self._socket is not None
        leaves_at = time.monotonic() + self._choose.uniform(*STAY_SECONDS)
        while True:
            if (held := self._held_until - time.monotonic()) > 0:
                await asyncio.sleep(held)
            may_leave = self.habit is not Habit.STEADY and not self._is_settling
            try:
                async with asyncio.timeout_at(None) as deadline:
                    if may_leave:
                        left = max(0.0, leaves_at - time.monotonic())
                        deadline.reschedule(asyncio.get_running_loop().time() + left)
                    message = await self._socket.receive()
            except TimeoutError:
                return False
            if message.type is not aiohttp.WSMsgType.TEXT:
                return True
            await self._take(message.data)

    async def _take(self, text: str) -> None:
        frame = orjson.loads(text)
        self._tail = [*self._tail[1 - TAIL_FRAMES :], text]
        try:
            is_event = self.fold.take(frame)
        except (FoldError, KeyError, ValueError) as error:
            raise Violation(f"{self.name}: {error}", *self.tail) from error
        if is_event:
            self._chronicle.note(text, frame)
            self.stretches[-1].numbers.append(frame["seq"])
            self._check_open_file(frame)
        elif frame["type"] == "snapshot":
            self.stretches.append(Stretch(frame["seq"], frame))
            self.resyncs += "resync" in frame["data"]
            self._check_open_file(frame)
        else:
            self._hand_over(frame)
        async with self._changed:
            self._changed.notify_all()

    def _check_open_file(self, frame: Frame) -> None:
        """What is known of the open file must be how the model begins it, and what others know.

        Who comes back to a file that was finished meanwhile is not shown all of its chunks.
        """
        seq, state = frame["seq"], self.fold.state
        if frame["type"] in TELLS_FILE:
            self._knows_file = True
        elif seq != self._last_seq + 1:
            self._knows_file = False
        self._last_seq = seq
        if self._knows_file:
            self._chronicle.note_open_file(seq, state.open_file)
        if state.open_file is None or state.phase is None or not self._knows_file:
            return
        path, text = state.open_file.path, state.open_file.text
        expected = self._story.text(state.phase.number, path)
        if not expected.startswith(text):
            raise Violation(
                f"{self.name}: the open file {path} is no beginning of what the model writes",
                f"shown:    {text!r}",
                f"expected: {expected!r}",
                *self.tail,
            )

    def _hand_over(self, frame: Frame) -> None:
        for answer in self._answers.get(frame["data"].get("id"), ()):
            if not answer.done():
                answer.set_result(frame)
                return  # a command that was sent twice is answered twice

    def _lose_answers(self) -> None:
        for answer in [answer for waiting in self._answers.values() for answer in waiting]:
            if not answer.done():
                answer.set_exception(SocketLost())
