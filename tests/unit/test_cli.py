"""The `codegen` command without a service: usage, refusals, exit statuses."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from gateway import cli
from gateway.client.generate import new_project_id
from gateway.frames import check_project_id

# Port 9 (discard) is refused on loopback: privileged, and nothing listens there.
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in list(os.environ):
        if variable.startswith("CODEGEN_"):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("CODEGEN_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("CODEGEN_URL", NOWHERE)


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "a timer"],
        ["projects"],
        ["status"],
        ["files", "p"],
        ["cancel", "p"],
        ["remove", "p", "--yes"],
    ],
)
def test_without_a_service_one_sentence_says_how_to_start_one(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 1
    assert capsys.readouterr().err == (
        f"codegen: No service answers at {NOWHERE}; start one with scripts/serve, or give --url. "
        "(not_running)\n"
    )


def test_shutdown_without_a_service_names_the_state_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["shutdown"]) == 1
    assert str(tmp_path) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["generate", "  "], "invalid_description"),
        (["generate", "x" * 20_001], "invalid_description"),
        (["generate", "x", "--max-phases", "0"], "invalid_frame"),
        (["generate", "x", "--project", "a/b"], "invalid_project_id"),
        (["files", "a b"], "invalid_project_id"),
        (["cancel", ""], "invalid_project_id"),
        (["remove", "é"], "invalid_project_id"),
        (["projects", "--url", "localhost"], "invalid_setting"),
    ],
)
def test_bad_input_is_refused_before_anything_is_sent(
    arguments: list[str], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 1
    assert f"({code})" in capsys.readouterr().err


def test_errors_are_json_where_json_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["error"]["code"] == "not_running"


def test_a_bad_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CODEGEN_PORT", "many")
    assert cli.main(["serve"]) == 1
    assert "CODEGEN_PORT" in capsys.readouterr().err


def test_a_description_can_come_from_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(" \n"))
    assert cli.main(["generate", "-"]) == 1
    assert "(invalid_description)" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["dance"], ["generate"], ["projects", "--limit", "x"]])
def test_wrong_usage_is_exit_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: codegen" in capsys.readouterr().err


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version"]) == 0
    assert capsys.readouterr().out == version("codegen-agents") + "\n"


def test_a_bug_is_told_in_a_sentence_and_in_full_when_debugging(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "version", lambda _: 1 / 0)
    assert cli.main(["version"]) == 1
    assert capsys.readouterr().err == (
        "codegen: ZeroDivisionError: division by zero; CODEGEN_LOG_LEVEL=DEBUG shows more "
        "(internal_error)\n"
    )
    monkeypatch.setenv("CODEGEN_LOG_LEVEL", "DEBUG")
    assert cli.main(["version"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupted_command_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "version", interrupt)
    assert cli.main(["version"]) == 130


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "version"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 1
    assert errors == b""


@pytest.mark.parametrize(
    ("description", "start"),
    [
        ("A Pomodoro timer!", "pomodoro-timer-"),
        ("the " + "x" * 100 + " y z w", "x" * 16 + "-y-z-"),
        ("番茄钟", ""),
    ],
)
def test_a_new_project_is_named_after_its_description(description: str, start: str) -> None:
    name = new_project_id(description)
    assert name.startswith(start)
    assert check_project_id(name) != new_project_id(description)
