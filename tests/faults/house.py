"""The service of one round, over all lives of its gateway."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
import psutil

from tests.faults.census import Census, in_words, is_alive
from tests.faults.place import Place
from tests.faults.violation import Violation
from tests.support.service import Service

DATABASE_SECONDS = 30.0  # for PostgreSQL to write all it has, on a disk that others use as well
GONE_SECONDS = 10.0  # the contract's: after any kill nothing is orphaned for longer
POLL_SECONDS = 0.05
STATUS_SECONDS = 1.5
CALL_SECONDS = 15.0
PAGE_EVENTS = 500


class House:
    """Start, kill, restart and stop one service; ask it what it knows."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self.state_dir = directory / "state"
        self.place = Place()
        self.census = Census(self.state_dir)
        self._environment = dict(environment)
        self._services: list[Service] = []
        self._ports: set[int] = set()  # of every admin and supervisor there was

    @property
    def service(self) -> Service:
        """The newest life."""
        return self._services[-1]

    @property
    def gateway_pid(self) -> int:
        """The newest gateway, which may be just starting."""
        return next(service.pid for service in reversed(self._services) if service.has_begun)

    # --- its lives -------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin a life; raises Violation where the service does not come up."""
        service = Service(self.state_dir, self._environment)
        self._services.append(service)
        try:
            await service.start()
        except (AssertionError, TimeoutError) as error:
            raise Violation(
                "the service does not start", repr(error), service.output[-2000:]
            ) from error
        self.note_ports()
        self.place.open(service.url)

    async def start_in_vain(self, seconds: float) -> None:
        """Begin a life and kill it so soon that it may not even have begun to serve."""
        service = Service(self.state_dir, self._environment)
        self._services.append(service)
        starting = asyncio.create_task(service.start())
        await asyncio.sleep(seconds)
        await self._until(lambda: service.has_begun)
        service.kill()
        starting.cancel()
        await asyncio.wait([starting])

    def kill(self) -> None:
        """End the gateway at once."""
        self.place.close()
        self.service.kill()

    def check_running(self) -> None:
        """Raise Violation where the gateway has ended without being told to."""
        if self.service.has_ended:
            raise Violation("the gateway ended by itself", self.service.output[-2000:])

    async def stop(self) -> None:
        """End the service in order; raises Violation where it does not end, or fails."""
        self.place.close()
        await self._stopped(self.service.stop())

    async def shut_down(self) -> None:
        """End the service by the admin message."""
        self.place.close()
        command = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "shutdown"),
            env={**os.environ, "CODEGEN_STATE_DIR": str(self.state_dir)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
        )
        await self._stopped(command.wait())
        await self._stopped(self.service.exit_status())

    async def _stopped(self, ending: Awaitable[int]) -> None:
        try:
            status = await ending
        except TimeoutError:
            raise Violation("the service does not end", *self._listed()) from None
        if status != 0:
            raise Violation(f"the service ended with status {status}", self.service.output[-2000:])

    async def end(self) -> None:
        """Leave nothing behind, whatever happened."""
        self.place.close()
        while processes := self.census.all():  # again: some may just be giving birth
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    process.resume()
                    process.kill()
            await asyncio.sleep(POLL_SECONDS)
        for service in self._services:
            with contextlib.suppress(TimeoutError, AssertionError, AttributeError):
                await service.stop()

    # --- what is left ----------------------------------------------------------------------------

    async def all_gone(self) -> None:
        """Wait until no process is left; raises Violation where one stays."""
        await self.none_orphaned()
        if not await self._until(lambda: not self.census.all(), DATABASE_SECONDS):
            raise Violation(f"left over after {DATABASE_SECONDS:.0f} s", *self._listed())

    async def none_orphaned(self, killed: psutil.Process | None = None) -> None:
        """Wait until every process hangs below the gateway; raises Violation where one does not.

        `killed` has been sent SIGKILL, and may be alive for a moment.
        """
        if killed is not None:
            await self._until(lambda: not is_alive(killed))
        if not await self._until(lambda: not self.census.outside(self.gateway_pid)):
            outside = self.census.outside(self.gateway_pid)
            raise Violation(
                f"orphaned for {GONE_SECONDS:.0f} s", *(in_words(process) for process in outside)
            )

    async def _until(self, is_so: Callable[[], bool], seconds: float = GONE_SECONDS) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if is_so():
                return True
            await asyncio.sleep(POLL_SECONDS)
        return is_so()

    def _listed(self) -> list[str]:
        return [in_words(process) for process in self.census.all()]

    def note_ports(self) -> None:
        """Remember where the running actor system listens."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            noted = self.noted
            self._ports |= {noted["admin_port"], int(noted["supervisor"].rpartition(":")[2])}

    @property
    def noted(self) -> dict[str, Any]:
        """What the service has noted of its actor system; raises OSError where nothing is."""
        found: dict[str, Any] = orjson.loads((self.state_dir / "actors.json").read_bytes())
        return found

    def check_nothing_left(self) -> None:
        """After an orderly end: no socket file, no note of an actor system, no port."""
        left = [str(path) for path in self.state_dir.rglob("*") if path.is_socket()]
        left += [str(path) for path in self.state_dir.glob("actors.json")]
        left += [f"port {port}" for port in sorted(self._ports) if self._is_listening(port)]
        if left:
            raise Violation("left over after the end", *left)

    def _is_listening(self, port: int) -> bool:
        """Say whether one of ours listens there; by now a port may be somebody else's."""
        return any(
            connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            for process in self.census.all()
            for connection in process.net_connections("tcp")
        )

    # --- what it says ----------------------------------------------------------------------------

    async def pids(self) -> dict[str, int]:
        """Return the project actors' processes; nothing while the supervisor does not answer."""
        try:
            async with asyncio.timeout(STATUS_SECONDS):
                return dict((await self.read("/api/status"))["pids"] or {})
        except (aiohttp.ClientError, OSError, TimeoutError):
            return {}

    async def project(self, project_id: str) -> dict[str, Any]:
        """Return what the API reports of a project."""
        found: dict[str, Any] = await self.read(f"/api/projects/{project_id}")
        return found

    async def contents(self, project_id: str) -> dict[str, str]:
        """Return every file's text, as the API lists and serves them."""
        listed = (await self.read(f"/api/projects/{project_id}/files"))["files"]
        return {
            file["path"]: (await self._get(self._file_path(project_id, file["path"]))).decode()
            for file in listed
        }

    @staticmethod
    def _file_path(project_id: str, path: str) -> str:
        return f"/api/projects/{project_id}/files/{quote(path)}"

    async def journal(self, project_id: str) -> list[str]:
        """Return every journalled event, each as the text of its frame."""
        rows: list[str] = []
        since = 0
        while True:
            page = await self.read(f"/api/projects/{project_id}/events?since={since}")
            rows += [orjson.dumps(row).decode() for row in page]
            if len(page) < PAGE_EVENTS:
                return rows
            since = page[-1]["seq"]

    async def read(self, path: str) -> Any:
        return orjson.loads(await self._get(path))

    async def _get(self, path: str) -> bytes:
        url = await self.place.address() + path
        async with (
            asyncio.timeout(CALL_SECONDS),
            aiohttp.ClientSession() as session,
            session.get(url, raise_for_status=True) as answer,
        ):
            return await answer.read()
