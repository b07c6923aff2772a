"""Who handles which message: what the supervisor hands on to a project's actor, that one knows."""

from __future__ import annotations

from actors import messages as m
from actors.project import ProjectActor
from actors.supervisor import Supervisor

#: What the roster answers itself.
OF_THE_ROSTER = {m.GetProject, m.WatchProject, m.UnwatchProject}
REQUESTS = {
    kind
    for kind in vars(m).values()
    if isinstance(kind, type) and issubclass(kind, m.ProjectRequest) and kind != m.ProjectRequest
}


def test_the_supervisor_takes_every_request_for_a_project() -> None:
    assert set(Supervisor._handlers) >= REQUESTS


def test_a_project_takes_every_request_that_is_handed_on() -> None:
    assert set(ProjectActor._handlers) >= REQUESTS - OF_THE_ROSTER
