"""The static sandbox: no engine; the gateway serves the project's stored files as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from actors.addresses import preview_url
from actors.sandbox.archive import check_paths
from actors.sandbox.base import LogSink, SandboxStatus, ServerReport, StartedSandbox

DEFAULT_NOTE = (
    "Apps are served as static files and no dependencies are installed "
    "(CODEGEN_SANDBOX=static); with a Docker engine, set CODEGEN_SANDBOX=docker."
)


class StaticSandbox:
    """A sandbox that runs nothing. The files are in PostgreSQL, where the gateway reads them."""

    kind = "static"
    reloads_files = True
    draft = None

    def __init__(
        self, project_id: str, base_url: str, on_log: LogSink, note: str = DEFAULT_NOTE
    ) -> None:
        self._url = preview_url(base_url, project_id)
        self._on_log = on_log
        self._note = note
        self._has_manifest = False
        self._logged: list[tuple[str, str]] = []

    async def start(self) -> StartedSandbox:
        """Do nothing: there is no container, and nothing to be written to it."""
        return StartedSandbox(container_id=None, note="")

    async def write_files(self, files: Mapping[str, str], note: str = "") -> None:
        """Write nothing: the journal has stored these files already. Unsafe paths are refused."""
        check_paths(files)
        self._has_manifest = self._has_manifest or "package.json" in files

    async def delete_files(self, paths: Sequence[str]) -> None:
        """Delete nothing: the journal has dropped these files already. Unsafe paths are refused."""
        check_paths(paths)
        self._has_manifest = self._has_manifest and "package.json" not in paths

    async def install_dependencies(self, files: Mapping[str, str]) -> None:
        """Install nothing; say so if one of the written files was a package.json."""
        if self._has_manifest:
            self._log("stderr", f"The dependencies in package.json are not installed. {self._note}")

    async def run_check(self, script: str) -> None:
        """Run nothing: files that are served as they are need no build."""

    async def start_dev_server(self) -> str:
        """Return where the gateway serves the files."""
        return self._url

    async def end_dev_server(self) -> None:
        """End nothing: there is no server but the gateway."""

    async def wait_until_ended(self) -> bool:
        """Return at once: nothing was started that could end."""
        return False

    async def is_well(self, seconds: float) -> bool:
        """Return that the gateway serves what there is."""
        return True

    async def is_answering(self, seconds: float) -> bool:
        """Return that the gateway answers."""
        return True

    def server_report(self) -> ServerReport:
        """Return that there is nothing to tell."""
        return ServerReport()

    async def status(self) -> SandboxStatus:
        """Return that the gateway serves, and what it cannot do."""
        return SandboxStatus(
            kind=self.kind, health="serving", preview_url=self._url, note=self._note
        )

    async def logs(self, limit: int) -> list[tuple[str, str]]:
        """Return what this object has logged."""
        return self._logged[-limit:] if limit > 0 else []

    async def stop(self) -> None:
        """Do nothing: nothing runs."""

    async def remove(self) -> None:
        """Do nothing: the files go with the project's rows."""

    async def close(self) -> None:
        """Do nothing: there is no connection."""

    def _log(self, stream: str, line: str) -> None:
        self._logged = [*self._logged, (stream, line)][-100:]
        self._on_log(stream, line)
