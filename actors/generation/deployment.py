"""What the sandbox has of the project: which files, which dependencies, and whether it serves.

Lives as long as the project's actor and is used by one run, or one opening of the preview, at a
time. A run begins with the sandbox being started in the background, so that this overlaps with the
first plan. What the sandbox holds is noted in it (`inventory.py`) for the actor's next life.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace

from actors.errors import BuildFailed, InstallFailed, SandboxError, ServerFailed
from actors.generation.inventory import (
    Inventory,
    content_digest,
    file_digests,
    manifest_digest,
)
from actors.generation.package_json import check_script
from actors.paths import clashing_path
from actors.sandbox.base import Sandbox, StartedSandbox

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0  # an engine answers within milliseconds


class Deployment:
    """Brings the sandbox up to the project's files, doing only what has changed."""

    def __init__(self, make_sandbox: Callable[[], Sandbox], preview_url: str) -> None:
        """`preview_url` is the address to be told: the sandbox's own is the gateway's alone."""
        self._make_sandbox = make_sandbox
        self._preview_url = preview_url
        self._sandbox: Sandbox | None = None
        self._starting: asyncio.Task[StartedSandbox] | None = None
        self._held: Inventory | None = None  # None: nobody knows
        self._url: str | None = None

    @property
    def kind(self) -> str:
        return self._open().kind

    @property
    def runs_commands(self) -> bool:
        """Whether the sandbox installs and builds; the static one only serves."""
        return self.kind != "static"

    def _open(self) -> Sandbox:
        if self._sandbox is None:
            self._sandbox = self._make_sandbox()
        return self._sandbox

    def begin(self) -> None:
        """Start the sandbox in the background, unless that is under way or done."""
        if self._starting is not None and self._starting.done() and not _succeeded(self._starting):
            self._forget()
        if self._starting is None:
            self._starting = asyncio.create_task(self._start(), name="sandbox-start")

    async def _start(self) -> StartedSandbox:
        started = await self._open().start()
        self._held = Inventory.parse(started.note)
        return started

    async def ready(self) -> StartedSandbox:
        """Wait until the sandbox runs; a failed start is tried afresh the next time."""
        self.begin()
        assert self._starting is not None
        return await asyncio.shield(self._starting)  # a cancelled run does not undo it

    async def write(self, files: Mapping[str, str], deleted: Collection[str] = ()) -> None:
        """Write what the sandbox does not have yet, and delete what the project has no more.

        `deleted` are the paths that any phase has deleted: a sandbox of which nobody knows what it
        holds may still have them. One that has vanished is made anew, once.
        """
        try:
            await self._write_changed(files, deleted)
        except SandboxError as error:
            log.warning("the sandbox is started anew: %s", error)
            await self.ready()
            await self._write_changed(files, deleted)

    async def _write_changed(self, files: Mapping[str, str], deleted: Collection[str]) -> None:
        digests = file_digests(files)
        held, self._held = self._held, None  # until all is there: a cancelled write may go on
        if held is None:
            held = Inventory(files={})
            stale = {path for path in deleted if not clashing_path(path, files)}
        else:
            stale = set(held.files)
        gone = sorted(stale - files.keys())
        changed = {path: files[path] for path in files if held.files.get(path) != digests[path]}
        held = replace(held, files=digests)
        with self._losing():
            if gone:
                await self._open().delete_files(gone)
            if gone or changed:
                await self._open().write_files(changed, note=held.dump())
                if not self._open().reloads_files:
                    self._url = None  # it is started again
        self._held = held

    async def _note(self, held: Inventory) -> None:
        await self._open().write_files({}, note=held.dump())
        self._held = held

    @property
    def _known(self) -> Inventory:
        assert self._held is not None, "the files are written first"
        return self._held

    def needs_install(self, files: Mapping[str, str]) -> bool:
        return self._known.installed != manifest_digest(files)

    async def install(self, files: Mapping[str, str]) -> None:
        """Install the dependencies; a failed or cancelled install is repeated the next time."""
        held = self._held = replace(self._known, installed=None)
        with self._losing():
            await self._open().install_dependencies()
            await self._note(replace(held, installed=manifest_digest(files)))
        self._url = None

    def needs_check(self, files: Mapping[str, str]) -> bool:
        """Say whether there is a script to check these files with, and they have not passed it."""
        has_script = self.runs_commands and check_script(files) is not None
        return has_script and self._known.checked != content_digest(files)

    async def check(self, files: Mapping[str, str]) -> None:
        """Run the script that checks the files; it is repeated until the same files pass it.

        The dev server has ended then: it would share memory and directories with a build.
        """
        script = check_script(files)
        assert script is not None
        self._url = None
        with self._losing():
            await self._open().run_check(script)
            await self._note(replace(self._known, checked=content_digest(files)))

    @property
    def address(self) -> str:
        """Where people find the app, whether it is served or not."""
        return self._preview_url

    @property
    def url(self) -> str | None:
        """Where the dev server itself answers, as far as we know."""
        return self._url

    @property
    def is_serving(self) -> bool:
        return self._url is not None

    async def look(self) -> None:
        """Ask the sandbox whether what it had still runs; what does not is forgotten.

        A sandbox that does not say so in `LOOK_SECONDS` is taken to be as it was.
        """
        if self._url is None:
            return
        with contextlib.suppress(SandboxError, TimeoutError), self._losing():
            async with asyncio.timeout(LOOK_SECONDS):
                health = (await self._open().status()).health
            if health in ("absent", "stopped"):
                self._forget()
            elif health != "serving":
                self._url = None

    async def serve(self) -> str:
        """Start (or restart) the dev server; returns the address under which it can be found."""
        self._url = None
        with self._losing():
            self._url = await self._open().start_dev_server()
        return self.address

    @contextlib.contextmanager
    def _losing(self) -> Iterator[None]:
        """Know nothing of the sandbox any more when it fails as such, not just a command in it."""
        try:
            yield
        except (InstallFailed, BuildFailed, ServerFailed):
            raise
        except SandboxError:
            self._forget()
            raise

    async def stop(self, *, exists: bool = False) -> None:
        """Stop the sandbox; what it holds is kept where the sandbox can keep it.

        `exists` says that there is one, maybe of an earlier life of the project's actor.
        """
        await self._abandon_start()
        if self._sandbox is not None or exists:
            sandbox = self._open()
            self._sandbox = None
            try:
                await sandbox.stop()
            finally:
                await sandbox.close()
        self._forget()

    async def remove(self) -> None:
        """Remove the sandbox, also one of an earlier life."""
        await self._abandon_start()
        sandbox = self._open()
        await sandbox.remove()
        await sandbox.close()
        self._sandbox = None
        self._forget()

    async def _abandon_start(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
            _succeeded(self._starting)  # its failure is of no interest any more, but must be seen

    def _forget(self) -> None:
        self._starting = None
        self._held = None
        self._url = None


def _succeeded(task: asyncio.Task[StartedSandbox]) -> bool:
    return not task.cancelled() and task.exception() is None
