"""What ends a process of the actor system when those that it depends on have ended.

The guard (`actors/system.py`) ends everything that is left, so both rules below are for what may
kill the guard as well:

- whatever the supervisor forks ends at once with the process that forked it: the kernel sees to it;
- the supervisor, the admin and Thespian's logger, which have a while to save what there is to save,
  look from their birth on whether the guard is there: the first message to the supervisor, which
  tells it what to watch, may never come.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import time

ORPHANED_SECONDS = 6.0  # to save everything once the service around the actors is gone
LOOK_SIGNAL = signal.SIGALRM
LOOK_SECONDS = 1.0  # how often a process that may be left over looks for the guard
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class Lineage:
    """Has the kernel end every process when the one that forked it ends, from its birth on.

    For this process, whose parent is alive, and for all that descend from it: what is forked
    inherits the hooks. A child that were told by a message would stay where its parent ended
    before that.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None)
        self._parent_pid = os.getppid()

    def begin(self) -> None:
        """Tie this process to its parent, and every process forked from now on to its own."""
        os.register_at_fork(before=self._before_fork, after_in_child=self._tie)
        self._tie()

    def _before_fork(self) -> None:
        self._parent_pid = os.getpid()

    def _tie(self) -> None:
        self._libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # fails for a wrong signal only
        if os.getppid() != self._parent_pid:  # it ended before the call
            os._exit(1)
        signal.setitimer(signal.ITIMER_REAL, 0)  # it need not look for the guard as well


def has_ended(pidfd: int) -> bool:
    """Say whether the process of a descriptor has ended, without waiting."""
    return bool(select.select([pidfd], [], [], 0)[0])


def watch_guard_from_birth() -> None:
    """Have every process that this one, the guard, forks end itself some time after it has ended.

    `Lineage` will not do there: Thespian makes the admin a daemon, which no parent is left to.
    """
    guard_fd = os.pidfd_open(os.getpid())
    left_at = 0.0

    def look(*_: object) -> None:
        nonlocal left_at
        if has_ended(guard_fd):
            left_at = left_at or time.monotonic()
            if time.monotonic() - left_at > ORPHANED_SECONDS:
                os._exit(1)

    def begin() -> None:
        signal.signal(LOOK_SIGNAL, look)
        signal.setitimer(signal.ITIMER_REAL, LOOK_SECONDS, LOOK_SECONDS)

    os.register_at_fork(after_in_child=begin)
