"""A filter of system calls for commands that run on the host's kernel without a container. Pure.

It refuses what no app of Node needs and what has opened the way into kernels: keys, BPF,
performance counters, io_uring, user-space page faults, namespaces and mounts, other processes'
memory. Sockets are of the Unix, internet and netlink families; one of vsock, above all, would lead
out of a network namespace, to the hypervisor.

The program is one of classic BPF, see the kernel's Documentation/userspace-api/seccomp_filter.rst;
numbers are those of asm/unistd_64.h and asm-generic/unistd.h.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass

# <linux/bpf_common.h>: load a word of the call's data, jump if equal or not less, return
_LOAD, _EQUAL, _NOT_LESS, _RETURN = 0x20, 0x15, 0x35, 0x06
# <linux/seccomp.h>: where the call's number, the machine and the first argument are; the verdicts
_NUMBER, _MACHINE, _FIRST_ARGUMENT = 0, 4, 16
_ALLOW, _REFUSE = 0x7FFF_0000, 0x0005_0000
_X32 = 0x4000_0000  # from here on numbers are of another way to call, on x86_64
_FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK

#: The same on all machines: pidfd_getfd, io_uring_*, and the newer calls for mounts.
_COMMON = (438, 425, 426, 427, 428, 429, 430, 431, 432, 433, 442)


@dataclass(frozen=True, slots=True)
class _Machine:
    audit: int  # AUDIT_ARCH_*, <linux/audit.h>
    socket: int
    refused: tuple[int, ...]


_MACHINES = {
    "x86_64": _Machine(
        0xC000_003E,
        41,
        (
            *(248, 249, 250),  # add_key, request_key, keyctl
            *(321, 298, 323),  # bpf, perf_event_open, userfaultfd
            *(272, 308, 165, 166, 155, 161),  # unshare, setns, mount, umount2, pivot_root, chroot
            *(303, 304, 310, 311, 312),  # *_handle_at, process_vm_readv, process_vm_writev, kcmp
            *_COMMON,
        ),
    ),
    "aarch64": _Machine(
        0xC000_00B7,
        198,
        (
            *(217, 218, 219, 280, 241, 282, 97, 268, 40, 39, 41, 51, 264, 265, 270, 271, 272),
            *_COMMON,
        ),
    ),
}


def system_call_filter(machine: str) -> bytes | None:
    """Return the program for a machine, as `platform.machine` names it; None for unknown ones."""
    if machine not in _MACHINES:
        return None
    known = _MACHINES[machine]
    return b"".join(
        [
            _load(_MACHINE),
            _step(_EQUAL, known.audit, 1, 0),  # then the next one is left out
            _return(_REFUSE | errno.ENOSYS),
            _load(_NUMBER),
            *_if(_NOT_LESS, _X32, _REFUSE | errno.ENOSYS),
            *(
                step
                for number in known.refused
                for step in _if(_EQUAL, number, _REFUSE | errno.EPERM)
            ),
            _step(_EQUAL, known.socket, 1, 0),
            _return(_ALLOW),
            _load(_FIRST_ARGUMENT),
            *(step for family in _FAMILIES for step in _if(_EQUAL, family, _ALLOW)),
            _return(_REFUSE | errno.EAFNOSUPPORT),
        ]
    )


def _if(code: int, value: int, verdict: int) -> list[bytes]:
    return [_step(code, value, 0, 1), _return(verdict)]


def _load(place: int) -> bytes:
    return _step(_LOAD, place, 0, 0)


def _return(verdict: int) -> bytes:
    return _step(_RETURN, verdict, 0, 0)


def _step(code: int, value: int, left_out_if: int, left_out_else: int) -> bytes:
    """Pack a step; the last two say how many of the next ones are left out."""
    return struct.pack("=HBBI", code, left_out_if, left_out_else, value)
