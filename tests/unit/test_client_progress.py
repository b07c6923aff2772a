"""What `codegen generate` shows for the frames of a run."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.client.progress import ProgressDisplay, Style, clean, seconds_text, size_text

PLAN = {
    "name": "Foundation",
    "description": "The page.",
    "files": [{"path": "index.html", "purpose": "p"}, {"path": "src/app.js", "purpose": "p"}],
    "isLastPhase": False,
}


def display(*, is_live: bool = False, style: Style | None = None) -> ProgressDisplay:
    return ProgressDisplay(style or Style(), url="http://host:1", is_live=is_live, now=0.0)


def show(
    shown: ProgressDisplay, *frames: tuple[str, dict[str, Any]], now: float = 0.0
) -> list[str]:
    return [line for type_, data in frames for line in shown.see(type_, data, now)]


@pytest.mark.parametrize(
    ("type_", "data", "lines"),
    [
        (
            "snapshot",
            {"isDemo": True, "model": "demo"},
            ["Model demo: built in and offline; set OPENROUTER_API_KEY for a real one"],
        ),
        ("snapshot", {"isDemo": False, "model": "acme/large"}, ["Model acme/large"]),
        ("accepted", {"place": 0}, []),
        ("accepted", {"place": 1}, ["Queued: one run of this project first"]),
        ("accepted", {"place": 3}, ["Queued: 3 runs of this project first"]),
        (
            "run_resumed",
            {"phaseNumber": 2},
            ["! The run was interrupted and goes on with phase 2"],
        ),
        ("state_change", {"state": "designing_phase"}, []),
        ("state_change", {"state": "idle"}, []),
        ("state_change", {"state": "installing_deps"}, ["  Installing the dependencies ..."]),
        ("state_change", {"state": "checking_build"}, ["  Checking that it builds ..."]),
        ("phase_designed", {"phase": PLAN}, ["", "Phase ?  Foundation", "The page."]),
        (
            "install_requested",
            {"arguments": ["npm", "install", "zod\x1b"]},
            ["    $ npm install zod "],
        ),
        (
            "file_restored",
            {"path": "a.js", "content": None},
            ["  ! a.js was not finished and does not exist"],
        ),
        (
            "file_restored",
            {"path": "a.js", "content": "x"},
            ["  ! a.js was not finished and is as it was"],
        ),
        ("file_deleted", {"path": "a\x1bb.js"}, ["  ✔ a b.js is deleted"]),
        ("sandbox_started", {"kind": "docker"}, ["  ✔ sandbox started (docker)"]),
        ("deps_installed", {}, ["  ✔ dependencies ready  0.0 s"]),
        (
            "server_started",
            {"url": "/preview/p/"},
            ["  ✔ the app answers at http://host:1/preview/p/  0.0 s"],
        ),
        (
            "server_stopped",
            {"reason": "exited", "message": "It ended.\none\x1b\ntwo"},
            ["  ! It ended.", "    one ", "    two"],
        ),
        (
            "model_warning",
            {"kind": "unsafe_path", "detail": "../x"},
            ["  ! the model's output was mended: unsafe_path: ../x"],
        ),
        (
            "model_retry",
            {"attempt": 2, "waitSeconds": 1.5, "reason": "It is busy\x1b.", "model": "a/b"},
            ["  ! It is busy . Asking a/b in 1.5 s (call 2)"],
        ),
        (
            "model_retry",
            {"attempt": 6, "waitSeconds": 0.0, "reason": "It is busy.", "model": "c"},
            ["  ! It is busy. Asking c (call 6)"],
        ),
        (
            "storage_unavailable",
            {"message": "It is full."},
            ["! PostgreSQL is away; the run waits (It is full.)"],
        ),
        ("storage_restored", {}, ["✔ PostgreSQL is back; the run goes on"]),
        ("generation_cancelled", {"reason": "user"}, ["! Cancelled; the finished files are kept"]),
        ("a_type_of_the_future", {"any": "thing"}, []),
    ],
)
def test_a_frame_adds_its_lines(type_: str, data: dict[str, Any], lines: list[str]) -> None:
    assert show(display(), (type_, data)) == lines


def test_finished_files_are_shown_in_line_with_their_sizes() -> None:
    lines = show(
        display(),
        ("phase_designing", {"phaseNumber": 1}),
        ("phase_designed", {"phase": PLAN}),
        ("file_start", {"path": "index.html"}),
        ("file_chunk", {"path": "index.html", "chunk": "x"}),
        ("file_end", {"path": "index.html", "content": "é" * 600}),
        ("file_end", {"path": "src/app.js", "content": "x"}),
    )
    assert lines == [
        "",
        "Phase 1  Foundation",
        "The page.",
        "  ✔ index.html    1.2 KB",
        "  ✔ src/app.js       1 B",
    ]


def test_the_end_sums_up_time_phases_files_and_tokens() -> None:
    shown = display()
    usage = {"promptTokens": 1000, "completionTokens": 500, "costUsd": 0.02}
    show(shown, ("usage", usage), ("usage", {**usage, "costUsd": None}))
    end = ("generation_complete", {"files": ["a"], "phases": 2})
    assert show(shown, end, now=75.0) == [
        "",
        "✔ Done in 1 min 15 s: 2 phases, 1 file, 3,000 tokens ($0.0200)",
    ]


def test_the_end_without_known_usage_tells_no_tokens() -> None:
    end = ("generation_complete", {"files": ["a", "b"], "phases": 1})
    assert show(display(), end)[-1] == "✔ Done in 0.0 s: 1 phase, 2 files"


def test_the_live_area_shows_the_open_file_and_what_comes_then() -> None:
    shown = display(is_live=True)
    show(
        shown,
        ("phase_designed", {"phase": PLAN}),
        ("file_chunk", {"path": "index.html", "chunk": "x" * 1500}),
        ("file_chunk", {"path": "index.html", "chunk": "x" * 500}),
    )
    assert shown.live(0.0, 80) == ["  ⠋ index.html    2.0 KB", "    then src/app.js"]


def test_a_file_that_a_resumed_run_goes_on_with_counts_what_was_written_before() -> None:
    shown = display(is_live=True)
    show(shown, ("file_start", {"path": "lost.js"}), ("run_resumed", {"phaseNumber": 1}))
    assert not any("lost.js" in line for line in shown.live(0.0, 80))
    chunk = {"path": "a.js", "chunk": "x" * 400}
    show(shown, ("file_start", {"path": "a.js"}), ("file_chunk", chunk))
    show(shown, ("state_change", {"state": "implementing_phase"}), ("file_chunk", chunk))
    assert shown.live(0.0, 80) == ["  ⠋ a.js     800 B"]


def test_the_live_area_of_the_last_file_names_no_other() -> None:
    shown = display(is_live=True)
    show(shown, ("file_start", {"path": "a.js"}))
    assert shown.live(0.0, 80) == ["  ⠋ a.js       0 B"]


def test_the_live_area_shows_a_step_its_time_and_its_newest_output() -> None:
    shown = display(is_live=True)
    assert show(shown, ("state_change", {"state": "installing_deps"}), now=2.0) == []
    show(shown, ("sandbox_log", {"stream": "stdout", "line": "added 3 packages \x1b[2K"}))
    assert shown.live(5.0, 80) == [
        "⠋ Installing the dependencies  3.0 s",
        "    added 3 packages  [2K",
    ]


def test_the_live_area_is_never_wider_than_the_terminal() -> None:
    shown = display(is_live=True)
    show(shown, ("state_change", {"state": "installing_deps"}))
    show(shown, ("sandbox_log", {"stream": "stdout", "line": "x" * 300}))
    assert [len(line) for line in shown.live(0.0, 20)] == [20, 20]


def test_off_a_terminal_download_progress_is_thinned_out() -> None:
    shown = display()
    log = {"stream": "progress", "line": "pulling 10 %"}
    assert show(shown, ("sandbox_log", log), now=1.0) == ["    pulling 10 %"]
    assert show(shown, ("sandbox_log", log), now=2.0) == []
    assert show(shown, ("sandbox_log", log), now=6.0) == ["    pulling 10 %"]
    assert show(shown, ("sandbox_log", {**log, "stream": "stdout"}), now=99.0) == []


def test_colour_marks_lines_only_where_the_style_has_it() -> None:
    style = Style(has_color=True)
    assert show(display(style=style), ("sandbox_started", {"kind": "docker"})) == [
        "  \x1b[32m✔\x1b[0m sandbox started (docker)"
    ]


def test_without_symbols_everything_but_names_is_ascii() -> None:
    shown = display(style=Style(has_symbols=False))
    lines = show(shown, ("file_end", {"path": "a.js", "content": ""}))
    assert lines == ["  ok a.js       0 B"]
    assert shown.live(0.0, 80) == ["* Waiting for the next file  0.0 s"]


def test_escape_sequences_from_the_wire_do_not_reach_the_terminal() -> None:
    hostile = {**PLAN, "name": "\x1b]0;title\x07", "description": "a\nb\x9b2J"}
    text = "\n".join(show(display(), ("phase_designed", {"phase": hostile})))
    assert clean(text.replace("\n", "")) == text.replace("\n", "")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KB"),
        (999_949, "999.9 KB"),
        (999_950, "1.0 MB"),
        (2_340_000, "2.3 MB"),
    ],
)
def test_sizes_are_for_people(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (10.0, "10 s"), (59.7, "1 min 0 s"), (125.0, "2 min 5 s")],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_the_model_is_named_again_only_where_it_is_another_one() -> None:
    shown = display()
    models = ["a", "a", "b"]
    lines = [shown.see("snapshot", {"isDemo": False, "model": model}, 0.0) for model in models]
    assert lines == [["Model a"], [], ["Model b"]]
