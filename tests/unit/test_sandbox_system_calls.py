"""The filter of system calls, run as the kernel runs it."""

from __future__ import annotations

import errno
import struct

import pytest

from actors.sandbox.system_calls import system_call_filter

ALLOW, REFUSE = 0x7FFF_0000, 0x0005_0000
AUDIT = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
SOCKET = {"x86_64": 41, "aarch64": 198}
KEYCTL = {"x86_64": 250, "aarch64": 219}
MACHINES = sorted(AUDIT)


def verdict(program: bytes, audit: int, number: int, first: int = 0) -> int:
    """Run a program of the four kinds of steps over one call."""
    data = struct.pack("=IIQQ", number, audit, 0, first)
    steps = list(struct.iter_unpack("=HBBI", program))
    place = value = 0
    while True:
        code, left_out_if, left_out_else, operand = steps[place]
        place += 1
        if code == 0x20:
            (value,) = struct.unpack_from("=I", data, operand)
        elif code == 0x06:
            return int(operand)
        else:
            is_true = value == operand if code == 0x15 else value >= operand
            place += left_out_if if is_true else left_out_else


def program_of(machine: str) -> bytes:
    program = system_call_filter(machine)
    assert program is not None
    return program


@pytest.mark.parametrize("machine", MACHINES)
def test_what_apps_need_is_allowed(machine: str) -> None:
    program, audit = program_of(machine), AUDIT[machine]
    for number in (0, 1, 59, 60, 220, 435):
        assert verdict(program, audit, number) == ALLOW
    for family in (1, 2, 10, 16):
        assert verdict(program, audit, SOCKET[machine], family) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_what_they_do_not_need_is_refused(machine: str) -> None:
    program, audit = program_of(machine), AUDIT[machine]
    for number in (KEYCTL[machine], 425, 438):
        assert verdict(program, audit, number) == REFUSE | errno.EPERM
    for family in (0, 17, 38, 40, 0xFFFF_FFFF):
        found = verdict(program, audit, SOCKET[machine], family)
        assert found == REFUSE | errno.EAFNOSUPPORT


@pytest.mark.parametrize("machine", MACHINES)
def test_other_ways_to_call_are_unknown(machine: str) -> None:
    program = program_of(machine)
    assert verdict(program, AUDIT[machine], 0x4000_0000) == REFUSE | errno.ENOSYS
    assert verdict(program, 0x4000_0003, 1) == REFUSE | errno.ENOSYS  # 32 bits


def test_an_unknown_machine_has_no_filter() -> None:
    assert system_call_filter("riscv64") is None
