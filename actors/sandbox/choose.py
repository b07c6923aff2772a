"""Which sandbox this service uses, decided once at its start, and the factory of sandboxes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import aiodocker
import aiohttp

from actors.errors import SandboxUnavailable
from actors.sandbox import engine
from actors.sandbox.base import LogSink, Sandbox
from actors.sandbox.builder import Builder
from actors.sandbox.container import PROJECT_LABEL, SERVICE_LABEL, network_name, service_id
from actors.sandbox.docker import DockerRuntime
from actors.sandbox.doors import remove_foreign_door_directories
from actors.sandbox.engine import ClientFactory, engine_errors
from actors.sandbox.output import OutputLog
from actors.sandbox.project_container import delete_container, delete_volume
from actors.sandbox.protection import missing_protection
from actors.sandbox.static import DEFAULT_NOTE, StaticSandbox
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

SandboxKind = Literal["docker", "static"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxChoice:
    """The kind that all projects get; `note` says in a sentence what a user should know of it."""

    kind: SandboxKind
    note: str = ""


async def choose_sandbox(
    settings: Settings, connect: ClientFactory = engine.connect
) -> SandboxChoice:
    """Resolve `CODEGEN_SANDBOX`: with `auto`, Docker if an engine answers within 2 s.

    Raises SandboxUnavailable where Docker is forced and no engine answers.
    """
    if settings.sandbox == "static":
        return SandboxChoice(kind="static", note=DEFAULT_NOTE)
    try:
        info = await _ask_engine(connect)
    except SandboxUnavailable as error:
        return _without_engine(settings, str(error))
    notes = [OPEN_NOTE] if network_name(settings) else []
    return SandboxChoice(
        kind="docker", note=" ".join([*notes, *missing_protection(info, settings)])
    )


def _without_engine(settings: Settings, reason: str) -> SandboxChoice:
    if settings.sandbox == "docker":
        raise SandboxUnavailable(
            f"CODEGEN_SANDBOX=docker, but no Docker engine answers: {reason}. "
            f"To go on, {HOW_TO_GET_DOCKER}; or set CODEGEN_SANDBOX=static."
        )
    return SandboxChoice(
        kind="static",
        note=(
            "Apps are served as static files and no dependencies are installed, since no Docker "
            f"engine answers: {reason}. For full sandboxes, {HOW_TO_GET_DOCKER}."
        ),
    )


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


async def reap(
    settings: Settings,
    known_project_ids: Collection[str],
    connect: ClientFactory = engine.connect,
) -> int:
    """Remove this service's containers whose project does not exist any more; return how many.

    Their volumes and the directories of their doors go with them.

    Call it at the start, before any project gets a sandbox.
    """
    removed = 0
    filters = {"label": [f"{SERVICE_LABEL}={service_id(settings)}"]}
    with engine_errors():
        async with connect() as docker:
            for container in await docker.containers.list(all=True, filters=json.dumps(filters)):
                if container["Labels"].get(PROJECT_LABEL) not in known_project_ids:
                    await delete_container(container)
                    removed += 1
            found = await docker.volumes.list(filters=filters)  # type: ignore[no-untyped-call]  # aiodocker's
            for volume in found["Volumes"] or []:
                if volume["Labels"].get(PROJECT_LABEL) not in known_project_ids:
                    await delete_volume(docker, volume["Name"])
    remove_foreign_door_directories(settings, known_project_ids)
    return removed


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
