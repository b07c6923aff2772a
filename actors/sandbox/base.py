"""The port to a sandbox: where one project's files are installed and served.

Adapters: `workspace.py` (runs commands, over a `Runtime`: Docker's or bubblewrap's), and
`static.py` (the gateway serves the stored files). One contract test,
`tests/integration/test_sandbox_contract.py`, runs over all of them.
Errors are `actors.errors.SandboxError` and its children. Every method may be cancelled; the work
inside the sandbox then ends as well, within the time that the adapter names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

#: Called for every line of output: (stream, line); stream is "stdout", "stderr" or "progress".
LogSink = Callable[[str, str], None]

SandboxKind = Literal["docker", "bubblewrap", "static"]
Health = Literal["absent", "stopped", "running", "serving"]


def runs_commands(kind: str) -> bool:
    """Say whether sandboxes of this kind install, build and serve; the static one only serves."""
    return kind != "static"


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxStatus:
    """What is known of a sandbox; `note` says in a sentence what a user should know."""

    kind: str
    health: Health
    container_id: str | None = None
    preview_url: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedSandbox:
    """The answer of `start`; `note` is the last one that was left, empty where none holds."""

    container_id: str | None
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeOver:
    """What of a draft the app's folder is to take over.

    `changed` and `gone` are paths of project files, `own` all of them, former and new. `builds`:
    also what a build has made; nothing may run in the app's folder then. `dependencies`: these as
    well; the draft has none after that. `note` is the app's, for when it is undone.
    """

    changed: Sequence[str]
    gone: Sequence[str]
    own: Sequence[str]
    builds: bool
    dependencies: bool
    note: str


class Draft(Protocol):
    """A folder beside the app's, in which files are tried while the app goes on.

    Its first four methods are as the sandbox's own.
    """

    async def write_files(self, files: Mapping[str, str]) -> None: ...

    async def delete_files(self, paths: Sequence[str]) -> None: ...

    async def install_dependencies(self, files: Mapping[str, str]) -> None: ...

    async def run_check(self, script: str) -> None: ...

    @property
    def touches_dependencies(self) -> bool:
        """Whether a check has written into the draft's dependencies."""
        ...

    async def begin(self) -> None:
        """Make the draft anew: no files, and the dependencies that the app has."""
        ...

    async def take_over(self, order: TakeOver) -> None:
        """Change the app's folder; its note is void.

        Until the next write to the app's folder, a start of the sandbox undoes it.
        """
        ...

    async def undo(self) -> None:
        """Have the app's folder and its note be as they were before `take_over`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReport:
    """What is known of a dev server: its last lines, and how it has ended, if it has.

    `exit_code` is None where it runs, or where nobody could say. `limit` is a sentence on the limit
    that it seems to have hit, empty where there is none.
    """

    exit_code: int | None = None
    limit: str = ""
    output: tuple[str, ...] = ()


class Sandbox(Protocol):
    """One project's sandbox. Paths are relative to the project, with `/`."""

    @property
    def kind(self) -> str: ...

    @property
    def reloads_files(self) -> bool:
        """Whether the dev server that was started shows files written since by itself."""
        ...

    @property
    def draft(self) -> Draft | None:
        """The draft; None where nothing is installed or run, so that nothing can go wrong."""
        ...

    async def start(self) -> StartedSandbox:
        """Create the sandbox, or adopt and start the one that exists; idempotent."""
        ...

    async def write_files(self, files: Mapping[str, str], note: str = "") -> None:
        """Write these files, creating directories, then leave a note for the next `start`.

        A note holds until the next write, delete or install begins, whatever becomes of that.
        """
        ...

    async def delete_files(self, paths: Sequence[str]) -> None:
        """Delete these files; one that does not exist is no error."""
        ...

    async def install_dependencies(self, files: Mapping[str, str]) -> None:
        """Install what package.json asks for; without one there is nothing to do.

        `files` are the project's, as they were written: what is shared with other projects is
        decided by them and not by what the sandbox says that it holds.

        Raises InstallFailed with the last lines of the output.
        """
        ...

    async def run_check(self, script: str) -> None:
        """Run this script of package.json, a type check or a build; the dev server is ended first.

        Raises BuildFailed with the last lines of the output.
        """
        ...

    async def start_dev_server(self) -> str:
        """Start (or restart) the dev server; once it has answered, return its address.

        The gateway finds it there. An answer with a status of 500 and more is none.

        Raises ServerFailed with the last lines of the output.
        """
        ...

    async def end_dev_server(self) -> None:
        """End the dev server, and whatever else the app has started."""
        ...

    async def is_well(self, seconds: float) -> bool:
        """Say whether the app answers, with a status below 500, within so many seconds."""
        ...

    async def wait_until_ended(self) -> bool:
        """Wait for the end of the dev server that was started; return whether it came by itself.

        It does not where this object has ended it, or has none.
        """
        ...

    async def is_answering(self, seconds: float) -> bool:
        """Say whether the app answers in so many seconds, whatever it answers."""
        ...

    def server_report(self) -> ServerReport:
        """Tell of the dev server that was started last."""
        ...

    async def status(self) -> SandboxStatus: ...

    async def logs(self, limit: int) -> list[tuple[str, str]]:
        """Return the newest `limit` lines, oldest first, as (stream, line)."""
        ...

    async def stop(self) -> None:
        """Stop it, keeping what it holds where the adapter can; absent is no error."""
        ...

    async def remove(self) -> None:
        """Remove it and all it holds; absent is no error."""
        ...

    async def close(self) -> None:
        """Let go of connections; the sandbox itself goes on."""
        ...
