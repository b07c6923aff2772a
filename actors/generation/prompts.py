"""What the model is told: the requests for a phase's plan and for a phase's files.

Nothing here does I/O. What a prompt lists, it lists between tags at the end of its last message,
so that `read_brief` can read it back: the demo model and the tests' scripted server answer what
was asked, as a real model does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from actors.events import PhasePlan
from actors.generation.model import ChatMessage, ModelRequest
from actors.generation.plan import MAX_FILES_PER_PHASE, PLAN_SCHEMA, SCHEMA_NAME

MAX_SHOWN_CODE_CHARS = 200_000  # about 50,000 tokens; leaves room in a window of 128,000
MAX_SHOWN_REQUEST_CHARS = 60_000  # of all descriptions; the first and the newest are always shown
MAX_LISTED_FILES = 1_000
MAX_SHOWN_PLANS = 20

MARKER = "END_OF_FILE"  # less likely than EOF inside the scripts and documents of an app
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")

_STATIC_TARGET = """\
The app is a plain static site.
- Only files that a browser loads as they are: HTML, CSS, JavaScript, SVG, JSON. index.html at the \
top is the entry.
- No package.json, no dependencies, no build step, no server code, nothing from a CDN.
- It is served below a path prefix and may run in an opaque origin: use relative URLs only, \
classic scripts with `defer` instead of modules, and expect localStorage to throw."""

_NODE_TARGET = """\
The app runs in a Linux container with Node.js 22 and npm, without a database server or secrets.
- Either a plain static site with index.html at the top and no package.json: it is served as it is.
- Or a Node.js project with package.json at the top and a "dev" script, which is run after \
`npm install`. That one process must listen on 0.0.0.0 and on the port in the environment \
variable PORT (5173) and answer at `/`; for Vite: "dev": "vite --host 0.0.0.0 --port $PORT \
--strictPort".
- Choose the static site unless the request needs a server or a framework. Depend on few, \
well-kept packages, list every one that the code imports, and keep lock files out.
- Data lives in memory or in files below the project's directory. The network may be closed once \
the dependencies are installed."""

_PLANNER = """\
You are the lead engineer of a web app that is built phase by phase. You design the next phase; an \
engineer then writes exactly the files that you list, whole, and the app is started.

Target:
{target}

Rules:
- After every phase the app starts and works. The first phase delivers the heart of the request, \
usable and good to look at; later phases add what is still missing.
- Use as few phases as the request needs; a simple app needs one or two.
- List every file to create or to rewrite, in the order of writing: 1 to {max_files} files, as few \
as a clean structure needs. A listed file is written anew in full, so list an existing file only \
if it has to change.
- Paths are relative to the top directory, with `/`. Each path appears once. No binary files.
- "purpose" says what the file holds and which names it offers to the other files.
- Set "isLastPhase" to true when the request is fulfilled once this phase is done.

Answer with one JSON object and nothing else:
{{"name": "...", "description": "...", "files": [{{"path": "...", "purpose": "..."}}], \
"isLastPhase": false}}"""

_IMPLEMENTER = """\
You are a senior engineer. You write the files of one phase of a web app, complete and ready to run.

Target:
{target}

Answer format: each file is one shell here-document, exactly like this:
cat > src/greeting.js << '{marker}'
export const greeting = "Hello";
{marker}
- The first line is `cat > PATH << '{marker}'`, at the beginning of a line, with PATH relative to \
the top directory.
- Then follows the whole file, verbatim: nothing is escaped, indented or wrapped in a fence.
- Then `{marker}` alone on its line, at the beginning of the line.
- No commands and no prose between or around the files.

Rules:
- Write every file listed in <files_to_write>, each once, in that order, and no other file.
- Every file is complete. No placeholders, no "rest unchanged", no TODO: what you write replaces \
the file.
- The files fit each other and the existing code: imports resolve, names, ids and routes match, \
every package that is imported is in package.json.
- Handle errors and empty states. Semantic, accessible, responsive markup; a considered design."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptContext:
    """What is known when a phase is planned or written.

    `descriptions` holds the project's requests, oldest first; the last one is this run's.
    `sandbox` is the sandbox's kind, docker or static. `phase_number` counts from 1 over the whole
    project, `phases_left` is what this run may still do, this phase included. `files` holds the
    texts of all finished files: the planner is shown their paths and sizes, the implementer the
    code. The implementer also needs `plan` and which of its paths are `finished` already, after an
    interruption. `complaint` is the sentence with which the last answer was refused.
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
    complaint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What a prompt asks for, read back from its text."""

    phase_number: int
    existing_paths: tuple[str, ...] = ()
    paths_to_write: tuple[str, ...] = ()
    existing_code: str = ""


def plan_request(context: PromptContext) -> ModelRequest:
    """Ask for the plan of the phase, by JSON schema."""
    system = _PLANNER.format(target=_target(context), max_files=MAX_FILES_PER_PHASE)
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
    marker = free_marker(context.files.values())
    system = _IMPLEMENTER.format(target=_target(context), marker=marker)
    planned = {file.path for file in context.plan.files}
    to_write = [
        f"- {file.path}\n  {file.purpose}"
        for file in context.plan.files
        if file.path not in context.finished
    ]
    parts = [
        *_history(context),
        _section("existing_code", _code(context.files, planned, marker)),
        _section("phase_number", str(context.phase_number)),
        _section("phase_plan", _plan_json(context.plan)),
        _section("files_to_write", "\n".join(to_write)),
        _implement_order(context, len(to_write)),
    ]
    if context.complaint:
        parts.append(f"Your previous answer could not be used: {context.complaint}")
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
    return Brief(
        phase_number=int(number) if number.isdigit() else 1,
        existing_paths=tuple(
            re.findall(r"^- (.+) \(\d+ bytes\)$", _read_section(prompt, "existing_files"), re.M)
        ),
        paths_to_write=tuple(
            re.findall(r"^- (.+)$", _read_section(prompt, "files_to_write"), re.M)
        ),
        existing_code=_read_section(prompt, "existing_code"),
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
    shown = path if _PLAIN_PATH.fullmatch(path) else _quoted(path)
    end = "" if not content or content.endswith("\n") else "\n"
    return f"cat > {shown} << '{marker}'\n{content}{end}{marker}\n"


def _quoted(path: str) -> str:
    return f"'{path}'" if "'" not in path else f'"{path}"'


def _target(context: PromptContext) -> str:
    return _STATIC_TARGET if context.sandbox == "static" else _NODE_TARGET


def _messages(system: str, parts: Sequence[str]) -> tuple[ChatMessage, ...]:
    return (
        ChatMessage(role="system", content=system),
        ChatMessage(role="user", content="\n\n".join(part for part in parts if part)),
    )


def _section(tag: str, text: str) -> str:
    return f"<{tag}>\n{text}{'' if text.endswith(chr(10)) else chr(10)}</{tag}>" if text else ""


def _read_section(prompt: str, tag: str) -> str:
    start = prompt.rfind(f"<{tag}>\n")
    end = prompt.rfind(f"</{tag}>")
    return prompt[start + len(tag) + 3 : end].strip("\n") if 0 <= start < end else ""


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


def _plan_json(plan: PhasePlan) -> str:
    return orjson.dumps(
        {
            "name": plan.name,
            "description": plan.description,
            "files": [{"path": file.path, "purpose": file.purpose} for file in plan.files],
            "isLastPhase": plan.is_last_phase,
        }
    ).decode()


def _code(contents: Mapping[str, str], planned: set[str], marker: str) -> str:
    """Show the existing files as SCOF, byte for byte, within MAX_SHOWN_CODE_CHARS.

    When they do not fit, the largest ones are reduced to their heads: first those that the phase
    leaves alone, since a file that is to be rewritten must be known in full.
    """
    sizes = {path: len(text) for path, text in contents.items()}
    cap = _fair_cap([sizes[path] for path in sizes if path in planned], MAX_SHOWN_CODE_CHARS)
    spent = sum(min(size, cap) for path, size in sizes.items() if path in planned)
    other_cap = _fair_cap(
        [sizes[path] for path in sizes if path not in planned], MAX_SHOWN_CODE_CHARS - spent
    )
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
