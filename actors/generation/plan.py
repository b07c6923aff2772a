"""The plan of a phase: the JSON schema the model is asked to follow, and the check of its answer.

A model that honours the schema still breaks rules that a schema cannot state, and one that does
not wraps its JSON in prose or a fence. `parse_plan` takes both; what it refuses, it refuses with
one sentence that names the fault, fit to be sent back to the model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from actors.errors import PlanInvalid
from actors.events import PhasePlan, PlannedFile
from actors.paths import MAX_PATH_CHARS, clashing_path, normalized_path

MAX_FILES_PER_PHASE = 40  # by default
MAX_DELETED_FILES = 1_000
MAX_PLAN_CHARS = 100_000  # of the whole answer, prose included
MAX_NAME_CHARS = 120
MAX_DESCRIPTION_CHARS = 4_000
MAX_PURPOSE_CHARS = 1_000
MAX_JSON_STARTS = 20  # how many `{` are tried as the beginning of the plan

SCHEMA_NAME = "phase_plan"

#: In the subset that strict structured output accepts everywhere: no lengths, no counts; those
#: are checked by `parse_plan`.
PLAN_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "description", "files", "delete", "isLastPhase"],
    "properties": {
        "name": {"type": "string", "description": "The phase in two to five words."},
        "description": {
            "type": "string",
            "description": "What works after this phase and how the files play together.",
        },
        "files": {
            "type": "array",
            "description": "Every file to create or to rewrite, in the order of writing.",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["path", "purpose"],
                "properties": {
                    "path": {
                        "type": "string",
                        "description": "Relative to the project's top directory, with `/`.",
                    },
                    "purpose": {"type": "string", "description": "What the file is for."},
                },
            },
        },
        "delete": {
            "type": "array",
            "description": "Existing files that the app no longer needs; mostly none.",
            "items": {"type": "string"},
        },
        "isLastPhase": {
            "type": "boolean",
            "description": "Whether the request is fulfilled once this phase is done.",
        },
    },
}

_DECODER = json.JSONDecoder()
# A string is matched whole, so that a comma inside it is left alone; an open one takes the rest.
_STRING_OR_TRAILING_COMMA = re.compile(r'"(?:[^"\\]|\\.?)*(?:"|\Z)|,(?=\s*[}\]])', re.DOTALL)
# NUL and lone surrogates can be stored nowhere; the other controls only garble a display.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRules:
    """What a plan is checked against: the project's files, and who wrote them last.

    `purposes` has each existing path, with its purpose in the newest plan that listed it.
    """

    max_files: int = MAX_FILES_PER_PHASE
    purposes: Mapping[str, str | None] = field(default_factory=dict)


NEW_PROJECT = PlanRules()


def plan_rules(
    existing: Iterable[str], earlier: Iterable[PhasePlan], max_files: int = MAX_FILES_PER_PHASE
) -> PlanRules:
    """Return the rules for the next plan of a project; `earlier` begins with the oldest."""
    purposes = {file.path: file.purpose for plan in earlier for file in plan.files}
    return PlanRules(max_files=max_files, purposes={path: purposes.get(path) for path in existing})


def plan_data(plan: PhasePlan) -> dict[str, Any]:
    """Return the plan as the model is to write it."""
    return {
        "name": plan.name,
        "description": plan.description,
        "files": [{"path": file.path, "purpose": file.purpose} for file in plan.files],
        "delete": list(plan.delete),
        "isLastPhase": plan.is_last_phase,
    }


def parse_plan(text: str, rules: PlanRules = NEW_PROJECT) -> PhasePlan:
    """Read the plan from a model's answer: JSON alone, in a fence or within prose.

    Trailing commas are forgiven and unknown members ignored. Raises PlanInvalid with a sentence
    that names the first rule that is broken.
    """
    if len(text) > MAX_PLAN_CHARS:
        raise PlanInvalid(f"The answer is longer than {MAX_PLAN_CHARS:,} characters.")
    members = _find_object(text)
    name = " ".join(_text(members, "name", MAX_NAME_CHARS).split())
    if not name:
        raise PlanInvalid('The plan has an empty "name".')
    plan = PhasePlan(
        name=name,
        description=_text(members, "description", MAX_DESCRIPTION_CHARS),
        files=_files(members, rules.max_files),
        is_last_phase=_flag(members, "isLastPhase"),
        delete=_deleted(members),
    )
    _check_deleted(plan, rules)
    _check_paths(plan, rules)
    _check_news(plan, rules)
    return plan


def _find_object(text: str) -> dict[str, Any]:
    """Return the first JSON object that has `files`, or else the first one of all."""
    first: dict[str, Any] | None = None
    start = text.find("{")
    for _ in range(MAX_JSON_STARTS):
        if start < 0:
            break
        found = _decode_at(text, start)
        if found is not None and "files" in found:
            return found
        first = found if first is None else first
        start = text.find("{", start + 1)
    if first is None:
        raise PlanInvalid("The answer holds no JSON object.")
    return first


def _decode_at(text: str, start: int) -> dict[str, Any] | None:
    mended = _STRING_OR_TRAILING_COMMA.sub(
        lambda match: match[0] if match[0][0] == '"' else "", text[start:]
    )
    try:
        value, _ = _DECODER.raw_decode(mended)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _text(members: dict[str, Any], name: str, limit: int, owner: str = "The plan") -> str:
    value = members.get(name)
    if not isinstance(value, str):
        raise PlanInvalid(f'{owner} needs "{name}" as a string.')
    value = _UNPRINTABLE.sub(" ", value).strip()
    if len(value) > limit:
        raise PlanInvalid(f'{owner} has a "{name}" of more than {limit:,} characters.')
    return value


def _flag(members: dict[str, Any], name: str) -> bool:
    value = members.get(name)
    if not isinstance(value, bool):
        raise PlanInvalid(f'The plan needs "{name}" as true or false.')
    return value


def _files(members: dict[str, Any], max_files: int) -> tuple[PlannedFile, ...]:
    files = members.get("files")
    if not isinstance(files, list):
        raise PlanInvalid('The plan needs "files" as a list.')
    if not files:
        raise PlanInvalid("The plan lists no files; a phase writes at least one.")
    if len(files) > max_files:
        raise PlanInvalid(f"The plan lists {len(files)} files; a phase writes at most {max_files}.")
    return tuple(_file(item, number) for number, item in enumerate(files, 1))


def _file(item: Any, number: int) -> PlannedFile:
    owner = f"File {number} of the plan"
    if not isinstance(item, dict):
        raise PlanInvalid(f'{owner} must be an object with "path" and "purpose".')
    raw = item.get("path")
    if not isinstance(raw, str):
        raise PlanInvalid(f'{owner} needs "path" as a string.')
    path = _path(raw, owner)
    purpose = " ".join(_text(item, "purpose", MAX_PURPOSE_CHARS, owner).split())
    return PlannedFile(path=path, purpose=purpose)


def _path(raw: str, owner: str) -> str:
    path = normalized_path(raw.strip())
    if path is None:
        raise PlanInvalid(
            f"{owner} has the path {_quoted(raw)}; a path is relative, inside the project, "
            f"without '..', outside .git, names a file, and has at most {MAX_PATH_CHARS} "
            "characters."
        )
    return path


def _deleted(members: dict[str, Any]) -> tuple[str, ...]:
    paths = members.get("delete")
    if paths is None:
        return ()
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise PlanInvalid('The plan needs "delete" as a list of paths.')
    if len(paths) > MAX_DELETED_FILES:
        raise PlanInvalid(f'The plan has more than {MAX_DELETED_FILES:,} paths in "delete".')
    return tuple(dict.fromkeys(_path(path, '"delete" of the plan') for path in paths))


def _check_deleted(plan: PhasePlan, rules: PlanRules) -> None:
    """Refuse to delete what does not exist, or is written."""
    written = {file.path for file in plan.files}
    for path in plan.delete:
        if path not in rules.purposes:
            raise PlanInvalid(f"The plan deletes {_quoted(path)}, which does not exist.")
        if path in written:
            raise PlanInvalid(f"The plan writes and deletes {_quoted(path)}.")


def _check_paths(plan: PhasePlan, rules: PlanRules) -> None:
    """Refuse a path that is listed twice, or that is a file here and a directory there."""
    seen: set[str] = set()
    for file in plan.files:
        if file.path in seen:
            raise PlanInvalid(f"The plan lists {_quoted(file.path)} twice.")
        seen.add(file.path)
    there = seen.union(rules.purposes).difference(plan.delete)
    for path in sorted(seen):
        clashing = clashing_path(path, there)
        if clashing is not None:
            directory = min(path, clashing, key=len)
            raise PlanInvalid(f"The plan uses {_quoted(directory)} as a file and as a directory.")


def _check_news(plan: PhasePlan, rules: PlanRules) -> None:
    """Refuse a plan that only repeats what has been done."""
    if plan.delete or any(rules.purposes.get(file.path) != file.purpose for file in plan.files):
        return
    raise PlanInvalid(
        "The plan lists only files that exist, with the purposes that they had when they were "
        "written; say what the phase adds or changes."
    )


def _quoted(path: str) -> str:
    shown = path if len(path) <= 80 else path[:80] + "..."
    return ascii(shown) if not shown.isprintable() else f"'{shown}'"
