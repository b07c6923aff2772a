"""Owners of sandboxes that are killed while they start a command:
`python -m tests.support.killed_owners STATE_DIR USER_ID COUNT LATEST_SECONDS`.

Each is a process that is killed a little later than the one before, at last after so many seconds,
and has a project of its own, named by its number: the next owner would end what one has left.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

import actors.sandbox.choose  # noqa: F401  # all that is needed, while it may be read
from actors.sandbox.bubblewrap import BubblewrapRuntime
from actors.sandbox.layout import HOME_DIR
from actors.settings import Settings


async def own(state_dir: str, project_id: str, told: int) -> None:
    """Say when a command is about to be started, and start it."""
    runtime = BubblewrapRuntime(project_id, Settings.read({}, state_dir=state_dir))
    await runtime.obtain()
    task = runtime.task(HOME_DIR, "check", ("sleep", "4242"), {})
    os.write(told, b"x")
    await task.start()
    await task.exit_code()


def kill_one(state_dir: str, project_id: str, seconds: float) -> None:
    """Have a process own a sandbox, and kill it so many seconds after its command's start."""
    heard, told = os.pipe()
    owner = os.fork()
    if owner == 0:
        os.close(heard)
        asyncio.run(own(state_dir, project_id, told))
        os._exit(1)
    os.close(told)
    assert os.read(heard, 1) == b"x"
    os.close(heard)
    time.sleep(seconds)
    os.kill(owner, signal.SIGKILL)
    _, status = os.waitpid(owner, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


if __name__ == "__main__":
    user_id, count, latest_seconds = int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    if user_id != 0:
        os.setgroups([])
        os.setgid(user_id)
        os.setuid(user_id)
    for number in range(count):
        kill_one(sys.argv[1], str(number), number * latest_seconds / count)
