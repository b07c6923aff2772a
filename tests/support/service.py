"""A real service in processes of its own, and a viewer: what a browser sees of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import psutil
import pytest

START_SECONDS = 30.0
WAIT_SECONDS = 30.0
LOOK_SECONDS = 0.05

Frame = dict[str, Any]


class Service:
    """`codegen serve` on a free port, with a state directory of its own."""

    def __init__(self, state_dir: Path, environment: Mapping[str, str]) -> None:
        self.state_dir = state_dir
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("CODEGEN_", "OPENROUTER"))},
            "CODEGEN_PORT": "0",
            "CODEGEN_SANDBOX": "static",
            "CODEGEN_STATE_DIR": str(state_dir),
            **environment,
        }
        self._environment.pop("DATABASE_URL", None)
        self._environment |= {k: v for k, v in environment.items() if k == "DATABASE_URL"}
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""
        self.output = ""

    async def start(self, *prefix: str) -> Service:
        """Start it, behind another command if need be, and wait until it says that it is open."""
        self._process = await asyncio.create_subprocess_exec(
            *prefix,
            sys.executable,
            "-m",
            "gateway",
            "serve",
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            while line := (await self._process.stdout.readline()).decode():
                self.output += line
                if "Open http://" in line:
                    self.url = line.partition("Open ")[2].split()[0].rstrip("/")
                    self._draining = asyncio.create_task(self._drain())
                    return self
        await self._process.wait()
        raise AssertionError(f"the service did not start: {self.output}")

    async def _drain(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := (await self._process.stdout.readline()).decode():
            self.output += line

    def app_url(self, slug: str) -> str:
        """Return the address of a project's app."""
        return f"http://{slug}.localhost:{self.url.rpartition(':')[2]}/"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def has_begun(self) -> bool:
        return self._process is not None

    @property
    def has_ended(self) -> bool:
        return self._process is not None and self._process.returncode is not None

    def processes(self) -> list[psutil.Process]:
        """Every process that was started with this state directory in its environment."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("CODEGEN_STATE_DIR") == str(self.state_dir):
                    found.append(process)
        return found

    @property
    def log(self) -> str:
        path = self.state_dir / "logs" / "service.log"
        return path.read_text() if path.exists() else ""

    async def logs(self, text: str) -> None:
        """Wait until this is in the service's log."""
        async with asyncio.timeout(WAIT_SECONDS):
            while text not in self.log:  # noqa: ASYNC110  # a file tells nobody of its changes
                await asyncio.sleep(LOOK_SECONDS)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and return its exit status."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
        async with asyncio.timeout(WAIT_SECONDS):
            status = await self._process.wait()
            await self._draining
        return status

    def kill(self) -> None:
        """End the gateway at once; raises ProcessLookupError where it has ended."""
        assert self._process is not None
        self._process.kill()

    async def exit_status(self) -> int:
        """Wait for its end."""
        assert self._process is not None
        async with asyncio.timeout(WAIT_SECONDS):
            return await self._process.wait()

    async def wait_until_gone(self, seconds: float = WAIT_SECONDS) -> None:
        """Wait until no process of the service is left, however it ended."""
        _, alive = await asyncio.to_thread(psutil.wait_procs, self.processes(), seconds)
        assert not alive, f"left over: {alive}"

    async def end(self) -> None:
        """Leave nothing behind, whatever the test did."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()


class Viewer:
    """One WebSocket on one project; keeps every frame in `frames`."""

    def __init__(self, service: Service, project_id: str) -> None:
        self._service = service
        self.project_id = project_id
        self.frames: list[Frame] = []
        self._seen = 0
        self._arrived = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def connected(self, since: int | None = None) -> AsyncIterator[Viewer]:
        query = "" if since is None else f"?since={since}"
        async with aiohttp.ClientSession() as session:
            url = f"{self._service.url}/ws/{self.project_id}{query}"
            async with session.ws_connect(url, max_msg_size=0) as self.socket:
                reader = asyncio.create_task(self._read())
                try:
                    yield self
                finally:
                    reader.cancel()
                    await asyncio.wait([reader])

    async def _read(self) -> None:
        async for message in self.socket:
            async with self._arrived:
                self.frames.append(orjson.loads(message.data))
                self._arrived.notify_all()
        async with self._arrived:
            self._arrived.notify_all()

    async def send(self, frame: Frame) -> None:
        await self.socket.send_str(orjson.dumps(frame).decode())

    async def until(self, matches: Callable[[Frame], bool]) -> Frame:
        """Return the next frame, after those returned before, that matches."""
        try:
            async with asyncio.timeout(WAIT_SECONDS), self._arrived:
                while True:
                    while self._seen < len(self.frames):
                        frame = self.frames[self._seen]
                        self._seen += 1
                        if matches(frame):
                            return frame
                    assert not self.socket.closed, f"closed: {self.socket.close_code}"
                    await self._arrived.wait()
        except TimeoutError:
            tail = [str(frame)[:200] for frame in self.frames[-12:]]
            log = self._service.log[-3000:]
            raise AssertionError("no such frame; last ones:\n" + "\n".join([*tail, log])) from None

    async def expect(self, type_: str, **data: Any) -> Frame:
        """Return the next frame of this type whose data has these members."""
        return await self.until(
            lambda f: f["type"] == type_ and data.items() <= f.get("data", {}).items()
        )

    def types(self) -> list[str]:
        return [frame["type"] for frame in self.frames]


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the processes that a test starts run without the measuring of coverage."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


class ServiceFactory:
    """Makes services and ends them all."""

    def __init__(self, tmp_path: Path) -> None:
        self._tmp_path = tmp_path
        self._services: list[Service] = []

    def make(self, state_dir: Path | None = None, /, **environment: str) -> Service:
        """A service that is not started; the same `state_dir` twice is a restart."""
        if state_dir is None:
            state_dir = self._tmp_path / f"state{len(self._services)}"
        service = Service(state_dir, environment)
        self._services.append(service)
        return service

    async def start(self, state_dir: Path | None = None, /, **environment: str) -> Service:
        return await self.make(state_dir, **environment).start()

    async def end(self) -> None:
        for service in self._services:
            await service.end()


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[ServiceFactory]:
    """Real services, each with its own state directory, all ended with the test."""
    factory = ServiceFactory(tmp_path)
    try:
        yield factory
    finally:
        await factory.end()
