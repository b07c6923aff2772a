"""A command of a project that runs to its end: logged live, within a deadline."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from actors.errors import BuildFailed, InstallFailed
from actors.sandbox.exhaustion import exhausted_limit
from actors.sandbox.output import CommandOutput, OutputLog
from actors.sandbox.runtime import RunningTask, Runtime
from actors.settings import Settings

KILLED = 137  # 128 + SIGKILL


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What is run: how it is shown, how long it may take, and what is told where it fails."""

    label: str
    seconds: float
    failure: type[InstallFailed | BuildFailed]
    advice: str
    settings: Settings


async def run_to_end(runtime: Runtime, log: OutputLog, task: RunningTask, command: Command) -> None:
    """Run a command, logging its output; raise its `failure` unless it succeeds in time.

    Cancelling, the deadline and our own death all kill it.
    """
    output = CommandOutput(log)
    log.add("progress", f"$ {command.label}")
    try:
        async with asyncio.timeout(command.seconds):
            code = await _run(task, output)
    except TimeoutError as error:
        raise command.failure(
            f"`{command.label}` did not finish within {command.seconds:g} s; {command.advice}.",
            output=output.last_lines,
        ) from error
    if code != 0:
        was_killed = code == KILLED
        await runtime.check_running(was_killed=was_killed)
        limit = exhausted_limit(code, output.recent_lines, command.settings)
        sentences = (f"`{command.label}` failed with exit code {code}.", limit, "Its last lines:")
        raise command.failure(
            " ".join(filter(None, sentences)),
            output=output.last_lines,
            was_killed=was_killed,
        )


async def run_quietly(task: RunningTask, seconds: float) -> tuple[int, str]:
    """Run a command of ours; return its exit code and its last output. Raises TimeoutError."""
    output = CommandOutput(OutputLog(lambda stream, line: None))
    async with asyncio.timeout(seconds):
        code = await _run(task, output)
    return code, " ".join(output.last_lines)


async def _run(task: RunningTask, output: CommandOutput) -> int:
    """Run a command to its end, feeding its output, and return its exit code."""
    try:
        await task.start()
        while (part := await task.read()) is not None:
            output.feed(*part)
        return await task.exit_code()
    finally:
        await task.close()
        output.finish()
