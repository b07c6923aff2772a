# shellcheck shell=sh disable=SC2154
# Sourced by the scripts beside it, which set `root` first: the private .venv and what is in it.
# POSIX sh. All messages go to stderr; stdout belongs to what a script runs.

venv=$root/.venv
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # dockerd and iptables live there

say() { printf '%s\n' "$*" >&2; }
die() {
    say "$@"
    exit 1
}

# set_up base|test: make the .venv fit this checkout. A stamp, written last, makes the next start
# skip everything; an interrupted set-up leaves no stamp, so it is done again.
set_up() {
    is_current "$1" && return
    exec 9<"$root/scripts/lib.sh" # a lock on an open file ends with its holders, even killed ones
    if ! flock -n 9; then
        say "Another set-up of $root is under way; waiting for it."
        flock 9
    fi
    if ! is_current "$1"; then
        rm -f "$venv"/.ready-*
        is_usable_venv || make_venv
        install_packages "$1"
        expected_stamp >"$venv/.ready-base"
        [ "$1" = base ] || expected_stamp >"$venv/.ready-$1"
    fi
    exec 9<&-
}

is_current() {
    [ -f "$venv/.ready-$1" ] && [ "$(cat "$venv/.ready-$1")" = "$(expected_stamp)" ]
}

# What an installation depends on: the requirements, where the checkout is, which Python made it.
expected_stamp() {
    sha256sum "$root/setup.cfg" "$root/pyproject.toml"
    readlink -e "$venv/bin/python" || echo "no interpreter"
}

# Left alone: a .venv of this very place (its scripts name their interpreter by absolute path).
is_usable_venv() {
    [ -x "$venv/bin/pip" ] && grep -qF "$venv/bin/" "$venv/bin/pip" &&
        is_new_enough "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

has_venv() {
    "$1" -c 'import ensurepip, venv; ensurepip.version()' >/dev/null 2>&1
}

make_venv() {
    python='' bare=''
    for candidate in python3.13 python3.12 python3.11 python3; do
        is_new_enough "$candidate" || continue
        if has_venv "$candidate"; then
            python=$candidate
            break
        fi
        bare=${bare:-$candidate}
    done
    if [ -z "$python" ]; then
        [ -n "$bare" ] || die "Python 3.11 or newer is needed, and none is on the PATH." \
            "On Debian or Ubuntu: apt-get install python3 python3-venv"
        package=$("$bare" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        apt_install "Python's venv module is missing" "$package" ||
            die "Then start this script again."
        python=$bare
        has_venv "$python" || die "$package is installed, but $python still has no venv module."
    fi
    say "Making .venv with $("$python" -V) ..."
    "$python" -m venv --clear "$venv" >&2
}

install_packages() {
    target=$root
    [ "$1" = base ] || target="${root}[$1]"
    say "Installing the packages into .venv (half a minute, once) ..."
    logged "$venv/bin/python" -m pip install --disable-pip-version-check --no-input \
        --progress-bar off -e "$target" || die "The packages could not be installed."
}

# logged COMMAND...: run it, showing only how it gets on; where it fails, the end of its output.
logged() {
    log=$(mktemp "${TMPDIR:-/tmp}/codegen-setup.XXXXXX")
    {
        status=0
        "$@" 2>&1 || status=$?
        echo "ended: $status"
    } | tee "$log" | show_progress
    if [ "$(tail -n 1 "$log")" != "ended: 0" ]; then
        tail -n 20 "$log" >&2
        say "The whole output is in $log"
        return 1
    fi
    rm -f "$log"
}

# Turns the output of pip and apt-get into a line now and then.
show_progress() {
    fetched=0 unpacked=0
    while read -r word name _; do
        case $word in
        Collecting) say "  $name" ;;
        Installing) [ "$name" != collected ] || say "  unpacking ..." ;;
        Get:*) fetched=$((fetched + 1)) && every_50 "$fetched" fetched ;;
        Unpacking) unpacked=$((unpacked + 1)) && every_50 "$unpacked" unpacked ;;
        esac
    done
}

every_50() { [ $(($1 % 50)) -ne 0 ] || say "  $1 packages $2"; }

# apt_install REASON PACKAGE...: install as root where there is apt-get; otherwise print the one
# command to run. Returns 1 where they are still missing.
apt_install() {
    reason=$1
    shift
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        say "$reason. Run: sudo sh -c 'apt-get update && apt-get install -y $*'"
        return 1
    fi
    say "$reason: installing $* with apt-get ..."
    logged apt_get update && logged apt_get install -y --no-install-recommends "$@"
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 \
        -o DPkg::Lock::Timeout=300 "$@" 9<&- # what it starts must not keep our lock
}
