"""What an engine cannot give is named; what it has, or does not tell of, is not."""

from __future__ import annotations

from typing import Any

import pytest

from actors.sandbox.protection import missing_protection
from actors.settings import Settings

#: Of an engine that has everything.
INFO: dict[str, Any] = {
    "CgroupDriver": "systemd",
    "MemoryLimit": True,
    "CpuCfsQuota": True,
    "PidsLimit": True,
    "SecurityOptions": ["name=apparmor", "name=seccomp,profile=default"],
    "Runtimes": {"runc": {"path": "runc"}, "runsc": {"path": "runsc"}},
}
NO_SECCOMP = "This engine filters no system calls (seccomp is off)."


def missing(runtime: str = "", **other: object) -> tuple[str, ...]:
    return missing_protection(INFO | other, Settings.read({}, sandbox_runtime=runtime))


@pytest.mark.parametrize("runtime", ["", "runc", "runsc"])
def test_an_engine_that_has_everything_lacks_nothing(runtime: str) -> None:
    assert missing(runtime) == ()
    assert missing_protection({}, Settings.read({}, sandbox_runtime=runtime)) == ()


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"CgroupDriver": "none"}, "memory, processors and processes"),
        ({"MemoryLimit": False}, "memory"),
        ({"PidsLimit": False, "CpuCfsQuota": False}, "processors and processes"),
    ],
)
def test_limits_that_cannot_be_set_are_named(other: dict[str, Any], what: str) -> None:
    [sentence] = missing(**other)
    assert sentence.startswith(f"This engine cannot limit the {what} of apps")


@pytest.mark.parametrize("options", [[], ["name=seccomp,profile=unconfined"], ["name=rootless"]])
def test_a_missing_filter_of_system_calls_is_named(options: list[str]) -> None:
    assert missing(SecurityOptions=options) == (NO_SECCOMP,)


def test_a_runtime_that_the_engine_does_not_know_is_named_beside_the_rest() -> None:
    sentences = missing("kata", SecurityOptions=[])
    assert sentences[0] == NO_SECCOMP
    assert sentences[1].startswith("This engine has no runtime kata (CODEGEN_SANDBOX_RUNTIME)")
