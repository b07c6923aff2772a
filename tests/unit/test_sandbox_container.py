from __future__ import annotations

import pytest

from actors.sandbox.container import (
    container_config,
    container_names,
    is_current,
    is_own,
    published_port,
    service_id,
)
from actors.settings import Settings


def settings(**flags: object) -> Settings:
    return Settings.read({}, **{"state_dir": "/srv/a", **flags})


def test_the_names_are_the_usual_one_and_one_that_no_project_can_have() -> None:
    names = container_names("my_app-1", settings())
    assert names[0] == "codegen-sandbox-my_app-1"
    assert names[1] == f"codegen-sandbox-my_app-1.{service_id(settings())}"


def test_a_service_is_its_state_directory() -> None:
    assert service_id(settings()) == service_id(settings(sandbox_cpus=1))
    assert service_id(settings()) != service_id(settings(state_dir="/srv/b"))


@pytest.mark.parametrize(
    ("flags", "project_id", "own", "current"),
    [
        ({}, "a", True, True),
        ({}, "b", False, True),
        ({"state_dir": "/srv/b"}, "a", False, True),
        ({"sandbox_memory_mib": 512}, "a", True, False),
        ({"sandbox_image": "node:20"}, "a", True, False),
        ({"idle_seconds": 1}, "a", True, True),
    ],
)
def test_labels_tell_whose_a_container_is_and_with_which_settings_it_was_made(
    flags: dict[str, object], project_id: str, own: bool, current: bool
) -> None:
    labels = container_config(project_id, settings(**flags))["Labels"]
    wanted = container_config("a", settings())
    assert is_own(labels, wanted) is own
    assert is_current(labels, wanted) is current


def test_a_foreign_container_without_labels_is_not_ours() -> None:
    wanted = container_config("a", settings())
    assert not is_own({}, wanted)
    assert not is_current({}, wanted)


def test_the_limits_come_from_the_settings() -> None:
    config = container_config(
        "a", settings(sandbox_memory_mib=256, sandbox_cpus=1.5, sandbox_pids=99)
    )
    host = config["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == 256 * 1024 * 1024
    assert host["NanoCpus"] == 1_500_000_000
    assert host["PidsLimit"] == 99
    assert host["CapDrop"] == ["ALL"]
    assert config["User"] == "1000:1000"


@pytest.mark.parametrize(
    ("details", "port"),
    [
        ({"NetworkSettings": {"Ports": {"5173/tcp": [{"HostPort": "32768"}]}}}, 32768),
        ({"NetworkSettings": {"Ports": {"5173/tcp": None}}}, None),
        ({"NetworkSettings": {"Ports": {}}}, None),
        ({"NetworkSettings": {"Ports": None}}, None),
        ({}, None),
    ],
)
def test_the_published_port_is_read(details: dict[str, object], port: int | None) -> None:
    assert published_port(details) == port
