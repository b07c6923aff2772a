"""Which model serves: OpenRouter (or a compatible server), a recording, or the built-in demo."""

from __future__ import annotations

from pathlib import Path

from actors.generation.catalog import Catalog
from actors.generation.demo import DemoModel
from actors.generation.http_transport import HttpTransport
from actors.generation.model import Model
from actors.generation.openrouter import FIRST_TEXT_SECONDS, OpenRouterModel
from actors.generation.playback import PlaybackTransport
from actors.generation.recording import RecordingTransport
from actors.generation.retry import RetryingModel
from actors.generation.transport import Transport
from actors.setting_formats import Replay
from actors.settings import Settings


def make_model(settings: Settings) -> Model:
    """Make the client that the settings ask for; it does no I/O yet."""
    if settings.is_demo:
        return DemoModel()
    if settings.replay is not None:
        return _player(settings, settings.replay)
    return _client(settings)


def _client(settings: Settings) -> Model:
    key = settings.openrouter_api_key
    http = HttpTransport(settings.openrouter_base_url, key, first_byte_seconds=FIRST_TEXT_SECONDS)
    transport: Transport = http
    if settings.record_dir:
        transport = RecordingTransport(http, Path(settings.record_dir), api_key=key)
    catalog = Catalog(
        settings.openrouter_base_url,
        http.list_models,
        file=settings.path("models.json"),
        prices=settings.usd_per_token,
        context_tokens=settings.context_tokens,
    )
    model = OpenRouterModel(transport, catalog, api_key=key)
    return RetryingModel(model, fallbacks=settings.model_ids[1:])


def _player(settings: Settings, replay: Replay) -> Model:
    transport = PlaybackTransport(Path(replay.directory), speed=replay.speed)
    catalog = Catalog(
        "", None, prices=settings.usd_per_token, context_tokens=settings.context_tokens
    )
    model = OpenRouterModel(transport, catalog, api_key="")
    return RetryingModel(model, sleep=transport.pause)
