"""Who is where: the supervisor's decisions, without any I/O.

The roster knows every project that is in memory, on its way in, or on its way out. Each input
(a request, a spare that is ready, an actor that left or died, the clock) is a method that returns
the effects to carry out, in order. A request for a project that is being passivated, or waits for
a spare, is kept and delivered later: there is no moment in which it could be lost.

    absent --request--> waiting --spare--> live --idle--> passivating --gone--> absent
                           ^                 |                 |
                           +---- crash ------+---- request ----+  (kept, then revived)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from actors import messages as m
from actors.crashes import MAX_RESTARTS, Crashes
from actors.effects import Effect, Kill, Send, refuse
from actors.seats import Seats
from actors.spares import Spares
from actors.watchdog import Watchdog
from actors.watchers import Watchers

_STOPPING = ("actors_unavailable", "The service is stopping.")
MAX_KEPT_REQUESTS = 100  # per project, while its actor is on its way in or out


class Stage(StrEnum):
    """Where a project's actor is."""

    ABSENT = "absent"
    WAITING = "waiting"
    LIVE = "live"
    PASSIVATING = "passivating"


@dataclass(slots=True, kw_only=True)
class Entry:
    """One project that is not absent."""

    project_id: str
    stage: Stage = Stage.WAITING
    address: Any = None
    pid: int = 0
    kept: list[m.ProjectRequest] = field(default_factory=list)
    idle_since: float | None = None
    is_leaving: bool = False
    passivation: m.PassivateProject | None = None
    crash_report: m.CrashReport | None = None  # for its next actor


class Roster:
    """The supervisor's state. Addresses are opaque; they are compared by `key`."""

    def __init__(
        self,
        *,
        seats: Seats,
        spares: int,
        idle_seconds: float,
        sandbox_idle_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        """`sandbox_idle_seconds` is for who has a sandbox, and `idle_seconds` for all others."""
        self._clock = clock
        self._seats = seats
        self._sandbox_idle_seconds = sandbox_idle_seconds
        self._idle_seconds = idle_seconds
        self._entries: dict[str, Entry] = {}
        self._by_address: dict[str, str] = {}
        self._spares = Spares(spares, clock)
        self._waiting: deque[str] = deque()  # projects without an actor yet
        self._crashes = Crashes(clock)
        self._watchdog = Watchdog(clock)
        self._watchers = Watchers()
        self.restarts = 0
        self._is_stopping = False

    # --- questions -----------------------------------------------------------------------------

    def stage(self, project_id: str) -> Stage:
        entry = self._entries.get(project_id)
        return entry.stage if entry else Stage.ABSENT

    def status(self, request: m.GetStatus, *, nurseries: int) -> m.Status:
        entries = self._entries.values()
        return m.Status(
            request_id=request.request_id,
            live=sum(entry.address is not None for entry in entries),
            running=self._seats.running,
            waiting_runs=self._seats.waiting,
            spares=len(self._spares),
            nurseries=nurseries,
            restarts=self.restarts,
            pids={entry.project_id: entry.pid for entry in entries if entry.pid},
        )

    @property
    def count(self) -> int:
        """How many projects are not absent."""
        return len(self._entries)

    @property
    def staying(self) -> int:
        """How many of them have not said that they leave."""
        return sum(not entry.is_leaving for entry in self._entries.values())

    # --- spares --------------------------------------------------------------------------------

    def restock(self) -> list[Effect]:
        """Ask for as many spares as are missing."""
        return [] if self._is_stopping else self._spares.restock(len(self._waiting))

    def _restock_if_out(self) -> list[Effect]:
        """Restock where no spare is left; else the clock does, soon.

        A birth takes a processor for 40 ms, just when whoever was given a spare could use it.
        """
        return [] if self._spares else self.restock()

    def spare_ready(self, address: Any, pid: int) -> list[Effect]:
        self._spares.add(address, pid)
        return [*self._fill(), *self.restock()]

    def nursery_died(self, children: Collection[str], unborn: int) -> list[Effect]:
        """Treat every child (by its key) as dead, and `unborn` births as not to happen.

        That the nursery died is no fault of its children: it counts as no crash of theirs.
        """
        self._spares.miscarry(unborn)
        return self._ended(children, is_own_fault=False)

    def _fill(self) -> list[Effect]:
        effects: list[Effect] = []
        while self._waiting and self._spares:
            entry = self._entries[self._waiting.popleft()]
            entry.address, entry.pid = self._spares.take()
            entry.stage = Stage.LIVE
            self._by_address[key(entry.address)] = entry.project_id
            adoption = m.AdoptProject(project_id=entry.project_id, crash_report=entry.crash_report)
            entry.crash_report = None
            effects.append(Send(entry.address, adoption))
            effects += [Send(entry.address, request) for request in entry.kept]
            entry.kept = []
            effects += self._watchers.told(entry.project_id, Stage.LIVE)
        return effects

    # --- requests ------------------------------------------------------------------------------

    def request(self, request: m.ProjectRequest) -> list[Effect]:
        """Route a request; its `reply_to` is filled in."""
        entry = self._entries.get(request.project_id)
        if self._is_stopping:
            return [refuse(request, *_STOPPING)]
        match request:
            case m.WatchProject():
                self._watchers.add(request.project_id, request.reply_to)
                return [Send(request.reply_to, self._info(request))]
            case m.UnwatchProject():
                self._watchers.discard(request.project_id, request.reply_to)
                return [Send(request.reply_to, m.Done(request_id=request.request_id))]
            case m.GetProject():
                if entry is None:
                    return [refuse(request, "not_found", "The project is not in memory.")]
                return [Send(request.reply_to, self._info(request))]
            case m.FindPreview():
                if entry is not None and entry.stage is Stage.LIVE and not entry.is_leaving:
                    return [Send(entry.address, request)]  # whether it is used, the actor says
                nothing = m.PreviewOpened(request_id=request.request_id, url=None)
                return [Send(request.reply_to, nothing)]
            case m.PassivateProject():
                return self._passivate(request, entry)
            case _:
                return self._deliver(request, entry)

    def _deliver(self, request: m.ProjectRequest, entry: Entry | None) -> list[Effect]:
        if isinstance(request, m.OpenPreview) and not self._seats.open_preview(request.project_id):
            return [refuse(request, "project_busy", self._seats.sentence)]
        if entry is None:
            entry = self._entries[request.project_id] = Entry(project_id=request.project_id)
            self._waiting.append(request.project_id)
        elif entry.stage is Stage.LIVE and not entry.is_leaving:
            entry.idle_since = None
            return [Send(entry.address, request)]
        if len(entry.kept) >= MAX_KEPT_REQUESTS:
            return [refuse(request, "project_busy", "Too many commands wait for this project.")]
        entry.kept.append(request)
        return [*self._fill(), *self._restock_if_out()]

    def _passivate(self, request: m.PassivateProject, entry: Entry | None) -> list[Effect]:
        if entry is None:
            return [Send(request.reply_to, m.Done(request_id=request.request_id))]
        if entry.stage is not Stage.LIVE or entry.is_leaving:
            return [refuse(request, "project_busy", "The project is just coming or going.")]
        entry.stage = Stage.PASSIVATING
        entry.passivation = request
        return [
            Send(entry.address, request),
            *self._watchers.told(request.project_id, Stage.PASSIVATING),
        ]

    # --- what actors report --------------------------------------------------------------------

    # Reports of an actor whose successor is there already, or awaited, count for nothing.

    def _entry_of(self, sender: Any) -> Entry | None:
        project_id = self._by_address.get(key(sender))
        return self._entries[project_id] if project_id is not None else None

    def idle(self, sender: Any, report: m.ProjectIdle) -> list[Effect]:
        if (entry := self._entry_of(sender)) is not None:
            entry.idle_since = self._clock() if report.idle else None
            if report.is_sandbox_left:
                self._seats.hold(entry.project_id)
        return self._make_room()

    def passivation_refused(self, sender: Any, code: str, message: str) -> list[Effect]:
        """The actor found work before it read the passivation: it stays, kept requests go to it."""
        entry = self._entry_of(sender)
        if entry is None or entry.passivation is None:
            return []
        refused = refuse(entry.passivation, code, message)
        entry.stage, entry.passivation, entry.idle_since = Stage.LIVE, None, None
        kept, entry.kept = entry.kept, []
        return [
            refused,
            *(Send(entry.address, request) for request in kept),
            *self._watchers.told(entry.project_id, Stage.LIVE),
        ]

    def run_wanted(self, sender: Any) -> list[Effect]:
        entry = self._entry_of(sender)
        if entry is None:
            return []
        self._seats.want_run(entry.project_id)
        return self._grant()

    def run_ended(self, sender: Any) -> list[Effect]:
        if (entry := self._entry_of(sender)) is not None:
            self._seats.end_run(entry.project_id)
        return self._grant()

    def _grant(self) -> list[Effect]:
        """Let run whose turn it is, tell the others why they wait, and make room for them."""
        if self._is_stopping:
            return []
        effects: list[Effect] = [
            Send(self._entries[project_id].address, m.RunGranted(project_id=project_id))
            for project_id in self._seats.grant()  # who leaves or dies leaves the queue as well
        ]
        for project_id, sentence in self._seats.newly_delayed():
            delayed = m.RunDelayed(project_id=project_id, message=sentence)
            effects.append(Send(self._entries[project_id].address, delayed))
        return [*effects, *self._make_room()]

    def _make_room(self) -> list[Effect]:
        """Passivate who has a sandbox and was idle for the longest, where others lack one."""
        holders = [e for e in self._entries.values() if self._seats.has_sandbox(e.project_id)]
        leaving = sum(entry.stage is Stage.PASSIVATING for entry in holders)
        idle = [e for e in holders if e.stage is Stage.LIVE and e.idle_since is not None]
        idle.sort(key=lambda entry: entry.idle_since or 0.0)
        effects: list[Effect] = []
        for entry in idle[: max(0, self._seats.lacking() - leaving)]:
            effects += self._send_to_sleep(entry)
        return effects

    def _send_to_sleep(self, entry: Entry) -> list[Effect]:
        request = m.PassivateProject(request_id="", project_id=entry.project_id)
        return self._passivate(request, entry)

    def leaving(self, sender: Any) -> list[Effect]:
        """The actor has saved: what comes for it from now on waits for its successor."""
        entry = self._entry_of(sender)
        if entry is None:
            return []
        entry.is_leaving = True
        return [Send(entry.address, m.LeaveGranted())]

    def exited(self, address: Any) -> list[Effect]:
        """An actor process is gone; said once or twice for the same one."""
        return self._ended([key(address)], is_own_fault=True)

    def _ended(self, addresses: Collection[str], *, is_own_fault: bool) -> list[Effect]:
        """Forget all of them first: what is free now must go to none that has died as well."""
        self._spares.lose(addresses)
        effects: list[Effect] = []
        for address in addresses:
            if (project_id := self._by_address.pop(address, None)) is not None:
                effects += self._vacated(project_id, is_own_fault=is_own_fault)
        return [*effects, *self._fill(), *self._grant(), *self._restock_if_out()]

    def _vacated(self, project_id: str, *, is_own_fault: bool) -> list[Effect]:
        entry = self._entries.pop(project_id)
        effects = self._answer_passivation(entry)
        if entry.is_leaving or self._is_stopping:
            self._seats.leave(project_id)
            effects += self._watchers.told(project_id, Stage.ABSENT)
            if entry.kept and not self._is_stopping:
                effects += self._wait_again(entry)
        else:
            self._seats.lose_actor(project_id)
            self.restarts += 1
            effects += self._crashed(entry) if is_own_fault else self._wait_again(entry)
        return effects

    def _crashed(self, entry: Entry) -> list[Effect]:
        if self._crashes.note(entry.project_id, entry.pid) > MAX_RESTARTS:
            # even the actor that only had to say so died
            self._crashes.forget(entry.project_id)
            self._seats.leave(entry.project_id)
            sentence = "The project's actor keeps ending."
            refusals = [refuse(request, "actor_crashed", sentence) for request in entry.kept]
            return [*refusals, *self._watchers.told(entry.project_id, Stage.ABSENT)]
        return self._wait_again(entry, self._crashes.report(entry.project_id))

    def _wait_again(self, entry: Entry, crash_report: m.CrashReport | None = None) -> list[Effect]:
        self._entries[entry.project_id] = Entry(
            project_id=entry.project_id, kept=entry.kept, crash_report=crash_report
        )
        self._waiting.append(entry.project_id)
        return self._watchers.told(entry.project_id, Stage.WAITING)

    @staticmethod
    def _answer_passivation(entry: Entry) -> list[Effect]:
        request = entry.passivation
        if request is None or request.reply_to is None:
            return []
        return [Send(request.reply_to, m.Done(request_id=request.request_id))]

    # --- the clock and the end -----------------------------------------------------------------

    def passivate_idle(self, idle_seconds: float | None = None) -> list[Effect]:
        """Passivate who has been idle for long enough, or for so many seconds."""
        effects = self._make_room()
        self._seats.forget_visits()  # who still waits for an app asks again
        for entry in list(self._entries.values()):
            if entry.stage is not Stage.LIVE or entry.idle_since is None:
                continue
            limit = self._idle_limit(entry) if idle_seconds is None else idle_seconds
            if self._clock() - entry.idle_since >= limit:
                effects += self._send_to_sleep(entry)
        return effects

    def _idle_limit(self, entry: Entry) -> float:
        has_sandbox = self._seats.has_sandbox(entry.project_id)
        return self._sandbox_idle_seconds if has_sandbox else self._idle_seconds

    def look_after(self) -> list[Effect]:
        """Ask who is not idle for a sign of life; have ended who gives none."""
        busy = {
            key(entry.address): entry
            for entry in self._entries.values()
            if entry.address is not None
            and (entry.idle_since is None or entry.stage is not Stage.LIVE)
        }
        findings = self._watchdog.check(busy)
        return [
            *(Send(busy[name].address, m.Ping()) for name in findings.to_ask),
            *(Kill(busy[name].pid) for name in findings.hung),
        ]

    def heard(self, sender: Any) -> None:
        """Take note of an actor's sign of life."""
        self._watchdog.heard(key(sender))

    def stop(self) -> list[Effect]:
        """Have every project saved; spares and projects without an actor need nothing."""
        self._is_stopping = True
        effects: list[Effect] = []
        for project_id in self._waiting:
            entry = self._entries.pop(project_id)
            effects += [refuse(r, *_STOPPING) for r in entry.kept]
            effects += self._watchers.told(project_id, Stage.ABSENT)
        self._waiting.clear()
        for entry in self._entries.values():
            effects += [refuse(r, *_STOPPING) for r in entry.kept]
            entry.kept = []
            effects.append(Send(entry.address, m.SaveAndStop()))
        return effects

    def _info(self, request: m.ProjectRequest) -> m.ProjectInfo:
        return m.ProjectInfo(
            request_id=request.request_id,
            project_id=request.project_id,
            stage=self.stage(request.project_id),
            running=self._seats.is_running(request.project_id),
        )


def key(address: Any) -> str:
    """Return what identifies an actor's address: Thespian's own text of it has the port."""
    return str(address)
