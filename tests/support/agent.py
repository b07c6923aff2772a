"""A project agent in this process: its office, its surroundings, and a database that misbehaves.

Everything around it is real but the office, which stands for the supervisor, and the model's
server, which is scripted. What happens to the database happens in PostgreSQL itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pytest

from actors import messages as m
from actors.agent import ProjectAgent
from actors.database import connect
from actors.generation.choose import make_model
from actors.generation.model import Model
from actors.office import Tools
from actors.sandbox.base import LogSink, Sandbox
from actors.sandbox.static import StaticSandbox
from actors.settings import Settings
from actors.store import Store
from tests.support.feed import FeedSink
from tests.support.log import log_line
from tests.support.openrouter import ScriptedOpenRouter
from tests.support.postgres import of_database, wait_until_blocked
from tests.support.sandbox import MemoryEngine, MemorySandbox

SITE = {"index.html": "<h1>Hello</h1>\n", "app.js": "console.log(1);\n"}
MORE = {"more.css": "h1 { color: red }\n"}
WAIT_SECONDS = 20.0


class ProcessEnded(BaseException):
    """What follows `Desk.crash` is not carried out, as in a process that has ended."""


class Desk:
    """An office that keeps what is said; it grants every run at once and answers refusals."""

    def __init__(self) -> None:
        self.agent: ProjectAgent | None = None
        self.told: list[m.Message] = []
        self._told_more = asyncio.Event()
        self.left = asyncio.Event()
        self.crashed = asyncio.Event()
        self.grants = True
        self._answers: dict[str, asyncio.Future[m.Answer]] = {}
        self._passivation = m.PassivateProject(request_id="", project_id="")
        self._tasks: set[asyncio.Task[None]] = set()

    def tell_supervisor(self, message: m.Message) -> None:
        self.told.append(message)
        self._told_more.set()
        if isinstance(message, m.RunWanted) and self.grants:
            self.post(m.RunGranted(project_id=message.project_id))
        if isinstance(message, m.ProjectGone):
            self.post(m.LeaveGranted())
        if isinstance(message, m.PassivationRefused):
            request_id = self._passivation.request_id
            failed = m.Failed(request_id=request_id, code=message.code, message=message.message)
            self.answer(self._passivation, failed)

    def post(self, message: m.Message) -> None:
        assert self.agent is not None
        if isinstance(message, m.PassivateProject):
            self._passivation = message
        task = asyncio.create_task(self.agent.handle(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def ask(self, request: m.Request) -> m.Answer:
        self._answers[request.request_id] = asyncio.get_running_loop().create_future()
        self.post(request)
        return await asyncio.wait_for(self._answers[request.request_id], WAIT_SECONDS)

    def answer(self, request: m.Request, answer: m.Answer) -> None:
        self._answers[request.request_id].set_result(answer)

    def leave(self) -> None:
        self.left.set()

    def crash(self) -> NoReturn:
        self.crashed.set()
        self.left.set()
        raise ProcessEnded

    async def until_told(self, message: m.Message) -> None:
        """Wait until this is the newest of what the supervisor was told."""
        async with asyncio.timeout(WAIT_SECONDS):
            while self.told[-1:] != [message]:
                self._told_more.clear()
                await self._told_more.wait()

    def times_told(self, type_: type[m.Message]) -> int:
        return sum(isinstance(message, type_) for message in self.told)


class World:
    """One project's surroundings, over any number of lives of its agent.

    The sandbox is static; with an `engine` it is one in memory, or `make_sandbox` makes it.
    """

    def __init__(
        self, settings: Settings, sink: FeedSink, model: ScriptedOpenRouter, project_id: str = "p1"
    ) -> None:
        self.settings = settings
        self.sink = sink
        self.model = model
        self.project_id = project_id
        self.desk = Desk()
        self.engine: MemoryEngine | None = None
        self.make_sandbox: Callable[[LogSink], Sandbox] | None = None
        self._number = 0
        self._sandbox_log: LogSink | None = None
        self.agents: list[ProjectAgent] = []
        self.stores: list[Store] = []
        self.models: list[Model] = []

    # --- its lives -------------------------------------------------------------------------------

    async def live(self, crash_report: m.CrashReport | None = None, *, grants: bool = True) -> None:
        """Begin a life of the agent, whatever became of the one before."""
        self.desk = Desk()
        self.desk.grants = grants
        store = Store(self.settings.database_url)
        self.stores.append(store)
        self.models.append(make_model(self.settings))
        agent = ProjectAgent(
            self.project_id,
            settings=self.settings,
            tools=Tools(store=store, model=self.models[-1], make_sandbox=self._make_sandbox),
            office=self.desk,
        )
        self.desk.agent = agent
        self.agents.append(agent)
        await agent.start(crash_report)

    def _make_sandbox(self, on_log: LogSink) -> Sandbox:
        self._sandbox_log = on_log
        if self.engine is not None:
            return MemorySandbox(self.engine)
        if self.make_sandbox is not None:
            return self.make_sandbox(on_log)
        return StaticSandbox(self.project_id, "http://127.0.0.1:1", on_log)

    async def die(self) -> None:
        """End the agent's life as a crash does: without saving anything more."""
        agent = self.desk.agent
        assert agent is not None
        assert agent._runner is not None
        tasks = [task for task in (agent._runner._task, agent._preview._task) if task is not None]
        for task in tasks:
            task.cancel()
            await asyncio.wait([task])
        await agent._preview.stop()
        self.desk.left.set()

    async def has_left(self) -> None:
        """Wait until the agent's process may end."""
        async with asyncio.timeout(WAIT_SECONDS):
            await self.desk.left.wait()

    # --- what is asked of it ---------------------------------------------------------------------

    def generate(self, description: str = "an app", **fields: Any) -> Awaitable[m.Answer]:
        self._number += 1
        return self.desk.ask(
            m.StartGeneration(
                request_id=f"r{self._number}",
                project_id=self.project_id,
                description=description,
                **fields,
            )
        )

    def request(self, type_: type[m.ProjectRequest], **fields: Any) -> Awaitable[m.Answer]:
        self._number += 1
        return self.desk.ask(
            type_(request_id=f"r{self._number}", project_id=self.project_id, **fields)
        )

    def log_in_sandbox(self, line: str) -> None:
        """Have the sandbox, which a run has begun to use, say a line."""
        assert self._sandbox_log is not None
        self._sandbox_log("stdout", line)

    # --- the database ----------------------------------------------------------------------------

    async def files(self) -> dict[str, str]:
        store = Store(self.settings.database_url)
        try:
            return await store.file_contents(self.project_id)
        finally:
            await store.close()

    async def everything_is_saved(self) -> None:
        """Wait until all that viewers have been told is in the journal."""
        last = self.sink.frames[-1]["seq"]
        await self.sink.until(
            lambda _: any(kind == "D" and int(rest) >= last for kind, rest in self.sink.lines)
        )

    @contextlib.asynccontextmanager
    async def database_away(self) -> AsyncIterator[None]:
        """Rename the database meanwhile: connections are cut, and further ones refused."""
        url = self.settings.database_url
        name = urlsplit(url).path.lstrip("/")
        renamer, cutter = [await connect(of_database(url, "postgres")) for _ in range(2)]
        try:
            # Its lock keeps new connections out, and it waits for those that there are to end.
            renaming = asyncio.create_task(
                renamer.execute(f"ALTER DATABASE {name} RENAME TO {name}_away")
            )
            while not renaming.done():
                await cutter.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
                    name,
                )
            await renaming
            yield
            await renamer.execute(f"ALTER DATABASE {name}_away RENAME TO {name}")
        finally:
            await renamer.close()
            await cutter.close()

    @contextlib.asynccontextmanager
    async def database_away_for_a_call(self) -> AsyncIterator[None]:
        """Take the database away, do what is inside, and give it back once a call has failed."""
        with log_line("actors.outage", "Waiting for it") as call_failed:
            async with self.database_away():
                yield
                await call_failed.logged()

    @contextlib.asynccontextmanager
    async def commits_held(self, event_type: str) -> AsyncIterator[None]:
        """Let no transaction end that journals such an event, until the block is left."""
        connection = await connect(self.settings.database_url)
        try:
            await connection.execute("SELECT pg_advisory_lock(1)")
            await connection.execute(_trigger(event_type, "PERFORM pg_advisory_xact_lock(1)"))
            yield
        finally:
            await connection.close()  # and with it the lock

    async def commit_is_held(self) -> None:
        """Wait until a transaction waits."""
        await asyncio.wait_for(wait_until_blocked(self.settings.database_url), WAIT_SECONDS)

    @contextlib.asynccontextmanager
    async def commits_refused(self, event_type: str) -> AsyncIterator[None]:
        """Have PostgreSQL refuse for good whatever transaction journals such an event."""
        connection = await connect(self.settings.database_url)
        try:
            await connection.execute(_trigger(event_type, "RAISE EXCEPTION 'refused by the test'"))
            yield
            await connection.execute("DROP TRIGGER of_test ON events")
        finally:
            await connection.close()


def _trigger(event_type: str, statement: str) -> str:
    return f"""
        CREATE FUNCTION of_test() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN {statement}; RETURN NEW; END $$;
        CREATE TRIGGER of_test BEFORE INSERT ON events
            FOR EACH ROW WHEN (NEW.type = '{event_type}') EXECUTE FUNCTION of_test();
    """


@pytest.fixture
async def world(
    tmp_path: Path, database_url: str, openrouter: ScriptedOpenRouter
) -> AsyncIterator[World]:
    """One project without a life yet; a life that is left at the end is ended in order."""
    settings = Settings.read(
        {
            "CODEGEN_STATE_DIR": str(tmp_path),
            "DATABASE_URL": database_url,
            "CODEGEN_SANDBOX": "static",
            **openrouter.environment,
        }
    )
    async with FeedSink(settings.feed_socket) as sink:
        world = World(settings, sink, openrouter)
        yield world
        if world.desk.agent is not None and not world.desk.left.is_set():
            world.desk.post(m.SaveAndStop())
            await world.has_left()
        for agent in world.agents:  # those that died have left theirs open
            if agent._feed is not None:
                await agent._feed.close()
        for store in world.stores:
            await store.close()
        for model in world.models:
            await model.close()
