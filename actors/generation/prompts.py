"""What the model is told: the requests for a phase's plan and for a phase's files.

Nothing here does I/O. What a prompt lists, it lists between tags at the end of its last message,
so that `read_brief` can read it back: the demo model and the tests' scripted server answer what
was asked, as a real model does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from actors.events import PhasePlan
from actors.generation.instructions import (
    CONTINUATION,
    IMPLEMENTER,
    NODE_TARGET,
    PLANNER,
    STATIC_TARGET,
)
from actors.generation.model import ChatMessage, ModelRequest
from actors.generation.plan import MAX_FILES_PER_PHASE, PLAN_SCHEMA, SCHEMA_NAME
from actors.generation.seam import UnfinishedFile

MAX_SHOWN_CODE_CHARS = 200_000  # about 50,000 tokens; leaves room in a window of 128,000
MAX_SHOWN_UNFINISHED_CHARS = 100_000  # of those; the end is always shown
MAX_SHOWN_REQUEST_CHARS = 60_000  # of all descriptions; the first and the newest are always shown
MAX_LISTED_FILES = 1_000
MAX_SHOWN_PLANS = 20

MARKER = "END_OF_FILE"  # less likely than EOF inside the scripts and documents of an app
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptContext:
    """What is known when a phase is planned or written.

    `descriptions` holds the project's requests, oldest first; the last one is this run's.
    `sandbox` is the sandbox's kind, docker or static. `phase_number` counts from 1 over the whole
    project, `phases_left` is what this run may still do, this phase included. `files` holds the
    texts of all finished files: the planner is shown their paths and sizes, the implementer the
    code. The implementer also needs `plan` and, after an interruption, which of its paths are
    `finished` already and which one is `unfinished`: that one is continued. `complaint` is the
    sentence with which the last answer was refused.
    """

    descriptions: tuple[str, ...]
    model: str
    sandbox: str
    phase_number: int
    phases_left: int = 1
    files: Mapping[str, str] = field(default_factory=dict)
    earlier_phases: tuple[PhasePlan, ...] = ()
    plan: PhasePlan | None = None
    finished: tuple[str, ...] = ()
    unfinished: UnfinishedFile | None = None
    complaint: str | None = None


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


def plan_request(context: PromptContext) -> ModelRequest:
    """Ask for the plan of the phase, by JSON schema."""
    system = PLANNER.format(target=_target(context), max_files=MAX_FILES_PER_PHASE)
    parts = [
        *_history(context),
        _section("existing_files", _listing(context.files)),
        _section("phase_number", str(context.phase_number)),
        _plan_order(context),
    ]
    if context.complaint:
        parts.append(
            f"Your previous plan was refused: {context.complaint} Design the phase again without "
            "this fault."
        )
    return ModelRequest(
        purpose="plan",
        model=context.model,
        messages=_messages(system, parts),
        description=context.descriptions[-1],
        phase_number=context.phase_number,
        json_schema=PLAN_SCHEMA,
        schema_name=SCHEMA_NAME,
    )


def implement_request(context: PromptContext) -> ModelRequest:
    """Ask for the files of `context.plan` that are not finished yet, as SCOF."""
    assert context.plan is not None, "there is nothing to implement without a plan"
    unfinished = context.unfinished
    text_so_far = _shown_end(unfinished) if unfinished else ""
    marker = free_marker([*context.files.values(), unfinished.text if unfinished else ""])
    system = IMPLEMENTER.format(target=_target(context), marker=marker)
    planned = {file.path for file in context.plan.files}
    to_write = _to_write(context.plan, context.finished, unfinished)
    budget = MAX_SHOWN_CODE_CHARS - len(text_so_far)
    parts = [
        *_history(context),
        _section("existing_code", _code(context.files, planned, marker, budget)),
        _section("phase_number", str(context.phase_number)),
        _section("phase_plan", _plan_json(context.plan)),
        *(_continuation(unfinished, text_so_far, marker) if unfinished else ()),
        _section("files_to_write", "\n".join(to_write)),
        _implement_order(context, len(to_write)),
    ]
    if context.complaint:
        parts.append(f"Your previous answer could not be used in full: {context.complaint}")
    return ModelRequest(
        purpose="implement",
        model=context.model,
        messages=_messages(system, parts),
        description=context.descriptions[-1],
        phase_number=context.phase_number,
    )


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


def free_marker(texts: Iterable[str]) -> str:
    """Return a here-document marker that occurs nowhere in `texts`."""
    shown = list(texts)
    marker, number = MARKER, 1
    while any(marker in text for text in shown):
        number += 1
        marker = f"{MARKER}_{number}"
    return marker


def write_scof(path: str, content: str, marker: str) -> str:
    """Render one file as a SCOF block.

    The format ends every line with LF, so a content that does not is given one.
    """
    end = "" if not content or content.endswith("\n") else "\n"
    return f"{_header(path, marker)}\n{content}{end}{marker}\n"


def _header(path: str, marker: str) -> str:
    shown = path if _PLAIN_PATH.fullmatch(path) else _quoted(path)
    return f"cat > {shown} << '{marker}'"


def _quoted(path: str) -> str:
    return f"'{path}'" if "'" not in path else f'"{path}"'


def _target(context: PromptContext) -> str:
    return STATIC_TARGET if context.sandbox == "static" else NODE_TARGET


def _messages(system: str, parts: Sequence[str]) -> tuple[ChatMessage, ...]:
    return (
        ChatMessage(role="system", content=system),
        ChatMessage(role="user", content="\n\n".join(part for part in parts if part)),
    )


def _section(tag: str, text: str) -> str:
    return f"<{tag}>\n{text}{'' if text.endswith(chr(10)) else chr(10)}</{tag}>" if text else ""


def _verbatim(tag: str, text: str) -> str:
    """Return a section in which the text's last line ends only if it does so in the text."""
    return f"<{tag}>\n{text}</{tag}>"


def _read_section(prompt: str, tag: str) -> str:
    return _read_verbatim(prompt, tag).strip("\n")


def _read_verbatim(prompt: str, tag: str) -> str:
    start = prompt.rfind(f"<{tag}>\n")
    end = prompt.rfind(f"</{tag}>")
    return prompt[start + len(tag) + 3 : end] if 0 <= start < end else ""


def _history(context: PromptContext) -> list[str]:
    """Return the sections that both prompts begin with: the requests and the phases so far."""
    earlier = context.descriptions[:-1]
    parts = [
        _section("earlier_requests", _numbered(_affordable(earlier, context.descriptions[-1]))),
        _section("request", context.descriptions[-1]),
    ]
    plans = context.earlier_phases
    if plans:
        first = max(0, len(plans) - MAX_SHOWN_PLANS)
        lines = [f"{first} older phases are left out."] if first else []
        lines += [
            f"{number}. {plan.name}: {plan.description}"
            for number, plan in enumerate(plans[first:], first + 1)
        ]
        parts.append(_section("finished_phases", "\n".join(lines)))
    return parts


def _affordable(earlier: Sequence[str], newest: str) -> list[str]:
    """Choose the first request and as many of the newest ones as fit beside `newest`."""
    if not earlier:
        return []
    budget = MAX_SHOWN_REQUEST_CHARS - len(newest) - len(earlier[0])
    shown: list[str] = []
    for text in reversed(earlier[1:]):
        budget -= len(text)
        if budget < 0:
            shown.append("(older requests are left out)")
            break
        shown.append(text)
    return [earlier[0], *reversed(shown)]


def _numbered(texts: Sequence[str]) -> str:
    return "\n".join(f"{number}. {text}" for number, text in enumerate(texts, 1))


def _listing(files: Mapping[str, str]) -> str:
    lines = [f"- {path} ({len(text.encode())} bytes)" for path, text in sorted(files.items())]
    hidden = len(lines) - MAX_LISTED_FILES
    return "\n".join([*lines[:MAX_LISTED_FILES], *([f"and {hidden} more"] if hidden > 0 else [])])


def _plan_order(context: PromptContext) -> str:
    if context.phases_left <= 1:
        left = "It is the last one you have: it must fulfil the request; set isLastPhase to true."
    else:
        left = f"You have at most {context.phases_left} phases left, this one included."
    subject = "The app exists; change it as requested." if context.files else ""
    return " ".join(filter(None, [f"Design phase {context.phase_number}.", subject, left]))


def _implement_order(context: PromptContext, count: int) -> str:
    order = (
        f"Write the {count} files of <files_to_write> now."
        if count != 1
        else ("Write the one file of <files_to_write> now.")
    )
    if context.finished:
        order += " The other files of the phase are finished and among the existing code."
    return order


def _to_write(
    plan: PhasePlan, finished: Sequence[str], unfinished: UnfinishedFile | None
) -> list[str]:
    """List what is missing, the file that is to be continued first."""
    first = unfinished.path if unfinished else None
    missing = [file for file in plan.files if file.path not in finished]
    missing.sort(key=lambda file: file.path != first)
    return [f"- {file.path}\n  {file.purpose}" for file in missing]


def _continuation(unfinished: UnfinishedFile, shown: str, marker: str) -> Iterator[str]:
    """Show the end of a file and say how to go on with it."""
    hidden = unfinished.text.count("\n") - shown.count("\n")
    yield _verbatim("unfinished_text", shown)
    yield _verbatim("seam", unfinished.seam)
    yield _section("unfinished_file", unfinished.path)
    yield CONTINUATION.format(
        path=unfinished.path,
        left_out=f", its first {hidden} lines left out" if hidden else "",
        part_of_line=""
        if unfinished.seam.endswith("\n")
        else "; the last one breaks off and goes on",
        header=_header(unfinished.path, marker),
        first_line=unfinished.seam.split("\n", 1)[0],
    )


def _shown_end(unfinished: UnfinishedFile) -> str:
    """Return the text so far, or as many of its last lines as fit; the seam is always whole."""
    text = unfinished.text
    if len(text) <= MAX_SHOWN_UNFINISHED_CHARS:
        return text
    seam_at = len(text) - len(unfinished.seam)
    return text[text.find("\n", len(text) - MAX_SHOWN_UNFINISHED_CHARS, seam_at) + 1 :]


def _plan_json(plan: PhasePlan) -> str:
    return orjson.dumps(
        {
            "name": plan.name,
            "description": plan.description,
            "files": [{"path": file.path, "purpose": file.purpose} for file in plan.files],
            "isLastPhase": plan.is_last_phase,
        }
    ).decode()


def _code(contents: Mapping[str, str], planned: set[str], marker: str, budget: int) -> str:
    """Show the existing files as SCOF, byte for byte, within `budget` characters.

    When they do not fit, the largest ones are reduced to their heads: first those that the phase
    leaves alone, since a file that is to be rewritten must be known in full.
    """
    sizes = {path: len(text) for path, text in contents.items()}
    cap = _fair_cap([sizes[path] for path in sizes if path in planned], budget)
    spent = sum(min(size, cap) for path, size in sizes.items() if path in planned)
    other_cap = _fair_cap([sizes[path] for path in sizes if path not in planned], budget - spent)
    return "\n".join(
        _shown_file(path, contents[path], cap if path in planned else other_cap, marker)
        for path in sorted(contents)
    )


def _fair_cap(sizes: list[int], budget: int) -> int:
    """Return the largest size to which files may be cut so that all together fit the budget."""
    left = budget
    for done, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - done)
        if size > share:
            return share
        left -= size
    return budget


def _shown_file(path: str, content: str, cap: int, marker: str) -> str:
    if len(content) <= cap:
        return write_scof(path, content, marker)
    head = content[: content.rfind("\n", 0, cap) + 1]
    if not head:
        return f"# {path} is too large to be shown.\n"
    lines, all_lines = head.count("\n"), content.count("\n")
    return (
        f"# {path} is too large to be shown: here are the first {lines} of {all_lines} lines.\n"
        + write_scof(path, head, marker)
    )
