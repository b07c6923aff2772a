"""`codegen generate`: a WebSocket client that shows one run from its command to its preview."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from gateway.client.output import OutputDirectory
from gateway.client.progress import FRAMES_PER_SECOND, ProgressDisplay, Style
from gateway.client.run import RunFollower
from gateway.client.service import CommandFailed, ServiceClient, connected
from gateway.client.socket import ProjectSocket
from gateway.client.terminal import Painter

INTERRUPTED = 130  # 128 + SIGINT, as shells report it
ALWAYS_SHOWN = ("snapshot", "accepted", "storage_unavailable", "storage_restored")
CANCEL_SECONDS = 10.0  # the service confirms within a second; then it is left alone


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateOptions:
    """What to generate and how to show it; `out` as on the command line."""

    description: str
    project_id: str
    model: str | None
    max_phases: int | None
    out: str | None
    is_json: bool


def new_project_id(description: str) -> str:
    """Make up a project id that can be recognised: the first words and a random end."""
    words = re.findall(r"[a-z0-9]+", description.lower())
    telling = [word[:16] for word in words if word not in ("a", "an", "the")]
    return "-".join([*telling[:3], secrets.token_hex(3)])


async def generate(url: str, options: GenerateOptions, painter: Painter, style: Style) -> int:
    """Run the command to its end and return the exit status; errors are CommandFailed."""
    async with connected(url) as client:
        return await _Generation(client, options, painter, style).run()


class _Generation:
    """One generate command: send it, follow it, cancel it on Ctrl-C, write its files."""

    def __init__(
        self, client: ServiceClient, options: GenerateOptions, painter: Painter, style: Style
    ) -> None:
        self._client = client
        self._options = options
        self._painter = painter
        self._page = f"{client.url}/#/p/{options.project_id}"
        self._run = RunFollower(secrets.token_hex(16))
        self._display = ProgressDisplay(
            style, url=client.url, is_live=painter.is_live, now=time.monotonic()
        )
        self._output = OutputDirectory(options.out) if options.out else None
        self._socket = ProjectSocket(
            client,
            options.project_id,
            since=lambda: self._run.last_seq,
            greet=self._commands,
            say=self._say,
        )
        self._is_cancelling = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        following = asyncio.create_task(self._follow(), name="follow the run")
        loop.add_signal_handler(signal.SIGINT, self._interrupt, following)
        if self._painter.is_live:
            self._start(self._redraw(), "redraw the terminal")
        try:
            await following
        except asyncio.CancelledError:
            if not following.cancelled():
                raise  # somebody cancelled us, not Ctrl-C the following
            return INTERRUPTED
        finally:
            loop.remove_signal_handler(signal.SIGINT)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._painter.paint([])
        return await self._finish()

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self) -> None:
        """Take frames until our run has an outcome."""
        async with aclosing(self._socket.texts()) as texts:
            async for text in texts:
                self._take(text)
                if self._run.outcome is not None:
                    return

    def _commands(self) -> Sequence[dict[str, Any]]:
        """Return what a fresh connection is to be told; repeating it does no harm."""
        if self._is_cancelling:
            return [self._cancel_command()]
        if self._run.place is not None:
            return []
        members = {
            "type": "generate",
            "id": self._run.command_id,
            "description": self._options.description,
            "model": self._options.model,
            "maxPhases": self._options.max_phases,
        }
        return [{name: value for name, value in members.items() if value is not None}]

    def _cancel_command(self) -> dict[str, Any]:
        return {
            "type": "cancel",
            "id": self._run.cancel_id,
            "commandId": self._run.command_id,
        }

    def _take(self, text: str) -> None:
        """Take one frame: follow it, write a finished file, show it."""
        try:
            frame = json.loads(text)
            is_new = self._run.see(frame)
            type_, data = frame["type"], frame["data"]
            if is_new and self._options.is_json:
                self._painter.paint([text])
            elif is_new:
                self._show(self._lines(type_, data))
        except (ValueError, KeyError, TypeError) as error:
            raise CommandFailed(
                "not_this_service", f"{self._client.url} sent a frame that cannot be read."
            ) from error
        if is_new and self._run.is_running and self._output is not None:
            self._mirror(self._output, type_, data)

    @staticmethod
    def _mirror(output: OutputDirectory, type_: str, data: dict[str, Any]) -> None:
        if type_ == "file_end":
            output.write(data["path"], data["content"])
        elif type_ == "file_deleted":
            output.delete(data["path"])

    def _lines(self, type_: str, data: dict[str, Any]) -> list[str]:
        """Return what a frame adds; other runs of the project are not shown."""
        if not self._run.is_running and type_ not in ALWAYS_SHOWN:
            return []
        lines = self._display.see(type_, data, time.monotonic())
        if type_ == "accepted":
            lines.append(f"Project {self._options.project_id}  {self._page}")
        return lines

    def _show(self, lines: list[str]) -> None:
        if lines:
            self._painter.paint(lines, self._live())

    def _live(self) -> list[str]:
        return self._display.live(time.monotonic(), self._painter.width)

    def _say(self, sentence: str) -> None:
        """Tell something that is not a frame; with --json beside the frames, on stderr."""
        if self._options.is_json:
            print(sentence, file=sys.stderr)
        else:
            self._show([sentence])

    async def _redraw(self) -> None:
        while True:
            self._painter.paint([], self._live())
            await asyncio.sleep(1 / FRAMES_PER_SECOND)

    def _interrupt(self, following: asyncio.Task[None]) -> None:
        """Ctrl-C: cancel our run and wait for its end; the second one ends the command at once.

        So does the first where the service cannot be reached. A command that is still queued is
        taken from the queue.
        """
        is_second, self._is_cancelling = self._is_cancelling, True
        if is_second or not self._socket.is_open:
            following.cancel()
        else:
            self._say("Cancelling; Ctrl-C again to leave at once ...")
            self._start(self._cancel(following), "cancel the run")

    async def _cancel(self, following: asyncio.Task[None]) -> None:
        await self._socket.send(self._cancel_command())
        await asyncio.sleep(CANCEL_SECONDS)
        self._say("The service has not confirmed the cancel")
        following.cancel()

    async def _finish(self) -> int:
        outcome = self._run.outcome
        assert outcome is not None
        if outcome.status == "error":
            raise CommandFailed(outcome.code, outcome.message)
        if outcome.status == "cancelled":
            if self._is_cancelling:
                return INTERRUPTED
            raise CommandFailed("cancelled", f"The run was cancelled ({outcome.message}).")
        await self._write_others(outcome.files)
        if not self._options.is_json:
            self._painter.paint(self._result())
        return 0

    async def _write_others(self, paths: tuple[str, ...]) -> None:
        """Fetch the files that earlier runs, or a missed part of ours, have left."""
        if self._output is None:
            return
        for path in paths:
            if path not in self._output.written:
                text = await self._client.file_text(self._options.project_id, path)
                self._output.write(path, text)

    def _result(self) -> list[str]:
        """Return the last lines; the very last one is the preview's address alone."""
        written = [f"Files in {self._output.root}"] if self._output is not None else []
        preview = self._run.preview_url
        return [*written, urljoin(f"{self._client.url}/", preview) if preview else self._page]
