"""Which service the CLI talks to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from actors.errors import InvalidSetting
from actors.settings import Settings
from gateway.client.service import project_path, service_url


def settings(tmp_path: Path, **environment: str) -> Settings:
    return Settings.read({"CODEGEN_STATE_DIR": str(tmp_path), **environment})


def test_the_flag_wins_over_the_environment(tmp_path: Path) -> None:
    environment = {"CODEGEN_URL": "http://b"}
    assert service_url(environment, "https://a:1/", settings(tmp_path)) == "https://a:1"


def test_the_environment_wins_over_the_running_service(tmp_path: Path) -> None:
    (tmp_path / "actors.json").write_text(json.dumps({"url": "http://127.0.0.1:5"}))
    assert service_url({"CODEGEN_URL": "http://b/"}, None, settings(tmp_path)) == "http://b"


def test_the_service_of_the_state_directory_is_found(tmp_path: Path) -> None:
    (tmp_path / "actors.json").write_text(json.dumps({"url": "http://127.0.0.1:5"}))
    assert service_url({}, None, settings(tmp_path)) == "http://127.0.0.1:5"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"url": 5}'])
def test_an_unreadable_note_of_the_service_is_passed_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "actors.json").write_text(content)
    assert service_url({}, None, settings(tmp_path)) == "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        ("127.0.0.1", "9000", "http://127.0.0.1:9000"),
        ("0.0.0.0", "9000", "http://127.0.0.1:9000"),
        ("::1", "9000", "http://[::1]:9000"),
        ("localhost", "0", "http://localhost:8080"),
    ],
)
def test_the_settings_of_the_service_are_the_last_resort(
    tmp_path: Path, host: str, port: str, url: str
) -> None:
    given = settings(tmp_path, CODEGEN_HOST=host, CODEGEN_PORT=port)
    assert service_url({}, None, given) == url


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://a", "http://"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidSetting):
        service_url({}, url, settings(tmp_path))


def test_ids_cannot_leave_their_place_in_a_path() -> None:
    assert project_path("../x") == "/api/projects/..%2Fx"
