"""Settings whose text has a form of its own: recordings, prices, addresses."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from actors.errors import InvalidSetting

REPLAY = "replay:"  # what a model id begins with that is a recording


@dataclass(frozen=True, slots=True)
class Replay:
    """A directory of recordings, played `speed` times as fast; 0 is without any pause."""

    directory: str
    speed: float = 1.0

    @property
    def model_id(self) -> str:
        return f"{REPLAY}{self.directory}" + (f"?speed={self.speed:g}" if self.speed != 1 else "")


def read_replay(model: str) -> Replay | None:
    """Read `replay:DIR` or `replay:DIR?speed=10`; None for any other model id.

    Raises InvalidSetting.
    """
    if not model.startswith(REPLAY):
        return None
    directory, _, query = model.removeprefix(REPLAY).partition("?")
    name, _, value = query.partition("=")
    try:
        speed = float(value) if query else 1.0
    except ValueError:
        speed = -1.0
    if not directory or name not in ("", "speed") or not 0 <= speed < math.inf:
        raise InvalidSetting(
            f"CODEGEN_MODEL must be replay:DIR or replay:DIR?speed=N, not {model!r}"
        )
    return Replay(os.path.abspath(os.path.expanduser(directory)), speed)


def read_prices(text: str) -> dict[str, tuple[float, float]]:
    """Read `model=prompt/completion,...`, given per million tokens, as USD per token.

    Raises InvalidSetting.
    """
    prices: dict[str, tuple[float, float]] = {}
    for entry in filter(None, map(str.strip, text.split(","))):
        model, _, price = entry.rpartition("=")
        prompt, _, completion = price.partition("/")
        try:
            pair = float(prompt) / 1e6, float(completion) / 1e6
        except ValueError:
            pair = -1.0, -1.0
        if not model or not all(0 <= usd <= 1 for usd in pair):
            raise InvalidSetting(
                "CODEGEN_PRICES must be model=prompt/completion in USD per million tokens, comma "
                f"separated, such as a/model=3/15, not {entry!r}"
            )
        prices[model] = pair
    return prices


def is_address(text: str, *schemes: str, has_host: bool = False) -> bool:
    try:
        url = urlsplit(text)
    except ValueError:  # e.g. a bracket that does not close
        return False
    return url.scheme in schemes and bool(url.netloc or not has_host)
