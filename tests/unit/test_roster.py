"""The supervisor's decisions: no request is lost, no project has two actors, spares are kept."""

from __future__ import annotations

import pytest

from actors import messages as m
from actors.crashes import MAX_RESTARTS, RESTART_WINDOW_SECONDS
from actors.effects import Breed, Effect, ForgetBirths, Kill, Send, addressed
from actors.roster import MAX_KEPT_REQUESTS, Roster, Stage
from actors.seats import Seats
from actors.watchdog import HUNG_SECONDS, PING_SECONDS


def report(idle: bool, *, is_sandbox_left: bool = False) -> m.ProjectIdle:
    return m.ProjectIdle(project_id="p", idle=idle, is_sandbox_left=is_sandbox_left)


class World:
    """A roster with the replies, births and deliveries that it asked for."""

    def __init__(
        self,
        *,
        max_runs: int = 2,
        max_sandboxes: int | None = None,
        spares: int = 1,
        idle_seconds: float = 10,
        sandbox_idle_seconds: float = 10,
    ) -> None:
        self.now = 1.0
        self.roster = Roster(
            seats=Seats(max_runs=max_runs, max_sandboxes=max_sandboxes),
            spares=spares,
            idle_seconds=idle_seconds,
            sandbox_idle_seconds=sandbox_idle_seconds,
            clock=lambda: self.now,
        )
        self.sent: list[tuple[str, m.Message]] = []
        self.killed: list[int] = []
        self.bred = 0
        self.born = 0
        self.do(self.roster.restock())

    def do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(address, message):
                    self.sent.append((address, message))
                case Breed(count):
                    self.bred += count
                case ForgetBirths():
                    self.bred = 0
                case Kill(pid):
                    self.killed.append(pid)

    def at(self, now: float) -> Roster:
        """The roster when the clock shows `now`."""
        self.now = now
        return self.roster

    def give_birth(self) -> str:
        self.born += 1
        address = f"actor-{self.born}"
        self.do(self.roster.spare_ready(address, 1000 + self.born))
        return address

    def generate(self, project_id: str = "p", request_id: str = "r1") -> m.StartGeneration:
        request = m.StartGeneration(
            request_id=request_id, reply_to="gateway", project_id=project_id, description="x"
        )
        self.do(self.roster.request(request))
        return request

    def request(self, type_: type[m.ProjectRequest], project_id: str = "p") -> m.ProjectRequest:
        request = type_(request_id="q", reply_to="gateway", project_id=project_id)
        self.do(self.roster.request(request))
        return request

    def to(self, address: str) -> list[m.Message]:
        return [message for to, message in self.sent if to == address]

    def actor_of(self, project_id: str) -> str:
        """The address of the project's newest actor."""
        adopted = m.AdoptProject(project_id=project_id)
        return next((to for to, x in reversed(self.sent) if x == adopted), "nobody")

    def status(self) -> m.Status:
        return self.roster.status(m.GetStatus(request_id="s"), nurseries=1)


@pytest.fixture
def world() -> World:
    return World()


def live(world: World, project_id: str = "p") -> str:
    address = world.give_birth()
    world.generate(project_id)
    assert world.roster.stage(project_id) is Stage.LIVE
    return address


def test_a_request_for_an_absent_project_goes_to_a_spare_after_its_adoption(world: World) -> None:
    address = world.give_birth()
    request = world.generate()
    assert world.to(address) == [m.AdoptProject(project_id="p"), request]
    assert world.bred == 2  # the spare that was used is replaced


def test_a_request_waits_until_a_spare_is_born(world: World) -> None:
    request = world.generate()
    assert world.roster.stage("p") is Stage.WAITING
    address = world.give_birth()
    assert world.to(address) == [m.AdoptProject(project_id="p"), request]


def test_requests_for_a_waiting_project_are_delivered_in_order_to_one_actor(world: World) -> None:
    first, second = world.generate(request_id="1"), world.generate(request_id="2")
    assert world.to(world.give_birth())[1:] == [first, second]
    assert world.status().live == 1


def test_a_request_to_a_live_project_goes_straight_to_its_actor(world: World) -> None:
    address = live(world)
    request = world.request(m.CancelGeneration)
    assert world.to(address)[-1] == request


def test_get_project_creates_nothing(world: World) -> None:
    world.request(m.GetProject)
    assert isinstance(world.to("gateway")[0], m.Failed)
    assert world.status().live == 0
    live(world)
    world.request(m.GetProject)
    info = world.to("gateway")[-1]
    assert isinstance(info, m.ProjectInfo)
    assert info.stage == "live"


def test_who_looks_for_an_app_wakes_nobody_and_keeps_nobody_awake(world: World) -> None:
    nowhere = m.PreviewOpened(request_id="q", url=None)
    world.request(m.FindPreview)
    assert world.to("gateway") == [nowhere]
    assert world.roster.stage("p") is Stage.ABSENT
    address = live(world)
    world.do(world.at(100.0).idle(world.actor_of("p"), report(True)))
    request = world.request(m.FindPreview)
    assert world.to(address)[-1] == request
    world.do(world.at(110.0).passivate_idle())
    assert world.roster.stage("p") is Stage.PASSIVATING
    world.request(m.FindPreview)
    world.do(world.roster.leaving(world.actor_of("p")))
    world.request(m.FindPreview)
    assert world.to("gateway") == [nowhere] * 3
    world.do(world.at(111.0).exited(address))
    assert world.roster.stage("p") is Stage.ABSENT


def test_an_idle_actor_is_passivated_when_its_time_has_come(world: World) -> None:
    address = live(world)
    world.do(world.at(100.0).idle(world.actor_of("p"), report(True)))
    world.do(world.at(109.0).passivate_idle())
    assert world.roster.stage("p") is Stage.LIVE
    world.do(world.at(110.0).passivate_idle())
    assert isinstance(world.to(address)[-1], m.PassivateProject)
    world.do(world.roster.leaving(world.actor_of("p")))
    world.do(world.at(111.0).exited(address))
    assert world.roster.stage("p") is Stage.ABSENT
    assert world.roster.restarts == 0


def test_an_actor_that_works_again_is_not_passivated(world: World) -> None:
    live(world)
    world.do(world.at(100.0).idle(world.actor_of("p"), report(True)))
    world.do(world.at(105.0).idle(world.actor_of("p"), report(False)))
    world.do(world.at(1000.0).passivate_idle())
    assert world.roster.stage("p") is Stage.LIVE


def test_who_asks_for_the_app_begins_the_idle_time_anew(world: World) -> None:
    address = live(world)
    world.do(world.at(100.0).idle(world.actor_of("p"), report(True)))
    request = world.request(m.OpenPreview)
    assert world.to(address)[-1] == request
    world.do(world.at(1000.0).passivate_idle())  # while the actor has not said that it is idle
    assert world.roster.stage("p") is Stage.LIVE
    world.do(world.at(1000.0).idle(world.actor_of("p"), report(True)))
    world.do(world.at(1009.0).passivate_idle())
    assert world.roster.stage("p") is Stage.LIVE
    world.do(world.at(1010.0).passivate_idle())
    assert world.roster.stage("p") is Stage.PASSIVATING


def test_a_clean_up_may_name_its_own_limit(world: World) -> None:
    live(world)
    world.do(world.at(100.0).idle(world.actor_of("p"), report(True)))
    world.do(world.at(100.0).passivate_idle(0.0))
    assert world.roster.stage("p") is Stage.PASSIVATING


def test_a_request_during_passivation_waits_and_revives(world: World) -> None:
    old = live(world)
    world.request(m.PassivateProject)
    request = world.generate(request_id="late")
    assert request not in world.to(old)
    world.do(world.roster.leaving(world.actor_of("p")))
    world.do(world.at(5.0).exited(old))
    new = world.give_birth()
    assert world.to(new) == [m.AdoptProject(project_id="p"), request]
    assert m.Done(request_id="q") in world.to("gateway")


def test_a_request_between_leaving_and_exit_waits_for_the_successor(world: World) -> None:
    old = live(world)
    world.do(world.roster.leaving(world.actor_of("p")))
    assert world.to(old)[-1] == m.LeaveGranted()
    request = world.generate(request_id="late")
    assert request not in world.to(old)
    world.do(world.at(5.0).exited(old))
    assert request in world.to(world.give_birth())


def test_a_refused_passivation_delivers_what_was_kept(world: World) -> None:
    address = live(world)
    world.request(m.PassivateProject)
    request = world.generate(request_id="late")
    world.do(world.roster.passivation_refused(address, "project_busy", "It has work."))
    assert world.to(address)[-1] == request
    assert world.roster.stage("p") is Stage.LIVE
    refused = m.Failed(request_id="q", code="project_busy", message="It has work.")
    assert world.to("gateway") == [refused]
    for sender in (address, "unknown"):
        assert world.roster.passivation_refused(sender, "", "") == []


def test_passivating_an_absent_project_is_done_at_once_and_a_leaving_one_is_refused(
    world: World,
) -> None:
    world.request(m.PassivateProject)
    assert world.to("gateway") == [m.Done(request_id="q")]
    live(world)
    world.request(m.PassivateProject)
    world.request(m.PassivateProject)
    assert isinstance(world.to("gateway")[-1], m.Failed)


def test_a_crashed_project_gets_a_new_actor_and_keeps_its_place_in_nothing(world: World) -> None:
    old = live(world)
    world.do(world.roster.run_wanted(world.actor_of("p")))
    assert world.status().running == 1
    world.do(world.at(5.0).exited(old))
    assert world.status().running == 0
    assert world.roster.restarts == 1
    new = world.give_birth()
    assert world.to(new) == [m.AdoptProject(project_id="p")]


def test_a_second_report_of_the_same_exit_changes_nothing(world: World) -> None:
    old = live(world)
    world.do(world.at(5.0).exited(old))
    world.do(world.at(5.0).exited(old))
    assert world.roster.restarts == 1


def crash(world: World, at: float) -> str:
    address = world.give_birth()
    assert isinstance(world.to(address)[0], m.AdoptProject)
    world.do(world.at(at).exited(address))
    return address


def test_three_crashes_in_a_minute_end_the_run_with_a_reason(world: World) -> None:
    world.generate()
    for number in range(MAX_RESTARTS):
        crash(world, float(number))
    adopted = world.to(world.give_birth())[0]
    assert isinstance(adopted, m.AdoptProject)
    assert adopted.crash_report is not None
    assert str(MAX_RESTARTS) in adopted.crash_report.sentence
    assert adopted.crash_report.pids == tuple(range(1001, 1001 + MAX_RESTARTS))


def test_a_project_is_told_once_that_it_died_too_often(world: World) -> None:
    world.generate()
    for number in range(MAX_RESTARTS):
        crash(world, float(number))
    told = world.give_birth()
    world.do(world.at(9.0).nursery_died({told}, 0))
    assert world.to(world.give_birth()) == [m.AdoptProject(project_id="p")]


def test_when_even_the_last_actor_dies_the_project_is_given_up_and_commands_are_refused(
    world: World,
) -> None:
    world.generate()
    for number in range(MAX_RESTARTS):
        crash(world, float(number))
    last = world.give_birth()
    world.request(m.PassivateProject)
    world.generate(request_id="kept")
    world.do(world.at(9.0).exited(last))
    assert world.roster.stage("p") is Stage.ABSENT
    refused = world.to("gateway")[-1]
    assert isinstance(refused, m.Failed)
    assert refused.code == "actor_crashed"


def test_a_late_report_of_a_dead_actor_does_not_count_for_its_successor(world: World) -> None:
    old = live(world)
    world.do(world.at(5.0).exited(old))
    new = world.give_birth()
    for late in (
        world.roster.run_wanted(old),
        world.roster.leaving(old),
        world.at(0.0).idle(old, report(True)),
        world.roster.passivation_refused(old, "", ""),
    ):
        assert late == []
    world.do(world.at(1000.0).passivate_idle())
    assert world.to(new) == [m.AdoptProject(project_id="p")]
    world.do(world.roster.run_wanted(new))
    assert world.to(new)[-1] == m.RunGranted(project_id="p")


def test_old_crashes_are_forgotten(world: World) -> None:
    world.generate()
    for number in range(MAX_RESTARTS + 3):
        crash(world, number * RESTART_WINDOW_SECONDS)
    adopted = world.to(world.give_birth())[0]
    assert adopted == m.AdoptProject(project_id="p")


def test_a_dead_spare_is_replaced(world: World) -> None:
    spare = world.give_birth()
    world.do(world.at(5.0).exited(spare))
    assert world.bred == 2
    world.do(world.at(5.0).exited("never seen"))
    assert world.bred == 2


def test_spares_that_were_used_are_replaced_by_the_clock_and_the_last_one_at_once() -> None:
    world = World(spares=2)
    world.give_birth()
    world.give_birth()
    world.generate("p")
    assert world.bred == 2
    world.do(world.roster.restock())  # the clock
    assert world.bred == 3
    world.generate("q")
    assert world.bred == 4


def test_a_crash_uses_a_spare_and_breeds_none_while_there_are_others() -> None:
    world = World(spares=3)
    for _ in range(3):
        world.give_birth()
    world.generate()
    world.do(world.roster.exited(world.actor_of("p")))
    assert (world.roster.stage("p"), world.bred) == (Stage.LIVE, 3)
    world.do(world.roster.restock())
    assert world.bred == 5


def test_births_that_never_happen_are_asked_for_again(world: World) -> None:
    assert world.bred == 1
    world.do(world.at(5.0).restock())
    assert world.bred == 1
    world.do(world.at(50.0).restock())
    assert world.bred == 1  # the first was given up


def test_births_that_are_just_slow_are_not_asked_for_twice(world: World) -> None:
    world.now = 100.0
    for number in range(30):
        world.generate(f"p{number}")
    assert world.bred == 31
    world.do(world.at(105.0).restock())
    assert world.bred == 31


def test_a_dead_nursery_is_survived_without_using_a_spare_that_died_with_it(world: World) -> None:
    project = live(world)
    spare = world.give_birth()
    before = world.bred
    world.do(world.at(5.0).nursery_died({project, spare}, 1))
    assert world.roster.restarts == 1
    assert world.roster.stage("p") is Stage.WAITING
    assert world.bred > before
    assert world.to(world.give_birth()) == [m.AdoptProject(project_id="p")]


def test_the_deaths_of_nurseries_are_no_crashes_of_their_children(world: World) -> None:
    world.generate()
    for number in range(MAX_RESTARTS):
        world.do(world.at(float(number)).nursery_died({world.give_birth()}, 0))
    assert world.to(world.give_birth()) == [m.AdoptProject(project_id="p")]
    assert world.roster.restarts == MAX_RESTARTS


def look_after(world: World, at: float) -> None:
    """Look after the actors every second until then, as the supervisor does."""
    while world.now < at:
        world.do(world.at(min(at, world.now + 1.0)).look_after())


def test_a_busy_actor_that_gives_no_sign_of_life_is_ended(world: World) -> None:
    address = live(world)
    look_after(world, 2.0)
    assert world.to(address)[-1] != m.Ping()  # it is new
    look_after(world, 2.0 + PING_SECONDS)
    assert world.to(address)[-1] == m.Ping()
    look_after(world, 2.0 + PING_SECONDS + HUNG_SECONDS - 1)
    assert world.killed == []
    look_after(world, 2.0 + PING_SECONDS + HUNG_SECONDS)
    assert world.killed == [1001]


def test_an_actor_that_answers_is_asked_again_and_lives(world: World) -> None:
    address = live(world)
    for number in range(20):
        look_after(world, PING_SECONDS * number)
        world.roster.heard(address)
    assert world.to(address).count(m.Ping()) > 10
    assert world.killed == []


def test_an_idle_actor_is_left_alone_until_it_is_told_something(world: World) -> None:
    address = live(world)
    world.do(world.at(2.0).idle(address, report(True)))
    look_after(world, 3.0)
    look_after(world, 100.0)
    assert m.Ping() not in world.to(address)
    world.generate(request_id="r2")
    look_after(world, 101.0)
    look_after(world, 101.0 + PING_SECONDS)
    assert world.to(address)[-1] == m.Ping()


def test_an_actor_that_hangs_while_it_is_passivated_is_ended(world: World) -> None:
    address = live(world)
    world.do(world.at(2.0).idle(address, report(True)))
    world.request(m.PassivateProject)
    for at in (3.0, 3.0 + PING_SECONDS, 3.0 + PING_SECONDS + HUNG_SECONDS):
        look_after(world, at)
    assert world.killed == [1001]


def test_a_place_that_a_dead_nursery_frees_goes_to_none_of_its_other_children() -> None:
    world = World(max_runs=1, spares=3)
    first, second, third = (live(world, project_id) for project_id in "abc")
    for address in (first, second, third):
        world.do(world.roster.run_wanted(address))
    world.do(world.at(5.0).nursery_died([first, second], 0))
    granted = [to for to, message in world.sent if isinstance(message, m.RunGranted)]
    assert granted == [first, third]


def test_a_watcher_that_ends_leaves_the_others(world: World) -> None:
    for watcher in ("one", "two"):
        world.do(
            world.roster.request(m.WatchProject(request_id="w", reply_to=watcher, project_id="p"))
        )
    world.do(world.roster.request(m.UnwatchProject(request_id="u", reply_to="one", project_id="p")))
    live(world)
    assert not any(isinstance(x, m.ProjectChanged) for x in world.to("one"))
    assert any(isinstance(x, m.ProjectChanged) for x in world.to("two"))


def test_more_runs_than_places_wait_in_order_and_get_freed_places() -> None:
    world = World(max_runs=1, spares=3)
    addresses = {}
    for project_id in "abc":
        addresses[project_id] = live(world, project_id)
        world.do(world.roster.run_wanted(world.actor_of(project_id)))
    granted = [to for to, message in world.sent if isinstance(message, m.RunGranted)]
    assert granted == [addresses["a"]]
    assert world.status().waiting_runs == 2
    world.do(
        world.roster.run_wanted(world.actor_of("b"))
    )  # asking twice gives no second place in the queue
    world.do(world.roster.run_ended(world.actor_of("a")))
    world.do(world.at(5.0).exited(addresses["b"]))  # its place goes to the next
    granted = [to for to, message in world.sent if isinstance(message, m.RunGranted)]
    assert granted == [addresses["a"], addresses["b"], addresses["c"]]
    world.do(world.roster.run_wanted(world.actor_of("nobody")))
    world.do(world.roster.run_ended(world.actor_of("nobody")))


def test_kept_requests_are_bounded(world: World) -> None:
    for number in range(MAX_KEPT_REQUESTS + 1):
        world.generate(request_id=str(number))
    refused = world.to("gateway")
    assert [message.code for message in refused if isinstance(message, m.Failed)] == [
        "project_busy"
    ]


def test_watchers_are_told_of_every_stage_until_they_end_it(world: World) -> None:
    world.request(m.WatchProject)
    assert isinstance(world.to("gateway")[0], m.ProjectInfo)
    assert world.status().live == 0  # watching wakes nobody
    address = live(world)
    world.request(m.PassivateProject)
    world.do(world.roster.leaving(world.actor_of("p")))
    world.do(world.at(1.0).exited(address))
    stages = [x.stage for x in world.to("gateway") if isinstance(x, m.ProjectChanged)]
    assert stages == ["live", "passivating", "absent"]
    world.request(m.UnwatchProject)
    world.generate()
    stages_now = [x.stage for x in world.to("gateway") if isinstance(x, m.ProjectChanged)]
    assert stages_now == stages


def test_watchers_learn_that_a_stop_ends_the_wait_for_an_actor(world: World) -> None:
    world.request(m.WatchProject)
    address = live(world)
    world.do(world.at(1.0).exited(address))
    world.do(world.roster.stop())
    stages = [x.stage for x in world.to("gateway") if isinstance(x, m.ProjectChanged)]
    assert stages == ["live", "waiting", "absent"]


def test_stopping_saves_the_live_and_refuses_the_rest(world: World) -> None:
    address = live(world)
    world.generate("waiting", "w")
    world.do(world.roster.stop())
    assert world.to(address)[-1] == m.SaveAndStop()
    refused = world.to("gateway")[-1]
    assert isinstance(refused, m.Failed)
    assert refused.code == "actors_unavailable"
    world.generate("new", "n")
    assert isinstance(world.to("gateway")[-1], m.Failed)
    assert (world.roster.count, world.roster.staying) == (1, 1)
    world.do(world.roster.leaving(world.actor_of("p")))
    assert (world.roster.count, world.roster.staying) == (1, 0)
    world.do(world.at(1.0).exited(address))
    assert world.roster.count == 0


def test_an_actor_that_dies_while_stopping_is_not_revived(world: World) -> None:
    address = live(world)
    world.do(world.roster.stop())
    world.do(world.at(1.0).exited(address))
    assert world.roster.count == 0
    assert world.roster.restarts == 0


def test_an_idle_report_for_an_absent_project_is_ignored(world: World) -> None:
    world.do(world.at(1.0).idle(world.actor_of("p"), report(True)))
    world.do(world.roster.leaving(world.actor_of("p")))
    assert world.roster.count == 0


def test_the_sender_is_the_reply_address_unless_one_is_given() -> None:
    request = m.GetStatus(request_id="1")
    assert addressed(request, "sender").reply_to == "sender"
    assert addressed(addressed(request, "first"), "second").reply_to == "first"


# --- sandboxes -----------------------------------------------------------------------------------


def with_one_sandbox() -> tuple[World, str, str]:
    """A place for one sandbox; `p` has it, `q` is live as well."""
    world = World(max_sandboxes=1, sandbox_idle_seconds=100)
    world.generate("p")
    one = world.give_birth()
    world.generate("q")
    other = world.give_birth()
    world.do(world.roster.run_wanted(one))
    return world, one, other


def test_whoever_was_idle_for_the_longest_makes_room_for_a_run() -> None:
    world, one, other = with_one_sandbox()
    world.do(world.roster.run_wanted(other))
    delayed = world.to(other)[-1]
    assert isinstance(delayed, m.RunDelayed)
    assert "CODEGEN_MAX_SANDBOXES" in delayed.message
    world.do(world.roster.run_ended(one))
    assert not any(isinstance(message, m.PassivateProject) for message in world.to(one))
    world.do(world.roster.idle(one, report(True)))
    assert isinstance(world.to(one)[-1], m.PassivateProject)
    world.do(world.roster.leaving(one))
    assert world.to(other)[-1] == delayed
    world.do(world.roster.exited(one))
    assert world.to(other)[-1] == m.RunGranted(project_id="q")


def test_a_preview_without_a_place_is_refused_and_makes_room() -> None:
    world, one, _ = with_one_sandbox()
    world.do(world.roster.run_ended(one))
    world.do(world.roster.idle(one, report(True)))
    request = world.request(m.OpenPreview, "q")
    [refusal] = [message for message in world.to("gateway") if isinstance(message, m.Failed)]
    assert (refusal.request_id, refusal.code) == (request.request_id, "project_busy")
    world.do(world.roster.passivate_idle())
    assert isinstance(world.to(one)[-1], m.PassivateProject)


def test_who_has_a_sandbox_stays_longer() -> None:
    world, one, other = with_one_sandbox()
    world.do(world.roster.run_ended(one))
    for address in (one, other):
        world.do(world.roster.idle(address, report(True)))
    world.do(world.at(50.0).passivate_idle())
    assert isinstance(world.to(other)[-1], m.PassivateProject)
    assert not isinstance(world.to(one)[-1], m.PassivateProject)
    world.do(world.at(102.0).passivate_idle())
    assert isinstance(world.to(one)[-1], m.PassivateProject)


def test_a_sandbox_that_an_earlier_owner_left_running_takes_a_place() -> None:
    world = World(max_sandboxes=1, sandbox_idle_seconds=100)
    world.generate("p")
    address = world.give_birth()
    world.do(world.roster.idle(address, report(True, is_sandbox_left=True)))
    world.do(world.at(50.0).passivate_idle())
    assert not isinstance(world.to(address)[-1], m.PassivateProject)
    world.request(m.OpenPreview, "q")
    world.do(world.roster.passivate_idle())
    assert isinstance(world.to(address)[-1], m.PassivateProject)
