"""One streamed chat completion: its chunks, its end, and what it consumed. No I/O.

The format is OpenAI's, with what OpenRouter adds: `cost` in the usage chunk, error chunks in the
middle of a stream (https://openrouter.ai/docs/api-reference/streaming).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from actors.errors import ModelError, ModelRefused, ModelStreamBroken
from actors.generation.explainer import Explainer, status_in
from actors.generation.model import ModelEvent, ModelFinished, ModelRequest, ModelUsage
from actors.generation.tokens import estimated_tokens

MAX_ANSWER_CHARS = 8_000_000
MAX_COUNT = 10**12  # what is above is neither a count of tokens nor a cost

#: Members of a delta that a model's thoughts come in (OpenRouter's; vLLM's and DeepSeek's): they
#: are not shown, but paid for.
_THOUGHTS = ("reasoning", "reasoning_content")


class Completion:
    """Reads the chunks of one answer, without I/O.

    What breaks the answer is kept in `problem`, so that the text before it is still delivered;
    `check` raises it.
    """

    def __init__(self, request: ModelRequest, explainer: Explainer) -> None:
        self._request = request
        self._explainer = explainer
        self._chars = 0  # of the text
        self._received: list[str] = []  # the text and the thoughts
        self._served_by = request.model
        self._told: Mapping[str, Any] | None = None
        self._is_refused = False
        self.finish_reason: str | None = None
        self.problem: ModelError | None = None
        self.is_done = False

    @property
    def has_text(self) -> bool:
        return self._chars > 0

    def feed(self, chunks: Iterable[str]) -> str:
        """Take the data of some SSE events and return their text."""
        texts: list[str] = []
        for data in chunks:
            if self.is_done or self.problem is not None:
                break
            if data == "[DONE]":
                self.is_done = True
            elif data:
                texts.append(self._take(data))
        if self._chars > MAX_ANSWER_CHARS:
            self.problem = ModelStreamBroken(
                f"The model's answer is longer than {MAX_ANSWER_CHARS:,} characters."
            )
        return "".join(texts)

    def check(self) -> None:
        """Raise what broke the answer, if anything did."""
        if self.problem is not None:
            raise self.problem

    def end(self, broken: ModelError | None = None) -> Iterator[ModelEvent]:
        """Yield the usage, then the end; raises instead if the answer did not end as it should.

        `broken` is what else ended it. An answer that began with an error has no usage: it was
        refused.
        """
        problem = broken or self.problem or self._fault_of_end()
        if not self._is_refused:
            yield self._usage()
        if problem is not None:
            raise problem
        assert self.finish_reason is not None
        yield ModelFinished(reason=self.finish_reason)

    def _fault_of_end(self) -> ModelError | None:
        if self.finish_reason is None:
            return ModelStreamBroken("The model's answer ended before it was complete.")
        if self.finish_reason == "content_filter":
            return ModelRefused(
                "The model's provider filtered the answer; change the description and generate "
                "again."
            )
        return None

    def _usage(self) -> ModelUsage:
        """Return what the server has told, or an estimate."""
        told = self._told or {}
        prompt, completion = _count(told, "prompt_tokens"), _count(told, "completion_tokens")
        is_told = prompt is not None and completion is not None
        if prompt is None or completion is None:
            prompt = estimated_tokens(*(message.content for message in self._request.messages))
            completion = estimated_tokens(*self._received)
        return ModelUsage(
            model=self._served_by,
            prompt_tokens=prompt,
            completion_tokens=completion,
            cost_usd=_amount(told, "cost"),
            estimated=not is_told,
        )

    def _take(self, data: str) -> str:
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            chunk = None
        if not isinstance(chunk, dict):
            self.problem = ModelStreamBroken("The model's server sent a chunk that is not JSON.")
            return ""
        if chunk.get("error") or chunk.get("object") == "error":  # the latter is vLLM's way
            self._fail(chunk.get("error") or chunk)
            return ""
        if isinstance(chunk.get("model"), str) and chunk["model"]:
            self._served_by = chunk["model"]
        if isinstance(chunk.get("usage"), dict):
            self._told = chunk["usage"]
        choices = chunk.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            return self._take_choice(choices[0])
        return ""

    def _take_choice(self, choice: Mapping[str, Any]) -> str:
        reason = choice.get("finish_reason")
        if choice.get("error") or reason == "error":
            self._fail(choice.get("error"))
            return ""
        if isinstance(reason, str) and reason:
            self.finish_reason = reason
        delta = choice.get("delta")
        if not isinstance(delta, Mapping):
            return ""
        self._received += [
            thought for name in _THOUGHTS if isinstance(thought := delta.get(name), str)
        ]
        text = delta.get("content")
        if not isinstance(text, str):
            return ""
        self._received.append(text)
        self._chars += len(text)
        return text

    def _fail(self, error: Any) -> None:
        """Keep an error chunk: before any text as if it were the status, later as a break."""
        status = status_in(error)
        problem = self._explainer.explain(status, error, self._request.model)
        if problem.retryable and self._chars:
            problem = self._explainer.explain(None, error, self._request.model)
        self._is_refused = not self._received and self._told is None
        self.problem = problem


def _count(told: Mapping[str, Any], name: str) -> int | None:
    value = told.get(name)
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT
    return value if is_count else None


def _amount(told: Mapping[str, Any], name: str) -> float | None:
    value: Any = told.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if 0 <= value <= MAX_COUNT else None
