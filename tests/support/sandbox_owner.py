"""A process that owns a sandbox: `python -m tests.support.sandbox_owner STATE_DIR [USER_ID]`.

It starts an app in bubblewrap, as another user if it is told to, prints a line once that answers,
and ends in order when its input does.
"""

from __future__ import annotations

import asyncio
import os
import sys

from actors.sandbox.choose import bubblewrap_sandbox
from actors.settings import Settings

SERVER = """
const { spawn } = require('child_process');
spawn('setsid', ['sh', '-c', 'trap "" TERM HUP; while :; do sleep 4242; done'],
  { detached: true, stdio: 'ignore', env: {} }).unref();
require('http').createServer((request, response) => response.end('hello'))
  .listen(Number(process.env.PORT), process.env.HOST);
"""


async def own(state_dir: str) -> None:
    """Start the app, say so, and wait for the end of the input."""
    settings = Settings.read({}, state_dir=state_dir)
    sandbox = bubblewrap_sandbox("demo", settings, lambda *_: None)
    try:
        await sandbox.start()
        await sandbox.write_files({"server.js": SERVER})
        await sandbox.start_dev_server()
        print(f"serving as {os.getuid()}", flush=True)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
        await ended.wait()
    finally:
        await sandbox.remove()
        await sandbox.close()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        os.setgroups([])
        os.setgid(int(sys.argv[2]))
        os.setuid(int(sys.argv[2]))
    asyncio.run(own(sys.argv[1]))
