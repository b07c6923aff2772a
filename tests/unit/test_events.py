"""The event vocabulary: the wire's exact words, and a codec that loses nothing."""

from __future__ import annotations

import dataclasses
import typing

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import events as ev
from actors.codec import EVENT_TYPES, camel, decode_data, encode_data, frame
from actors.events import Event, PhasePlan, PlannedFile, RunState

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
PLAN = st.builds(
    PhasePlan,
    name=TEXT,
    description=TEXT,
    files=st.lists(st.builds(PlannedFile, path=TEXT, purpose=TEXT), max_size=3).map(tuple),
    is_last_phase=st.booleans(),
)
_BY_TYPE: dict[object, st.SearchStrategy[object]] = {
    str: TEXT,
    int: st.integers(0, 2**53),
    bool: st.booleans(),
    float: st.floats(0, 1e9),
    float | None: st.none() | st.floats(0, 1e9),
    str | None: st.none() | TEXT,
    tuple[str, ...]: st.lists(TEXT, max_size=3).map(tuple),
    PhasePlan: PLAN,
    RunState: st.sampled_from(RunState),
}


def events_of(cls: type[Event]) -> st.SearchStrategy[Event]:
    kinds = typing.get_type_hints(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]  # every event is a dataclass
    return st.builds(cls, **{field.name: _BY_TYPE[kinds[field.name]] for field in fields})


PLAN_EXAMPLE = PhasePlan(
    name="Base",
    description="The page",
    files=(PlannedFile(path="index.html", purpose="the page"),),
    is_last_phase=True,
    delete=("old.js",),
)

#: The frames of design.md section 6, and one of every kind of our own.
FRAMES: list[tuple[Event, str, dict[str, object]]] = [
    (
        ev.StateChange(state=RunState.DESIGNING_PHASE),
        "state_change",
        {"state": "designing_phase"},
    ),
    (ev.PhaseDesigning(phase_number=1), "phase_designing", {"phaseNumber": 1}),
    (
        ev.PhaseDesigned(phase=PLAN_EXAMPLE),
        "phase_designed",
        {
            "phase": {
                "name": "Base",
                "description": "The page",
                "files": [{"path": "index.html", "purpose": "the page"}],
                "isLastPhase": True,
                "delete": ["old.js"],
            },
            "wishes": 0,
            "problems": 0,
        },
    ),
    (ev.FileDeleted(path="a"), "file_deleted", {"path": "a"}),
    (ev.FileStart(path="a"), "file_start", {"path": "a"}),
    (ev.FileChunk(path="a", chunk="x"), "file_chunk", {"path": "a", "chunk": "x"}),
    (ev.FileEnd(path="a", content="x"), "file_end", {"path": "a", "content": "x"}),
    (ev.FilesWritten(count=3), "files_written", {"count": 3}),
    (ev.DepsInstalled(), "deps_installed", {}),
    (ev.ServerStarted(url="http://h"), "server_started", {"url": "http://h"}),
    (
        ev.ServerStopped(reason="hung", message="It hangs."),
        "server_stopped",
        {"reason": "hung", "message": "It hangs."},
    ),
    (
        ev.GenerationComplete(files=("a", "b"), phases=2),
        "generation_complete",
        {"files": ["a", "b"], "phases": 2},
    ),
    (ev.ErrorRaised(message="m", code="c"), "error", {"message": "m", "code": "c"}),
    (
        ev.CommandQueued(id="1", description="d", model="m", max_phases=5, place=0),
        "command_queued",
        {"id": "1", "description": "d", "model": "m", "maxPhases": 5, "place": 0},
    ),
    (
        ev.Usage(purpose="plan", model="m", prompt_tokens=1, completion_tokens=2, cost_usd=None),
        "usage",
        {
            "purpose": "plan",
            "model": "m",
            "promptTokens": 1,
            "completionTokens": 2,
            "costUsd": None,
            "estimated": False,
        },
    ),
    (
        ev.InstallRequested(arguments=("npm", "install", "zod")),
        "install_requested",
        {"arguments": ["npm", "install", "zod"]},
    ),
    (
        ev.SandboxStarted(kind="docker", container_id="c0ffee"),
        "sandbox_started",
        {"kind": "docker", "containerId": "c0ffee"},
    ),
]


@pytest.mark.parametrize(("event", "type_", "data"), FRAMES, ids=lambda value: str(value)[:24])
def test_a_frame_has_the_wires_words(event: Event, type_: str, data: dict[str, object]) -> None:
    text = frame(event.type, encode_data(event), 7)
    assert orjson.loads(text) == {"type": type_, "data": data, "seq": 7}
    assert list(orjson.loads(text)) == ["type", "data", "seq"]


def test_the_states_are_the_wires() -> None:
    words = "idle designing_phase implementing_phase installing_deps checking_build"
    words += " starting_server paused complete error"
    assert [state.value for state in RunState] == words.split()


@pytest.mark.parametrize("cls", EVENT_TYPES.values(), ids=lambda cls: cls.__name__)
def test_every_event_comes_back_as_it_was(cls: type[Event]) -> None:
    @given(events_of(cls))
    def comes_back(event: Event) -> None:
        data = encode_data(event)
        assert b"\n" not in data
        assert decode_data(event.type, orjson.loads(data)) == event

    comes_back()


def test_every_event_has_a_type_of_its_own() -> None:
    classes = [
        value
        for value in vars(ev).values()
        if isinstance(value, type) and issubclass(value, Event) and value is not Event
    ]
    assert set(EVENT_TYPES.values()) == set(classes)
    assert len(EVENT_TYPES) == len(classes)


def test_only_the_small_and_many_are_no_barriers() -> None:
    flowing = {name for name, cls in EVENT_TYPES.items() if not cls.is_barrier}
    assert flowing == {"file_start", "file_chunk", "sandbox_log", "model_warning", "model_retry"}


def test_a_member_that_we_do_not_know_is_ignored() -> None:
    assert decode_data("file_start", {"path": "a", "later": 1}) == ev.FileStart(path="a")


@pytest.mark.parametrize(
    ("type_", "data", "error"),
    [
        ("unheard_of", {}, KeyError),
        ("file_chunk", {"path": "a"}, KeyError),
        ("state_change", {"state": "dancing"}, ValueError),
    ],
)
def test_what_is_no_event_is_refused(
    type_: str, data: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        decode_data(type_, data)


@pytest.mark.parametrize(
    ("name", "wire"),
    [("path", "path"), ("phase_number", "phaseNumber"), ("is_last_phase", "isLastPhase")],
)
def test_names_are_camel_case_on_the_wire(name: str, wire: str) -> None:
    assert camel(name) == wire


def test_a_member_that_an_earlier_version_did_not_have_is_read_as_its_default() -> None:
    data = {"purpose": "plan", "model": "m", "promptTokens": 1, "completionTokens": 2}
    usage = decode_data("usage", {**data, "costUsd": 0.5})
    assert isinstance(usage, ev.Usage)
    assert not usage.estimated
    with pytest.raises(KeyError):
        decode_data("usage", data)
