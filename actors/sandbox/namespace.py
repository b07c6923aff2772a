"""A command in namespaces of its own: the arguments that make bubblewrap run it. Pure.

The command sees the system's programs and libraries read-only, the project's home, and the
directory of its doors (`doors.py`); nothing else of the host, no network but its own loopback, no
capabilities. Where we are root it is another user's, one of the project's own, in one more process
namespace. It ends, with all that it has started, when the process ends that started it.

What is bound from below the state directory or somebody's home can often not be reached by an
unprivileged user. Root binds it to a place where it can be reached first, in a mount namespace that
begins and ends with the command.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from actors.sandbox.layout import HOME_DIR, MAX_OPEN_FILES, USER_ID, VOLUME_DIR, in_directory
from actors.sandbox.relay import DOOR_DIR, PACKAGES_PORT, relay_command
from actors.settings import Settings

#: Users of projects, in a range that systemd's list calls unused: https://systemd.io/UIDS-GIDS
FIRST_USER_ID = 0x7000_0000
USER_ID_DIGITS = 7  # of a hexadecimal digest

#: What of the host is needed to start a command; `HOST_PATH` is where it is looked for.
PROGRAMS = ("setpriv", "prlimit", "nice", "env", "tar")
PROGRAMS_OF_ROOT = ("unshare", "mount")
HOST_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

TOOLS_DIR = "/opt/node"  # inside: a node, or npm, that is not one of the system's programs
EXTRA_CERTIFICATES = "/etc/extra-certificates.pem"  # inside
NICENESS = 5  # who takes all processors takes them from everybody else last

#: Made for the command, instead of the host's own.
ETC_FILES = {
    "/etc/passwd": f"node:x:{USER_ID}:{USER_ID}::{HOME_DIR}:/bin/sh\n",
    "/etc/group": f"node:x:{USER_ID}:\n",
    "/etc/hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
FILTER = "filter of system calls"  # the name of its descriptor
_SYSTEM_FILES = (
    *("/etc/alternatives", "/etc/ld.so.cache", "/etc/ssl/certs", "/etc/ssl/openssl.cnf"),
    *("/etc/pki/tls/certs", "/etc/pki/tls/openssl.cnf", "/etc/pki/ca-trust"),
)

# What root starts first: process namespaces end with their first process, so nothing of what comes
# below survives it, in whatever state it is; and it ends with us. (bubblewrap looks for its child
# in /proc by the number that it has in there.)
_ROOTS_OWN = (
    *("setpriv", "--pdeathsig", "KILL", "--"),
    *("unshare", "--mount", "--propagation", "private", "--pid", "--mount-proc"),
    *("--kill-child=KILL", "--"),
)

_STAGE = "/mnt"
# Arguments: the places to be bound, "--", then the command. Where the machine's memory is short,
# what is below us is to go first; only what root has said can an app not take back.
_STAGE_SCRIPT = f"""
echo 1000 >/proc/self/oom_score_adj
mount -t tmpfs -o mode=755,size=1m tmpfs {_STAGE} || exit 1
i=0
while [ "$1" != -- ]; do
  if [ -d "$1" ]; then mkdir {_STAGE}/$i; else : >{_STAGE}/$i; fi
  mount --bind -- "$1" {_STAGE}/$i || exit 1
  i=$((i + 1))
  shift
done
shift
exec "$@"
"""

# The same where we are an ordinary user. Arguments: the command.
_ENTER_SCRIPT = """
echo 1000 >/proc/self/oom_score_adj
exec "$@"
"""

#: The archive is the standard input. What stands in an entry's way is removed first, directories
#: that were closed are opened, since tar would give up; links in its way it replaces itself.
UNPACK_SCRIPT = f"""
umask 022
cd {VOLUME_DIR} || exit 1
tar -t --quoting-style=literal -f /dev/stdin | while IFS= read -r path; do
  [ -d "${{path%/}}" ] && [ ! -L "${{path%/}}" ] || continue
  case $path in
    */) [ -r "$path" ] && [ -w "$path" ] && [ -x "$path" ] || chmod u+rwx "$path" ;;
    *) chmod -R u+rwx -- "$path"; rm -rf -- "$path" ;;
  esac
done
exec tar -x -f /dev/stdin
"""

# A package manager asks at once, and some only once.
_AWAIT_WAYS_OUT = f"""
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  grep -q ':{PACKAGES_PORT:04X} .* 0A ' /proc/net/tcp && break
  sleep 0.05
done
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a command may take: sizes in bytes; memory and files are counted per process."""

    memory_bytes: int
    temporary_bytes: int  # of each directory that is in memory
    file_bytes: int
    processes: int
    open_files: int
    core_bytes: int = 1  # where cores go to a program, the kernel does not heed 0: core(5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enclosure:
    """What a project's commands are enclosed in; all paths are the host's.

    `user_id` is the user to become; None where we are an ordinary user, who cannot.
    `tools` are programs to be bound below `TOOLS_DIR`, by their places there.
    """

    bwrap: str
    home: str
    doors: str
    limits: Limits
    user_id: int | None
    tools: Mapping[str, str]
    extra_certificates: str | None = None
    system_calls: bytes | None = None  # the filter's program

    @property
    def files(self) -> dict[str, bytes]:
        """What bubblewrap reads as files from its owner's memory, by name."""
        files = {name: text.encode() for name, text in ETC_FILES.items()}
        return files if self.system_calls is None else {**files, FILTER: self.system_calls}


def limits_of(
    settings: Settings, most_processes: int, most_open_files: int, most_core_bytes: int
) -> Limits:
    """Return the limits that the settings ask for, as far as our own allow."""
    memory_bytes = settings.sandbox_memory_mib * 1024 * 1024
    return Limits(
        memory_bytes=memory_bytes,
        temporary_bytes=memory_bytes // 4,
        file_bytes=settings.sandbox_file_mib * 1024 * 1024,
        processes=min(settings.sandbox_pids, most_processes),
        open_files=min(MAX_OPEN_FILES, most_open_files),
        core_bytes=min(1, most_core_bytes),
    )


def user_of(project_id: str, settings: Settings) -> int:
    """Return the user whom root becomes for a project of this service."""
    digest = hashlib.sha256(f"{settings.state_dir}\0{project_id}".encode()).hexdigest()
    return FIRST_USER_ID + int(digest[:USER_ID_DIGITS], 16)


def command_line(
    enclosure: Enclosure,
    descriptors: Mapping[str, int],
    environment: Mapping[str, str],
    command: Sequence[str],
) -> list[str]:
    """Return what is started to have this command run.

    `descriptors` are those of `enclosure.files`, which the started process inherits.
    """
    sources = _sources(enclosure)
    limits = _limits(enclosure.limits)
    processes = [f"--nproc={enclosure.limits.processes}"]
    if enclosure.user_id is None:
        binds = {source: source for source in sources}
        before = ["sh", "-c", _ENTER_SCRIPT, "sh", "setpriv", "--no-new-privs", "--"]
        before += ["prlimit", *limits, "--"]
        within = ["prlimit", *processes, "--"]  # before, all of the user's would count
    else:
        binds = {source: f"{_STAGE}/{number}" for number, source in enumerate(sources)}
        before = [*_ROOTS_OWN, "sh", "-c", _STAGE_SCRIPT, "sh", *sources, "--"]
        before += [*become(enclosure.user_id), "--no-new-privs", "--pdeathsig", "KILL", "--"]
        before += ["prlimit", *limits, *processes, "--"]
        within = []
    return [
        *before,
        *("env", "--default-signal"),  # what we ignore would be ignored inside
        *("nice", "-n", str(NICENESS)),
        enclosure.bwrap,
        *_namespaces(),
        *_filter(descriptors),
        *_root(enclosure, binds, descriptors),
        *_variables(enclosure, environment),
        *("--chdir", VOLUME_DIR, "--"),
        *within,
        *command,
    ]


def become(user_id: int) -> list[str]:
    """Return the beginning of a command of `setpriv` by which root becomes a project's user."""
    return ["setpriv", f"--reuid={user_id}", f"--regid={user_id}", "--clear-groups"]


def script_command(directory: str, script: str, arguments: Sequence[str] = ()) -> list[str]:
    """Return the command that runs a shell script of ours in a directory of the project."""
    return ["sh", "-c", in_directory(directory) + script, "sh", *arguments]


def task_command(directory: str, mark: str, command: Sequence[str]) -> list[str]:
    """Return the command that runs an app's command, with the relay that its purpose needs.

    A dev server is reached through the doors; an install goes out through one.
    """
    script = in_directory(directory) + 'exec "$@"'
    if mark == "dev-server":
        script = _relay(relay_command()) + script
    elif mark == "install":
        script = _relay(relay_command(doors=())) + _AWAIT_WAYS_OUT + script
    return ["sh", "-c", script, "sh", *command]


def _relay(command: Sequence[str]) -> str:
    return f"{shlex.join(command)} </dev/null >/dev/null 2>&1 &\n"


def _sources(enclosure: Enclosure) -> list[str]:
    """Return what is bound of places that an unprivileged user may not reach."""
    extra = [enclosure.extra_certificates] if enclosure.extra_certificates else []
    return [enclosure.home, enclosure.doors, *enclosure.tools.values(), *extra]


def _namespaces() -> list[str]:
    return [
        *("--unshare-all", "--unshare-user", "--disable-userns", "--hostname", "sandbox"),
        *("--uid", str(USER_ID), "--gid", str(USER_ID), "--cap-drop", "ALL"),
        *("--new-session", "--die-with-parent"),
    ]


def _filter(descriptors: Mapping[str, int]) -> list[str]:
    return ["--seccomp", str(descriptors[FILTER])] if FILTER in descriptors else []


def _root(
    enclosure: Enclosure, binds: Mapping[str, str], descriptors: Mapping[str, int]
) -> list[str]:
    """Lay out the root: read-only but for the home, /tmp and shared memory."""
    size = str(enclosure.limits.temporary_bytes)
    words = ["--ro-bind", "/usr", "/usr"]
    for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        words += ["--ro-bind-try", name, name]  # elsewhere than on Debian they are no links
    for name in _SYSTEM_FILES:
        words += ["--ro-bind-try", name, name]
    for name in ETC_FILES:
        words += ["--ro-bind-data", str(descriptors[name]), name]
    for place, source in enclosure.tools.items():
        words += ["--ro-bind", binds[source], place]
    for name in ("npm", "npx"):
        if f"{TOOLS_DIR}/lib/node_modules/npm" in enclosure.tools:
            link = f"../lib/node_modules/npm/bin/{name}-cli.js"
            words += ["--symlink", link, f"{TOOLS_DIR}/bin/{name}"]
    if enclosure.extra_certificates:
        words += ["--ro-bind", binds[enclosure.extra_certificates], EXTRA_CERTIFICATES]
    words += ["--proc", "/proc", "--dev", "/dev", "--size", size, "--tmpfs", "/dev/shm"]  # noqa: S108  # inside
    words += ["--remount-ro", "/dev", "--size", size, "--tmpfs", "/tmp"]  # noqa: S108  # likewise
    words += ["--ro-bind", binds[enclosure.doors], DOOR_DIR]
    return [*words, "--bind", binds[enclosure.home], HOME_DIR, "--remount-ro", "/"]


def _variables(enclosure: Enclosure, environment: Mapping[str, str]) -> list[str]:
    own = {"PATH": f"{TOOLS_DIR}/bin:/usr/local/bin:/usr/bin:/bin", "HOME": HOME_DIR}
    if enclosure.extra_certificates:
        own["NODE_EXTRA_CA_CERTS"] = EXTRA_CERTIFICATES
    variables = {**own, **environment}
    return ["--clearenv"] + [w for pair in variables.items() for w in ("--setenv", *pair)]


def _limits(limits: Limits) -> list[str]:
    return [
        f"--data={limits.memory_bytes}",
        f"--fsize={limits.file_bytes}",
        f"--nofile={limits.open_files}",
        f"--core={limits.core_bytes}",
    ]
