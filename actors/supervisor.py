"""The supervisor: the only router between the gateway and the project actors.

It carries out what `roster.py` decides, keeps the nurseries, watches the lifeline of the gateway,
and answers admin messages. It forks (nurseries), so it never starts a thread.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from actors import messages as m
from actors.actor import (
    ActorExitRequest,
    BaseActor,
    ChildActorExited,
    WakeupMessage,
    WatchMessage,
    handles,
)
from actors.effects import Breed, Effect, ForgetBirths, Kill, Send, addressed
from actors.lineage import LOOK_SECONDS, LOOK_SIGNAL, ORPHANED_SECONDS, Lineage, has_ended
from actors.nursery import MAX_CHILDREN, Nursery
from actors.roster import Roster, key
from actors.sandbox.base import runs_commands
from actors.sandbox.choose import chosen_kind
from actors.seats import Seats
from actors.watchdog import Watchdog

log = logging.getLogger(__name__)

TICK_SECONDS = 0.25  # how often idle actors and missing spares are looked for, at least


@dataclass(slots=True)
class NurseryEntry:
    """A nursery: its address, the keys of its living children, the births asked of it."""

    address: Any
    pid: int = 0  # until it has presented itself
    children: set[str] = field(default_factory=set)
    unborn: int = 0

    @property
    def room(self) -> int:
        return MAX_CHILDREN - len(self.children) - self.unborn


class Supervisor(BaseActor):
    """Global name `codegen-supervisor`; one per service."""

    def __init__(self) -> None:
        super().__init__()
        settings = self.settings
        has_sandboxes = runs_commands(chosen_kind(settings))
        self._roster = Roster(
            seats=Seats(
                max_runs=settings.max_runs,
                max_sandboxes=settings.max_sandboxes if has_sandboxes else None,
            ),
            spares=settings.spare_actors,
            idle_seconds=settings.idle_seconds,
            sandbox_idle_seconds=(
                settings.sandbox_idle_seconds if has_sandboxes else settings.idle_seconds
            ),
            clock=time.monotonic,
        )
        self._tick_seconds = min(TICK_SECONDS, max(0.05, settings.idle_seconds / 2))
        self._nurseries: dict[int, NurseryEntry] = {}
        self._nursery_number = 0
        self._watchdog = Watchdog(time.monotonic)
        self._verdict_fd = self._guard_fd = -1
        self._shutdowns: list[m.Shutdown] = []
        self._stop_deadline: float | None = None
        self._has_ended = False
        self._saved = 0
        self._unsaved = 0

    # --- start -----------------------------------------------------------------------------------

    @handles(m.ConfigureSupervisor)
    def configure(self, message: m.ConfigureSupervisor, sender: Any) -> None:
        Lineage().begin()
        self._verdict_fd = message.verdict_fd
        self._guard_fd = os.pidfd_open(message.guard_pid)
        self.watched_fds = [message.lifeline_fd, self._guard_fd]
        self.wakeupAfter(timedelta(seconds=self._tick_seconds))
        self._carry_out(self._roster.restock())
        self.send(sender, m.SupervisorReady(pid=os.getpid()))

    # --- requests --------------------------------------------------------------------------------

    @handles(
        m.StartGeneration,
        m.CancelGeneration,
        m.ReportProblem,
        m.ReviveProject,
        m.OpenPreview,
        m.FindPreview,
        m.GetProject,
        m.PassivateProject,
        m.RemoveProject,
        m.RemoveSandbox,
        m.WatchProject,
        m.UnwatchProject,
    )
    def route(self, message: m.ProjectRequest, sender: Any) -> None:
        self._carry_out(self._roster.request(addressed(message, sender)))

    @handles(m.GetStatus)
    def answer_status(self, message: m.GetStatus, sender: Any) -> None:
        self.send(sender, self._roster.status(message, nurseries=len(self._nurseries)))

    @handles(m.CleanUp)
    def clean_up(self, message: m.CleanUp, sender: Any) -> None:
        self._carry_out(self._roster.passivate_idle(message.idle_seconds))
        self.send(sender, m.Done(request_id=message.request_id))

    # --- what project actors report --------------------------------------------------------------

    @handles(m.SpareReady)
    def take_spare(self, message: m.SpareReady, sender: Any) -> None:
        nursery = self._nurseries.get(message.nursery)
        if nursery is None:  # it died meanwhile, and the kernel ends its children
            return
        nursery.unborn = max(0, nursery.unborn - 1)
        nursery.children.add(key(sender))
        self._carry_out(self._roster.spare_ready(sender, message.pid))

    @handles(m.Pong)
    def note_sign_of_life(self, message: m.Pong, sender: Any) -> None:
        if not message.nursery:
            self._roster.heard(sender)
        elif message.nursery in self._nurseries:
            self._nurseries[message.nursery].pid = message.pid
            self._watchdog.heard(str(message.nursery))
        else:  # it was given up, and its children with it
            self._kill(message.pid)

    @handles(m.ProjectIdle)
    def note_idle(self, message: m.ProjectIdle, sender: Any) -> None:
        self._carry_out(self._roster.idle(sender, message))

    @handles(m.PassivationRefused)
    def keep(self, message: m.PassivationRefused, sender: Any) -> None:
        self._carry_out(self._roster.passivation_refused(sender, message.code, message.message))

    @handles(m.RunWanted)
    def queue_run(self, message: m.RunWanted, sender: Any) -> None:
        self._carry_out(self._roster.run_wanted(sender))

    @handles(m.RunEnded)
    def end_run(self, message: m.RunEnded, sender: Any) -> None:
        self._carry_out(self._roster.run_ended(sender))

    @handles(m.ProjectGone)
    def note_leaving(self, message: m.ProjectGone, sender: Any) -> None:
        if self._stop_deadline is not None:
            self._saved += message.is_saved
            self._unsaved += not message.is_saved
        self._carry_out(self._roster.leaving(sender))

    @handles(m.ActorExited)
    def note_exit(self, message: m.ActorExited, sender: Any) -> None:
        for nursery in self._nurseries.values():
            nursery.children.discard(key(message.address))
        self._carry_out(self._roster.exited(message.address))
        self._finish_stop_if_empty()

    @handles(ChildActorExited)
    def replace_nursery(self, message: Any, sender: Any) -> None:
        """A nursery died and its children with it: treat each as a crash."""
        for number, nursery in list(self._nurseries.items()):
            if nursery.address == message.childAddress:
                self._lose_nursery(number)
        self._finish_stop_if_empty()

    def _lose_nursery(self, number: int) -> None:
        nursery = self._nurseries.pop(number)
        if not self._has_ended:
            log.error("nursery %d died; its actors go on elsewhere", number)
        self._carry_out(self._roster.nursery_died(nursery.children, nursery.unborn))

    # --- the clock, the lifeline, the end --------------------------------------------------------

    @handles(WakeupMessage)
    def tick(self, message: Any, sender: Any) -> None:
        self.wakeupAfter(timedelta(seconds=self._tick_seconds))  # first: the clock must not stop
        if self._stop_deadline is None:
            self._carry_out(self._roster.passivate_idle())
            self._carry_out(self._roster.restock())
            self._carry_out(self._roster.look_after())
            self._look_after_nurseries()
        elif time.monotonic() >= self._stop_deadline and not self._has_ended:
            self._end()

    @handles(WatchMessage)
    def note_end_of_service(self, message: Any, sender: Any) -> None:
        """Neither the lifeline nor the guard's descriptor is readable before its holder's end."""
        log.warning("the service around the actors is gone: saving every project")
        self.watched_fds = []
        self._begin_stop(min(self.settings.shutdown_seconds / 2, ORPHANED_SECONDS))

    @handles(m.Shutdown)
    def shut_down(self, message: m.Shutdown, sender: Any) -> None:
        self._shutdowns.append(addressed(message, sender))
        self._begin_stop(min(message.deadline_seconds, self.settings.shutdown_seconds))

    def _begin_stop(self, deadline_seconds: float) -> None:
        if self._stop_deadline is not None:
            return
        self._stop_deadline = time.monotonic() + deadline_seconds
        self._carry_out(self._roster.stop())
        self._finish_stop_if_empty()

    def _finish_stop_if_empty(self) -> None:
        if self._stop_deadline is not None and not self._has_ended and not self._roster.count:
            self._end()

    def _end(self) -> None:
        abandoned = self._roster.staying + self._unsaved
        log.info("stopped: %d projects saved, %d abandoned", self._saved, abandoned)
        for shutdown in self._shutdowns:
            complete = m.ShutdownComplete(
                request_id=shutdown.request_id, saved=self._saved, abandoned=abandoned
            )
            self.send(shutdown.reply_to, complete)
        self._has_ended = True
        signal.signal(LOOK_SIGNAL, lambda *_: self._end_unguarded())
        signal.setitimer(signal.ITIMER_REAL, LOOK_SECONDS, LOOK_SECONDS)
        os.write(self._verdict_fd, b"\0")
        for nursery in self._nurseries.values():
            self.send(nursery.address, ActorExitRequest())
        self.actorSystemShutdown()

    def _end_unguarded(self) -> None:
        """Do the guard's work where it is gone: end the processes that Thespian does not.

        It waits for ever for an actor that was just being born, or that stands still. What there
        was to save is saved, and all processes are in one group: that of the admin's session.
        """
        if has_ended(self._guard_fd):
            os.killpg(os.getpgrp(), signal.SIGKILL)

    def _look_after_nurseries(self) -> None:
        nurseries = {str(number): nursery for number, nursery in self._nurseries.items()}
        findings = self._watchdog.check(nurseries)
        for name in findings.to_ask:
            self.send(nurseries[name].address, m.Ping())
        for name in findings.hung:
            if nurseries[name].pid:
                self._kill(nurseries[name].pid)
            else:  # Thespian may not tell of one that ends before it has said a word
                self._lose_nursery(int(name))

    def _kill(self, pid: int) -> None:
        log.error("process %d hangs; it is ended", pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    # --- effects ---------------------------------------------------------------------------------

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(address, message):
                    if address is not None:
                        self.send(address, message)
                case Breed(count):
                    self._breed(count)
                case Kill(pid):
                    self._kill(pid)
                case ForgetBirths():
                    for nursery in self._nurseries.values():
                        nursery.unborn = 0

    def _breed(self, count: int) -> None:
        while count > 0:
            nursery = self._nursery_with_room()
            births = min(count, nursery.room)
            nursery.unborn += births
            self.send(nursery.address, m.BreedSpares(count=births))
            count -= births

    def _nursery_with_room(self) -> NurseryEntry:
        for nursery in self._nurseries.values():
            if nursery.room > 0:
                return nursery
        self._nursery_number += 1
        address = self.createActor(Nursery)
        self._nurseries[self._nursery_number] = NurseryEntry(address)
        self.send(
            address, m.ConfigureNursery(supervisor=self.myAddress, number=self._nursery_number)
        )
        return self._nurseries[self._nursery_number]
