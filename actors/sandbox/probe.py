"""Whether apps can run in bubblewrap on this machine: it is tried, in the way that they will."""

from __future__ import annotations

import asyncio
import re

from actors.errors import ServiceError
from actors.sandbox.bubblewrap import BubblewrapRuntime
from actors.sandbox.host_tools import OLDEST_NODE
from actors.sandbox.layout import VOLUME_DIR
from actors.settings import Settings

PROBE_SECONDS = 5.0
MAX_REASON_CHARS = 300
_NO_PROJECT = ""  # what no project is called
_VERSIONS = ("sh", "-c", "node --version && npm --version")

#: What bubblewrap says -> what that means.
_MEANINGS = (
    (
        r"Unknown option|--disable-userns",
        "bubblewrap 0.8 or newer is needed",
    ),
    (
        r"new namespace|uid map|RTM_NEWADDR|unshare failed|Operation not permitted",
        "this machine does not let it make namespaces (look at the kernel's settings "
        "user.max_user_namespaces and kernel.unprivileged_userns_clone; on Ubuntu 24.04 set "
        "kernel.apparmor_restrict_unprivileged_userns=0 or give bwrap an AppArmor profile)",
    ),
)


async def why_no_bubblewrap(settings: Settings) -> str | None:
    """Return None if a sandbox could be started, else the reason in a few words."""
    if settings.sandbox_egress == "always":
        return "it has no network of its own to give to apps (CODEGEN_SANDBOX_EGRESS=always)"
    runtime = BubblewrapRuntime(_NO_PROJECT, settings)
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await runtime.obtain()
            return await _why_nothing_runs(runtime)
    except TimeoutError:
        return f"a first command in it did not end within {PROBE_SECONDS:g} s"
    except ServiceError as error:
        return str(error)
    finally:
        await runtime.remove()


async def _why_nothing_runs(runtime: BubblewrapRuntime) -> str | None:
    task = runtime.task(VOLUME_DIR, "probe", _VERSIONS, {})
    output = {"stdout": b"", "stderr": b""}
    try:
        await task.start()
        while (part := await task.read()) is not None:
            output[part[0]] += part[1]
        code = await task.exit_code()
    finally:
        await task.close()
    if code != 0:
        return _meaning(output["stderr"].decode(errors="replace"))
    version = output["stdout"].decode(errors="replace").split()[0]
    if int(version.lstrip("v").partition(".")[0]) < OLDEST_NODE:
        return f"node {OLDEST_NODE} or newer is needed, and there is {version}"
    return None


def _meaning(words: str) -> str:
    said = " ".join(words.split())[:MAX_REASON_CHARS]
    for pattern, meaning in _MEANINGS:
        if re.search(pattern, said, re.IGNORECASE):
            return f"{meaning}: {said}"
    return f"a first command in it failed: {said}"
