"""From the model's SCOF text to the project's files: parser events in, project events out."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import assert_never

from actors import events as ev
from actors.events import Event
from actors.generation.faults import Fault, FaultKind
from actors.generation.install_command import InstallRefused, argument_vector
from actors.generation.patch import PatchRejected, apply_patch
from actors.generation.placeholder import find_placeholder
from actors.generation.scof import (
    MAX_FILE_CHARS,
    FileChunk,
    FileClosed,
    FileOpened,
    InstallCommand,
    Mode,
    ParserWarning,
    Prose,
    ScofEvent,
    ScofLimitError,
    ScofParser,
)
from actors.generation.seam import Joint, SeamJoiner, UnfinishedFile
from actors.paths import clashing_path

MAX_INSTALLS = 20  # commands of one answer that are carried out


class FileWriter:
    """One model answer. Finished files go into `files` (path -> text) as they are finished.

    A file that breaks off stays open: nothing is told of its end, and the next answer may continue
    it. That answer's writer is given it as `unfinished` and joins the block of its path to the
    text so far, in whatever mode the block is written. A block that fits neither the text's end
    nor its beginning, a patch that does not fit, and a text with a placeholder leave the former
    text in place and are told as `file_restored`; the pipeline then finds the file missing, and
    `faults` says by its path why. A patch is not streamed: its text is not the file's.

    Files beyond the plan are taken, unless their path is a directory of a file that there is or
    that is `planned`, or the reverse, or is to be `deleted`.

    Install commands are told as `install_requested`, or refused with a warning: all of them
    unless the project `has_packages`.
    """

    def __init__(
        self,
        files: dict[str, str],
        unfinished: UnfinishedFile | None = None,
        *,
        planned: Collection[str] = (),
        deleted: Collection[str] = (),
        has_packages: bool = True,
    ) -> None:
        self.faults: dict[str, Fault] = {}
        self._files = files
        self._planned = planned
        self._deleted = deleted
        self._is_refused = False  # the open block
        self._installs_left = MAX_INSTALLS if has_packages else 0
        self._no_installs = "too many commands" if has_packages else "the app is a static site"
        self._unfinished = unfinished
        self._is_shown = unfinished is not None  # as the open file, to viewers and in the state
        self._parser = ScofParser()
        self._mode: Mode = "write"
        self._joiner: SeamJoiner | None = None  # of the open block, if it is the unfinished file's
        self._room = 0  # characters by which the joined file may still grow
        self._problem: ScofLimitError | None = None

    def feed(self, text: str) -> list[Event]:
        """Return what this piece of the answer brings; `check` then says if it was too much."""
        try:
            parsed = self._parser.feed(text)
        except ScofLimitError as error:
            parsed, self._problem = error.events, error
        return self._tell(parsed)

    def close(self, reason: str) -> list[Event]:
        """End the answer; `reason` is the model's finish reason, or "error"."""
        try:
            parsed = self._parser.close(reason)
        except ScofLimitError as error:
            parsed, self._problem = error.events, error
        return self._tell(_without_torn_end(parsed))

    def check(self) -> None:
        """Raise the ScofLimitError (an OutputInvalid) of a size limit that was passed.

        A file that is open then stays open: the run is over, and its end restores the file.
        """
        if self._problem is not None:
            raise self._problem

    def _tell(self, parsed: list[ScofEvent]) -> list[Event]:
        told: list[Event] = []
        try:
            for event in parsed:
                for translated in self._translate(event):
                    told.append(translated)
        except ScofLimitError as error:
            self._problem = error
        return told

    def _translate(self, event: ScofEvent) -> Iterator[Event]:
        match event:
            case FileOpened():
                yield from self._open(event)
            case FileChunk():
                yield from self._grow(event)
            case FileClosed():
                yield from self._close(event)
            case InstallCommand():
                yield from self._request(event.line)
            case ParserWarning():
                yield ev.ModelWarning(kind=event.kind, detail=event.detail)
            case Prose():
                pass
            case _:
                assert_never(event)

    def _fault(self, kind: FaultKind, path: str, detail: str) -> Event:
        self.faults[path] = Fault(kind, path, detail)
        return ev.ModelWarning(kind=kind, detail=detail)

    def _refusal(self, path: str) -> str | None:
        """Say why a path cannot be written, if so."""
        if path in self._deleted:
            return f"{path} is a file that this phase deletes"
        others = {*self._files, *self._planned} - set(self._deleted)
        clashing = clashing_path(path, others)
        return clashing and f"{path} cannot be a file beside {clashing}"

    def _open(self, opened: FileOpened) -> Iterator[Event]:
        self._mode = opened.mode
        refusal = self._refusal(opened.path)
        self._is_refused = refusal is not None
        if refusal is not None:
            self._joiner = None
            yield self._fault("path_refused", opened.path, refusal)
            return
        if self._unfinished is not None and opened.path == self._unfinished.path:
            self._joiner = SeamJoiner(self._unfinished)
            self._room = MAX_FILE_CHARS - len(self._unfinished.text)
            return
        self._joiner = None
        yield from self._put_away()  # one file is open at a time
        yield ev.FileStart(path=opened.path)
        if opened.mode == "append" and (former := self._files.get(opened.path)):
            yield ev.FileChunk(path=opened.path, chunk=former)

    def _grow(self, chunk: FileChunk) -> Iterator[Event]:
        if self._is_refused:
            return
        if self._joiner is not None:
            yield from self._join(self._joiner, chunk)
        elif self._mode != "patch":
            yield ev.FileChunk(path=chunk.path, chunk=chunk.text)

    def _close(self, closed: FileClosed) -> Iterator[Event]:
        if closed.completion == "truncated" or self._is_refused:
            return
        if self._joiner is not None:
            yield from self._finish_joined(self._joiner, closed)
            return
        path, content = closed.path, closed.content
        former = self._files.get(path)
        if self._mode == "append":
            content = (former or "") + content
        elif self._mode == "patch":
            try:
                content = apply_patch(former or "", content)
            except PatchRejected as error:
                yield self._fault("patch_rejected", path, f"{path}: {error}")
                yield ev.FileRestored(path=path, content=former)
                return
        yield from self._finish(path, content)

    def _request(self, line: str) -> Iterator[Event]:
        try:
            if not self._installs_left:
                raise InstallRefused(self._no_installs)
            arguments = argument_vector(line)
        except InstallRefused as refusal:
            yield ev.ModelWarning(kind="install_command", detail=f"{line!r} was not run: {refusal}")
            return
        if arguments is not None:
            self._installs_left -= 1
            yield ev.InstallRequested(arguments=arguments)

    def _finish(self, path: str, content: str) -> Iterator[Event]:
        former = self._files.get(path)
        placeholder = find_placeholder(path, content, former)
        if placeholder is not None:
            detail = f"{path}, line {placeholder.line}, stands for text left out: "
            yield self._fault("placeholder", path, detail + repr(placeholder.text))
            yield ev.FileRestored(path=path, content=former)
            return
        self.faults.pop(path, None)
        self._files[path] = content
        yield ev.FileEnd(path=path, content=content)

    # --- the unfinished file

    def _put_away(self) -> Iterator[Event]:
        """Show the former text of the unfinished file, while its text so far is only kept here."""
        if self._unfinished is not None and self._is_shown:
            self._is_shown = False
            path = self._unfinished.path
            yield ev.FileRestored(path=path, content=self._files.get(path))

    def _join(self, joiner: SeamJoiner, chunk: FileChunk) -> Iterator[Event]:
        was_undecided = joiner.joint is Joint.UNDECIDED
        new = joiner.feed(chunk.text)
        if was_undecided:
            yield from self._tell_joint(joiner.joint)
        if joiner.joint is Joint.CONTINUED:
            self._room -= len(new)
        if self._room < 0:
            raise ScofLimitError("a file", MAX_FILE_CHARS, [])
        if new:
            yield ev.FileChunk(path=chunk.path, chunk=new)

    def _tell_joint(self, joint: Joint) -> Iterator[Event]:
        unfinished = self._unfinished
        assert unfinished is not None
        match joint:
            case Joint.CONTINUED if not self._is_shown:
                yield ev.FileStart(path=unfinished.path)
                yield ev.FileChunk(path=unfinished.path, chunk=unfinished.text)
                self._is_shown = True
            case Joint.REWRITTEN:
                yield ev.FileStart(path=unfinished.path)
                self._is_shown = True
            case Joint.MISMATCHED:
                yield from self._tell_mismatch(unfinished.path)

    def _tell_mismatch(self, path: str) -> Iterator[Event]:
        yield self._fault(
            "seam_mismatch", path, f"{path}: the answer does not go on where the text ends"
        )
        yield from self._put_away()

    def _finish_joined(self, joiner: SeamJoiner, closed: FileClosed) -> Iterator[Event]:
        unfinished = self._unfinished
        assert unfinished is not None
        content = closed.content
        match joiner.joint:
            case Joint.UNDECIDED:
                yield from self._tell_mismatch(closed.path)
                return
            case Joint.MISMATCHED:
                return
            case Joint.CONTINUED:
                content = unfinished.text + content[len(unfinished.seam) :]
        self._unfinished = None
        yield from self._finish(closed.path, content)


def _without_torn_end(parsed: list[ScofEvent]) -> list[ScofEvent]:
    """Leave out the text that only the end of the answer made text, if a file broke off in it.

    It may as well be the beginning of the marker or of a header. So the text so far of a file
    consists of whole lines, each known to be its own.
    """
    if not parsed or not isinstance(parsed[-1], FileClosed) or parsed[-1].completion != "truncated":
        return parsed
    *kept, closed = parsed
    while kept and isinstance(kept[-1], FileChunk):
        kept.pop()
    return [*kept, closed]
