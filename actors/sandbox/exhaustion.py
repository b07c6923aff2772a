"""Which limit of its sandbox a command has hit, by its exit code and its newest lines. Pure.

Nobody says so: a process that grows beyond the memory limit is killed without a word, the others
get an error number, which libraries put into words of their own. So this is a guess, the words
being the better part of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from actors.sandbox.layout import MAX_OPEN_FILES
from actors.settings import Settings

Sentence = Callable[[Settings], str]


def _memory(settings: Settings) -> str:
    limit = f"{settings.sandbox_memory_mib} MiB"
    return f"It ran out of memory: the limit is {limit} (CODEGEN_SANDBOX_MEMORY_MIB)."


def _killed(settings: Settings) -> str:
    limit = f"{settings.sandbox_memory_mib} MiB (CODEGEN_SANDBOX_MEMORY_MIB)"
    return f"It was killed, as is what needs more memory than the limit of {limit}."


def _aborted(settings: Settings) -> str:
    limit = f"{settings.sandbox_memory_mib} MiB (CODEGEN_SANDBOX_MEMORY_MIB)"
    return f"It gave up, as Node does without memory; the limit is {limit}."


def _processes(settings: Settings) -> str:
    limit = f"{settings.sandbox_pids} processes and threads"
    return f"It could start no more: the limit is {limit} (CODEGEN_SANDBOX_PIDS)."


def _file_size(settings: Settings) -> str:
    limit = f"{settings.sandbox_file_mib} MiB"
    return f"A file grew beyond the limit of {limit} (CODEGEN_SANDBOX_FILE_MIB)."


def _disk(settings: Settings) -> str:
    limit = f"{settings.sandbox_memory_mib // 4} MiB, a quarter of CODEGEN_SANDBOX_MEMORY_MIB"
    return f"There was no space left: the disk is full, or /tmp is ({limit})."


def _open_files(_: Settings) -> str:
    return f"It had too many files open: the limit is {MAX_OPEN_FILES} for each process."


def _watchers(_: Settings) -> str:
    return "The machine lets it watch no more files (fs.inotify.max_user_watches)."


#: What the lines say, in the words of Node, libc, shells, Go and Rust; the first match wins.
_WORDS: tuple[tuple[re.Pattern[str], Sentence], ...] = (
    (re.compile(r"number of file watchers reached"), _watchers),
    (re.compile(r"\bENOSPC\b|No space left on device"), _disk),
    (re.compile(r"\bEFBIG\b|File too large|File size limit exceeded|SIGXFSZ"), _file_size),
    (re.compile(r"\bEMFILE\b|Too many open files"), _open_files),
    (
        re.compile(
            r"(?:spawn|fork|clone).*\bEAGAIN\b|\bEAGAIN\b.*(?:spawn|fork)|code EAGAIN"
            r"|[Cc]an(?:'t|not) fork|pthread_create|uv_thread_create"
            r"|failed to create new OS thread|Resource temporarily unavailable"
        ),
        _processes,
    ),
    (
        re.compile(
            r"heap out of memory|\bENOMEM\b|Cannot allocate memory|runtime: out of memory"
            r"|memory allocation of \d+ bytes failed|Array buffer allocation failed"
        ),
        _memory,
    ),
    (re.compile(r"signal:? SIGKILL|^Killed$"), _killed),
)
#: What the exit code says: 128 and the number of the signal.
_CODES: dict[int, Sentence] = {134: _aborted, 137: _killed, 153: _file_size}


def exhausted_limit(exit_code: int | None, lines: Sequence[str], settings: Settings) -> str:
    """Return a sentence on the limit that a command seems to have hit; empty where there is none.

    `exit_code` is None where the command still runs, or nobody knows. The sentence gives the
    limit's value and, where it is a setting, its name.
    """
    for pattern, sentence in _WORDS:
        if any(pattern.search(line) for line in lines):
            return sentence(settings)
    if exit_code in _CODES:
        return _CODES[exit_code](settings)
    return ""
