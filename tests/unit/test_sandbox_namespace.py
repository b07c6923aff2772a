"""The arguments that make bubblewrap run a command; what they do is tried in integration."""

from __future__ import annotations

from dataclasses import replace

from actors.sandbox.namespace import (
    ETC_FILES,
    FILTER,
    FIRST_USER_ID,
    Enclosure,
    Limits,
    command_line,
    limits_of,
    script_command,
    task_command,
    user_of,
)
from actors.settings import Settings

LIMITS = Limits(
    memory_bytes=1_000, temporary_bytes=250, file_bytes=500, processes=50, open_files=60
)
NPM = "/opt/node/lib/node_modules/npm"
OURS = Enclosure(
    bwrap="/usr/bin/bwrap", home="/s/h", doors="/s/d", limits=LIMITS, user_id=None, tools={}
)
ROOTS = replace(OURS, user_id=FIRST_USER_ID + 5)
DESCRIPTORS = {name: 10 + number for number, name in enumerate(ETC_FILES)}


def line(enclosure: Enclosure, environment: dict[str, str] | None = None) -> str:
    words = command_line(enclosure, DESCRIPTORS, environment or {}, ["node", "x y"])
    return "|".join(words)


def test_an_ordinary_user_binds_the_places_themselves_and_stays_who_it_is() -> None:
    text = line(OURS)
    assert text.startswith("sh|-c|")
    assert "|setpriv|--no-new-privs|--|prlimit|" in text
    assert "|--bind|/s/h|/home/node|" in text
    assert "|--ro-bind|/s/d|/run/codegen|" in text
    assert "unshare|--mount" not in text


def test_root_binds_what_it_has_bound_elsewhere_and_becomes_the_projects_user() -> None:
    text = line(ROOTS)
    assert text.startswith("setpriv|--pdeathsig|KILL|--|unshare|--mount|--propagation|private|")
    assert "|--pid|--mount-proc|--kill-child=KILL|--|sh|-c|" in text
    assert (
        f"|setpriv|--reuid={FIRST_USER_ID + 5}|--regid={FIRST_USER_ID + 5}|--clear-groups|" in text
    )
    assert "|/s/h|/s/d|--|setpriv|" in text
    assert "|--bind|/mnt/0|/home/node|" in text
    assert "|--ro-bind|/mnt/1|/run/codegen|" in text


def test_limits_hold_for_the_first_process_inside_as_far_as_a_users_own_are_not_counted() -> None:
    limits = "|prlimit|--data=1000|--fsize=500|--nofile=60|--core=1|"
    assert f"{limits}--nproc=50|--|env|--default-signal|nice|-n|5|/usr/bin/bwrap|" in line(ROOTS)
    assert line(ROOTS).endswith("|--chdir|/home|--|node|x y")
    assert f"{limits}--|env|--default-signal|nice|-n|5|/usr/bin/bwrap|" in line(OURS)
    assert line(OURS).endswith("|--chdir|/home|--|prlimit|--nproc=50|--|node|x y")


def test_every_namespace_is_new_and_all_else_is_dropped() -> None:
    words = line(OURS).split("|")
    assert {
        *("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent"),
        *("--new-session", "--clearenv", "--remount-ro", "--proc", "--dev"),
    } <= set(words)
    assert "--share-net" not in words
    assert words[words.index("--cap-drop") + 1] == "ALL"
    writable = [words[i + 2] for i, word in enumerate(words) if word == "--bind"]
    assert writable == ["/home/node"]


def test_system_calls_are_filtered_where_there_is_a_filter() -> None:
    filtered = replace(OURS, system_calls=b"program")
    descriptors = {**DESCRIPTORS, FILTER: 99}
    assert set(OURS.files) == set(ETC_FILES)
    assert filtered.files[FILTER] == b"program"
    words = command_line(filtered, descriptors, {}, ["true"])
    assert words[words.index("--seccomp") + 1] == "99"
    assert "--seccomp" not in line(OURS)


def test_the_commands_variables_are_its_own() -> None:
    text = line(OURS, {"PORT": "5173"})
    own = "--clearenv|--setenv|PATH|/opt/node/bin:/usr/local/bin:/usr/bin:/bin|--setenv|HOME|"
    assert f"|{own}/home/node|--setenv|PORT|5173|--chdir|" in text


def test_a_node_of_somebody_and_its_npm_are_bound_with_their_commands() -> None:
    tools = {"/opt/node/bin/node": "/root/n", NPM: "/root/npm"}
    text = line(replace(ROOTS, tools=tools, extra_certificates="/ca.pem"))
    assert "|/s/h|/s/d|/root/n|/root/npm|/ca.pem|--|setpriv|" in text
    assert f"|--ro-bind|/mnt/2|/opt/node/bin/node|--ro-bind|/mnt/3|{NPM}|" in text
    assert "|--symlink|../lib/node_modules/npm/bin/npx-cli.js|/opt/node/bin/npx|" in text
    assert "|--ro-bind|/mnt/4|/etc/extra-certificates.pem|" in text
    assert "|--setenv|NODE_EXTRA_CA_CERTS|/etc/extra-certificates.pem|" in text
    assert "--symlink" not in line(replace(ROOTS, tools={"/opt/node/bin/node": "/root/n"}))


def test_only_what_serves_is_reached_and_only_an_install_goes_out() -> None:
    serving = task_command("/home/node/app", "dev-server", ("npm", "start"))
    installing = task_command("/home/node/app", "install", ("npm", "install"))
    checking = task_command("/home/node/app", "check", ("npm", "test"))
    assert "app.sock" in serving[2]
    assert "egress.sock" in installing[2]
    assert "app.sock" not in installing[2]
    assert "/proc/net/tcp" in installing[2]
    assert ".sock" not in checking[2]
    assert all('exec "$@"' in words[2] for words in (serving, installing, checking))
    assert checking[3:] == ["sh", "npm", "test"]


def test_a_small_script_runs_in_its_directory() -> None:
    words = script_command("/home/node/app", 'cat "$1"', ("x",))
    assert words[0] == "sh"
    assert "cd /home/node/app" in words[2]
    assert words[2].endswith('cat "$1"')
    assert words[3:] == ["sh", "x"]


def test_limits_are_those_of_the_settings_as_far_as_ours_allow() -> None:
    settings = Settings.read({}, sandbox_memory_mib=256, sandbox_file_mib=20, sandbox_pids=100)
    mib = 1024 * 1024
    assert limits_of(settings, 10**9, 10**9, 10**9) == Limits(
        memory_bytes=256 * mib,
        temporary_bytes=64 * mib,
        file_bytes=20 * mib,
        processes=100,
        open_files=16_384,
    )
    lowered = limits_of(settings, 40, 1_024, 0)
    assert (lowered.processes, lowered.open_files, lowered.core_bytes) == (40, 1_024, 0)


def test_a_project_of_a_service_has_a_user_of_its_own_in_the_range_that_nobody_uses() -> None:
    services = [Settings.read({}, state_dir=state_dir) for state_dir in ("/a", "/b")]
    users = {user_of(str(number), service) for number in range(100) for service in services}
    assert len(users) == 200
    assert all(0x7000_0000 <= user <= 0x7FFF_FFFF for user in users)
    assert user_of("0", services[0]) == user_of("0", Settings.read({}, state_dir="/a"))
