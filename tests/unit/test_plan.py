"""The check of a plan: what is taken, what is mended, and the sentence for each refusal."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import PlanInvalid
from actors.events import PhasePlan, PlannedFile
from actors.generation.plan import (
    MAX_DESCRIPTION_CHARS,
    MAX_FILES_PER_PHASE,
    MAX_NAME_CHARS,
    MAX_PLAN_CHARS,
    MAX_PURPOSE_CHARS,
    PLAN_SCHEMA,
    PlanRules,
    parse_plan,
    plan_data,
    plan_rules,
)


def members(**changes: Any) -> dict[str, Any]:
    plan: dict[str, Any] = {
        "name": "Foundation",
        "description": "The page and its look.",
        "files": [
            {"path": "index.html", "purpose": "the page"},
            {"path": "src/app.js", "purpose": "the behaviour"},
        ],
        "isLastPhase": False,
    }
    return {**plan, **changes}


def files(*paths: Any) -> dict[str, Any]:
    return members(files=[{"path": path, "purpose": "p"} for path in paths])


PLAN = json.dumps(members())


@pytest.mark.parametrize(
    "text",
    [
        PLAN,
        json.dumps(members(), indent=2),
        f"\n\n  {PLAN}  \n",
        f"```json\n{PLAN}\n```",
        f"```\n{PLAN}\n```\nTell me if you want changes.",
        f'Here is the plan. It uses {{"braces"}} and "quotes:\n\n{PLAN}\n\nGood {{luck}}!',
        f'{{"thoughts": "none"}}\n{PLAN}',
        f'{{"phase": {PLAN}}}',
        PLAN.replace("}]", "},]").replace('": false}', '": false,\n}'),
        json.dumps(members(effort="small", files=[{**f, "x": 1} for f in members()["files"]])),
    ],
    ids=[
        "plain",
        "indented",
        "blanks around",
        "fence",
        "bare fence and prose",
        "prose with braces",
        "another object before",
        "wrapped",
        "trailing commas",
        "unknown members",
    ],
)
def test_a_plan_is_found_in_whatever_a_model_wraps_it(text: str) -> None:
    plan = parse_plan(text)

    assert plan.name == "Foundation"
    assert plan.description == "The page and its look."
    assert plan.files == (
        PlannedFile(path="index.html", purpose="the page"),
        PlannedFile(path="src/app.js", purpose="the behaviour"),
    )
    assert plan.is_last_phase is False


def test_a_trailing_comma_inside_a_string_is_text() -> None:
    text = json.dumps(members(description='say "a,]" and \\ ,}'))[:-1] + ",}"

    assert parse_plan(text).description == 'say "a,]" and \\ ,}'


def test_paths_are_given_their_one_spelling() -> None:
    plan = parse_plan(json.dumps(files("./index.html", " src//app.js ")))

    assert [file.path for file in plan.files] == ["index.html", "src/app.js"]


def test_text_is_stripped_of_what_cannot_be_stored_or_shown() -> None:
    text = json.dumps(
        members(
            name=" The\nfirst\x00 phase\x1b ",
            description="One.\nTwo.\ud800\x00",
            files=[{"path": "a", "purpose": " the\n page "}],
            isLastPhase=True,
        )
    )

    plan = parse_plan(text)

    assert (plan.name, plan.description) == ("The first phase", "One.\nTwo.")
    assert plan.files[0].purpose == "the page"
    assert plan.is_last_phase is True


def test_as_many_files_as_allowed_are_taken() -> None:
    paths = [f"f{number}" for number in range(MAX_FILES_PER_PHASE)]

    assert len(parse_plan(json.dumps(files(*paths))).files) == MAX_FILES_PER_PHASE


UNSAFE = ["/etc/passwd", "../up.js", "a/../../b", "~/x", "C:/x", ".git/config", "a\\b", "src/", ""]


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        ("", "The answer holds no JSON object."),
        ("I cannot do that.", "The answer holds no JSON object."),
        ("[1, 2]", "The answer holds no JSON object."),
        ('{"name": "x", "files": [', "The answer holds no JSON object."),
        ("{" * 60_000, "The answer holds no JSON object."),
        ('{"a":' * 15_000, "The answer holds no JSON object."),
        ("x" * (MAX_PLAN_CHARS + 1), "The answer is longer than 100,000 characters."),
        ({"steps": []}, 'The plan needs "name" as a string.'),
        (members(name=None), 'The plan needs "name" as a string.'),
        (members(name=" \x00 "), 'The plan has an empty "name".'),
        (
            members(name="n" * (MAX_NAME_CHARS + 1)),
            'The plan has a "name" of more than 120 characters.',
        ),
        (members(description=["a"]), 'The plan needs "description" as a string.'),
        (
            members(description="d" * (MAX_DESCRIPTION_CHARS + 1)),
            'The plan has a "description" of more than 4,000 characters.',
        ),
        (members(isLastPhase="true"), 'The plan needs "isLastPhase" as true or false.'),
        (members(isLastPhase=None), 'The plan needs "isLastPhase" as true or false.'),
        (members(files=None), 'The plan needs "files" as a list.'),
        (members(files={"a": 1}), 'The plan needs "files" as a list.'),
        (members(files=[]), "The plan lists no files; a phase writes at least one."),
        (
            files(*[f"f{n}" for n in range(41)]),
            "The plan lists 41 files; a phase writes at most 40.",
        ),
        (
            members(files=["index.html"]),
            'File 1 of the plan must be an object with "path" and "purpose".',
        ),
        (files("a", 7), 'File 2 of the plan needs "path" as a string.'),
        (members(files=[{"path": "a"}]), 'File 1 of the plan needs "purpose" as a string.'),
        (
            members(files=[{"path": "a", "purpose": "p" * (MAX_PURPOSE_CHARS + 1)}]),
            'File 1 of the plan has a "purpose" of more than 1,000 characters.',
        ),
        (files("a.js", "b.js", "./a.js"), "The plan lists 'a.js' twice."),
        (files("src/api/x.js", "src"), "The plan uses 'src' as a file and as a directory."),
        *[(files(path), f"File 1 of the plan has the path '{path}'; ") for path in UNSAFE],
        (files("a\nb"), "File 1 of the plan has the path 'a\\nb'; "),
        (files("p" * 300), f"File 1 of the plan has the path '{'p' * 80}...'; "),
    ],
)
def test_a_plan_that_breaks_a_rule_is_refused_with_the_reason(plan: Any, complaint: str) -> None:
    with pytest.raises(PlanInvalid) as caught:
        parse_plan(plan if isinstance(plan, str) else json.dumps(plan))

    assert str(caught.value).startswith(complaint)
    assert str(caught.value).endswith(".")
    assert len(str(caught.value)) < 400


# --- against the project's files -----------------------------------------------------------------

EXISTING = PlanRules(
    purposes={"index.html": "the page", "src/app.js": "former", "src/old.js": "old", "docs": None}
)


def deleting(*paths: Any, write: str = "new.js") -> dict[str, Any]:
    return {**files(write), "delete": list(paths)}


@pytest.mark.parametrize("absent", [{}, {"delete": None}, {"delete": []}])
def test_a_plan_need_not_delete(absent: dict[str, Any]) -> None:
    assert parse_plan(json.dumps(members(**absent))).delete == ()


def test_existing_files_can_be_deleted() -> None:
    plan = parse_plan(json.dumps(deleting("./src//old.js", "docs", "src/old.js")), EXISTING)
    assert plan.delete == ("src/old.js", "docs")


@pytest.mark.parametrize(
    "plan",
    [
        files("src/app.js"),
        files("index.html", "new.js"),
        members(files=[{"path": "index.html", "purpose": "the page, with a menu"}]),
        deleting("docs", write="docs/index.md"),
        deleting("src/app.js", "src/old.js", write="src"),
        {**members(files=[{"path": "index.html", "purpose": "the page"}]), "delete": ["docs"]},
    ],
)
def test_a_plan_that_changes_something_is_taken(plan: dict[str, Any]) -> None:
    assert parse_plan(json.dumps(plan), EXISTING).files


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        (deleting("never.js"), "The plan deletes 'never.js', which does not exist."),
        (deleting("docs", write="docs"), "The plan writes and deletes 'docs'."),
        (deleting("../up"), "\"delete\" of the plan has the path '../up'; a path is relative"),
        (deleting(3), 'The plan needs "delete" as a list of paths.'),
        (members(delete="docs"), 'The plan needs "delete" as a list of paths.'),
        (deleting(*["docs"] * 1001), 'The plan has more than 1,000 paths in "delete".'),
        (files("docs/a.md"), "The plan uses 'docs' as a file and as a directory."),
        (files("src"), "The plan uses 'src' as a file and as a directory."),
        (deleting("src/app.js", write="src"), "The plan uses 'src' as a file and as a directory."),
        (
            members(files=[{"path": "index.html", "purpose": "the page"}]),
            "The plan lists only files that exist, with the purposes that they had when they were "
            "written; say what the phase adds or changes.",
        ),
    ],
)
def test_a_plan_that_does_not_fit_the_project_is_refused(
    plan: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(PlanInvalid) as caught:
        parse_plan(json.dumps(plan), EXISTING)
    assert str(caught.value).startswith(complaint)


def test_the_most_files_of_a_phase_can_be_set() -> None:
    with pytest.raises(PlanInvalid, match="lists 2 files; a phase writes at most 1"):
        parse_plan(PLAN, PlanRules(max_files=1))


def test_the_newest_plan_that_listed_a_file_says_its_purpose() -> None:
    def plan(**purposes: str) -> PhasePlan:
        listed = tuple(PlannedFile(path=p, purpose=purpose) for p, purpose in purposes.items())
        return PhasePlan(name="n", description="", files=listed, is_last_phase=False)

    rules = plan_rules(["a", "c"], [plan(a="first", b="gone"), plan(a="second")], 7)
    assert rules == PlanRules(max_files=7, purposes={"a": "second", "c": None})


def test_a_plan_is_shown_as_it_is_to_be_written() -> None:
    plan = parse_plan(json.dumps(deleting("docs")), EXISTING)
    assert parse_plan(json.dumps(plan_data(plan)), EXISTING) == plan
    assert plan_data(plan).keys() == PLAN_SCHEMA["properties"].keys()


@given(st.text(alphabet='{}[]",:\\ \nabfilesnamentrue0', max_size=200))
def test_any_text_is_a_plan_or_a_complaint(text: str) -> None:
    with contextlib.suppress(PlanInvalid):
        parse_plan(text)


def test_the_schema_is_in_the_strict_subset() -> None:
    def objects(schema: Any) -> list[dict[str, Any]]:
        inner = [*schema.get("properties", {}).values(), *filter(None, [schema.get("items")])]
        return [schema, *[found for one in inner for found in objects(one)]]

    for schema in objects(PLAN_SCHEMA):
        assert set(schema) <= {
            "type",
            "properties",
            "required",
            "items",
            "additionalProperties",
            "description",
        }
        if schema["type"] == "object":
            assert schema["additionalProperties"] is False
            assert set(schema["required"]) == set(schema["properties"])
