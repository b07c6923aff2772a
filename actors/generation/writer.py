"""From the model's SCOF text to the project's files: parser events in, project events out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import assert_never

from actors import events as ev
from actors.events import Event
from actors.generation.patch import PatchRejected, apply_patch
from actors.generation.scof import (
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


class FileWriter:
    """One model answer. Finished files go into `files` (path -> text) as they are finished.

    A file that breaks off, or a patch that does not fit, leaves the former text in place and is
    told as `file_restored`; the pipeline then finds it missing. A patch is not streamed: its text
    is not the file's.
    """

    def __init__(self, files: dict[str, str]) -> None:
        self._files = files
        self._parser = ScofParser()
        self._mode: Mode = "write"

    def feed(self, text: str) -> Iterator[Event]:
        """Yield what this piece of the answer brings.

        Raises ScofLimitError (an OutputInvalid) past a size limit, after the events of all that
        came before it. A file that is open then stays open: the run is over, and its end restores
        the file.
        """
        return self._translate(lambda: self._parser.feed(text))

    def close(self, reason: str) -> Iterator[Event]:
        """End the answer; `reason` is the model's finish reason, or "error". Raises as `feed`."""
        return self._translate(lambda: self._parser.close(reason))

    def _translate(self, parse: Callable[[], list[ScofEvent]]) -> Iterator[Event]:
        try:
            parsed = parse()
        except ScofLimitError as error:
            yield from self._tell(error.events)
            raise
        yield from self._tell(parsed)

    def _tell(self, parsed: Iterable[ScofEvent]) -> Iterator[Event]:
        for event in parsed:
            match event:
                case FileOpened():
                    yield from self._open(event)
                case FileChunk():
                    if self._mode != "patch":
                        yield ev.FileChunk(path=event.path, chunk=event.text)
                case FileClosed():
                    yield from self._close(event)
                case InstallCommand():
                    yield ev.ModelWarning(
                        kind="install_command",
                        detail=f"{event.line!r} was not run: package.json decides",
                    )
                case ParserWarning():
                    yield ev.ModelWarning(kind=event.kind, detail=event.detail)
                case Prose():
                    pass
                case _:
                    assert_never(event)

    def _open(self, opened: FileOpened) -> Iterator[Event]:
        self._mode = opened.mode
        yield ev.FileStart(path=opened.path)
        if opened.mode == "append" and (former := self._files.get(opened.path)):
            yield ev.FileChunk(path=opened.path, chunk=former)

    def _close(self, closed: FileClosed) -> Iterator[Event]:
        path = closed.path
        former = self._files.get(path)
        if closed.completion == "truncated":
            yield ev.FileRestored(path=path, content=former)
            return
        content = closed.content
        if self._mode == "append":
            content = (former or "") + content
        elif self._mode == "patch":
            try:
                content = apply_patch(former or "", content)
            except PatchRejected as error:
                yield ev.ModelWarning(kind="patch_rejected", detail=f"{path}: {error}")
                yield ev.FileRestored(path=path, content=former)
                return
        self._files[path] = content
        yield ev.FileEnd(path=path, content=content)
