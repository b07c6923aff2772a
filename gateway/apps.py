"""Where the apps of projects answer, as far as this gateway knows, and how they are kept awake.

The project's actor is asked. Who *visits* an app has it started; any other request, from a page
that was left open perhaps, only has it found, and wakes nobody. What was said is good for a moment,
so a page with a hundred requests asks once; while something passes the actor is asked now and then,
which keeps the project awake.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TypeVar

from actors.addresses import digest_in, slug_of
from actors.errors import ActorsUnavailable, NotFound, ServiceError
from actors.messages import PreviewOpened
from actors.reader import Reader
from gateway.commands import find_preview, open_preview
from gateway.context import Actors

FRESH_SECONDS = 2.0  # from then on the actor is asked again, while requests go on
STALE_SECONDS = 10.0  # from then on they wait for its answer
MAX_KNOWN = 1_000
Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where an app answers, or (`url` is None) what is done so that it will.

    `is_behind`: newer files than those that it answers with have been tried, and did not do.
    """

    url: str | None
    stage: str
    is_behind: bool
    told_at: float

    @property
    def sentence(self) -> str:
        """What is done meanwhile, to be read; empty where nothing is known."""
        return f"{self.stage[0].upper()}{self.stage[1:]} …" if self.stage else ""

    @property
    def age_seconds(self) -> float:
        return time.monotonic() - self.told_at


class Apps:
    """One question of a kind at a time to a project's actor, however many wait for the answer."""

    def __init__(self, actors: Actors, reader: Reader) -> None:
        self._actors = actors
        self._reader = reader
        self._projects: dict[str, str] = {}  # by slug; those that were seen to have files
        self._known: dict[str, Whereabouts] = {}
        self._asking: dict[tuple[str, bool], asyncio.Task[Whereabouts]] = {}

    async def project_at(self, slug: str) -> str:
        """Return the id of the project with this slug; raises NotFound if it has no files yet."""
        project_id = self._projects.get(slug)
        if project_id is None:
            digest = digest_in(slug)
            found = slug if digest is None else await self._reader.project_of_digest(digest)
            has_app = found is not None and slug_of(found) == slug
            if found is None or not has_app or not await self._reader.has_files(found):
                raise NotFound("There is no app at this address yet; it begins with its files.")
            project_id = found
            _keep(self._projects, slug, project_id)
        return project_id

    async def visit(self, project_id: str) -> Whereabouts:
        """Have the app started, unless it answers; raises what the last start has failed with."""
        known = self._known.get(project_id)
        if known is None or known.url is None or known.age_seconds > STALE_SECONDS:
            return await asyncio.shield(self._question(project_id, is_visit=True))
        self.use(project_id)
        return known

    async def find(self, project_id: str) -> Whereabouts:
        """Return where the app answers, if it does."""
        known = self._known.get(project_id)
        limit = FRESH_SECONDS if known is None or known.url is None else STALE_SECONDS
        if known is None or known.age_seconds > limit:
            return await asyncio.shield(self._question(project_id, is_visit=False))
        self.use(project_id)
        return known

    def use(self, project_id: str) -> None:
        """Take note that somebody uses the app: its project stays awake."""
        known = self._known.get(project_id)
        if known is not None and known.age_seconds > FRESH_SECONDS:
            self._question(project_id, is_visit=False)

    def lose(self, project_id: str) -> None:
        """Forget where the app answers: nobody did."""
        self._known.pop(project_id, None)

    async def close(self) -> None:
        """Ask no more."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _question(self, project_id: str, *, is_visit: bool) -> asyncio.Task[Whereabouts]:
        key = project_id, is_visit
        task = self._asking.get(key)
        if task is None:
            task = asyncio.create_task(self._ask(project_id, is_visit), name=f"app {project_id}")
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key))
            task.add_done_callback(_look_at_error)
        return task

    async def _ask(self, project_id: str, is_visit: bool) -> Whereabouts:
        ask = open_preview if is_visit else find_preview
        try:
            answer: PreviewOpened = await ask(self._actors, project_id)
        except ServiceError as error:
            if not isinstance(error, ActorsUnavailable):  # else the app goes on without its actor
                self.lose(project_id)
            if isinstance(error, NotFound):  # it has been deleted
                self._projects.pop(slug_of(project_id), None)
            raise
        told = Whereabouts(answer.url, answer.stage, answer.is_behind, time.monotonic())
        _keep(self._known, project_id, told)
        return told


def _keep(known: dict[str, Kept], key: str, value: Kept) -> None:
    """Keep it as the newest; the oldest goes where there are too many."""
    known.pop(key, None)
    known[key] = value
    if len(known) > MAX_KNOWN:
        del known[next(iter(known))]


def _look_at_error(task: asyncio.Task[Whereabouts]) -> None:
    """Nobody may have waited for it; whoever asks next is told."""
    if not task.cancelled():
        task.exception()
