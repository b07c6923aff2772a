"""Which sandbox this service uses, decided once at its start, and the factory of sandboxes."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiodocker
import aiohttp

from actors.errors import SandboxUnavailable
from actors.sandbox import engine
from actors.sandbox.base import LogSink, Sandbox, SandboxKind
from actors.sandbox.bubblewrap import BubblewrapRuntime
from actors.sandbox.builder import Builder
from actors.sandbox.container import network_name
from actors.sandbox.docker import DockerRuntime
from actors.sandbox.engine import ClientFactory
from actors.sandbox.output import OutputLog
from actors.sandbox.probe import why_no_bubblewrap
from actors.sandbox.protection import missing_protection
from actors.sandbox.static import DEFAULT_NOTE, StaticSandbox
from actors.sandbox.system_calls import system_call_filter
from actors.sandbox.workspace import Workspace
from actors.settings import Settings

PROBE_SECONDS = 2.0
HOW_TO_GET_DOCKER = (
    "install Docker (Debian and Ubuntu: `apt-get install docker.io`) and start it, or point "
    "DOCKER_HOST at an engine, and start the service again"
)

OPEN_NOTE = (
    "Apps may reach any network, and whatever of this machine listens on other addresses than the "
    "loopback (CODEGEN_SANDBOX_EGRESS=always)."
)

BUBBLEWRAP_NOTE = (
    "Apps run in namespaces that bubblewrap makes, with node from this machine. Weaker than with "
    "Docker: the memory limit holds for each process, not for their sum, and processors are not "
    f"limited (apps have a lower priority). For that, {HOW_TO_GET_DOCKER}."
)
UNFILTERED_NOTE = " On this kind of machine there is no filter of system calls either."


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxChoice:
    """The kind that all projects get; `note` says in a sentence what a user should know of it."""

    kind: SandboxKind
    note: str = ""


async def choose_sandbox(
    settings: Settings, connect: ClientFactory = engine.connect
) -> SandboxChoice:
    """Resolve `CODEGEN_SANDBOX`: with `auto` the first that works of Docker, bubblewrap, static.

    An engine has 2 s to answer, bubblewrap 5 s for a first command. Raises SandboxUnavailable where
    a kind is forced that does not work.
    """
    if settings.sandbox == "static":
        return SandboxChoice(kind="static", note=DEFAULT_NOTE)
    if settings.sandbox == "bubblewrap":
        return await _choose_bubblewrap(settings)
    try:
        info = await _ask_engine(connect)
    except SandboxUnavailable as error:
        return await _without_engine(settings, str(error))
    notes = [OPEN_NOTE] if network_name(settings) else []
    return SandboxChoice(
        kind="docker", note=" ".join([*notes, *missing_protection(info, settings)])
    )


async def _without_engine(settings: Settings, reason: str) -> SandboxChoice:
    if settings.sandbox == "docker":
        raise SandboxUnavailable(
            f"CODEGEN_SANDBOX=docker, but no Docker engine answers: {reason}. "
            f"To go on, {HOW_TO_GET_DOCKER}; or set CODEGEN_SANDBOX=bubblewrap, or "
            "CODEGEN_SANDBOX=static."
        )
    no_bubblewrap = await why_no_bubblewrap(settings)
    if no_bubblewrap is None:
        return _bubblewrap()
    return SandboxChoice(
        kind="static",
        note=(
            "Apps are served as static files and no dependencies are installed, since no Docker "
            f"engine answers: {reason}; and apps cannot run in bubblewrap: {no_bubblewrap}. For "
            f"full sandboxes, {HOW_TO_GET_DOCKER}; or mend what keeps bubblewrap from running."
        ),
    )


async def _choose_bubblewrap(settings: Settings) -> SandboxChoice:
    reason = await why_no_bubblewrap(settings)
    if reason is not None:
        raise SandboxUnavailable(
            f"CODEGEN_SANDBOX=bubblewrap, but apps cannot run in it: {reason}. "
            "To go on, mend this; or set CODEGEN_SANDBOX=auto."
        )
    return _bubblewrap()


def _bubblewrap() -> SandboxChoice:
    is_filtered = system_call_filter(platform.machine()) is not None
    note = BUBBLEWRAP_NOTE if is_filtered else BUBBLEWRAP_NOTE + UNFILTERED_NOTE
    return SandboxChoice(kind="bubblewrap", note=note)


def chosen_kind(settings: Settings) -> SandboxKind:
    """Return the kind in the settings of an actor, where the gateway has resolved `auto`."""
    kinds: dict[str, SandboxKind] = {"docker": "docker", "bubblewrap": "bubblewrap"}
    return kinds.get(settings.sandbox, "static")


def make_sandbox(
    kind: SandboxKind,
    project_id: str,
    settings: Settings,
    on_log: LogSink,
    base_url: str,
    note: str = DEFAULT_NOTE,
) -> Sandbox:
    """Make a project's sandbox of the chosen kind; `note` is the choice's, for the static one."""
    if kind == "docker":
        return docker_sandbox(project_id, settings, on_log)
    if kind == "bubblewrap":
        return bubblewrap_sandbox(project_id, settings, on_log)
    return StaticSandbox(project_id, base_url, on_log, note)


def docker_sandbox(
    project_id: str,
    settings: Settings,
    on_log: LogSink,
    connect: ClientFactory = engine.connect,
) -> Workspace:
    """Make a project's sandbox in a container."""

    def make_runtime(other_id: str, its_settings: Settings) -> DockerRuntime:
        return DockerRuntime(other_id, its_settings, lambda line: None, connect)

    log = OutputLog(on_log)
    runtime = DockerRuntime(project_id, settings, lambda line: log.add("progress", line), connect)
    return Workspace(project_id, settings, runtime, log, Builder(settings, make_runtime))


def bubblewrap_sandbox(project_id: str, settings: Settings, on_log: LogSink) -> Workspace:
    """Make a project's sandbox without a container."""
    runtime = BubblewrapRuntime(project_id, settings)
    builder = Builder(settings, BubblewrapRuntime)
    return Workspace(project_id, settings, runtime, OutputLog(on_log), builder)


async def _ask_engine(connect: ClientFactory) -> Mapping[str, Any]:
    """Return what an engine says of itself.

    Raises SandboxUnavailable, with the reason in a few words, where none answers in time.
    """
    try:
        async with asyncio.timeout(PROBE_SECONDS), connect() as docker:
            info: Mapping[str, Any] = await docker.system.info()
            info["ServerVersion"]  # KeyError: it is something else
    except TimeoutError as error:
        raise SandboxUnavailable(f"it did not answer within {PROBE_SECONDS:g} s") from error
    except aiodocker.DockerError as error:
        reason = engine.reason_of(error)
        if "Permission denied" in error.message:
            advice = "this user may not use it; add the user to the group `docker`"
            reason = f"{advice} ({error.message})"
        raise SandboxUnavailable(reason) from error
    except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError) as error:
        what = f"what answers there is not a Docker engine ({type(error).__name__})"
        raise SandboxUnavailable(what) from error
    return info
