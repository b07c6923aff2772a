"""Settings: one table, read once; every refusal names the variable and what it may be."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from actors.errors import InvalidSetting
from actors.setting_formats import Replay
from actors.settings import MAX_SOCKET_PATH_BYTES, Settings, default_state_dir

HOME = {"HOME": "/home/ada"}


def test_every_setting_has_a_default_and_a_sentence_of_help() -> None:
    settings = Settings.read(HOME)
    assert (settings.host, settings.port, settings.max_phases) == ("127.0.0.1", 8080, 5)
    assert settings.model == "anthropic/claude-3.5-sonnet"
    assert settings.state_dir == "/home/ada/.local/state/codegen"
    variables = [spec.metadata["variable"] for spec in dataclasses.fields(Settings)]
    assert len(variables) == len(set(variables))
    assert all(spec.metadata["help"] for spec in dataclasses.fields(Settings))


def test_a_flag_wins_over_the_environment_and_that_over_the_default() -> None:
    environment = {**HOME, "CODEGEN_PORT": "81", "CODEGEN_HOST": "::1"}
    settings = Settings.read(environment, port=82, host=None)
    assert (settings.port, settings.host) == (82, "::1")
    assert Settings.read(environment, port=0).port == 0


def test_an_empty_variable_counts_as_unset() -> None:
    assert Settings.read({**HOME, "CODEGEN_PORT": "", "CODEGEN_MODEL": ""}) == Settings.read(HOME)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("CODEGEN_PORT", "http", "CODEGEN_PORT must be a whole number, not 'http'"),
        ("CODEGEN_PORT", "8080.5", "must be a whole number"),
        ("CODEGEN_PORT", "65536", "must be at least 0 and at most 65535, not '65536'"),
        ("CODEGEN_PORT", "-1", "must be at least 0 and at most 65535"),
        ("CODEGEN_MAX_PHASES", "0", "must be at least 1 and at most 50"),
        ("CODEGEN_IDLE_SECONDS", "soon", "CODEGEN_IDLE_SECONDS must be a number, not 'soon'"),
        ("CODEGEN_IDLE_SECONDS", "nan", "must be a number"),
        ("CODEGEN_IDLE_SECONDS", "inf", "must be a number"),
        ("CODEGEN_IDLE_SECONDS", "-1", "must be at least 0, not '-1'"),
        (
            "CODEGEN_SANDBOX",
            "podman",
            "must be one of auto, docker, bubblewrap, static, not 'podman'",
        ),
        ("CODEGEN_PREVIEW_DOMAIN", "*.example.com", "must be a domain such as apps.example.com"),
        ("CODEGEN_PREVIEW_DOMAIN", "example.com/apps", "not 'example.com/apps'"),
        ("CODEGEN_PREVIEW_DOMAIN", "ftp://example.com", "must be a domain"),
        ("CODEGEN_PREVIEW_DOMAIN", "-example.com", "must be a domain"),
        ("CODEGEN_LOG_LEVEL", "info", "must be one of DEBUG, INFO, WARNING, ERROR"),
        ("OPENROUTER_BASE_URL", "openrouter.ai", "must be a http or https address"),
        ("OPENROUTER_BASE_URL", "https://", "must be a http or https address"),
        ("OPENROUTER_BASE_URL", "http://[::1", "must be a http or https address"),
        ("CODEGEN_MODELS", "a,,b", "must be model ids separated by commas, each of them once"),
        ("CODEGEN_MODELS", "a, b,a", "each of them once, not 'a, b,a'"),
        ("CODEGEN_MODELS", "a,replay:d", "CODEGEN_MODELS cannot name a recording"),
        ("CODEGEN_MODEL", "replay:", "must be replay:DIR or replay:DIR?speed=N, not 'replay:'"),
        ("CODEGEN_MODEL", "replay:d?speed=-1", "must be replay:DIR"),
        ("CODEGEN_MODEL", "replay:d?speed=fast", "must be replay:DIR"),
        ("CODEGEN_MODEL", "replay:d?speed=inf", "must be replay:DIR"),
        ("CODEGEN_MODEL", "replay:d?pace=2", "must be replay:DIR"),
        ("CODEGEN_PRICES", "a/model", "CODEGEN_PRICES must be model=prompt/completion"),
        ("CODEGEN_PRICES", "a=1/2,b=1", "such as a/model=3/15, not 'b=1'"),
        ("CODEGEN_PRICES", "a=1/nan", "such as a/model=3/15, not 'a=1/nan'"),
        ("CODEGEN_PRICES", "=1/2", "not '=1/2'"),
        ("CODEGEN_PRICES", "a=-1/2", "not 'a=-1/2'"),
        ("CODEGEN_CONTEXT_TOKENS", "-1", "must be at least 0"),
        ("DATABASE_URL", "mysql://u:sesame@h/db", "DATABASE_URL must begin with postgresql://"),
        ("DATABASE_URL", "postgresql://u:sesame@[h/db", "must begin with postgresql://"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused(variable: str, value: str, words: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        Settings.read({**HOME, variable: value})
    assert words in str(caught.value)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("url", ["postgresql:///db?host=/run", "postgres://u@h:5432/db"])
def test_both_names_of_postgresql_are_accepted(url: str) -> None:
    assert Settings.read({**HOME, "DATABASE_URL": url}).database_url == url


@pytest.mark.parametrize(
    ("domain", "base"),
    [
        ("", "http://localhost:8099"),
        ("localhost", "http://localhost:8099"),
        ("Apps.Example.com", "http://apps.example.com:8099"),
        ("apps.example.com:80", "http://apps.example.com:80"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example"),
        ("https://apps.example.com:8443", "https://apps.example.com:8443"),
    ],
)
def test_apps_are_below_the_domain_at_the_service_s_port_unless_it_names_one(
    domain: str, base: str
) -> None:
    settings = Settings.read({**HOME, "CODEGEN_PREVIEW_DOMAIN": domain}, port=8099)
    assert settings.preview_base == base


@pytest.mark.parametrize(
    ("host", "url"), [("127.0.0.1", "http://127.0.0.1:8099"), ("::1", "http://[::1]:8099")]
)
def test_the_service_is_at_its_own_address(host: str, url: str) -> None:
    assert Settings.read({**HOME, "CODEGEN_HOST": host}, port=8099).url == url


def test_another_process_reads_the_same_settings() -> None:
    settings = Settings.read(HOME, port=0, idle_seconds=0.5, openrouter_api_key="sesame")
    assert Settings.read(settings.environment()) == settings


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({}, ("anthropic/claude-3.5-sonnet",)),
        ({"CODEGEN_MODEL": "a/one"}, ("a/one",)),
        ({"CODEGEN_MODEL": "a/one", "CODEGEN_MODELS": "b/two, c/three"}, ("b/two", "c/three")),
    ],
)
def test_the_first_model_is_the_default_and_the_others_are_its_fallbacks(
    environment: dict[str, str], names: tuple[str, ...]
) -> None:
    settings = Settings.read({**HOME, **environment, "OPENROUTER_API_KEY": "k"})
    assert settings.model_ids == names
    assert settings.model_label == names[0]
    assert settings.replay is None


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("replay:/srv/records", Replay("/srv/records")),
        ("replay:/srv/a,b?speed=0", Replay("/srv/a,b", 0.0)),
        ("replay:/srv/records?speed=2.5", Replay("/srv/records", 2.5)),
    ],
)
def test_a_recording_may_be_the_model(model: str, expected: Replay) -> None:
    settings = Settings.read(HOME, model=model)
    assert settings.replay == expected
    assert settings.model_label == model


def test_prices_are_given_per_million_tokens_and_used_per_token() -> None:
    prices = Settings.read(HOME, prices="a/model=3/15, ollama/x:7b=0/0,").usd_per_token
    assert prices == {"a/model": (3e-6, 15e-6), "ollama/x:7b": (0.0, 0.0)}
    assert Settings.read(HOME).usd_per_token == {}


def test_a_directory_of_recordings_is_made_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/tmp")
    assert Settings.read(HOME, model="replay:a").replay == Replay("/tmp/a")
    assert Settings.read(HOME, model="replay:a?speed=9").model_label == "replay:/tmp/a?speed=9"
    assert Settings.read(HOME, model="replay:a", models="b").replay is None
    assert Settings.read(HOME, record_dir="records").record_dir == "/tmp/records"


def test_secrets_are_in_no_repr() -> None:
    settings = Settings.read(
        HOME, openrouter_api_key="sesame", database_url="postgresql://u:sesame@h/db"
    )
    assert "sesame" not in repr(settings)


@pytest.mark.parametrize(
    ("environment", "is_demo"),
    [
        ({}, True),
        ({"OPENROUTER_BASE_URL": "https://openrouter.ai/api/v1/"}, True),
        ({"OPENROUTER_API_KEY": "k"}, False),
        ({"OPENROUTER_BASE_URL": "http://localhost:11434/v1"}, False),
        ({"CODEGEN_MODEL": "replay:records"}, False),
    ],
)
def test_the_demo_serves_without_a_key_and_a_server_of_ones_own(
    environment: dict[str, str], is_demo: bool
) -> None:
    settings = Settings.read({**HOME, **environment})
    assert settings.is_demo is is_demo
    assert settings.model_label == ("demo" if is_demo else settings.model)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"XDG_STATE_HOME": "/var/lib", "HOME": "/home/ada"}, "/var/lib/codegen"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/home/ada"}, "/home/ada/.local/state/codegen"),
        ({}, os.path.expanduser("~/.local/state/codegen")),
    ],
)
def test_the_state_directory_follows_the_xdg_rules(
    environment: dict[str, str], expected: str
) -> None:
    assert default_state_dir(environment) == expected


def test_a_state_directory_is_made_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/tmp")
    assert Settings.read(HOME, state_dir="a/../b").state_dir == "/tmp/b"


def test_everything_is_inside_the_state_directory() -> None:
    settings = Settings.read(HOME, state_dir="/srv/codegen")
    inside = [
        settings.key_file,
        settings.actors_file,
        settings.log_file,
        settings.run_dir,
        settings.feed_socket,
        settings.path("a", "b"),
    ]
    assert all(path.is_relative_to("/srv/codegen") for path in inside)
    assert settings.feed_socket.parent == settings.run_dir


def test_sockets_move_where_the_state_directorys_path_is_too_long() -> None:
    long = Settings.read(HOME, state_dir="/srv/" + "long" * 30)
    other = Settings.read(HOME, state_dir="/srv/" + "long" * 31)
    assert long.run_dir.parent == Path("/tmp")
    assert long.run_dir != other.run_dir
    assert len(os.fsencode(long.feed_socket)) <= MAX_SOCKET_PATH_BYTES
