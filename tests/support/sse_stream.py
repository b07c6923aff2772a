"""The bytes of a streamed answer, to be cut and split at will."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def stream_of(*texts: str, finish_reason: str | None = "stop") -> bytes:
    """Return an event stream of these texts, a chunk each, in UTF-8 without escapes.

    A surrogate U+DC80 to U+DCFF stands for that byte by itself, as a torn character leaves it.
    """
    choices: list[Mapping[str, Any]] = [{"delta": {"content": text}} for text in texts]
    if finish_reason is not None:
        choices.append({"delta": {}, "finish_reason": finish_reason})
    data = [_json({"choices": [choice]}) for choice in choices]
    data.append(_json({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}))
    stream = "".join(f"data: {item}\n\n" for item in [*data, "[DONE]"])
    return stream.encode(errors="surrogateescape")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
