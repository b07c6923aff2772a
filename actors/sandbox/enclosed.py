"""Commands in namespaces of their own, as processes of ours: start, follow, end.

Killing the process that we have started ends all that is below it, since the kernel ends a process
namespace with its first process; so does the end of the thread that started it, however it comes
about. (An actor's asyncio thread lives as long as the actor.) Until all of that holds, the command
waits at a gate (`gate.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

from actors.errors import SandboxUnavailable
from actors.sandbox.gate import Gate
from actors.sandbox.namespace import HOST_PATH, Enclosure, command_line

log = logging.getLogger(__name__)

PART_BYTES = 65_536
START_SECONDS = 15.0  # until the app's command can run
SETTLE_SECONDS = 2.0  # for a command that is not wanted any more to get where it can be killed
END_SECONDS = 10.0  # from a kill to the end of the output
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
        self._starting: asyncio.Task[None] | None = None
        self._readings: dict[Reading, asyncio.StreamReader] = {}
        self._is_detached = False
        self._draining: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self, stdin: int = asyncio.subprocess.DEVNULL) -> None:
        """Start the command; cancelling leaves none behind. `stdin` is a descriptor to be read.

        With that, what the command says on stderr is dropped.
        """
        with Gate(stdin) as gate:
            self._starting = asyncio.create_task(self._spawn(gate), name="a sandbox's start")
            try:
                # bubblewrap is not to be killed half-way: see `gate.py`
                await asyncio.shield(self._starting)
            except BaseException:
                await self.end()
                raise
            gate.open()

    async def _spawn(self, gate: Gate) -> None:
        """Have the command stand before its gate, or fail on the way there."""
        enclosure = self._get_enclosure()
        try:
            with in_memory(enclosure.files) as files:
                command = gate.before(self._command)
                async with asyncio.timeout(START_SECONDS):
                    self._process = await asyncio.create_subprocess_exec(
                        *command_line(enclosure, files, self._environment, command),
                        stdin=gate.stdin,
                        stdout=asyncio.subprocess.PIPE,
                        stderr=gate.stderr,
                        cwd="/",
                        env={"PATH": HOST_PATH},  # what is inside can read bubblewrap's own
                        pass_fds=tuple(files.values()),
                    )
                    for reader in filter(None, (self._process.stdout, self._process.stderr)):
                        self._expect(reader)
                    await gate.until_reached()
        except OSError as error:  # TimeoutError is one of them
            reason = error.strerror or f"not within {START_SECONDS:g} s"
            raise SandboxUnavailable(
                f"The sandbox cannot start a command ({reason}); generate again."
            ) from error

    async def read(self) -> tuple[str, bytes] | None:
        """Return more output as (stream, bytes), or None when the command has ended.

        While `end` waits for the last output, somebody else may do so as well.
        """
        while self._readings:
            done, _ = await asyncio.wait(self._readings, return_when=asyncio.FIRST_COMPLETED)
            reading = done.pop()
            reader = self._readings.pop(reading, None)
            if reader is not None and (part := reading.result()):
                self._expect(reader)
                return self._name(reader), part
        return None

    def _expect(self, reader: asyncio.StreamReader) -> None:
        name = f"a sandbox's {self._name(reader)}"
        self._readings[asyncio.create_task(reader.read(PART_BYTES), name=name)] = reader

    def _name(self, reader: asyncio.StreamReader) -> str:
        assert self._process is not None
        return "stdout" if reader is self._process.stdout else "stderr"

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
        """Kill the command with all that it has started, and wait for the last output.

        What does not end within `END_SECONDS` is left to the kernel.
        """
        if self._starting is not None:
            await asyncio.wait({self._starting}, timeout=SETTLE_SECONDS)
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)  # `start` has raised it
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        try:
            async with asyncio.timeout(END_SECONDS):
                if self._draining is not None:
                    await asyncio.wait({self._draining})
                await self._drain()
                await self._process.wait()
        except TimeoutError:
            log.error("a command has not ended %g s after it was killed", END_SECONDS)
            readings, self._readings = self._readings, {}  # who reads sees the end
            for reading in readings:
                reading.cancel()

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
