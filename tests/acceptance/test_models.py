"""Where a service's answers come from: fallbacks; recordings that need no key and no server."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.openrouter import TEST_KEY, Answer, ScriptedOpenRouter
from tests.support.service import Service, ServiceFactory, Viewer

SITE = {"index.html": "<h1>Hello</h1>\n", "app.js": "console.log(1);\n"}


async def generated(service: Service, project_id: str) -> tuple[dict[str, str], list[str]]:
    """Generate an app; returns the files, and the types of all frames."""
    async with Viewer(service, project_id).connected() as viewer:
        await viewer.send({"type": "generate", "description": f"an app for {project_id}"})
        await viewer.expect("generation_complete")
        ends = [frame["data"] for frame in viewer.frames if frame["type"] == "file_end"]
        return {end["path"]: end["content"] for end in ends}, viewer.types()


async def test_what_one_service_recorded_another_plays(
    services: ServiceFactory, openrouter: ScriptedOpenRouter, tmp_path: Path
) -> None:
    openrouter.add_phase("Base", {"index.html": SITE["index.html"]})
    openrouter.add_phase("More", {"app.js": SITE["app.js"]}, last=True)
    openrouter.answer_next(Answer(cut_at_chars=30), purpose="implement", phase=2)
    records = tmp_path / "records"
    recording = await services.start(CODEGEN_RECORD_DIR=str(records), **openrouter.environment)
    assert (await generated(recording, "first"))[0] == SITE
    await recording.stop()
    asked = len(openrouter.requests)
    names = os.listdir(records)
    assert len(names) == asked == 5
    assert all(TEST_KEY not in (records / name).read_text() for name in names)

    playing = await services.start(CODEGEN_MODEL=f"replay:{records}?speed=100")

    for project_id in ("second", "third"):
        assert (await generated(playing, project_id))[0] == SITE
    assert len(openrouter.requests) == asked


async def test_a_fallback_answers_where_the_default_model_cannot(
    services: ServiceFactory, openrouter: ScriptedOpenRouter
) -> None:
    openrouter.add_phase("Base", SITE, last=True)
    answer = Answer(status=429, headers={"Retry-After": "3600"})
    openrouter.answer_next(answer, purpose="plan")
    service = await services.start(CODEGEN_MODELS="a/first, b/second", **openrouter.environment)

    files, types = await generated(service, "p1")

    assert files == SITE
    assert types.count("model_retry") == 1
    asked = [request.body["model"] for request in openrouter.requests]
    assert asked == ["a/first", "b/second", "a/first"]
