"""Which protection of a sandbox an engine cannot give, by what it says of itself. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors.settings import Settings

#: Members of the engine's `info` -> what it limits where they are true.
_LIMITS = {"MemoryLimit": "memory", "CpuCfsQuota": "processors", "PidsLimit": "processes"}


def missing_protection(info: Mapping[str, Any], settings: Settings) -> tuple[str, ...]:
    """Return a sentence for each thing that is missing; what the engine does not tell is there."""
    return tuple(
        sentence
        for sentence in (_limits(info), _seccomp(info), _runtime(info, settings.sandbox_runtime))
        if sentence
    )


def _limits(info: Mapping[str, Any]) -> str:
    has_none = info.get("CgroupDriver") == "none"
    missing = [word for name, word in _LIMITS.items() if has_none or info.get(name) is False]
    if not missing:
        return ""
    *words, last = missing
    what = f"{', '.join(words)} and {last}" if words else last
    return f"This engine cannot limit the {what} of apps (its host's cgroups are not its own)."


def _seccomp(info: Mapping[str, Any]) -> str:
    options = info.get("SecurityOptions")
    if options is None or any(
        option.startswith("name=seccomp") and "unconfined" not in option for option in options
    ):
        return ""
    return "This engine filters no system calls (seccomp is off)."


def _runtime(info: Mapping[str, Any], name: str) -> str:
    if not name or name in info.get("Runtimes", {name: {}}):
        return ""
    return f"This engine has no runtime {name} (CODEGEN_SANDBOX_RUNTIME): no app can be started."
