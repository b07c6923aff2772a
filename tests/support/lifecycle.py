"""A small world around the roster: everything that could happen next to a service is a *move*.

Messages are under way until a move lets them arrive, in order between any two parties and in any
order otherwise. A world is plain data, so it can be copied and taken up again at any moment. What
must never happen is an AssertionError at once, what must not be left over is found by `end`.
Effects and messages that are not known here are ignored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import partialmethod
from itertools import count

from actors import messages as m
from actors.crashes import MAX_RESTARTS
from actors.effects import Breed, Effect, ForgetBirths, Send
from actors.roster import Roster, Stage
from actors.seats import Seats
from actors.spares import BIRTH_SECONDS
from tests.support.simulated_actor import Actor, Project

PROJECTS = ("p", "q")
MAX_RUNS = 1
MAX_SANDBOXES = 1  # so that one project has to make room for the other
IDLE_SECONDS = 2 * BIRTH_SECONDS
NURSERY_ROOM = 2
MAX_MOVES_TO_REST = 400  # a world that takes more goes round in circles

Move = tuple[str, str]  # what happens, and to whom


@dataclass
class Nursery:
    """A process that bears actors, and the exits that it has yet to report."""

    name: str
    unborn: int = 0
    children: set[str] = field(default_factory=set)  # as the supervisor knows them
    exits: deque[str] = field(default_factory=deque)
    is_alive: bool = True

    @property
    def has_room(self) -> bool:
        return self.is_alive and len(self.children) + self.unborn < NURSERY_ROOM


class World:
    """A roster, its supervisor's shell, actors, a database, a gateway and a watcher."""

    def __init__(self) -> None:
        self.now = 0.0
        self.roster = Roster(
            seats=Seats(max_runs=MAX_RUNS, max_sandboxes=MAX_SANDBOXES),
            spares=1,
            idle_seconds=IDLE_SECONDS,
            sandbox_idle_seconds=IDLE_SECONDS,
            clock=self._clock,
        )
        self.projects = {project_id: Project() for project_id in PROJECTS}
        self.actors: dict[str, Actor] = {}
        self.nurseries: dict[str, Nursery] = {}
        self.unanswered: dict[str, m.Request] = {}
        self.lost: set[str] = set()  # of those, the ones that died with an actor
        self.watched = dict.fromkeys(PROJECTS, Stage.ABSENT)
        self.crashes = dict.fromkeys(PROJECTS, 0)
        self.given_up: set[str] = set()  # projects whose work waits for the next request
        self.is_stopping = False
        self.is_over = False
        self._asked = 0
        self._has_miscarried = False
        self._carry_out(self.roster.restock())
        for project_id in PROJECTS:
            watch = m.WatchProject(request_id="", reply_to="watcher", project_id=project_id)
            self._carry_out(self.roster.request(watch))

    def _clock(self) -> float:
        return self.now

    # --- what may happen -------------------------------------------------------------------------

    def inevitable(self) -> Iterator[Move]:
        """Yield what happens by itself, sooner or later."""
        for actor in self.actors.values():
            if actor.outbox:
                yield ("hear", actor.address)
            if actor.inbox and actor.is_alive:
                yield ("read", actor.address)
            if actor.is_running:
                yield ("finish_run", actor.address)
        for nursery in self.nurseries.values():
            if nursery.unborn and nursery.is_alive:
                yield ("bear", nursery.name)
            if nursery.exits and not self._has_more_to_say(nursery.exits[0]):
                yield ("notice_exit", nursery.name)
            if not nursery.is_alive:
                yield ("miss_nursery", nursery.name)

    def _has_more_to_say(self, address: str) -> bool:
        """Who leaves in order is heard out first; what a crashed actor has said may come later."""
        actor = self.actors[address]
        return actor.is_dismissed and bool(actor.outbox)

    def requests(self) -> Iterator[Move]:
        """Yield what gateway, admins and the clock may ask for."""
        for project_id in PROJECTS:
            yield ("generate", project_id)
        for what in ("cancel", "passivate", "remove"):
            yield (what, "p")
        yield ("clean_up", "")
        if not self.is_stopping:
            yield ("tick", "")
            yield ("shut_down", "")

    def accidents(self) -> Iterator[Move]:
        """Yield what may go wrong."""
        for actor in self.actors.values():
            if actor.is_alive:
                yield ("crash", actor.address)
        for nursery in self.nurseries.values():
            if nursery.is_alive:
                yield ("lose_nursery", nursery.name)
            if nursery.unborn:
                yield ("miscarry", nursery.name)

    def moves(self) -> list[Move]:
        """Return all that could happen next."""
        if self.is_over:
            return []
        return [*self.inevitable(), *self.requests(), *self.accidents()]

    def make(self, move: Move) -> None:
        """Let it happen."""
        what, whom = move
        getattr(self, f"_{what}")(*([whom] if whom else []))
        self._check()
        if what in ("hear", "notice_exit", "miss_nursery"):
            self._forget_the_dead()

    def _deliver(self) -> None:
        self.deliver()

    def deliver(self, *, with_runs: bool = False) -> None:
        """Let everything that is under way arrive; `with_runs`, let runs come to their ends."""
        for _ in range(MAX_MOVES_TO_REST):
            wanted = (move for move in self.inevitable() if with_runs or move[0] != "finish_run")
            move = next(wanted, None)
            if move is None or self.is_over:
                return
            self.make(move)
        raise AssertionError("there is no end of messages")

    # --- requests and the clock ------------------------------------------------------------------

    def _ask(self, request: m.ProjectRequest) -> None:
        self.unanswered[request.request_id] = request
        self._carry_out(self.roster.request(request))

    def _new_id(self) -> str:
        self._asked += 1
        return f"r{self._asked}"

    def _generate(self, project_id: str, command_id: str | None = None) -> None:
        request_id = self._new_id()
        self._ask(
            m.StartGeneration(
                request_id=request_id,
                reply_to="gateway",
                project_id=project_id,
                description="an app",
                command_id=command_id or request_id,
            )
        )

    def _request(self, type_: type[m.ProjectRequest], project_id: str) -> None:
        request = type_(request_id=self._new_id(), reply_to="gateway", project_id=project_id)
        self._ask(request)

    _cancel = partialmethod(_request, m.CancelGeneration)
    _passivate = partialmethod(_request, m.PassivateProject)
    _remove = partialmethod(_request, m.RemoveProject)

    def _clean_up(self) -> None:
        self._carry_out(self.roster.passivate_idle(0.0))

    def _tick(self) -> None:
        self.now += IDLE_SECONDS
        self._carry_out(self.roster.passivate_idle())
        self._carry_out(self.roster.restock())

    def _shut_down(self) -> None:
        self.is_stopping = True
        self._carry_out(self.roster.stop())
        self._end_if_empty()

    def _end_if_empty(self) -> None:
        if self.is_stopping and not self.roster.count:
            self.is_over = True
            for actor in self.actors.values():
                self._lose(actor.outbox)  # nobody hears it any more

    # --- processes -------------------------------------------------------------------------------

    def _bear(self, name: str) -> None:
        """A blank actor is born and presents itself."""
        nursery = self.nurseries[name]
        nursery.unborn -= 1
        address = _free_name("a", self.actors)
        self.actors[address] = Actor(address, name)
        nursery.children.add(address)
        self._carry_out(self.roster.spare_ready(address, 1))

    def _miscarry(self, name: str) -> None:
        """A process dies before it has presented itself: nobody reports it, the clock tells."""
        self.nurseries[name].unborn -= 1
        self._has_miscarried = True

    def _crash(self, address: str) -> None:
        self._end_process(self.actors[address])

    def _end_process(self, actor: Actor) -> None:
        """What it has said still arrives, what it has not read is lost."""
        actor.is_alive = actor.is_running = actor.has_place = False
        self._lose(actor.inbox)
        actor.inbox.clear()
        self.nurseries[actor.nursery].exits.append(actor.address)

    def _lose(self, messages: deque[m.Message]) -> None:
        for message in messages:
            if isinstance(message, m.Request) and message.request_id in self.unanswered:
                self.lost.add(message.request_id)

    def _notice_exit(self, name: str) -> None:
        nursery = self.nurseries[name]
        address = nursery.exits.popleft()
        nursery.children.discard(address)
        actor = self.actors[address]
        if actor.project_id and not actor.is_dismissed:
            self.crashes[actor.project_id] += 1
        self._ended([address], lambda: self.roster.exited(address))

    def _lose_nursery(self, name: str) -> None:
        """The kernel ends the children of a nursery that dies."""
        nursery = self.nurseries[name]
        nursery.is_alive = False
        for address in sorted(nursery.children):
            if self.actors[address].is_alive:
                self._crash(address)

    def _miss_nursery(self, name: str) -> None:
        nursery = self.nurseries.pop(name)
        children = sorted(nursery.children)
        self._ended(children, lambda: self.roster.nursery_died(children, nursery.unborn))

    def _ended(self, addresses: list[str], tell_roster: Callable[[], list[Effect]]) -> None:
        actors = [self.actors[address] for address in addresses]
        crashed = [a.project_id for a in actors if a.project_id and not a.is_dismissed]
        for actor in actors:
            actor.is_known_dead = True
        self._carry_out(tell_roster())
        for project_id in crashed:
            if not self.is_stopping and self.roster.stage(project_id) is Stage.ABSENT:
                assert self.crashes[project_id] > MAX_RESTARTS
                self.given_up.add(project_id)
        self._end_if_empty()

    # --- mail ------------------------------------------------------------------------------------

    def _forget_the_dead(self) -> None:
        """Nothing is under way from them; others may have their addresses."""
        for actor in list(self.actors.values()):
            if actor.is_known_dead and not actor.outbox:
                del self.actors[actor.address]

    def _read(self, address: str) -> None:
        """An actor carries out its next message."""
        actor = self.actors[address]
        if not actor.read(self.projects[actor.project_id], self._answered):
            self._end_process(actor)

    def _finish_run(self, address: str) -> None:
        actor = self.actors[address]
        actor.finish_run(self.projects[actor.project_id])

    def _hear(self, address: str) -> None:
        """The supervisor takes an actor's next message."""
        roster = self.roster
        match self.actors[address].outbox.popleft():
            case m.ProjectIdle() as report:
                self._carry_out(roster.idle(address, report))
            case m.PassivationRefused(code=code, message=message):
                self._carry_out(roster.passivation_refused(address, code, message))
            case m.RunWanted():
                self._carry_out(roster.run_wanted(address))
            case m.RunEnded():
                self._carry_out(roster.run_ended(address))
            case m.ProjectGone():
                self._carry_out(roster.leaving(address))
            case m.ProjectRequest() as request:
                self._carry_out(roster.request(request))

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send("gateway", m.Answer() as answer):
                    self._answered(answer)
                case Send("watcher", m.ProjectChanged(project_id=project_id, stage=stage)):
                    self.watched[project_id] = Stage(stage)
                case Send(address, message) if address in self.actors:
                    self._post(self.actors[address], message)
                case Breed(births):
                    self._breed(births)
                case ForgetBirths():
                    for nursery in self.nurseries.values():
                        nursery.unborn = 0

    def _breed(self, births: int) -> None:
        for _ in range(births):
            nursery = next((n for n in self.nurseries.values() if n.has_room), None)
            if nursery is None:
                name = _free_name("n", self.nurseries)
                nursery = self.nurseries[name] = Nursery(name)
            nursery.unborn += 1

    def _answered(self, answer: m.Answer) -> None:
        if answer.request_id:  # the clock asks without wanting to know
            assert answer.request_id in self.unanswered, f"{answer} comes twice"
            del self.unanswered[answer.request_id]
            self.lost.discard(answer.request_id)

    def _post(self, actor: Actor, message: m.Message) -> None:
        assert not actor.is_known_dead, f"{message} for a dead actor"
        match message:
            case m.AdoptProject(project_id=project_id):
                assert not actor.project_id
                actors = self.actors.values()
                assert not any(a.is_alive for a in actors if a.project_id == project_id)
                actor.project_id = project_id
                self.given_up.discard(project_id)
            case m.LeaveGranted():
                actor.is_dismissed = True
            case m.RunGranted():
                actor.has_place = actor.is_alive
            case m.Request():
                assert not actor.is_dismissed, f"{message} for an actor that leaves"
        if actor.is_alive:
            actor.inbox.append(message)
        else:
            self._lose(deque([message]))

    # --- what must be so -------------------------------------------------------------------------

    def _check(self) -> None:
        """Say what must be so at every moment."""
        actors = self.actors.values()
        assert sum(actor.has_place for actor in actors) <= MAX_RUNS
        assert all(actor.has_place for actor in actors if actor.is_running)
        for project_id, seen in self.watched.items():
            stage = self.roster.stage(project_id)
            assert seen is stage or (seen, stage) == (Stage.ABSENT, Stage.WAITING)

    def end(self) -> None:
        """Let happen what has begun, then stop the service; nothing may be left over."""
        self.deliver(with_runs=True)
        if self._has_miscarried and not self.is_stopping:
            self._tick()
            self.deliver(with_runs=True)
        self._check_rest()
        if not self.is_stopping:
            self._ask_again()
            self.deliver(with_runs=True)
        self._check_rest()
        if not self.is_over:
            self._shut_down()
            self.deliver(with_runs=True)
            self._check_rest()
        assert self.is_over, "the service does not end"

    def _ask_again(self) -> None:
        """Repeat the commands that died with an actor, as the gateway does."""
        lost = [self.unanswered.pop(request_id) for request_id in sorted(self.lost)]
        self.lost.clear()
        for request in lost:
            if isinstance(request, m.StartGeneration):
                self._generate(request.project_id, request.command_id)

    def _check_rest(self) -> None:
        """Say what must be so when nothing is under way."""
        assert set(self.unanswered) == self.lost, "a request is forgotten"
        if self.is_over:
            return
        live = sum(bool(actor.project_id) for actor in self.actors.values() if actor.is_alive)
        status = self.roster.status(m.GetStatus(request_id=""), nurseries=len(self.nurseries))
        assert (status.live, status.running, status.waiting_runs) == (live, 0, 0)
        assert status.spares > 0
        for project_id, project in self.projects.items():
            stage = self.roster.stage(project_id)
            assert stage in (Stage.ABSENT, Stage.LIVE), f"{project_id} is {stage} for ever"
            assert project_id in self.given_up or not project.has_work, "a command is forgotten"


def _free_name(letter: str, taken: Collection[str]) -> str:
    return next(name for n in count() if (name := f"{letter}{n}") not in taken)
