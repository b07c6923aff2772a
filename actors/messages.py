"""The mailbox vocabulary: every message between gateway, supervisor, nursery and project actor.

Commands are imperative, answers are nouns or past tense. All are plain data, pickled and signed. A
request carries `request_id` and `reply_to`: whoever has done the work answers there, by that id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Base of all messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Message):
    """A message that is answered; `reply_to` is filled in by the supervisor from the sender."""

    request_id: str
    reply_to: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectRequest(Request):
    """A request about one project, routed to its actor by the supervisor."""

    project_id: str


# --- gateway or admin -> supervisor -> project actor -------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StartGeneration(ProjectRequest):
    """Queue a generate command, waking the project's actor; answered by `Accepted` or `Failed`."""

    description: str
    command_id: str | None = None
    model: str | None = None
    max_phases: int | None = None
    mode: str = "queue"


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelGeneration(ProjectRequest):
    """Stop the run, or drop the queue; answered by `Done` once that is durable, or by `Failed`.

    `target` names one generate command, which runs or waits, and leaves all others alone.
    `command_id` is the cancel's own id.
    """

    command_id: str | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportProblem(ProjectRequest):
    """Keep an error of the running app for the next plan; answered by `Done`, or by `Failed`."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviveProject(ProjectRequest):
    """Get or create the project's actor; it resumes an open run. Answered by `ProjectInfo`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetProject(ProjectRequest):
    """Ask for a live project without creating it; answered by `ProjectInfo` or `Failed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPreview(ProjectRequest):
    """Have the project's app served, waking its actor; answered at once by `PreviewOpened`.

    `Failed` says, once, why the last start of the app failed; asked again, it is started again.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class FindPreview(ProjectRequest):
    """Ask where the project's app answers, starting nothing; answered by `PreviewOpened`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassivateProject(ProjectRequest):
    """Make an idle actor save, stop its sandbox and leave memory.

    Answered by the supervisor: by `Done` when the actor is gone, however it went, or by `Failed`;
    an actor with a run or a queue, or one that is starting the project's app for `OpenPreview`,
    refuses (`project_busy`).
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveProject(ProjectRequest):
    """End the run, remove the sandbox, drop the data and leave memory.

    Creates the actor where there is none. Answered by `Done`.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveSandbox(ProjectRequest):
    """Remove the sandbox with all it holds, also under a run; `message` is as `ReportProblem`'s."""

    message: str


# --- gateway or admin -> supervisor --------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchProject(ProjectRequest):
    """Send `ProjectChanged` to the sender when the project's actor comes, goes or crashes.

    For admins: the gateway learns the same from the feed. Wakes nobody. Answered by `ProjectInfo`.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class UnwatchProject(ProjectRequest):
    """End a `WatchProject`; answered by `Done`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetStatus(Request):
    """Ask the supervisor for its counts; answered by `Status`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanUp(Request):
    """Passivate every actor that has been idle for `idle_seconds`; answered by `Done`."""

    idle_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Shutdown(Request):
    """Save every project, stop every sandbox, end every process within `deadline_seconds`.

    Open runs stay open in the journal and go on at the next start. Answered by
    `ShutdownComplete`.
    """

    deadline_seconds: float


# --- answers -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Message):
    """Base of all answers."""

    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted(Answer):
    """A generate command is durable; `place` 0 runs now, 1 waits for one run, and so on."""

    command_id: str
    place: int
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Answer):
    """The request was carried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewOpened(Answer):
    """The app answers at `url`, an address of the sandbox; None while it does not.

    `stage` is what is done meanwhile ("installing dependencies"), or empty. `is_behind`: newer
    files than those that are served have been tried, and did not do.
    """

    url: str | None
    stage: str = ""
    is_behind: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectInfo(Answer):
    """Where a project's actor is: `stage` as in `actors/roster.py`, or absent if not in memory."""

    project_id: str
    stage: str
    running: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(Answer):
    """The supervisor's counts."""

    live: int
    running: int
    waiting_runs: int
    spares: int
    nurseries: int
    restarts: int
    pids: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownComplete(Answer):
    """The stop is over: `saved` projects left in order, `abandoned` ones could not, or not in time.

    An abandoned project goes on from its journal, as after a crash.
    """

    saved: int
    abandoned: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Answer):
    """The request was refused or failed: a stable code and a sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectChanged(Message):
    """Supervisor -> watchers: the project's actor is now at `stage`."""

    project_id: str
    stage: str


# --- supervisor <-> nursery <-> project actor ----------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigureSupervisor(Message):
    """Guard -> supervisor, once; answered by `SupervisorReady`.

    The end of `lifeline_fd` means that the gateway died, the end of `guard_pid` that the guard
    did; one byte into `verdict_fd` tells the guard that the stop was an orderly one.
    """

    lifeline_fd: int
    verdict_fd: int
    guard_pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorReady(Message):
    """Supervisor -> guard: configured."""

    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigureNursery(Message):
    """Supervisor -> nursery, once, answered by `Pong`; `number` is its name among them."""

    supervisor: Any
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BreedSpares(Message):
    """Supervisor -> nursery: fork `count` blank project actors."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigureActor(Message):
    """Nursery -> blank actor, once; the actor presents itself with `SpareReady`."""

    supervisor: Any
    nursery: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpareReady(Message):
    """Blank actor -> supervisor: the sender may be given a project."""

    nursery: int
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashReport:
    """A project died too often: what its run ends with, and the processes that died."""

    sentence: str
    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptProject(Message):
    """Supervisor -> spare: become this project's actor. Commands may follow at once.

    With a crash report the actor ends the project's run, or drops the command that was next.
    """

    project_id: str
    crash_report: CrashReport | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping(Message):
    """Supervisor -> project actor or nursery: are you there? Answered by `Pong` at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong(Message):
    """Project actor or nursery -> supervisor: its mailbox and its loop work; its process id."""

    pid: int
    nursery: int = 0  # its number


@dataclass(frozen=True, slots=True, kw_only=True)
class RunWanted(Message):
    """Project actor -> supervisor: may I run? Answered by `RunGranted`, perhaps later."""

    project_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunGranted(Message):
    """Supervisor -> project actor: one of the `CODEGEN_MAX_RUNS` places is yours."""

    project_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDelayed(Message):
    """Supervisor -> project actor: the run has to wait; `message` tells its viewers why."""

    project_id: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(Message):
    """Project actor -> supervisor: the place is free again."""

    project_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectIdle(Message):
    """Project actor -> supervisor: nothing to do since now (`idle`), or something again."""

    project_id: str
    idle: bool
    is_sandbox_left: bool = False  # an owner died, and its sandbox may be running


@dataclass(frozen=True, slots=True, kw_only=True)
class PassivationRefused(Message):
    """Project actor -> supervisor: the actor stays; who asked is answered with code and message."""

    project_id: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectGone(Message):
    """Project actor -> supervisor: saved (or removed); answered by `LeaveGranted`.

    At a stop while PostgreSQL is away the actor leaves in the end without having saved.
    """

    project_id: str
    is_saved: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveGranted(Message):
    """Supervisor -> project actor: exit; requests that crossed with it go back, to be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveAndStop(Message):
    """Supervisor -> project actor: shutdown; keep the run open, save, answer `ProjectGone`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorExited(Message):
    """Nursery -> supervisor, once per child: the process is gone, expected or not."""

    address: Any
