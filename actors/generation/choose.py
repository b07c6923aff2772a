"""Which model serves: OpenRouter (or a compatible server), or the built-in demo."""

from __future__ import annotations

from actors.generation.demo import DemoModel
from actors.generation.model import Model
from actors.generation.openrouter import OpenRouterModel
from actors.settings import Settings


def make_model(settings: Settings) -> Model:
    """Make the client that the settings ask for."""
    if settings.is_demo:
        return DemoModel()
    return OpenRouterModel(settings.openrouter_base_url, settings.openrouter_api_key)
