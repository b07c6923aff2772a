"""The mailbox and a real actor system, without the gateway's HTTP: requests, limits, ends."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import asyncpg
import orjson
import psutil
import pytest

from actors import messages as m
from actors.errors import ActorsUnavailable, NotFound, NothingRunning, ProjectBusy, StateDirUnusable
from actors.settings import Settings
from gateway.actor_system import QUESTIONS, ActorSystem, _is_alive
from gateway.mailbox import Mailbox, open_mailbox, shut_down
from tests.support.feed import FeedSink
from tests.support.log import log_line
from tests.support.openrouter import ScriptedOpenRouter

from thespian.system.transport import (  # isort: skip  # after wire, which sets its address
    ExternalInterfaceTransportInit,
    ReceiveEnvelope,
    TransmitIntent,
)
from thespian.system.transport.TCPTransport import TCPTransport  # isort: skip

WAIT_SECONDS = 90.0  # forty births on a machine with other work take half a minute
STOP_SECONDS = 20.0
NURSERY_CHILDREN = 32


class System:
    """An actor system as the gateway has it, and the processes that it consists of."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.restarted = asyncio.Event()
        self.actors = ActorSystem(settings, self._note_restart)

    async def _note_restart(self) -> None:
        self.restarted.set()

    async def ask(self, type_: type[m.Request], **fields: Any) -> Any:
        return await self.actors.ask(type_(request_id=uuid4().hex, **fields), WAIT_SECONDS)

    async def insist(self, type_: type[m.Request], **fields: Any) -> Any:
        """Ask again while the system is too busy to take a message, as the gateway does."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                return await self.ask(type_, **fields)
            except ActorsUnavailable:
                if time.monotonic() > deadline:
                    raise

    async def status(self) -> m.Status:
        answer: m.Status = await self.ask(m.GetStatus)
        return answer

    @property
    def supervisor(self) -> psutil.Process:
        running = orjson.loads(self.settings.actors_file.read_bytes())
        return psutil.Process(running["pid"])

    def processes(self) -> list[psutil.Process]:
        """Every process that was started with this state directory in its environment."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("CODEGEN_STATE_DIR") == self.settings.state_dir:
                    found.append(process)
        return found

    async def gone(self, processes: list[psutil.Process]) -> None:
        """Wait for the end of processes."""
        _, alive = await asyncio.to_thread(psutil.wait_procs, processes, WAIT_SECONDS)
        assert not alive, f"left over: {alive}\n{self.settings.log_file.read_text()[-3000:]}"

    async def end(self) -> None:
        """Stop it; nothing may be left, whatever the test did."""
        try:
            await self.actors.stop(STOP_SECONDS)
            await self.gone(self.processes())
        finally:
            for process in self.processes():
                with contextlib.suppress(psutil.Error):
                    process.kill()


@pytest.fixture
def settings(tmp_path: Path, database_url: str, openrouter: ScriptedOpenRouter) -> Settings:
    settings = Settings.read(
        {
            "CODEGEN_STATE_DIR": str(tmp_path),
            "DATABASE_URL": database_url,
            "CODEGEN_SANDBOX": "static",
            **openrouter.environment,
        }
    )
    settings.log_file.parent.mkdir()
    return settings


@pytest.fixture
async def sink(settings: Settings) -> AsyncIterator[FeedSink]:
    async with FeedSink(settings.feed_socket) as sink:
        yield sink


@pytest.fixture
async def system(settings: Settings, sink: FeedSink) -> AsyncIterator[System]:
    """A running system, stopped with the test."""
    system = System(settings)
    try:
        await system.actors.start()
        yield system
    finally:
        await system.end()


class Client:
    """Another party on the wire, e.g. an admin: receives whatever is sent to its address."""

    def __init__(self, settings: Settings) -> None:
        running = orjson.loads(settings.actors_file.read_bytes())
        self._supervisor = TCPTransport.getAddressFromString(running["supervisor"])
        self._transport = TCPTransport(
            ExternalInterfaceTransportInit(), {"Admin Port": running["admin_port"]}, None, None
        )

    def send(self, message: m.Message) -> None:
        self._transport.scheduleTransmit(None, TransmitIntent(self._supervisor, message))

    def receive(self) -> Any:
        """Block until a message comes and return it."""
        received = self._transport.run(None, timedelta(seconds=WAIT_SECONDS))
        assert isinstance(received, ReceiveEnvelope), received
        return received.message

    def ask(self, request: m.Request) -> Any:
        self.send(request)
        return self.receive()

    def close(self) -> None:
        sockets = [self._transport.socket, *self._transport._openSockets.values()]
        self._transport.close()
        for each in sockets:  # Thespian leaves these to the garbage collector
            each.close()


# --- requests ------------------------------------------------------------------------------------


async def test_a_fresh_system_has_no_project_and_says_so(system: System) -> None:
    status = await system.status()
    assert (status.live, status.running, status.waiting_runs, status.restarts) == (0, 0, 0, 0)
    assert status.pids == {}
    assert system.actors.is_up


async def test_asking_for_an_absent_project_creates_nothing(system: System) -> None:
    with pytest.raises(NotFound, match="not in memory"):
        await system.ask(m.GetProject, project_id="p1")
    assert (await system.status()).live == 0


async def test_a_revived_project_is_live_in_a_process_of_its_own(system: System) -> None:
    revived = await system.ask(m.ReviveProject, project_id="p1")
    assert (revived.project_id, revived.stage, revived.running) == ("p1", "live", False)
    assert (await system.ask(m.GetProject, project_id="p1")).stage == "live"
    status = await system.status()
    assert status.live == 1
    assert psutil.pid_exists(status.pids["p1"])
    assert status.pids["p1"] != system.supervisor.pid


async def test_many_requests_at_once_each_get_their_own_answer(system: System) -> None:
    asked = [f"p{number % 3}" for number in range(60)]
    answers = await asyncio.gather(
        *(system.ask(m.ReviveProject, project_id=project_id) for project_id in asked)
    )
    assert [answer.project_id for answer in answers] == asked
    assert (await system.status()).live == 3


async def test_what_the_actor_refuses_is_raised_as_its_own_error(system: System) -> None:
    with pytest.raises(NothingRunning):
        await system.ask(m.CancelGeneration, project_id="p1")


async def test_a_watcher_is_told_of_every_stage_until_it_ends_its_watch(system: System) -> None:
    client = Client(system.settings)
    try:
        watch = m.WatchProject(request_id="w", project_id="p1")
        answer = await asyncio.to_thread(client.ask, watch)
        assert (answer.request_id, answer.stage) == ("w", "absent")
        assert (await system.status()).live == 0

        await system.ask(m.ReviveProject, project_id="p1")
        changes = [await asyncio.to_thread(client.receive)]
        await system.ask(m.PassivateProject, project_id="p1")
        changes += [await asyncio.to_thread(client.receive) for _ in range(2)]
        assert all(isinstance(change, m.ProjectChanged) for change in changes)
        assert [change.stage for change in changes] == ["live", "passivating", "absent"]

        unwatch = m.UnwatchProject(request_id="u", project_id="p1")
        assert await asyncio.to_thread(client.ask, unwatch) == m.Done(request_id="u")
        await system.ask(m.ReviveProject, project_id="p1")
        status = await asyncio.to_thread(client.ask, m.GetStatus(request_id="s"))
        assert isinstance(status, m.Status)  # and no change before it
    finally:
        client.close()


async def test_a_watching_mailbox_is_not_disturbed_by_what_it_does_not_ask_for(
    system: System,
) -> None:
    answer = await system.ask(m.WatchProject, project_id="p1")
    assert answer.stage == "absent"
    await system.ask(m.ReviveProject, project_id="p1")
    await system.ask(m.PassivateProject, project_id="p1")
    assert (await system.status()).live == 0


# --- leaving memory ------------------------------------------------------------------------------


async def test_a_passivated_project_s_process_is_gone_and_the_next_one_goes_on(
    system: System, sink: FeedSink
) -> None:
    await system.ask(m.ReviveProject, project_id="p1")
    process = psutil.Process((await system.status()).pids["p1"])
    assert await system.ask(m.PassivateProject, project_id="p1")
    await system.gone([process])
    assert (await system.status()).live == 0
    hibernated = await sink.expect("hibernated")
    await system.ask(m.ReviveProject, project_id="p1")
    assert (await system.status()).pids["p1"] != process.pid
    await system.ask(m.PassivateProject, project_id="p1")
    again = await sink.expect("hibernated", 2)
    assert again["seq"] == hibernated["seq"] + 1  # it left in order: no number is skipped


async def test_passivating_an_absent_project_is_done(system: System) -> None:
    assert isinstance(await system.ask(m.PassivateProject, project_id="p1"), m.Done)


async def test_a_project_that_runs_refuses_to_leave_and_a_clean_up_leaves_it_alone(
    system: System, sink: FeedSink, openrouter: ScriptedOpenRouter
) -> None:
    gate = openrouter.hold("<h1>", purpose="implement")
    await system.ask(m.StartGeneration, project_id="busy", description="a page")
    await sink.expect("file_start")
    await system.ask(m.ReviveProject, project_id="idle")
    with pytest.raises(ProjectBusy):
        await system.ask(m.PassivateProject, project_id="busy")
    status = await system.status()
    assert status.running == 1
    assert (await system.ask(m.GetProject, project_id="busy")).running
    idle = psutil.Process(status.pids["idle"])
    assert isinstance(await system.ask(m.CleanUp, idle_seconds=0.0), m.Done)
    await system.gone([idle])
    assert set((await system.status()).pids) == {"busy"}
    gate.release()
    await sink.expect("generation_complete")


async def test_a_removed_project_leaves_no_process_and_no_data(
    system: System, sink: FeedSink
) -> None:
    await system.ask(m.StartGeneration, project_id="p1", description="a page")
    await sink.expect("generation_complete")
    process = psutil.Process((await system.status()).pids["p1"])
    assert isinstance(await system.ask(m.RemoveProject, project_id="p1"), m.Done)
    await system.gone([process])
    connection = await asyncpg.connect(system.settings.database_url)
    try:
        for table in ("projects", "agent_states", "events", "generated_files", "commands"):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0
    finally:
        await connection.close()


async def test_more_projects_than_a_nursery_holds_get_a_second_one_and_all_can_leave(
    system: System,
) -> None:
    names = [f"p{number}" for number in range(NURSERY_CHILDREN + 8)]
    await asyncio.gather(*(system.insist(m.ReviveProject, project_id=name) for name in names))
    status = await system.status()
    assert status.live == len(names)
    assert status.nurseries >= 2
    assert len(set(status.pids.values())) == len(names)
    processes = [psutil.Process(pid) for pid in status.pids.values()]
    parents = [process.ppid() for process in processes]
    assert max(parents.count(parent) for parent in parents) <= NURSERY_CHILDREN
    while live := (await system.insist(m.GetStatus)).pids:
        passivations = (system.insist(m.PassivateProject, project_id=name) for name in live)
        for outcome in await asyncio.gather(*passivations, return_exceptions=True):
            assert isinstance(outcome, m.Done | ProjectBusy)  # busy: it was told before, and leaves
    await system.gone(processes)


async def test_a_nursery_that_dies_as_it_is_born_is_replaced(system: System) -> None:
    supervisor = system.supervisor
    (first,) = supervisor.children()
    first.kill()
    newborn = await asyncio.to_thread(_next_child, supervisor, first)
    newborn.kill()
    assert (await system.ask(m.ReviveProject, project_id="p1")).project_id == "p1"
    assert newborn not in supervisor.children()


def _next_child(parent: psutil.Process, other: psutil.Process) -> psutil.Process:
    """Wait, without a pause, until the parent has a child beside `other`, and return it."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        for child in parent.children():
            if child != other:
                return child
    raise AssertionError("no child was born")


class Silent:
    """A mailbox to somebody who has ended, until so many questions were in vain."""

    def __init__(self, until: int) -> None:
        self.asked = 0
        self._until = until

    async def ask(self, request: m.Request, timeout_seconds: float) -> None:
        self.asked += 1
        if self.asked <= self._until:
            raise ActorsUnavailable


async def test_a_supervisor_that_cannot_be_asked_is_given_the_time_of_one_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.actor_system.HUNG_SECONDS", 0.3)
    gone, slow = Silent(until=QUESTIONS), Silent(until=QUESTIONS - 1)
    asking = asyncio.create_task(_is_alive(cast("Mailbox", gone)))
    await asyncio.wait([asking], timeout=0.05)  # it has been asked once by now
    assert gone.asked == 1
    assert not await asking
    assert gone.asked == QUESTIONS
    assert await _is_alive(cast("Mailbox", slow))


# --- no answer -----------------------------------------------------------------------------------


async def test_a_supervisor_that_does_not_answer_is_unavailable_and_its_late_answer_is_dropped(
    system: System,
) -> None:
    supervisor = system.supervisor
    supervisor.suspend()
    try:
        for _ in range(2):
            with pytest.raises(ActorsUnavailable):
                await system.actors.ask(m.GetStatus(request_id=uuid4().hex), 0.05)
        late = asyncio.create_task(system.ask(m.ReviveProject, project_id="p1"))
    finally:
        supervisor.resume()
    assert (await late).project_id == "p1"
    assert (await system.status()).live == 1


async def test_a_cancelled_request_is_carried_out_and_its_answer_disturbs_nobody(
    system: System,
) -> None:
    supervisor = system.supervisor
    supervisor.suspend()
    try:
        asking = asyncio.create_task(system.ask(m.ReviveProject, project_id="p1"))
        following = asyncio.create_task(system.ask(m.ReviveProject, project_id="p1"))
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
    finally:
        supervisor.resume()
    assert (await following).stage == "live"
    assert (await system.status()).live == 1


async def test_a_supervisor_that_is_gone_is_replaced_and_the_gateway_is_told(
    system: System,
) -> None:
    old = system.processes()
    await system.ask(m.ReviveProject, project_id="p1")
    supervisor = system.supervisor
    supervisor.kill()
    async with asyncio.timeout(WAIT_SECONDS):
        await system.restarted.wait()
    assert system.actors.restarts == 1
    assert system.supervisor.pid != supervisor.pid
    assert (await system.status()).live == 0
    await system.gone(old)
    assert not system.actors.closed.is_set()


async def test_whoever_waits_when_the_mailbox_is_closed_is_told(system: System) -> None:
    system.supervisor.suspend()
    try:
        mailbox = open_mailbox(system.settings)
        asking = asyncio.create_task(mailbox.ask(m.GetStatus(request_id="1"), WAIT_SECONDS))
        await asyncio.sleep(0)
        await mailbox.close()
        with pytest.raises(ActorsUnavailable):
            await asking
        with pytest.raises(ActorsUnavailable):
            await mailbox.ask(m.GetStatus(request_id="2"))
        await mailbox.close()
    finally:
        system.supervisor.resume()


async def test_a_mailbox_to_nobody_says_so_rather_than_waiting(system: System) -> None:
    running = orjson.loads(system.settings.actors_file.read_bytes())
    supervisor = system.supervisor
    mailbox = Mailbox(running["supervisor"], running["admin_port"])
    try:
        supervisor.kill()
        await asyncio.to_thread(supervisor.wait, WAIT_SECONDS)
        with pytest.raises(ActorsUnavailable):
            await mailbox.ask(m.GetStatus(request_id="1"), WAIT_SECONDS)
    finally:
        await mailbox.close()


# --- start and end -------------------------------------------------------------------------------


async def test_an_admin_in_another_process_ends_the_system_in_order(
    system: System, sink: FeedSink
) -> None:
    await system.ask(m.ReviveProject, project_id="p1")
    processes = system.processes()
    admin = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway",
        "shutdown",
        "--state-dir",
        system.settings.state_dir,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await admin.communicate()
    assert admin.returncode == 0, output.decode()
    async with asyncio.timeout(WAIT_SECONDS):
        await system.actors.closed.wait()
    await system.gone(processes)
    assert system.actors.restarts == 0
    with pytest.raises(ActorsUnavailable):
        await system.status()


async def test_shut_down_from_another_thread_saves_and_sets_closed(
    system: System, sink: FeedSink, openrouter: ScriptedOpenRouter
) -> None:
    gate = openrouter.hold("<h1>", purpose="implement")
    await system.ask(m.StartGeneration, project_id="p1", description="a page")
    await sink.expect("file_start")
    await system.ask(m.ReviveProject, project_id="p2")
    complete = await asyncio.to_thread(shut_down, system.settings)
    gate.release()
    assert (complete.saved, complete.abandoned) == (2, 0)
    async with asyncio.timeout(WAIT_SECONDS):
        await system.actors.closed.wait()
    connection = await asyncpg.connect(system.settings.database_url)
    try:
        sql = "SELECT bool_and(is_clean), count(run) FROM agent_states"
        row = await connection.fetchrow(sql)
        assert row is not None
        assert tuple(row) == (True, 1)  # the run goes on next time
    finally:
        await connection.close()


async def test_a_second_shut_down_is_told_that_no_service_runs(system: System) -> None:
    await asyncio.to_thread(shut_down, system.settings)
    async with asyncio.timeout(WAIT_SECONDS):
        await system.actors.closed.wait()
    with pytest.raises(ActorsUnavailable):
        await asyncio.to_thread(shut_down, system.settings)
    await system.actors.stop(STOP_SECONDS)
    with pytest.raises(ActorsUnavailable, match="No service runs"):
        await asyncio.to_thread(shut_down, system.settings)


async def test_a_stop_ends_every_process_and_tells_no_crash(system: System) -> None:
    await system.ask(m.ReviveProject, project_id="p1")
    processes = system.processes()
    await system.actors.stop(STOP_SECONDS)
    await system.gone(processes)
    assert system.actors.restarts == 0
    assert not system.actors.closed.is_set()
    assert not system.settings.actors_file.exists()


async def test_a_system_that_does_not_stop_is_ended_by_force_at_the_deadline(
    system: System,
) -> None:
    await system.ask(m.ReviveProject, project_id="p1")
    processes = system.processes()
    system.supervisor.suspend()
    await system.actors.stop(0.2)
    await system.gone(processes)
    assert not system.settings.actors_file.exists()


async def test_a_stop_while_a_dead_system_is_being_replaced_waits_for_nobody(
    system: System,
) -> None:
    this = psutil.Process()
    old = set(this.children())
    with log_line("gateway.actor_system", "did not end in time") as complaint:
        system.supervisor.kill()
        async with asyncio.timeout(WAIT_SECONDS):
            while set(await asyncio.to_thread(this.children)) <= old:
                pass  # each turn looks for the successor's first process
        await system.actors.stop(STOP_SECONDS)
    assert complaint.records == []
    assert system.processes() == []
    assert not system.settings.actors_file.exists()


async def test_a_process_that_does_not_end_holds_up_no_stop(system: System) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while (await system.status()).spares < system.settings.spare_actors:
            pass  # each turn is a question to the supervisor and its answer
    processes = system.processes()
    (nursery,) = system.supervisor.children()
    nursery.children()[0].suspend()
    with log_line("gateway.actor_system", "did not end in time") as complaint:
        await system.actors.stop(STOP_SECONDS)
    assert complaint.records == []
    await system.gone(processes)


async def test_a_process_that_does_not_end_is_not_left_over_when_the_guard_was_killed(
    system: System,
) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while (await system.status()).spares < system.settings.spare_actors:
            pass  # each turn is a question to the supervisor and its answer
    processes = system.processes()
    (nursery,) = system.supervisor.children()
    nursery.children()[0].suspend()
    guard = system.supervisor.parents()[1]  # above the admin
    guard.kill()
    async with asyncio.timeout(WAIT_SECONDS):
        await system.restarted.wait()
    await system.gone(processes)
    assert (await system.status()).live == 0


async def test_every_port_of_the_system_is_bound_to_loopback_alone(system: System) -> None:
    await system.ask(m.ReviveProject, project_id="p1")
    listening = [
        connection.laddr.ip
        for process in system.processes()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 5  # admin, logger, supervisor, nursery, project, spares
    assert set(listening) == {"127.0.0.1"}


async def test_a_system_that_cannot_start_says_where_to_look_and_leaves_nothing(
    settings: Settings, sink: FeedSink
) -> None:
    system = System(replace(settings, max_runs=0))  # which its processes refuse
    try:
        with pytest.raises(ActorsUnavailable, match=r"service\.log"):
            await system.actors.start()
        assert not system.actors.is_up
        with pytest.raises(ActorsUnavailable):
            await system.status()
    finally:
        await system.end()
    assert system.processes() == []
    assert not settings.actors_file.exists()


async def test_a_system_is_not_up_before_its_start(settings: Settings) -> None:
    system = System(settings)
    assert not system.actors.is_up
    with pytest.raises(ActorsUnavailable):
        await system.status()


async def test_a_key_that_others_can_read_is_refused_before_anything_starts(
    settings: Settings,
) -> None:
    settings.key_file.write_bytes(b"k" * 32)
    settings.key_file.chmod(0o644)
    system = System(settings)
    with pytest.raises(StateDirUnusable, match="chmod 600"):
        await system.actors.start()
    assert system.processes() == []
