"""All settings: one table, read once from the environment and overridden by flags.

`Settings.read(environment)` is the only reader. A process hands its settings on to the processes
it starts with `Settings.environment()`, so every process of a service sees the same values.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actors.errors import InvalidSetting
from actors.registries import read_registries
from actors.setting_formats import REPLAY, Replay, is_address, read_prices, read_replay

KEPT_EVENTS = 10_000  # by default; of one project
_LABEL = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_DOMAIN = re.compile(rf"(https?://)?{_LABEL}(\.{_LABEL})*(:[0-9]{{1,5}})?/?", re.IGNORECASE)
MAX_SOCKET_PATH_BYTES = 100  # sun_path holds 108 on Linux; room for the longest name inside


def default_state_dir(environment: Mapping[str, str]) -> str:
    """Return the user's state directory by the XDG rules: a relative XDG_STATE_HOME is ignored."""
    base = environment.get("XDG_STATE_HOME") or ""
    if not os.path.isabs(base):
        home = environment.get("HOME") or os.path.expanduser("~")
        base = os.path.join(home, ".local", "state")
    return os.path.join(base, "codegen")


def _setting(
    variable: str, default: Any, help_text: str, *, is_secret: bool = False, **limits: Any
) -> Any:
    return field(
        default=default,
        repr=not is_secret,
        metadata={"variable": variable, "help": help_text, "limits": limits},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The effective settings. Durations are in seconds, sizes in MiB."""

    host: str = _setting("CODEGEN_HOST", "127.0.0.1", "address to listen on")
    port: int = _setting(
        "CODEGEN_PORT", 8080, "port to listen on; 0 takes any free one", low=0, high=65535
    )
    state_dir: str = _setting(
        "CODEGEN_STATE_DIR", "", "directory of the database, keys, sockets and logs"
    )
    database_url: str = _setting(
        "DATABASE_URL",
        "",
        "PostgreSQL to use; empty runs a private one in the state directory",
        is_secret=True,
    )
    openrouter_api_key: str = _setting(
        "OPENROUTER_API_KEY",
        "",
        "key of the model's server; empty uses the demo model",
        is_secret=True,
    )
    openrouter_base_url: str = _setting(
        "OPENROUTER_BASE_URL",
        "https://openrouter.ai/api/v1",
        "any server that speaks OpenAI's chat completions",
    )
    model: str = _setting(
        "CODEGEN_MODEL",
        "anthropic/claude-3.5-sonnet",
        "default model id; replay:DIR plays what CODEGEN_RECORD_DIR has recorded",
    )
    models: str = _setting(
        "CODEGEN_MODELS",
        "",
        "default model id and its fallbacks, comma separated; set, it replaces CODEGEN_MODEL",
    )
    prices: str = _setting(
        "CODEGEN_PRICES",
        "",
        "model=prompt/completion in USD per million tokens, comma separated; else the server's",
    )
    context_tokens: int = _setting(
        "CODEGEN_CONTEXT_TOKENS",
        0,
        "what prompt and answer may have together in tokens; 0 is what the server says",
        low=0,
    )
    record_dir: str = _setting(
        "CODEGEN_RECORD_DIR", "", "directory where every exchange with the model is stored"
    )
    max_phases: int = _setting("CODEGEN_MAX_PHASES", 5, "most phases of one run", low=1, high=50)
    max_files_per_phase: int = _setting(
        "CODEGEN_MAX_FILES_PER_PHASE", 40, "most files of one phase's plan", low=1, high=200
    )
    preview_domain: str = _setting(
        "CODEGEN_PREVIEW_DOMAIN",
        "",
        "domain whose subdomains are the apps, such as apps.example.com; empty is localhost",
    )
    sandbox: str = _setting(
        "CODEGEN_SANDBOX",
        "auto",
        "docker, bubblewrap, static, or auto: the first of them that works here",
        choices=("auto", "docker", "bubblewrap", "static"),
    )
    sandbox_image: str = _setting(
        "CODEGEN_SANDBOX_IMAGE", "node:22-slim", "image of the Docker sandboxes"
    )
    sandbox_memory_mib: int = _setting(
        "CODEGEN_SANDBOX_MEMORY_MIB", 1024, "memory limit of a sandbox in MiB", low=64
    )
    sandbox_cpus: float = _setting(
        "CODEGEN_SANDBOX_CPUS", 2.0, "processor limit of a sandbox in cores", low=0.1
    )
    sandbox_pids: int = _setting("CODEGEN_SANDBOX_PIDS", 512, "process limit of a sandbox", low=32)
    sandbox_file_mib: int = _setting(
        "CODEGEN_SANDBOX_FILE_MIB", 512, "size limit of one file of a sandbox in MiB", low=1
    )
    sandbox_disk_mib: int = _setting(
        "CODEGEN_SANDBOX_DISK_MIB", 4096, "what a sandbox may take on disk in MiB; 0 is any", low=0
    )
    sandbox_runtime: str = _setting(
        "CODEGEN_SANDBOX_RUNTIME", "", "the engine's runtime for sandboxes, such as runsc"
    )
    sandbox_egress: str = _setting(
        "CODEGEN_SANDBOX_EGRESS",
        "install",
        "install: out of a sandbox to the registries alone, during an install; always: anywhere",
        choices=("install", "always"),
    )
    sandbox_registries: str = _setting(
        "CODEGEN_SANDBOX_REGISTRIES",
        "registry.npmjs.org,registry.yarnpkg.com",
        "hosts that an install may reach, as host or host:port, comma separated",
    )
    cache_mib: int = _setting(
        "CODEGEN_CACHE_MIB",
        4096,
        "most that downloaded packages and prepared installs may take in MiB; 0 keeps none",
        low=0,
    )
    install_seconds: float = _setting(
        "CODEGEN_INSTALL_SECONDS", 300.0, "deadline of one dependency install", low=1
    )
    build_seconds: float = _setting(
        "CODEGEN_BUILD_SECONDS", 120.0, "deadline of an app's type check or build", low=1
    )
    server_seconds: float = _setting(
        "CODEGEN_SERVER_SECONDS", 60.0, "deadline of a dev server's first answer", low=1
    )
    idle_seconds: float = _setting(
        "CODEGEN_IDLE_SECONDS", 60.0, "after this long without work an actor leaves memory", low=0
    )
    sandbox_idle_seconds: float = _setting(
        "CODEGEN_SANDBOX_IDLE_SECONDS",
        300.0,
        "after this long without work or visitors a sandbox is stopped",
        low=0,
    )
    sandbox_keep_days: float = _setting(
        "CODEGEN_SANDBOX_KEEP_DAYS",
        30.0,
        "a sandbox that nobody has used for so long is removed; its files stay",
        low=0.01,
    )
    max_sandboxes: int = _setting(
        "CODEGEN_MAX_SANDBOXES", 100, "most sandboxes that are in use at once", low=1
    )
    max_cost_usd: float = _setting(
        "CODEGEN_MAX_COST_USD", 0.0, "most that the models of one run may cost; 0 is no cap", low=0
    )
    max_daily_cost_usd: float = _setting(
        "CODEGEN_MAX_DAILY_COST_USD", 0.0, "likewise for all runs of a day (UTC)", low=0
    )
    max_repairs: int = _setting(
        "CODEGEN_MAX_REPAIRS",
        2,
        "phases in a row that mend an app that does not install, build or start",
        low=0,
        high=10,
    )
    max_runs: int = _setting(
        "CODEGEN_MAX_RUNS", 20, "live runs at once over all projects; more are queued", low=1
    )
    max_queue: int = _setting("CODEGEN_MAX_QUEUE", 20, "waiting commands of one project", low=1)
    kept_events: int = _setting(
        "CODEGEN_KEPT_EVENTS",
        KEPT_EVENTS,
        "events of a project that can be replayed; who missed more is shown the state anew",
        low=100,
    )
    spare_actors: int = _setting(
        "CODEGEN_SPARE_ACTORS", 2, "blank actor processes kept warm", low=1, high=32
    )
    shutdown_seconds: float = _setting(
        "CODEGEN_SHUTDOWN_SECONDS", 20.0, "deadline of a graceful stop", low=1
    )
    log_level: str = _setting(
        "CODEGEN_LOG_LEVEL",
        "INFO",
        "DEBUG, INFO, WARNING or ERROR",
        choices=("DEBUG", "INFO", "WARNING", "ERROR"),
    )

    @classmethod
    def read(cls, environment: Mapping[str, str], **flags: Any) -> Settings:
        """Read every setting; a flag that is not None wins over the environment.

        Raises InvalidSetting with the variable's name and what it may be.
        """
        values: dict[str, Any] = {}
        for spec in dataclasses.fields(cls):
            raw = flags.get(spec.name)
            if raw is None:
                raw = environment.get(spec.metadata["variable"])
            if raw is None or raw == "":
                raw = spec.default
            values[spec.name] = _convert(spec, raw)
        values["state_dir"] = os.path.abspath(
            os.path.expanduser(values["state_dir"] or default_state_dir(environment))
        )
        values["openrouter_base_url"] = values["openrouter_base_url"].rstrip("/")
        if replay := read_replay(values["model"]):
            values["model"] = replay.model_id
        if values["record_dir"]:
            values["record_dir"] = os.path.abspath(os.path.expanduser(values["record_dir"]))
        settings = cls(**values)
        settings._check()
        return settings

    def _check(self) -> None:
        if not is_address(self.openrouter_base_url, "http", "https", has_host=True):
            raise InvalidSetting(
                "OPENROUTER_BASE_URL must be a http or https address, "
                f"not {self.openrouter_base_url!r}"
            )
        if self.database_url and not is_address(self.database_url, "postgresql", "postgres"):
            raise InvalidSetting("DATABASE_URL must begin with postgresql://")
        names = self.model_ids
        if not all(names) or len(set(names)) < len(names):
            raise InvalidSetting(
                "CODEGEN_MODELS must be model ids separated by commas, each of them once, "
                f"not {self.models!r}"
            )
        if self.models and any(name.startswith(REPLAY) for name in names):
            raise InvalidSetting("CODEGEN_MODELS cannot name a recording; set CODEGEN_MODEL")
        read_prices(self.prices)
        read_registries(self.sandbox_registries)
        if self.preview_domain and not _DOMAIN.fullmatch(self.preview_domain):
            raise InvalidSetting(
                "CODEGEN_PREVIEW_DOMAIN must be a domain such as apps.example.com, or, behind a "
                "server that does TLS, https://apps.example.com, "
                f"not {self.preview_domain!r}"
            )

    def environment(self) -> dict[str, str]:
        """Return the variables that make another process read the same settings."""
        return {
            spec.metadata["variable"]: str(getattr(self, spec.name))
            for spec in dataclasses.fields(self)
        }

    @property
    def is_demo(self) -> bool:
        """Whether the built-in demo model serves: no key, no server of one's own, no recording."""
        default_url = type(self).__dataclass_fields__["openrouter_base_url"].default
        is_keyless = not self.openrouter_api_key and self.openrouter_base_url == default_url
        return is_keyless and self.replay is None

    @property
    def model_ids(self) -> tuple[str, ...]:
        """The default model, and its fallbacks in order."""
        if not self.models:
            return (self.model,)
        return tuple(name.strip() for name in self.models.split(","))

    @property
    def replay(self) -> Replay | None:
        """The recording that serves as the model, if one does."""
        return None if self.models else read_replay(self.model)

    @property
    def usd_per_token(self) -> dict[str, tuple[float, float]]:
        """The prices that were set: of prompt and completion, by model."""
        return read_prices(self.prices)

    @property
    def model_label(self) -> str:
        """The name that the log, the status and the snapshot show."""
        return "demo" if self.is_demo else self.model_ids[0]

    @property
    def url(self) -> str:
        """The service's address for whoever is on this machine; `port` must not be 0."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def preview_base(self) -> str:
        """The address whose subdomains are the apps; see `addresses.preview_url`."""
        if "://" in self.preview_domain:
            return self.preview_domain.rstrip("/").lower()
        domain = self.preview_domain.rstrip("/").lower() or "localhost"
        return f"http://{domain}" if ":" in domain else f"http://{domain}:{self.port}"

    def path(self, *names: str) -> Path:
        """Return a path inside the state directory."""
        return Path(self.state_dir, *names)

    @property
    def key_file(self) -> Path:
        """The key that signs every packet between actors; mode 0600."""
        return self.path("wire.key")

    @property
    def actors_file(self) -> Path:
        """Where the running service writes the address of its supervisor; mode 0600."""
        return self.path("actors.json")

    @property
    def log_file(self) -> Path:
        return self.path("logs", "service.log")

    @property
    def run_dir(self) -> Path:
        """The directory of the sockets, mode 0700.

        It is inside the state directory unless that path is too long for a Unix socket; then it is
        a private directory below /tmp that is derived from the state directory.
        """
        inside = self.path("run")
        if len(os.fsencode(inside)) <= MAX_SOCKET_PATH_BYTES - 16:
            return inside
        digest = hashlib.sha256(os.fsencode(self.state_dir)).hexdigest()[:16]
        return Path("/tmp", f"codegen-{os.getuid()}-{digest}")  # noqa: S108  # checked to be ours, mode 0700, before use

    @property
    def feed_socket(self) -> Path:
        return self.run_dir / "feed.sock"


def _convert(spec: dataclasses.Field[Any], raw: Any) -> Any:
    variable, limits = spec.metadata["variable"], spec.metadata["limits"]
    kind: type[Any] = type(spec.default)
    try:
        value = kind(raw)
        if kind is float and not math.isfinite(value):
            raise ValueError
    except ValueError:
        word = "a whole number" if kind is int else "a number"
        raise InvalidSetting(f"{variable} must be {word}, not {raw!r}") from None
    if "choices" in limits and value not in limits["choices"]:
        raise InvalidSetting(
            f"{variable} must be one of {', '.join(limits['choices'])}, not {raw!r}"
        )
    if kind in (int, float) and not limits.get("low", value) <= value <= limits.get("high", value):
        raise InvalidSetting(
            f"{variable} must be at least {limits['low']}"
            + (f" and at most {limits['high']}" if "high" in limits else "")
            + f", not {raw!r}"
        )
    return value
