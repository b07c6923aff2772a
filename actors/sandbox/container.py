"""What a sandbox's container is: its names, labels and limits. Pure.

The work inside is untrusted: no network, no capabilities, nothing of our environment, and limits on
memory, processors, processes, open files and their size. It can write to its volume and, a part of
its memory, to /tmp. The only ways out are the sockets in one directory (`doors.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from actors.sandbox.doors import door_directory
from actors.sandbox.layout import APP_DIR, HOME_DIR, MAX_OPEN_FILES, USER_ID, VOLUME_DIR
from actors.sandbox.relay import DOOR_DIR, relay_command
from actors.sandbox.relay import USER_ID as RELAY_USER_ID
from actors.settings import Settings

USER = f"{USER_ID}:{USER_ID}"  # of every command; the main process is another user's

PROJECT_LABEL = "codegen.project"
SERVICE_LABEL = "codegen.service"
CONFIG_LABEL = "codegen.config"


def service_id(settings: Settings) -> str:
    """Name this service among those that share an engine: a hash of its state directory."""
    return hashlib.sha256(settings.state_dir.encode()).hexdigest()[:12]


def container_names(project_id: str, settings: Settings) -> tuple[str, str]:
    """Return the name to use, and the one for when another service's container holds the first.

    A project id cannot hold a `.`, so the second name is no other project's first.
    """
    name = f"codegen-sandbox-{project_id}"
    return name, f"{name}.{service_id(settings)}"


def volume_name(project_id: str, settings: Settings) -> str:
    """Return the name of a project's volume; no other service's has it."""
    return container_names(project_id, settings)[1]


def container_config(project_id: str, settings: Settings) -> dict[str, Any]:
    """Return the body of the engine's create call."""
    memory_bytes = settings.sandbox_memory_mib * 1024 * 1024
    file_bytes = settings.sandbox_file_mib * 1024 * 1024
    labels = {PROJECT_LABEL: project_id, SERVICE_LABEL: service_id(settings)}
    config: dict[str, Any] = {
        "Image": settings.sandbox_image,
        "Entrypoint": [],
        "Cmd": relay_command(),
        "User": f"{RELAY_USER_ID}:{RELAY_USER_ID}",
        "WorkingDir": APP_DIR,
        "Env": [f"HOME={HOME_DIR}"],
        "HostConfig": {
            "Init": True,
            "Runtime": settings.sandbox_runtime,
            "NetworkMode": network_name(settings) or "none",
            "Mounts": [
                {
                    "Type": "bind",
                    "Source": str(door_directory(project_id, settings)),
                    "Target": DOOR_DIR,
                    "ReadOnly": True,
                },
                {
                    "Type": "volume",
                    "Source": volume_name(project_id, settings),
                    "Target": VOLUME_DIR,
                    "VolumeOptions": {"Labels": labels},
                },
            ],
            "ReadonlyRootfs": True,
            "Tmpfs": {"/tmp": f"rw,nosuid,nodev,mode=1777,size={memory_bytes // 4}"},  # noqa: S108  # inside
            "LogConfig": {"Type": "none"},  # of the main process
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Memory": memory_bytes,
            "MemorySwap": memory_bytes,  # the sum of both: no swap
            "NanoCpus": int(settings.sandbox_cpus * 1e9),
            "PidsLimit": settings.sandbox_pids,
            "Ulimits": [
                {"Name": "nofile", "Soft": MAX_OPEN_FILES, "Hard": MAX_OPEN_FILES},
                {"Name": "fsize", "Soft": file_bytes, "Hard": file_bytes},
            ],
        },
    }
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]
    config["Labels"] = {**labels, CONFIG_LABEL: digest}
    return config


def network_name(settings: Settings) -> str | None:
    """Return the network of this service's sandboxes; None where they have none."""
    if settings.sandbox_egress != "always":
        return None
    return f"codegen-sandboxes-{service_id(settings)}"


def network_config(settings: Settings) -> dict[str, Any]:
    """Return the body of the engine's call that creates this network."""
    return {
        "Name": network_name(settings),
        "CheckDuplicate": True,
        "Driver": "bridge",
        "Options": {"com.docker.network.bridge.enable_icc": "false"},  # among containers
        "Labels": {SERVICE_LABEL: service_id(settings)},
    }


def image_environment(details: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables of an inspected container, its image's among them."""
    pairs = (variable.partition("=") for variable in details["Config"].get("Env") or [])
    return {name: value for name, _, value in pairs}


def is_own(labels: Mapping[str, str], config: Mapping[str, Any]) -> bool:
    """Say whether a container's labels are those of this project of this service."""
    wanted = config["Labels"]
    return all(labels.get(key) == wanted[key] for key in (PROJECT_LABEL, SERVICE_LABEL))


def is_current(labels: Mapping[str, str], config: Mapping[str, Any]) -> bool:
    """Say whether a container was made with these settings."""
    return bool(labels.get(CONFIG_LABEL) == config["Labels"][CONFIG_LABEL])
