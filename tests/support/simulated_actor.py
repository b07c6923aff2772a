"""A project's actor as its supervisor sees it: what `actors/agent.py` does, one message at a time.

It has no tasks, no time and no database, so it can be copied in the middle of anything. Messages
that are not known here are ignored, as the agent does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from actors import messages as m

AnswerRequest = Callable[[m.Answer], None]


@dataclass
class Project:
    """What PostgreSQL holds of a project: the ids of its commands, by how far they have come."""

    queue: list[str] = field(default_factory=list)
    run: str | None = None
    known: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)

    @property
    def has_work(self) -> bool:
        return self.run is not None or bool(self.queue)

    def end_run(self) -> None:
        assert self.run is not None
        assert self.run not in self.ended, "a command is run twice"
        self.ended.add(self.run)
        self.run = None


@dataclass
class Actor:
    """A process, and what is under way to it and from it."""

    address: str
    nursery: str
    project_id: str = ""
    inbox: deque[m.Message] = field(default_factory=deque)
    outbox: deque[m.Message] = field(default_factory=deque)
    is_alive: bool = True
    is_known_dead: bool = False
    is_dismissed: bool = False  # LeaveGranted was sent to it
    has_place: bool = False  # RunGranted was sent to it, and it has not sent RunEnded since
    has_left: bool = False
    is_running: bool = False

    def read(self, project: Project, answer: AnswerRequest) -> bool:
        """Carry out the next message; False where it was the leave to end."""
        message = self.inbox.popleft()
        if self.has_left:
            if isinstance(message, m.Request) and not isinstance(message, m.PassivateProject):
                self.outbox.append(message)
            return not isinstance(message, m.LeaveGranted)
        self._dispatch(message, project, answer)
        self._settle(project)
        return True

    def _dispatch(self, message: m.Message, project: Project, answer: AnswerRequest) -> None:
        match message:
            case m.AdoptProject() if message.crash_report is not None:
                if project.run is not None:
                    project.end_run()
                elif project.queue:
                    project.queue.pop(0)
            case m.StartGeneration(command_id=str(command_id)):
                if command_id not in project.known:
                    project.known.add(command_id)
                    project.queue.append(command_id)
                answer(m.Done(request_id=message.request_id))
            case m.CancelGeneration():
                self._stop_run()
                if project.run is not None:
                    project.end_run()
                else:
                    project.queue.clear()
                answer(m.Done(request_id=message.request_id))
            case m.PassivateProject() if project.has_work:
                self._tell(m.PassivationRefused(project_id=self.project_id, code="", message=""))
            case m.PassivateProject():
                self._leave()
            case m.RemoveProject():
                self._stop_run()
                project.run = None
                for commands in (project.queue, project.known, project.ended):
                    commands.clear()
                self._leave()
                answer(m.Done(request_id=message.request_id))
            case m.RunGranted() if project.has_work and not self.is_running:
                if project.run is None:
                    project.run = project.queue.pop(0)
                self.is_running = True
            case m.RunGranted():
                self._give_place_back()
            case m.SaveAndStop():
                self._stop_run()
                self._leave()

    def _settle(self, project: Project) -> None:
        if self.is_running or self.has_left:
            return
        self._tell(m.ProjectIdle(project_id=self.project_id, idle=not project.has_work))
        if project.has_work:
            self._tell(m.RunWanted(project_id=self.project_id))

    def finish_run(self, project: Project) -> None:
        """The run comes to its end by itself."""
        project.end_run()
        self._give_place_back()
        self._settle(project)

    def _stop_run(self) -> None:
        if self.is_running:
            self._give_place_back()

    def _give_place_back(self) -> None:
        self.is_running = self.has_place = False
        self._tell(m.RunEnded(project_id=self.project_id))

    def _leave(self) -> None:
        self.has_left = True
        self._tell(m.ProjectGone(project_id=self.project_id))

    def _tell(self, message: m.Message) -> None:
        self.outbox.append(message)
