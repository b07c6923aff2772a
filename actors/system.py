"""The actor system's own process: starts admin and supervisor, guards them, cleans up after them.

`python -m actors.system LIFELINE_FD READY_FD` is started by the gateway, never imported by it. It
has one thread and has imported what the actors need, so that every process forked from it shares
those pages. It writes one line of JSON to READY_FD when the supervisor is ready, then guards:

- every process of the system is its descendant (it is their subreaper), so none can be missed;
- when the admin or the supervisor ends without an orderly stop, it ends the rest and exits 1: the
  gateway starts a fresh system;
- when the gateway ends, the supervisor saves everything, and what is left after the deadline is
  killed;
- when the guard itself is killed, the supervisor sees it, saves everything and ends the rest;
  where there is no supervisor yet, the rest ends by itself (`actors/lineage.py`).

Exit status: 0 after an orderly stop, 1 after a crash, 2 when it could not start.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import select
import signal
import socket
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson

from actors import wire
from actors.lineage import LOOK_SIGNAL, ORPHANED_SECONDS, watch_guard_from_birth
from actors.messages import ConfigureSupervisor, SupervisorReady
from actors.service_log import configure_logging
from actors.settings import Settings
from actors.supervisor import Supervisor

from thespian.actors import ActorSystem  # isort: skip  # after wire, which sets its address
from thespian.system.multiprocCommon import uncatchable_signals  # isort: skip

log = logging.getLogger(__name__)

START_SECONDS = 15.0
END_SIGNAL = signal.SIGUSR2  # ends everything by force; sent by gateway/actor_system.py
SWEEP_SECONDS = 0.01  # between two rounds of killing descendants
END_SECONDS = 3.0  # for the processes, once the supervisor has finished an orderly stop
PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>


def main(lifeline_fd: int, ready_fd: int) -> int:
    """Start the system, say so, and guard it until it ends."""
    settings = Settings.read(os.environ)
    os.environ.setdefault("THESPLOG_FILE", str(settings.path("logs", "thespian.log")))
    configure_logging(settings)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wire.install(wire.load_or_create_key(settings.key_file))
    # Whoever ends a service may signal all its processes. The actors save when the gateway says so,
    # or is gone, and no sooner; to be ended by force, the guard has a signal of its own.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(END_SIGNAL, lambda *_: sys.exit(1))
    verdict_reader, verdict_writer = os.pipe2(os.O_NONBLOCK)
    watch_guard_from_birth()
    uncatchable_signals.append(LOOK_SIGNAL)  # Thespian's actors would take it over
    gc.collect()
    gc.freeze()  # the forked children then do not copy these pages when they collect
    try:
        ready = _start(lifeline_fd, verdict_writer)
        os.write(ready_fd, orjson.dumps(ready) + b"\n")
        _guard(lifeline_fd, verdict_reader, ready["pid"])
        return 0 if _is_orderly(verdict_reader) else 1
    except Exception:
        log.exception("the actor system could not start")
        return 2
    finally:
        signal.signal(END_SIGNAL, signal.SIG_IGN)  # another one must not break off the sweep
        end_descendants()


def _start(lifeline_fd: int, verdict_fd: int) -> dict[str, Any]:
    admin_port = _free_port()
    system = ActorSystem("multiprocTCPBase", {"Admin Port": admin_port})
    supervisor = system.createActor(Supervisor, globalName="codegen-supervisor")
    answer = system.ask(
        supervisor,
        ConfigureSupervisor(lifeline_fd=lifeline_fd, verdict_fd=verdict_fd, guard_pid=os.getpid()),
        timedelta(seconds=START_SECONDS),
    )
    if not isinstance(answer, SupervisorReady):
        raise RuntimeError(f"the supervisor answered {answer!r}")
    host, port = supervisor.addressDetails.connectArgs[0]
    return {
        "supervisor": f"{host}:{port}",
        "admin_port": admin_port,
        "pid": answer.pid,
        "group": os.getpgid(answer.pid),  # of all processes but this one: the admin's session
    }


def _guard(lifeline_fd: int, verdict_reader: int, supervisor_pid: int) -> None:
    """Return when the system has ended or is to be ended.

    That is: admin or supervisor is gone; the supervisor has finished an orderly stop and the rest
    has had its time; or the deadline after the gateway's end has passed.
    """
    signal.signal(signal.SIGCHLD, lambda *_: _reap())  # orphans come to us when a nursery dies
    admin_pid = parent_of(supervisor_pid)
    watched = [os.pidfd_open(supervisor_pid), os.pidfd_open(admin_pid)]
    ended, _, _ = select.select([*watched, verdict_reader, lifeline_fd], [], [])
    if ended == [lifeline_fd]:
        ended, _, _ = select.select([*watched, verdict_reader], [], [], ORPHANED_SECONDS + 1)
    if verdict_reader in ended:  # the admin ends last, after all others
        select.select(watched[1:], [], [], END_SECONDS)


def _is_orderly(verdict_reader: int) -> bool:
    try:
        return bool(os.read(verdict_reader, 1))
    except BlockingIOError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((wire.LOOPBACK, 0))
        return int(probe.getsockname()[1])


def parent_of(pid: int) -> int:
    """Return a process's parent; raises FileNotFoundError when it is gone."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def _children() -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if parent_of(int(name)) == os.getpid():
                    found.append(int(name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def _reap() -> None:
    """Take note of every child that has ended, so that none stays a zombie."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def end_descendants() -> None:
    """Kill every descendant: a killed one's children become ours, until none is left."""
    while children := _children():
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _reap()
        time.sleep(SWEEP_SECONDS)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
