"""Which limit was hit: the words of many programs, exit codes, and what is none of them."""

from __future__ import annotations

import pytest

from actors.sandbox.exhaustion import exhausted_limit
from actors.settings import Settings

SETTINGS = Settings.read(
    {}, sandbox_memory_mib=256, sandbox_pids=100, sandbox_file_mib=20, sandbox_image="i"
)
MEMORY = "It ran out of memory: the limit is 256 MiB (CODEGEN_SANDBOX_MEMORY_MIB)."
KILLED = (
    "It was killed, as is what needs more memory than the limit of 256 MiB "
    "(CODEGEN_SANDBOX_MEMORY_MIB)."
)
ABORTED = (
    "It gave up, as Node does without memory; the limit is 256 MiB (CODEGEN_SANDBOX_MEMORY_MIB)."
)
PROCESSES = "It could start no more: the limit is 100 processes and threads (CODEGEN_SANDBOX_PIDS)."
FILE = "A file grew beyond the limit of 20 MiB (CODEGEN_SANDBOX_FILE_MIB)."
DISK = (
    "There was no space left: the disk is full, or /tmp is (64 MiB, a quarter of "
    "CODEGEN_SANDBOX_MEMORY_MIB)."
)
FILES = "It had too many files open: the limit is 16384 for each process."
WATCHERS = "The machine lets it watch no more files (fs.inotify.max_user_watches)."


@pytest.mark.parametrize(
    ("exit_code", "line", "sentence"),
    [
        (134, "FATAL ERROR: Reached heap limit - JavaScript heap out of memory", MEMORY),
        (1, "npm error code ENOMEM", MEMORY),
        (1, "sh: 1: Cannot allocate memory", MEMORY),
        (2, "fatal error: runtime: out of memory", MEMORY),
        (134, "memory allocation of 4096 bytes failed", MEMORY),
        (1, "RangeError: Array buffer allocation failed", MEMORY),
        (134, "----- Native stack trace -----", ABORTED),
        (137, "working", KILLED),
        (1, "npm error signal SIGKILL", KILLED),
        (1, "Killed", KILLED),
        (1, "Error: spawn sh EAGAIN", PROCESSES),
        (1, "npm error code EAGAIN", PROCESSES),
        (1, "EAGAIN: cannot spawn a worker", PROCESSES),
        (2, "sh: can't fork: Resource temporarily unavailable", PROCESSES),
        (2, "sh: 1: Cannot fork", PROCESSES),
        (2, "bash: fork: retry: Resource temporarily unavailable", PROCESSES),
        (134, "Assertion failed: (0) == (uv_thread_create(t, f, a))", PROCESSES),
        (134, "pthread_create: error 11", PROCESSES),
        (2, "runtime: failed to create new OS thread (have 5 already; errno=11)", PROCESSES),
        (1, "Error: EFBIG: file too large, write", FILE),
        (1, "write error: File too large", FILE),
        (1, "File size limit exceeded", FILE),
        (153, "writing", FILE),
        (1, "Error: ENOSPC: no space left on device, write", DISK),
        (1, "cat: write error: No space left on device", DISK),
        (1, "Error: EMFILE: too many open files, open 'a.js'", FILES),
        (1, "sh: Too many open files", FILES),
        (1, "Error: ENOSPC: System limit for number of file watchers reached", WATCHERS),
        (None, "Error: spawn sh EAGAIN", PROCESSES),
    ],
)
def test_the_limit_is_named_with_its_value(exit_code: int | None, line: str, sentence: str) -> None:
    assert exhausted_limit(exit_code, ("before", line, "behind"), SETTINGS) == sentence


@pytest.mark.parametrize(
    ("exit_code", "line"),
    [
        (1, "Error: Cannot find module 'x'"),
        (0, "served"),
        (None, "served"),
        (1, "Error: EAGAIN: resource temporarily unavailable, read"),
        (143, "Killed by the user's own script"),
    ],
)
def test_what_fails_for_a_reason_of_its_own_hit_no_limit(exit_code: int | None, line: str) -> None:
    assert exhausted_limit(exit_code, (line,), SETTINGS) == ""


def test_words_say_more_than_the_exit_code() -> None:
    assert exhausted_limit(137, ("Error: spawn sh EAGAIN",), SETTINGS) == PROCESSES
