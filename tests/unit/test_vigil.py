"""The vigil over a dev server in memory: what stops is started again, and that has an end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from actors import vigil as module
from actors.errors import Fenced, ServerFailed
from actors.events import ServerStopped
from actors.generation.deployment import Deployment
from actors.sandbox.base import Sandbox
from actors.sandbox.static import StaticSandbox
from actors.vigil import LEFT, MAX_RESTARTS, Vigil
from tests.support.log import log_line
from tests.support.sandbox import MemoryEngine, MemorySandbox
from tests.support.wait import wait_until

APP = {"index.html": "<h1>Hello</h1>\n"}
FOREVER_SECONDS = 3600.0


class App:
    """A served app with its vigil; what is told is kept."""

    def __init__(self) -> None:
        self.engine = MemoryEngine()
        self.deployment = Deployment(lambda: MemorySandbox(self.engine), "/", self.watch)
        self.vigil = Vigil(self.deployment, tell=self.tell, start_app=self.serve)
        self.told: list[ServerStopped] = []
        self.starts = 0  # by the vigil, failed ones included
        self.problem: Exception | None = None

    def watch(self, sandbox: Sandbox) -> None:
        self.vigil.watch(sandbox)

    async def tell(self, event: ServerStopped) -> None:
        if self.problem is not None:
            raise self.problem
        self.told.append(event)

    async def serve(self) -> None:
        self.starts += 1
        await self.deployment.serve()

    async def open(self) -> None:
        """Do what a run or a visit does."""
        async with self.deployment.turn:
            await self.deployment.ready()
            await self.deployment.write(APP)
            await self.deployment.start_server()

    async def is_served(self, count: int) -> None:
        """Wait until a server has been started for the `count`-th time."""
        await wait_until(lambda: self.engine.servers_started >= count)

    async def says(self, count: int) -> ServerStopped:
        await wait_until(lambda: len(self.told) >= count)
        return self.told[count - 1]

    async def passes(self) -> None:
        """Let pass what the vigil could do at once."""
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
async def app(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[App]:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(module, "PROBE_PAUSE_SECONDS", FOREVER_SECONDS)
    app = App()
    await app.open()
    yield app
    await app.vigil.stop()


async def test_a_server_that_ends_is_told_with_its_last_lines_and_started_again(app: App) -> None:
    await app.passes()
    app.engine.end_server(137, "It was killed.", "one", "two")
    assert await app.says(1) == ServerStopped(
        reason="exited",
        message="The app's server ended with exit code 137. It was killed. "
        "It is started again in 0.001 s.\none\ntwo",
    )
    await app.is_served(2)
    assert app.deployment.is_serving
    await app.passes()
    app.engine.end_server(1)
    assert (await app.says(2)).message.startswith("The app's server ended with exit code 1. It is")
    await app.is_served(3)


async def test_an_end_of_which_nobody_knows_the_code_is_the_sandboxs(app: App) -> None:
    await app.passes()
    app.engine.lose_server()
    told = await app.says(1)
    assert told.message.startswith("The app's sandbox was stopped or has gone. It is started")


async def test_between_its_end_and_its_start_nobody_is_sent_to_it(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", FOREVER_SECONDS)
    app.engine.end_server()
    await app.says(1)
    assert app.deployment.url is None


async def test_a_server_that_hangs_is_started_again(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROBE_PAUSE_SECONDS", 0.001)
    await app.open()  # the pause of the first one has begun
    app.engine.hang_server()
    told = await app.says(1)
    assert told.reason == "hung"
    assert told.message.startswith("The app has not answered for 20 s. It is started again")
    await app.is_served(3)


async def test_one_probe_without_an_answer_is_no_sign(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([False, True, False, True])
    asked_out = asyncio.Event()

    async def is_answering(_: MemorySandbox, __: float) -> bool:
        for answer in answers:
            return answer
        asked_out.set()
        return True

    monkeypatch.setattr(MemorySandbox, "is_answering", is_answering)
    monkeypatch.setattr(module, "PROBE_PAUSE_SECONDS", 0.001)
    await app.open()
    await asyncio.wait_for(asked_out.wait(), 20)
    assert app.told == []


async def test_what_is_slow_while_the_sandbox_is_used_does_not_hang(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes = 0
    enough = asyncio.Event()

    async def is_answering(_: MemorySandbox, __: float) -> bool:
        nonlocal probes
        probes += 1
        if probes == 6:
            enough.set()
        return False

    monkeypatch.setattr(MemorySandbox, "is_answering", is_answering)
    monkeypatch.setattr(module, "PROBE_PAUSE_SECONDS", 0.001)
    await app.open()
    async with app.deployment.turn:
        await asyncio.wait_for(enough.wait(), 20)
        assert app.told == []
    assert (await app.says(1)).reason == "hung"


async def test_a_server_that_ends_at_once_each_time_is_given_up_at_last(app: App) -> None:
    for count in range(1, MAX_RESTARTS + 1):
        await app.passes()
        app.engine.end_server()
        await app.is_served(count + 1)
    await app.passes()
    app.engine.end_server()
    told = await app.says(MAX_RESTARTS + 1)
    assert told.message.endswith(LEFT)
    assert not app.deployment.is_serving
    await app.open()  # somebody wants it: a row of its own
    await app.passes()
    app.engine.end_server()
    await app.is_served(MAX_RESTARTS + 3)


async def test_a_server_that_has_served_for_a_while_counts_anew(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STEADY_SECONDS", 0.0)
    for count in range(1, 2 * MAX_RESTARTS):
        await app.passes()
        app.engine.end_server()
        await app.is_served(count + 1)
    assert all("started again in 0.001 s" in told.message for told in app.told)


async def test_a_start_that_fails_is_tried_again(app: App) -> None:
    await app.passes()
    app.engine.server_failures = MAX_RESTARTS - 1
    app.engine.end_server()
    await app.is_served(2)
    assert app.starts == MAX_RESTARTS
    assert len(app.told) == 1


async def test_starts_that_all_fail_are_told_with_the_last_ones_reason(app: App) -> None:
    await app.passes()
    app.engine.server_failures = 100
    app.engine.end_server()
    told = await app.says(2)
    assert told == ServerStopped(reason="exited", message=f"The dev server ended. {LEFT}\nno luck")
    assert app.starts == MAX_RESTARTS


async def test_what_whoever_uses_the_sandbox_ends_is_not_told(app: App) -> None:
    await app.passes()
    app.engine.replace_server()
    await app.passes()
    await app.open()
    assert app.told == []
    assert app.starts == 0
    await app.passes()
    app.engine.end_server()  # the new one is watched
    await app.is_served(3)


async def test_a_server_that_somebody_is_about_to_replace_may_end(app: App) -> None:
    await app.passes()
    app.deployment.lose_server()
    app.engine.end_server()
    await app.passes()
    assert app.told == []


async def test_a_start_waits_for_its_turn_and_is_not_needed_behind_another(app: App) -> None:
    await app.passes()
    async with app.deployment.turn:
        app.engine.end_server()
        await app.says(1)
        await wait_until(lambda: bool(app.deployment.turn._waiters))
        await app.deployment.start_server()
    await app.passes()
    app.engine.end_server()
    await app.is_served(3)
    assert app.starts == 1


async def test_who_starts_it_during_the_pause_ends_the_pause(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", FOREVER_SECONDS)
    await app.passes()
    app.engine.end_server()
    await app.says(1)
    await app.open()
    await app.passes()
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.001)
    app.engine.end_server()
    await app.is_served(3)


async def test_stopping_ends_a_start_that_is_under_way_and_what_follows_is_watched(
    app: App,
) -> None:
    await app.passes()
    hold = app.engine.hold("start_dev_server")
    app.engine.end_server()
    await asyncio.wait_for(hold.reached.wait(), 20)
    await app.vigil.stop()
    await app.vigil.stop()
    assert not app.deployment.turn.locked()
    assert not app.deployment.is_serving
    hold.release()
    await app.open()
    await app.passes()
    app.engine.end_server()
    await app.is_served(3)


async def test_an_owner_that_was_replaced_starts_nothing(app: App) -> None:
    await app.passes()
    app.problem = Fenced()
    app.engine.end_server()
    task = app.vigil._task
    assert task is not None
    await asyncio.wait_for(task, 20)
    assert app.starts == 0


async def test_a_bug_ends_the_watch_with_a_line_in_the_log_until_the_next_server(app: App) -> None:
    await app.passes()
    app.problem = RuntimeError("what nobody foresaw")
    with log_line("actors.vigil", "watched no longer") as logged:
        app.engine.end_server()
        await logged.logged()
    app.problem = None
    await app.open()
    await app.passes()
    app.engine.end_server()
    await app.is_served(3)


async def test_what_runs_nothing_has_nothing_to_be_watched() -> None:
    told: list[ServerStopped] = []

    async def tell(event: ServerStopped) -> None:
        told.append(event)

    async def start_app() -> None:
        raise ServerFailed

    sandbox = StaticSandbox("p", "http://h", lambda stream, line: None)
    deployment = Deployment(lambda: sandbox, "/", lambda sandbox: vigil.watch(sandbox))
    vigil = Vigil(deployment, tell=tell, start_app=start_app)
    await deployment.start_server()
    for _ in range(20):
        await asyncio.sleep(0)
    await vigil.stop()
    assert told == []
