"""The model that the settings ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.generation.choose import make_model
from actors.generation.model import ModelFacts
from actors.settings import Settings


def settings(tmp_path: Path, **environment: str) -> Settings:
    return Settings.read({"HOME": str(tmp_path), **environment})


@pytest.mark.parametrize(
    ("environment", "is_demo"),
    [
        ({}, True),
        ({"OPENROUTER_API_KEY": "k"}, False),
        ({"OPENROUTER_API_KEY": "k", "CODEGEN_RECORD_DIR": "records"}, False),
        ({"CODEGEN_MODEL": "replay:records"}, False),
    ],
)
def test_the_model_is_what_the_settings_say(
    tmp_path: Path, environment: dict[str, str], is_demo: bool
) -> None:
    assert make_model(settings(tmp_path, **environment)).is_demo is is_demo


async def test_the_demo_is_free(tmp_path: Path) -> None:
    facts = await make_model(settings(tmp_path)).facts("any")

    assert facts == ModelFacts(prompt_usd=0.0, completion_usd=0.0)


async def test_a_recording_has_the_facts_that_were_set(tmp_path: Path) -> None:
    model = make_model(
        settings(
            tmp_path,
            CODEGEN_MODEL="replay:records",
            CODEGEN_PRICES="a/model=3/15",
            CODEGEN_CONTEXT_TOKENS="8000",
        )
    )

    assert await model.facts("a/model") == ModelFacts(
        context_tokens=8000, prompt_usd=3e-6, completion_usd=15e-6
    )
    await model.close()
