"""The sections of a prompt, and what they ask for read back from its text.

What a prompt lists, it lists between tags at the end of its last message, so that `read_brief` can
read it back: the demo model and the tests' scripted server answer what was asked, as a real model
does. Nothing here does I/O.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What a prompt asks for, read back from its text.

    The first of `paths_to_write` is `unfinished_path`, if there is one: its here-document begins
    with exactly `seam`, the last lines of its text so far, and goes on from there.
    """

    phase_number: int
    existing_paths: tuple[str, ...] = ()
    paths_to_write: tuple[str, ...] = ()
    existing_code: str = ""
    unfinished_path: str = ""
    seam: str = ""


def section(tag: str, text: str) -> str:
    """Return the text between its tags, each on a line of its own; nothing for no text."""
    return f"<{tag}>\n{text}{'' if text.endswith(chr(10)) else chr(10)}</{tag}>" if text else ""


def verbatim(tag: str, text: str) -> str:
    """Return a section in which the text's last line ends only if it does so in the text."""
    return f"<{tag}>\n{text}</{tag}>"


def read_brief(prompt: str) -> Brief:
    """Read back what the text of a request's last message asks for.

    A tag inside a description or inside the shown code is harmless: the last one counts, and the
    lists that matter stand after both.
    """
    number = _read_section(prompt, "phase_number")
    order = prompt[max(0, prompt.rfind("<phase_plan>\n")) :]  # after all that users wrote
    return Brief(
        phase_number=int(number) if number.isdigit() else 1,
        existing_paths=tuple(
            re.findall(r"^- (.+) \(\d+ bytes\)$", _read_section(prompt, "existing_files"), re.M)
        ),
        paths_to_write=tuple(
            re.findall(r"^- (.+)$", _read_section(prompt, "files_to_write"), re.M)
        ),
        existing_code=_read_section(prompt, "existing_code"),
        unfinished_path=_read_section(order, "unfinished_file"),
        seam=_read_verbatim(order, "seam"),
    )


def _read_section(prompt: str, tag: str) -> str:
    return _read_verbatim(prompt, tag).strip("\n")


def _read_verbatim(prompt: str, tag: str) -> str:
    start = prompt.rfind(f"<{tag}>\n")
    end = prompt.rfind(f"</{tag}>")
    return prompt[start + len(tag) + 3 : end] if 0 <= start < end else ""
