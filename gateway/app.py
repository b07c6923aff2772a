"""Running the service in the foreground: signals in, exit status out."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys

from actors.errors import ServiceError
from actors.settings import Settings
from gateway.service import Service

INTERRUPTED = 130  # 128 + SIGINT, as shells report it
MAX_OPEN_FILES = 65_536  # each viewer holds a socket, and 1,024 is what many shells begin with


def run_service(settings: Settings) -> int:
    """Serve until SIGINT, SIGTERM or an admin's shutdown; return the process's exit status.

    0 after an orderly stop, 1 with one sentence on stderr where the service cannot start. A second
    signal ends the process at once: the actor system and the embedded database notice and follow.
    """
    allow_open_files()
    try:
        asyncio.run(_serve(settings))
    except ServiceError as error:
        print(f"codegen: {error} ({error.code})", file=sys.stderr)
        return 1
    return 0


def allow_open_files() -> None:
    """Raise this process's limit of open files as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


async def _serve(settings: Settings) -> None:
    """Start, wait for a reason to stop, stop. A signal during the start has it undone."""
    signalled = asyncio.Event()

    def take_signal() -> None:
        if signalled.is_set():
            os._exit(INTERRUPTED)
        signalled.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, take_signal)
    signal_task = asyncio.create_task(signalled.wait(), name="signal")
    service = Service(settings)
    starting = asyncio.create_task(service.start(), name="start")
    await asyncio.wait([starting, signal_task], return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.wait([starting])
        return
    await starting
    _announce(service)
    ended = asyncio.create_task(service.ended(), name="shut down by an admin")
    await asyncio.wait([ended, signal_task], return_when=asyncio.FIRST_COMPLETED)
    ended.cancel()
    await service.stop()


def _announce(service: Service) -> None:
    context = service.context
    if context.settings.is_demo:
        print("No OPENROUTER_API_KEY: the built-in demo model answers.")
    if context.sandbox.note:
        print(context.sandbox.note)
    print(f"Open {service.url}/", flush=True)
