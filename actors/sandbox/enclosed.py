"""Commands in namespaces of their own, as processes of ours: start, follow, end.

Killing bubblewrap's own process ends all that is below it, since the kernel ends a process
namespace with its first process; so does the end of the thread that started it, however it comes
about. (An actor's asyncio thread lives as long as the actor.)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

from actors.errors import SandboxUnavailable
from actors.sandbox.namespace import HOST_PATH, Enclosure, command_line

PART_BYTES = 65_536
SHORT_SECONDS = 15.0  # for the service's own small commands
MAX_SHORT_BYTES = 512 * 1024
TOO_MUCH = 141  # what a shell says of a command whose output nobody wanted any more (SIGPIPE)
SIGNALLED = 128  # a shell's exit code for a command that a signal ended: this and its number

Reading = asyncio.Task[bytes]


class EnclosedTask:
    """One command with live output; it lives from `start` to `close`, or for as long as we do."""

    def __init__(
        self,
        get_enclosure: Callable[[], Enclosure],
        command: Sequence[str],
        environment: Mapping[str, str],
    ) -> None:
        self._get_enclosure = get_enclosure
        self._command = command
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._readings: dict[Reading, str] = {}
        self._is_detached = False
        self._draining: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self, stdin: int = asyncio.subprocess.DEVNULL) -> None:
        """Start the command; cancelling leaves none behind. `stdin` is a descriptor to be read."""
        enclosure = self._get_enclosure()
        with in_memory(enclosure.files) as files:
            words = command_line(enclosure, os.getpid(), files, self._environment, self._command)
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *words,
                    stdin=stdin,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    cwd="/",
                    env={"PATH": HOST_PATH},  # what is inside can read bubblewrap's own
                    pass_fds=tuple(files.values()),
                )
            except OSError as error:
                raise SandboxUnavailable(
                    f"The sandbox cannot start a command ({error.strerror}); generate again."
                ) from error
        for stream in ("stdout", "stderr"):
            self._expect(stream)

    async def read(self) -> tuple[str, bytes] | None:
        """Return more output as (stream, bytes), or None when the command has ended.

        While `end` waits for the last output, somebody else may do so as well.
        """
        while self._readings:
            done, _ = await asyncio.wait(self._readings, return_when=asyncio.FIRST_COMPLETED)
            reading = done.pop()
            stream = self._readings.pop(reading, None)
            if stream is not None and (part := reading.result()):
                self._expect(stream)
                return stream, part
        return None

    def _expect(self, stream: str) -> None:
        assert self._process is not None
        reader = self._process.stdout if stream == "stdout" else self._process.stderr
        assert reader is not None
        reading = asyncio.create_task(reader.read(PART_BYTES), name=f"a sandbox's {stream}")
        self._readings[reading] = stream

    async def exit_code(self) -> int:
        """Return the command's exit code, once `read` has returned None."""
        assert self._process is not None
        code = await self._process.wait()
        return code if code >= 0 else SIGNALLED - code

    async def detach(self) -> None:
        """Let the command go on when `close` is called; `end` still ends it."""
        self._is_detached = True

    async def close(self) -> None:
        """Kill the command with all that it has started, unless it was detached.

        Of one that was, the output is read on, lest it stops where nobody reads.
        """
        if not self._is_detached:
            await self.end()
        elif self._draining is None:
            self._draining = asyncio.create_task(self._drain(), name="a sandbox's output")

    async def end(self) -> None:
        """Kill the command with all that it has started, and wait for the last output."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        if self._draining is not None:
            await asyncio.wait({self._draining})
        await self._drain()
        await self._process.wait()

    async def _drain(self) -> None:
        while await self.read() is not None:
            pass


async def run_short(
    task: EnclosedTask, stdin: int = asyncio.subprocess.DEVNULL
) -> tuple[int, bytes]:
    """Run a small command; return its exit code and what it prints, cut at `MAX_SHORT_BYTES`.

    Error output is dropped. Raises SandboxUnavailable after `SHORT_SECONDS`.
    """
    output = bytearray()
    try:
        async with asyncio.timeout(SHORT_SECONDS):
            await task.start(stdin)
            while (part := await task.read()) is not None:
                if part[0] == "stdout":
                    output += part[1]
                if len(output) > MAX_SHORT_BYTES:
                    return TOO_MUCH, bytes(output[:MAX_SHORT_BYTES])
            return await task.exit_code(), bytes(output)
    except TimeoutError as error:
        raise SandboxUnavailable(
            f"The sandbox did not answer within {SHORT_SECONDS:g} s; generate again."
        ) from error
    finally:
        await task.close()


@contextlib.contextmanager
def in_memory(contents: Mapping[str, bytes]) -> Iterator[dict[str, int]]:
    """Have files in memory, open at their beginning: name -> descriptor."""
    descriptors: dict[str, int] = {}
    try:
        for name, content in contents.items():
            descriptors[name] = os.memfd_create(name)
            with open(descriptors[name], "wb", closefd=False) as file:
                file.write(content)
            os.lseek(descriptors[name], 0, os.SEEK_SET)
        yield descriptors
    finally:
        for descriptor in descriptors.values():
            os.close(descriptor)
