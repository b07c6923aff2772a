"""Commands inside a container. The engine can start one but not end one; here is how they end.

A `Task` runs its command below a small shell whose standard input is our connection to the engine.
When that input ends, because we closed the connection or are no more, the shell kills every
process that carries the task's mark in its environment, then its own process group: no second
call is needed, and an install never outlives its owner. `detach` lets a dev server go on alone;
`end_all` ends it later, and whatever else the app has started, also from another process of ours.

Needs `sh`, `head`, `tr` and `sleep` in the image; every Node image has them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence

import aiodocker
from aiodocker.containers import DockerContainer
from aiodocker.execs import Exec
from aiodocker.stream import Stream

from actors.errors import SandboxUnavailable
from actors.sandbox.container import USER
from actors.sandbox.engine import engine_errors
from actors.sandbox.layout import VOLUME_DIR, in_directory

SHORT_SECONDS = 15.0  # for the service's own small commands
MAX_SHORT_BYTES = 512 * 1024
EXIT_POLLS = 100  # the engine learns an exit a moment after the output ended
EXIT_POLL_SECONDS = 0.02

# Three passes, since a process may fork while its siblings are being found.
_SWEEP = r"""
sweep() {
  for pass in 1 2 3; do
    pids=$(head -c 65536 /proc/[0-9]*/environ 2>/dev/null | tr '\000' '\n' |
      while IFS= read -r line; do
        case $line in
          "==> /proc/"*) pid=${line#"==> /proc/"}; pid=${pid%%/*} ;;
          "CODEGEN_TASK=$1") echo "$pid" ;;
        esac
      done)
    [ -n "$pids" ] || return 0
    kill -KILL $pids 2>/dev/null
  done
}
"""

# Arguments: the mark, then the command. A background command reads /dev/null unless told
# otherwise, hence descriptor 3. A connection that ends while the engine is still attaching it shows
# as SIGTERM instead. The watcher holds no output open, so that output ends in time.
_SUPERVISE = (
    _SWEEP
    + r"""
mark=$1; shift
trap 'sweep "$mark"; kill -KILL 0' TERM
exec 3<&0
( while read -r word; do [ "$word" = detach ] && exit 0; done
  sweep "$mark"; kill -KILL 0 ) <&3 >/dev/null 2>&1 &
watcher=$!
CODEGEN_TASK="$mark" "$@" 3<&- </dev/null &
wait $!
code=$?
kill "$watcher" 2>/dev/null
sweep "$mark"
exit $code
"""
)


class Task:
    """One command with live output; it lives from `start` to `close`, or on its own."""

    def __init__(
        self,
        get_container: Callable[[], Awaitable[DockerContainer]],
        directory: str,
        mark: str,
        command: Sequence[str],
        environment: Mapping[str, str],
    ) -> None:
        self._get_container = get_container
        self._directory = directory
        self._arguments = ["sh", "-c", _SUPERVISE, "sh", mark, *command]
        self._environment = environment
        self._exec: Exec | None = None
        self._stream: Stream | None = None

    async def start(self) -> None:
        """Start the command; cancelling leaves none behind."""
        try:
            with engine_errors():
                await self._start()
        except BaseException:
            await self.close()
            raise

    async def _start(self) -> None:
        container = await self._get_container()
        self._exec = await container.exec(
            self._arguments,
            stdin=True,
            user=USER,
            environment=self._environment,
            workdir=self._directory,
        )
        self._stream = self._exec.start(detach=False)
        await self._stream.__aenter__()

    async def read(self) -> tuple[str, bytes] | None:
        """Return more output as (stream, bytes), or None when the command has ended."""
        assert self._stream is not None
        with engine_errors():
            message = await self._stream.read_out()
        if message is None:
            return None
        return ("stderr" if message.stream == 2 else "stdout"), message.data

    async def exit_code(self) -> int:
        """Return the command's exit code, once `read` has returned None."""
        assert self._exec is not None
        with engine_errors():
            return await _exit_code(self._exec)

    async def detach(self) -> None:
        """Let the command go on when the connection ends."""
        assert self._stream is not None
        with engine_errors():
            await self._stream.write_in(b"detach\n")

    async def close(self) -> None:
        """Close the connection: the command is killed unless it was detached."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await _close(stream)


async def end_all(container: DockerContainer) -> bool:
    """Kill every process of the app's user but the one that does it; say whether it could be done.

    At once, so that what forks meanwhile is killed as well; the relay is another user's.
    """
    code, _ = await run_short(container, VOLUME_DIR, "kill -s KILL -- -1 2>/dev/null; exit 0")
    return code == 0


async def run_short(
    container: DockerContainer, directory: str, script: str, *arguments: str
) -> tuple[int, bytes]:
    """Run a small shell script in a directory; return its exit code and what it prints.

    Error output is dropped, the rest is cut after `MAX_SHORT_BYTES`. Raises TimeoutError after
    `SHORT_SECONDS`.
    """
    output = bytearray()
    async with asyncio.timeout(SHORT_SECONDS):
        execution = await container.exec(
            ["sh", "-c", in_directory(directory) + script, "sh", *arguments],
            user=USER,
            workdir=VOLUME_DIR,
        )
        stream = execution.start(detach=False)
        try:
            while len(output) < MAX_SHORT_BYTES and (message := await stream.read_out()):
                if message.stream == 1:
                    output += message.data
        finally:
            await _close(stream)
        return await _exit_code(execution), bytes(output[:MAX_SHORT_BYTES])


async def _exit_code(execution: Exec) -> int:
    for _ in range(EXIT_POLLS):
        code: int | None = (await execution.inspect())["ExitCode"]
        if code is not None:
            return code
        await asyncio.sleep(EXIT_POLL_SECONDS)
    raise SandboxUnavailable(
        "The Docker engine lost a command of the sandbox; restart the engine and generate again."
    )


async def _close(stream: Stream) -> None:
    # the assertion is aiodocker's, for a connection that the engine has closed already
    with contextlib.suppress(AssertionError, OSError, aiodocker.DockerError):
        await stream.close()
