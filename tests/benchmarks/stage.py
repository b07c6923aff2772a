"""The stage of one measurement: a service, a model and a load client, each ended by its pid."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson

from actors.postgres import EmbeddedPostgres
from tests.benchmarks.failure import BenchmarkFailed
from tests.benchmarks.link import Job
from tests.support.service import Service

START_SECONDS = 20.0
END_SECONDS = 5.0
MAX_LINE_BYTES = 64 * 2**20  # a result holds every sample


class Child:
    """A Python process of ours, talked to in lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, module: str, *arguments: str) -> Child:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=MAX_LINE_BYTES,
        )
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def read_line(self) -> bytes:
        """Return its next line, b"" once it has ended."""
        assert self._process.stdout is not None
        return await self._process.stdout.readline()

    def go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")

    async def end(self) -> None:
        """Close its standard input, at which it ends; by force when it does not."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


class Stage:
    """A running service with a paced model; use `open_stage`."""

    def __init__(self, service: Service, model: Child, model_url: str) -> None:
        self._service = service
        self._model = model
        self._model_url = model_url
        self._client: Child | None = None

    @property
    def service_pid(self) -> int:
        return self._service.pid

    @property
    def database_url(self) -> str:
        """The address of the service's own PostgreSQL."""
        return EmbeddedPostgres(self._service.state_dir / "postgres").database_url

    @property
    def load_pids(self) -> list[int]:
        """The model's process, and the client's while it works."""
        return [child.pid for child in (self._model, self._client) if child is not None]

    async def restart(self) -> None:
        """Stop the service in order and start it on the same data."""
        await self.stop()
        await self._service.wait_until_gone()
        await self._service.start()

    async def stop(self) -> None:
        status = await self._service.stop()
        if status:
            raise BenchmarkFailed(
                f"the service ended with status {status}: {self._service.output[-2000:]}"
            )

    async def load(self, case: str, job: Job, **meetings: Callable[[], Awaitable[None]]) -> Any:
        """Have the load client do a case's job; each meeting awaits the function of its name.

        The job's addresses are filled in.
        """
        job = dataclasses.replace(job, url=self._service.url, model_url=self._model_url)
        client = await Child.start(
            "tests.benchmarks.load", case, orjson.dumps(dataclasses.asdict(job)).decode()
        )
        self._client = client
        try:
            while line := await client.read_line():
                said = orjson.loads(line)
                if "result" in said:
                    return said["result"]
                if "failed" in said:
                    raise BenchmarkFailed(f"{case}: {said['failed']}\n{self._service.log[-3000:]}")
                await meetings[said["meet"]]()
                client.go_on()
            raise BenchmarkFailed(f"{case}: the load client ended without a result")
        finally:
            self._client = None
            await client.end()


@contextlib.asynccontextmanager
async def open_stage(**settings: str) -> AsyncIterator[Stage]:
    """Start a service with these settings on an empty state directory, and a model for it."""
    async with contextlib.AsyncExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="codegen-bench-"))
        model = await Child.start("tests.benchmarks.model")
        stack.push_async_callback(model.end)
        async with asyncio.timeout(START_SECONDS):
            model_url = f"http://127.0.0.1:{int(await model.read_line())}"
        environment = {
            "OPENROUTER_API_KEY": "sk-only-for-benchmarks",
            "OPENROUTER_BASE_URL": f"{model_url}/api/v1",
            **settings,
        }
        service = Service(Path(directory, "state"), environment)
        stack.push_async_callback(service.end)
        await service.start()
        stage = Stage(service, model, model_url)
        yield stage
        await stage.stop()
        await service.wait_until_gone()
