"""What a sandbox's container is: its names, labels and limits. Pure.

The work inside is untrusted: no mounts, no capabilities, nothing of our environment, and limits on
memory, processors, processes and open files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from actors.settings import Settings

APP_DIR = "/app"
HOME_DIR = "/home/node"
NOTE_FILE = f"{HOME_DIR}/.codegen-note"
USER_ID = 1000  # `node` in the official images
PORT = 5173
MAX_OPEN_FILES = 16_384  # Vite watches many; some hosts refuse limits above 20,000

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


def container_config(project_id: str, settings: Settings) -> dict[str, Any]:
    """Return the body of the engine's create call."""
    memory_bytes = settings.sandbox_memory_mib * 1024 * 1024
    config: dict[str, Any] = {
        "Image": settings.sandbox_image,
        "Entrypoint": [],
        # holds the container open until it is stopped; `infinity` is unknown to some `sleep`s
        "Cmd": ["sleep", "2147483647"],
        "User": f"{USER_ID}:{USER_ID}",
        "WorkingDir": APP_DIR,
        "Env": [f"HOME={HOME_DIR}"],
        "ExposedPorts": {f"{PORT}/tcp": {}},
        "HostConfig": {
            "Init": True,
            # an empty HostPort is a free port, another one after each start
            "PortBindings": {f"{PORT}/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Memory": memory_bytes,
            "MemorySwap": memory_bytes,  # the sum of both: no swap
            "NanoCpus": int(settings.sandbox_cpus * 1e9),
            "PidsLimit": settings.sandbox_pids,
            "Ulimits": [{"Name": "nofile", "Soft": MAX_OPEN_FILES, "Hard": MAX_OPEN_FILES}],
        },
    }
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]
    config["Labels"] = {
        PROJECT_LABEL: project_id,
        SERVICE_LABEL: service_id(settings),
        CONFIG_LABEL: digest,
    }
    return config


def is_own(labels: Mapping[str, str], config: Mapping[str, Any]) -> bool:
    """Say whether a container's labels are those of this project of this service."""
    wanted = config["Labels"]
    return all(labels.get(key) == wanted[key] for key in (PROJECT_LABEL, SERVICE_LABEL))


def is_current(labels: Mapping[str, str], config: Mapping[str, Any]) -> bool:
    """Say whether a container was made with these settings."""
    return bool(labels.get(CONFIG_LABEL) == config["Labels"][CONFIG_LABEL])


def published_port(details: Mapping[str, Any]) -> int | None:
    """Return the host's port from an inspected container; None while it does not run."""
    ports = (details.get("NetworkSettings") or {}).get("Ports") or {}
    bindings = ports.get(f"{PORT}/tcp") or []
    return int(bindings[0]["HostPort"]) if bindings else None
