from __future__ import annotations

import pytest

from actors.sandbox.container import (
    container_config,
    container_names,
    is_current,
    is_own,
    service_id,
    volume_name,
)
from actors.sandbox.doors import door_directory
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
        ({}, "b", False, False),
        ({"state_dir": "/srv/b"}, "a", False, False),
        ({"sandbox_memory_mib": 512}, "a", True, False),
        ({"sandbox_image": "node:20"}, "a", True, False),
        ({"sandbox_runtime": "runsc"}, "a", True, False),
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
        "a", settings(sandbox_memory_mib=256, sandbox_cpus=1.5, sandbox_pids=99, sandbox_file_mib=3)
    )
    host = config["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == 256 * 1024 * 1024
    assert host["NanoCpus"] == 1_500_000_000
    assert host["PidsLimit"] == 99
    assert {"Name": "fsize", "Soft": 3 << 20, "Hard": 3 << 20} in host["Ulimits"]
    assert host["Tmpfs"]["/tmp"].endswith(f"size={64 << 20}")
    assert host["CapDrop"] == ["ALL"]
    assert config["User"] == "65534:65534"


def test_the_only_way_out_is_a_directory_that_cannot_be_written_to() -> None:
    config = container_config("a", settings(sandbox_runtime="runsc"))
    host = config["HostConfig"]
    assert (host["NetworkMode"], host["Runtime"]) == ("none", "runsc")
    assert "PortBindings" not in host
    assert host["ReadonlyRootfs"]
    doors, volume = host["Mounts"]
    assert (volume["Type"], volume["Target"]) == ("volume", "/home")
    assert volume["Source"] == volume_name("a", settings())
    assert volume["Source"] != volume_name("a", settings(state_dir="/srv/b"))
    assert doors["Source"] == str(door_directory("a", settings()))
    assert (doors["Target"], doors["ReadOnly"]) == ("/run/codegen", True)
