"""The project actor: the thin shell that joins a `ProjectAgent` to its mailbox.

It begins blank, as a spare, and never forks, so it may have a thread: the bridge's, in which the
agent lives. A spare has connected to PostgreSQL and has its first statements prepared: that takes
as long as the revival itself, which does not have to wait for it then.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from actors import messages as m
from actors.actor import ActorExitRequest, BaseActor, WatchMessage, handles
from actors.agent import ProjectAgent
from actors.bridge import Bridge
from actors.generation.choose import make_model
from actors.office import Tools
from actors.sandbox.choose import chosen_kind, make_sandbox
from actors.settings import Settings
from actors.store import Store

log = logging.getLogger(__name__)


class ProjectActor(BaseActor):
    """One process; blank until `AdoptProject`."""

    def __init__(self) -> None:
        super().__init__()
        self._supervisor: Any = None
        self._bridge: Bridge | None = None
        self._store = Store(self.settings.database_url, kept_events=self.settings.kept_events)
        self._agent: ProjectAgent | None = None

    @handles(m.ConfigureActor)
    def configure(self, message: m.ConfigureActor, sender: Any) -> None:
        self._supervisor = message.supervisor
        self.send(message.supervisor, m.SpareReady(nursery=message.nursery, pid=os.getpid()))
        self._bridge = Bridge()
        self.watched_fds = [self._bridge.fileno]
        self._bridge.start()
        self._bridge.submit(self._store.stay_prepared)

    @handles(m.AdoptProject)
    def adopt(self, message: m.AdoptProject, sender: Any) -> None:
        if self._bridge is not None:
            self._bridge.submit(self._start_agent, message)

    async def _start_agent(self, message: m.AdoptProject) -> None:
        """Become the project's actor; a process that cannot must not stay, deaf, in its place."""
        assert self._bridge is not None
        try:
            await self._make_agent(message)
        except Exception:
            log.exception("%s cannot be started", message.project_id)
            end_broken_process()

    async def _make_agent(self, message: m.AdoptProject) -> None:
        assert self._bridge is not None
        office = BridgeOffice(self._bridge, self._supervisor, self.myAddress)
        self._agent = ProjectAgent(
            message.project_id,
            settings=self.settings,
            tools=make_tools(message.project_id, self.settings, self._store),
            office=office,
        )
        await self._agent.start(message.crash_report)

    @handles(
        m.StartGeneration,
        m.CancelGeneration,
        m.ReportProblem,
        m.ReviveProject,
        m.OpenPreview,
        m.FindPreview,
        m.PassivateProject,
        m.RemoveProject,
        m.RemoveSandbox,
        m.RunGranted,
        m.RunDelayed,
        m.SaveAndStop,
        m.LeaveGranted,
    )
    def hand_over(self, message: m.Message, sender: Any) -> None:
        if self._bridge is not None:
            self._bridge.submit(self._handle, message)

    @handles(m.Ping)
    def answer_ping(self, message: m.Ping, sender: Any) -> None:
        if self._bridge is not None:
            self._bridge.submit(self._answer_ping)

    async def _answer_ping(self) -> None:
        assert self._bridge is not None
        self._bridge.send(self._supervisor, m.Pong(pid=os.getpid()))

    async def _handle(self, message: m.Message) -> None:
        assert self._agent is not None  # tasks start in the order of their submission
        await self._agent.handle(message)

    @handles(WatchMessage)
    def send_outbox(self, message: Any, sender: Any) -> None:
        if self._bridge is not None:
            for address, outgoing in self._bridge.drain():
                self.send(address, outgoing)


class BridgeOffice:
    """The agent's way out: through the bridge, in order."""

    def __init__(self, bridge: Bridge, supervisor: Any, own_address: Any) -> None:
        self._bridge = bridge
        self._supervisor = supervisor
        self._own_address = own_address

    def tell_supervisor(self, message: m.Message) -> None:
        self._bridge.send(self._supervisor, message)

    def answer(self, request: m.Request, answer: m.Answer) -> None:
        if request.reply_to is not None:
            self._bridge.send(request.reply_to, answer)

    def leave(self) -> None:
        self._bridge.send(self._own_address, ActorExitRequest())

    def crash(self) -> None:
        end_broken_process()


def end_broken_process() -> None:
    """End this process as a crash does; the supervisor starts the project afresh, a few times."""
    logging.shutdown()
    os._exit(1)


def make_tools(project_id: str, settings: Settings, store: Store) -> Tools:
    """Make the adapters that the settings ask for; the gateway has resolved `sandbox: auto`."""
    kind = chosen_kind(settings)
    return Tools(
        store=store,
        model=make_model(settings),
        make_sandbox=lambda on_log: make_sandbox(
            kind, project_id, settings, on_log, settings.preview_base
        ),
    )
