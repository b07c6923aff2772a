"""What the model is told: the requests for a phase's plan and for a phase's files.

Nothing here does I/O. `brief.py` reads back what a prompt asks for, `codebase.py` shows the files.
A prompt leaves a share of the model's context to the answer; what does not fit is reduced in the
order of what can be spared best.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from actors.errors import ContextTooSmall
from actors.events import PhasePlan
from actors.generation.brief import Brief, read_brief, section, verbatim
from actors.generation.codebase import (
    MARKER,
    free_marker,
    header,
    shown_code,
    tokens_in_full,
    write_scof,
)
from actors.generation.instructions import (
    CONTINUATION,
    IMPLEMENTER,
    NODE_TARGET,
    PLANNER,
    STATIC_TARGET,
)
from actors.generation.model import ChatMessage, ModelRequest
from actors.generation.plan import MAX_FILES_PER_PHASE, PLAN_SCHEMA, SCHEMA_NAME, plan_data
from actors.generation.seam import UnfinishedFile
from actors.generation.tokens import CHARS_PER_TOKEN, ESTIMATE_MARGIN, estimated_tokens

__all__ = [
    "MARKER",
    "Brief",
    "PromptContext",
    "free_marker",
    "implement_request",
    "plan_request",
    "read_brief",
    "write_scof",
]

DEFAULT_CONTEXT_TOKENS = 128_000
MAX_ANSWER_TOKENS = 32_000  # what is left for the answer: a quarter of the context, or this
MAX_SHOWN_CODE_TOKENS = 60_000  # files that must be known in full may take more
MAX_SHOWN_REQUEST_TOKENS = 16_000  # of the earlier descriptions
MAX_SHOWN_UNFINISHED_CHARS = 100_000  # the end is always shown
MAX_LISTED_FILES = 1_000
MAX_NAMED_PHASES = 100
MAX_SHOWN_PROBLEMS = 20  # the newest: all there can be
MAX_SHOWN_PROBLEM_CHARS = 3_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptContext:
    """What is known when a phase is planned or written.

    `descriptions` holds the project's requests, oldest first; the last one is this run's.
    `sandbox` is the sandbox's kind. `phase_number` counts from 1 over the whole project,
    `phases_left` is what this run may still do, this phase included. `files` holds the texts of
    all finished files: the planner is shown their paths and sizes, the implementer the
    code. `problems` are the app's open problems, oldest first. The implementer also needs `plan`
    and, after an interruption, which of its paths are `finished` already and which one is
    `unfinished`: that one is continued. `complaint` is what was wrong with the last answer.

    `context_tokens` is how many tokens prompt and answer may have together. `nonce` makes the
    marker that the answer is to use a fresh one.
    """

    descriptions: tuple[str, ...]
    model: str
    sandbox: str
    phase_number: int
    phases_left: int = 1
    files: Mapping[str, str] = field(default_factory=dict)
    earlier_phases: tuple[PhasePlan, ...] = ()
    problems: tuple[str, ...] = ()
    plan: PhasePlan | None = None
    finished: tuple[str, ...] = ()
    unfinished: UnfinishedFile | None = None
    complaint: str | None = None
    context_tokens: int = DEFAULT_CONTEXT_TOKENS
    max_files: int = MAX_FILES_PER_PHASE
    nonce: str = "0"


def plan_request(context: PromptContext) -> ModelRequest:
    """Ask for the plan of the phase, by JSON schema; raises ContextTooSmall."""
    system = PLANNER.format(target=_target(context), max_files=context.max_files)
    request = section("request", context.descriptions[-1])
    problems = section("open_problems", _problems(context.problems))
    number = section("phase_number", str(context.phase_number))
    order = [_plan_order(context)]
    if context.complaint:
        order.append(
            f"Your previous plan was refused: {context.complaint} Design the phase again without "
            "this fault."
        )
    left = _left_beside(context, system, request, problems, number, *order)
    parts = [
        *_history(context, request, left // 2),
        problems,
        section("existing_files", _listing(context.files, left // 2)),
        number,
        *order,
    ]
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
    """Ask for the files of `context.plan` that are not finished yet, as SCOF.

    Raises ContextTooSmall where not even those of them that exist fit in full.
    """
    plan, unfinished = context.plan, context.unfinished
    assert plan is not None, "there is nothing to implement without a plan"
    text_so_far = _shown_end(unfinished, context) if unfinished else ""
    texts = [*context.files.values(), text_so_far]
    code_marker = free_marker(texts)
    marker = free_marker([*texts, *context.descriptions], f"EOF_{context.nonce}")
    system = IMPLEMENTER.format(target=_target(context), marker=marker)
    request = section("request", context.descriptions[-1])
    to_write = _to_write(plan, context.finished, unfinished)
    order = [
        section("phase_number", str(context.phase_number)),
        section("phase_plan", orjson.dumps(plan_data(plan)).decode()),
        *(_continuation(unfinished, text_so_far, marker) if unfinished else ()),
        section("files_to_write", "\n".join(to_write)),
        _implement_order(context, len(to_write), marker),
    ]
    if context.complaint:
        order.append(f"Your previous answer could not be used in full: {context.complaint}")
    whole = {file.path for file in plan.files} - {*context.finished}
    whole -= {unfinished.path} if unfinished else set()
    needed = tokens_in_full(context.files, whole, code_marker)
    left = _left_beside(context, system, request, *order, more_tokens=needed)
    code = shown_code(
        context.files,
        whole=whole,
        topic="\n".join(
            [plan.description, *(f"{file.path} {file.purpose}" for file in plan.files)]
        ),
        marker=code_marker,
        max_tokens=min(needed + left * 3 // 4, max(needed, MAX_SHOWN_CODE_TOKENS)),
    )
    parts = [*_history(context, request, left // 4), section("existing_code", code), *order]
    return ModelRequest(
        purpose="implement",
        model=context.model,
        messages=_messages(system, parts),
        description=context.descriptions[-1],
        phase_number=context.phase_number,
    )


def _prompt_tokens(context: PromptContext) -> int:
    """Return how many a prompt may have by estimate, so that the answer's share stays free."""
    answer_tokens = min(context.context_tokens // 4, MAX_ANSWER_TOKENS)
    return int((context.context_tokens - answer_tokens) / ESTIMATE_MARGIN)


def _left_beside(context: PromptContext, *texts: str, more_tokens: int = 0) -> int:
    """Return how many tokens the prompt may have beside what it must have."""
    needed = estimated_tokens(*texts) + more_tokens
    left = _prompt_tokens(context) - needed
    if left < 0:
        raise ContextTooSmall(
            f"The request and the files of phase {context.phase_number} take about {needed:,} "
            f"tokens, too many for a model whose context has {context.context_tokens:,}; choose a "
            "model with a larger context, or split the request."
        )
    return left


def _target(context: PromptContext) -> str:
    return STATIC_TARGET if context.sandbox == "static" else NODE_TARGET


def _messages(system: str, parts: Sequence[str]) -> tuple[ChatMessage, ...]:
    return (
        ChatMessage(role="system", content=system),
        ChatMessage(role="user", content="\n\n".join(part for part in parts if part)),
    )


def _history(context: PromptContext, request: str, max_tokens: int) -> list[str]:
    """Return the sections that both prompts begin with: the requests and the phases so far."""
    earlier = _affordable(context.descriptions[:-1], min(max_tokens // 2, MAX_SHOWN_REQUEST_TOKENS))
    return [
        section("earlier_requests", _numbered(earlier)),
        request,
        section("finished_phases", _phases(context.earlier_phases, max_tokens // 2)),
    ]


def _affordable(earlier: Sequence[str], max_tokens: int) -> list[str]:
    """Choose the first request and as many of the newest ones as fit."""
    if not earlier:
        return []
    left = max_tokens - estimated_tokens(earlier[0])
    if left < 0:
        return ["(older requests are left out)"]
    shown: list[str] = []
    for text in reversed(earlier[1:]):
        left -= estimated_tokens(text)
        if left < 0:
            shown.append("(older requests are left out)")
            break
        shown.append(text)
    return [earlier[0], *reversed(shown)]


def _numbered(texts: Sequence[str]) -> str:
    return "\n".join(f"{number}. {text}" for number, text in enumerate(texts, 1))


def _phases(plans: Sequence[PhasePlan], max_tokens: int) -> str:
    """Name the phases so far, and show the last one in full if it fits."""
    if not plans:
        return ""
    first = max(0, len(plans) - MAX_NAMED_PHASES)
    lines = [f"{first} older phases are left out."] if first else []
    lines += [f"{number}. {plan.name}" for number, plan in enumerate(plans[first:], first + 1)]
    last = f"The last one in full:\n{orjson.dumps(plan_data(plans[-1])).decode()}"
    if estimated_tokens(*lines, last) <= max_tokens:
        lines.append(last)
    return "\n".join(lines)


def _problems(problems: Sequence[str]) -> str:
    return _numbered([text[:MAX_SHOWN_PROBLEM_CHARS] for text in problems[-MAX_SHOWN_PROBLEMS:]])


def _listing(files: Mapping[str, str], max_tokens: int) -> str:
    lines = [f"- {path} ({len(text.encode())} bytes)" for path, text in sorted(files.items())]
    shown: list[str] = []
    for line in lines[:MAX_LISTED_FILES]:
        max_tokens -= estimated_tokens(line) + 1
        if max_tokens < 0:
            break
        shown.append(line)
    hidden = len(lines) - len(shown)
    return "\n".join([*shown, *([f"and {hidden} more"] if hidden else [])])


def _plan_order(context: PromptContext) -> str:
    if context.phases_left <= 1:
        left = "It is the last one you have: it must fulfil the request; set isLastPhase to true."
    else:
        left = f"You have at most {context.phases_left} phases left, this one included."
    subject = "The app exists; change it as requested." if context.files else ""
    mend = "Mend the problems of <open_problems> in this phase." if context.problems else ""
    return " ".join(filter(None, [f"Design phase {context.phase_number}.", subject, mend, left]))


def _implement_order(context: PromptContext, count: int, marker: str) -> str:
    files = f"the {count} files" if count != 1 else "the one file"
    order = f"Write {files} of <files_to_write> now, with the marker {marker}."
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
    yield verbatim("unfinished_text", shown)
    yield verbatim("seam", unfinished.seam)
    yield section("unfinished_file", unfinished.path)
    yield CONTINUATION.format(
        path=unfinished.path,
        left_out=f", its first {hidden} lines left out" if hidden else "",
        part_of_line=""
        if unfinished.seam.endswith("\n")
        else "; the last one breaks off and goes on",
        header=header(unfinished.path, marker),
        first_line=unfinished.seam.split("\n", 1)[0],
    )


def _shown_end(unfinished: UnfinishedFile, context: PromptContext) -> str:
    """Return the text so far, or as many of its last lines as fit; the seam is always whole."""
    text = unfinished.text
    third = round(_prompt_tokens(context) / 3 * CHARS_PER_TOKEN)
    max_chars = min(MAX_SHOWN_UNFINISHED_CHARS, third)
    if len(text) <= max_chars:
        return text
    seam_at = len(text) - len(unfinished.seam)
    return text[text.find("\n", len(text) - max_chars, seam_at) + 1 :]
