"""What the sandbox has of the project: which files, which dependencies, and whether it serves.

Once the app has answered with some files, these stay up until others have proved themselves: those
are written to the sandbox's draft, installed and checked there, and taken over by `serve`. Where
any of that fails the app goes on as it was, and is *behind*.

Lives as long as the project's actor and is used by whoever has its `turn`: one run, one opening of
the preview, or one restart of its dev server at a time. A run begins with the sandbox being started
in the background, so that this overlaps with the first plan. What the sandbox holds is noted in it
(`inventory.py`) for the actor's next life.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import replace

from actors.errors import (
    BuildFailed,
    InstallFailed,
    SandboxError,
    SandboxUnavailable,
    ServerFailed,
)
from actors.generation.inventory import (
    Inventory,
    changed_files,
    content_digest,
    file_digests,
    manifest_digest,
    take_over_order,
)
from actors.generation.package_json import check_script
from actors.generation.sandbox_handle import SandboxHandle
from actors.paths import clashing_path
from actors.sandbox.base import Draft, Sandbox, StartedSandbox

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0  # an engine answers within milliseconds
RELOAD_SECONDS = 10.0  # until a dev server that shows changes by itself answers again


class Deployment:
    """Brings the sandbox up to the project's files, doing only what has changed."""

    def __init__(
        self,
        make_sandbox: Callable[[], Sandbox],
        preview_url: str,
        on_served: Callable[[Sandbox], None] = lambda _: None,
    ) -> None:
        """`preview_url` is the address to be told; `on_served` is called with the sandbox whenever
        its dev server has been started.
        """
        self.turn = asyncio.Lock()  # of who writes, installs, checks or serves
        self.starts = 0  # of the dev server
        self._handle = SandboxHandle(make_sandbox, self._read_note)
        self._preview_url = preview_url
        self._on_served = on_served
        self._held: Inventory | None = None  # by the app's folder; None: nobody knows
        self._draft: Inventory | None = None  # by the draft; None: there is none
        self.is_behind = False  # newer files than those that are served did not do
        self._url: str | None = None

    @property
    def kind(self) -> str:
        return self._sandbox.kind

    @property
    def runs_commands(self) -> bool:
        """Whether the sandbox installs and builds; the static one only serves."""
        return self.kind != "static"

    @property
    def _sandbox(self) -> Sandbox:
        return self._handle.sandbox

    def begin(self) -> None:
        """Start the sandbox in the background, unless that is under way or done."""
        self._handle.begin()

    async def ready(self) -> StartedSandbox:
        """Wait until the sandbox runs; a failed start is tried afresh the next time."""
        return await self._handle.ready()

    def _read_note(self, started: StartedSandbox) -> None:
        self._forget_contents()
        self._held = Inventory.parse(started.note)

    async def write(self, files: Mapping[str, str], deleted: Collection[str] = ()) -> None:
        """Write what the sandbox does not have yet, and delete what the project has no more.

        `deleted` are the paths that any phase has deleted: a sandbox of which nobody knows what it
        holds may still have them. One that has vanished is made anew, once.
        """
        await self.ready()  # what was broken off is undone then
        try:
            await self._write_changed(files, deleted)
        except SandboxError as error:
            log.warning("the sandbox is started anew: %s", error)
            await self.ready()
            await self._write_changed(files, deleted)

    async def _write_changed(self, files: Mapping[str, str], deleted: Collection[str]) -> None:
        held, digests = self._held, file_digests(files)
        if held is None or not held.is_good or self._sandbox.draft is None:
            await self._write_app(files, digests, deleted)
        elif held.files != digests:
            await self._write_draft(files, digests)
        else:
            self._draft, self.is_behind = None, False

    async def _write_app(
        self, files: Mapping[str, str], digests: Mapping[str, str], deleted: Collection[str]
    ) -> None:
        held, self._held = self._held, None  # until all is there: a cancelled write may go on
        self._draft, self.is_behind = None, False
        if held is None:
            held = Inventory(files={})
            stale = {path for path in deleted if not clashing_path(path, files)}
        else:
            stale = set(held.files)
        gone = sorted(stale - files.keys())
        changed = changed_files(files, digests, held)
        held = replace(held, files=digests)
        with self._losing():
            if gone:
                await self._sandbox.delete_files(gone)
            if gone or changed:
                held = replace(held, is_good=False, failed=None)
                await self._sandbox.write_files(changed, note=held.dump())
                if not self._sandbox.reloads_files:
                    self._url = None  # it is started again
        self._held = held

    async def _write_draft(self, files: Mapping[str, str], digests: Mapping[str, str]) -> None:
        folder, (draft, self._draft) = self._sandbox.draft, (self._draft, None)
        assert folder is not None
        with self._losing():
            if draft is None:
                await folder.begin()
                draft = replace(self._known, files={}, is_good=False, failed=None)
            if gone := sorted(draft.files.keys() - files.keys()):
                await folder.delete_files(gone)
            if changed := changed_files(files, digests, draft):
                await folder.write_files(changed)
        self._draft = replace(draft, files=digests)

    async def _note(self, held: Inventory) -> None:
        """Know this of the app's folder, and have the sandbox know it."""
        with self._losing(BaseException):
            self._held = None
            await self._sandbox.write_files({}, note=held.dump())
            self._held = held

    @property
    def _known(self) -> Inventory:
        if self._held is None:  # the files were written first
            raise SandboxUnavailable("The sandbox was lost; generate again.")
        return self._held

    @property
    def _tried(self) -> Inventory:
        """What is installed and checked: the draft, if there is one, else the app."""
        return self._known if self._draft is None else self._draft

    def needs_install(self, files: Mapping[str, str]) -> bool:
        return self._tried.installed != manifest_digest(files)

    async def install(self, files: Mapping[str, str]) -> None:
        """Install the dependencies; a failed or cancelled install is repeated the next time."""
        installed = manifest_digest(files)
        if self._draft is not None:
            self._draft = replace(self._draft, installed=None)
            await self._try(lambda draft: draft.install_dependencies(files))
            self._draft = replace(self._draft, installed=installed)
            return
        held = self._held = replace(self._known, installed=None)
        with self._losing():
            await self._sandbox.install_dependencies(files)
            await self._note(replace(held, installed=installed))
        self._url = None

    def needs_check(self, files: Mapping[str, str]) -> bool:
        """Say whether there is a script to check these files with, and they have not passed it."""
        has_script = self.runs_commands and check_script(files)
        return bool(has_script) and self._tried.checked != content_digest(files)

    async def check(self, files: Mapping[str, str]) -> None:
        """Run the script that checks the files; it is repeated until the same files pass it.

        Where there is no draft the dev server has ended then: it would share memory and
        directories with a build.
        """
        script, checked = check_script(files), content_digest(files)
        assert script is not None
        if self._draft is not None:
            await self._try(lambda draft: draft.run_check(script))
            self._draft = replace(self._draft, checked=checked)
            return
        self._url = None
        with self._losing():
            await self._sandbox.run_check(script)
            await self._note(replace(self._known, checked=checked))

    async def _try(self, step: Callable[[Draft], Awaitable[None]]) -> None:
        """Do something in the draft beside the app, or, where they take too much memory, alone."""
        draft, was_served = self._sandbox.draft, self.is_serving
        assert draft is not None
        with self._losing():
            try:
                await step(draft)
            except (InstallFailed, BuildFailed) as error:
                if not error.was_killed or not was_served:
                    raise
                self._url = None
                await self._sandbox.end_dev_server()
                await step(draft)

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

        A sandbox that does not say so in `LOOK_SECONDS` is taken to be as it was. Where nobody can
        say, the app may go on without its engine.
        """
        if self._url is None:
            return
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                health = (await self._sandbox.status()).health
        except TimeoutError:
            return
        except SandboxError:
            health = "serving" if await self._sandbox.is_answering(LOOK_SECONDS) else "absent"
        if health in ("absent", "stopped"):
            self._forget()
        elif health != "serving":
            self._url = None

    @property
    def is_drafting(self) -> bool:
        """Whether newer files than the app's are being tried."""
        return self._draft is not None

    @property
    def needs_start(self) -> bool:
        """Whether `serve` starts the dev server; else it shows what is new by itself."""
        if self._url is None or self._draft is None:
            return self._url is None
        return self._has_new_dependencies or not self._sandbox.reloads_files

    @property
    def _has_new_dependencies(self) -> bool:
        draft = self._sandbox.draft
        is_touched = draft is not None and draft.touches_dependencies
        return is_touched or self._tried.installed != self._known.installed

    async def serve(self) -> str:
        """Have the app answer with the files that were written; returns where it can be found.

        Raises ServerFailed, the app's folder being as it was before where that was good.
        """
        is_up = self.is_serving and (self.is_good or await self._sandbox.is_well(RELOAD_SECONDS))
        if self._draft is not None:
            await self._take_over(self._draft)
        elif not is_up:
            await self.start_server()
        if not self._known.is_good:
            await self._note(replace(self._known, is_good=True))
        self.is_behind = False
        return self.address

    async def _take_over(self, draft: Inventory) -> None:
        former, sandbox, has_to_start = self._known, self._sandbox, self.needs_start
        has_modules = self._has_new_dependencies
        order = take_over_order(former, draft, builds=has_to_start, dependencies=has_modules)
        folder = sandbox.draft
        assert folder is not None
        with self._losing(BaseException):
            self._held = self._draft = None  # until all is done
            if has_to_start:
                self._url = None
                await sandbox.end_dev_server()
            await folder.take_over(order)
            try:
                if has_to_start:
                    await self.start_server()
                elif not await sandbox.is_well(RELOAD_SECONDS):
                    raise ServerFailed(
                        "With its new files the app does not answer well. Its last lines:",
                        output=sandbox.server_report().output,
                    )
            except ServerFailed:
                self._url = None
                await folder.undo()
                self._held = former
                raise
            await self._note(replace(draft, is_good=True))

    async def start_server(self) -> None:
        """Start the dev server with what the app's folder holds, ending the one before."""
        self._url = None
        sandbox = self._sandbox
        with self._losing():
            self._url = await sandbox.start_dev_server()
        self.starts += 1
        self._on_served(sandbox)

    @property
    def is_good(self) -> bool:
        """Whether the app's folder is known to hold a state with which it has answered."""
        return self._held is not None and self._held.is_good

    def have_failed(self, files: Mapping[str, str]) -> bool:
        """Say whether these very files have been tried, in this or an earlier life."""
        return self.is_good and self._known.failed == content_digest(files)

    async def note_failure(self, files: Mapping[str, str]) -> None:
        """Take note, for later lives as well, that these files have been tried and do not do."""
        if self.is_good and not self.have_failed(files):
            try:
                await self._note(replace(self._known, failed=content_digest(files)))
            except SandboxError as error:
                log.warning("that files have failed cannot be noted: %s", error)

    async def fall_back(self) -> bool:
        """After files that failed, have the app up with those that had not.

        Says whether there are such; a failure to start it is only logged.
        """
        if not self.is_good:
            return False
        try:
            if self._url is None:
                await self.start_server()
        except SandboxError as error:
            log.warning("the app's former state cannot be served: %s", error)
        self.is_behind = self.is_serving
        return self.is_behind

    def lose_server(self) -> None:
        """Take note that the dev server has ended or hangs."""
        self._url = None

    @contextlib.contextmanager
    def _losing(self, failure: type[BaseException] = SandboxError) -> Iterator[None]:
        """Know nothing of the sandbox any more when it fails as such, not just a command in it.

        With BaseException also where it is broken off: the sandbox's next start finds out then.
        """
        try:
            yield
        except (InstallFailed, BuildFailed, ServerFailed):
            raise
        except failure:
            self._forget()
            raise

    async def stop(self, *, exists: bool = False) -> None:
        """Stop the sandbox; what it holds is kept where the sandbox can keep it.

        `exists` says that there is one, maybe of an earlier life of the project's actor.
        """
        try:
            await self._handle.stop(exists=exists)
        finally:
            self._forget()

    async def remove(self) -> None:
        """Remove the sandbox, also one of an earlier life."""
        await self._handle.remove()
        self._forget()

    def _forget(self) -> None:
        self._handle.forget()
        self._forget_contents()

    def _forget_contents(self) -> None:
        self._held = self._draft = None
        self.is_behind = False
        self._url = None
