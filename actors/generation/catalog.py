"""What is known of the models of a server: how much they take, and what they cost.

`GET {base}/models` is OpenAI's list (https://platform.openai.com/docs/api-reference/models/list).
OpenRouter adds `context_length`, `top_provider` and `pricing` (strings, USD per token), vLLM
`max_model_len`; llama.cpp and Ollama say nothing of use (llama.cpp's `n_ctx_train` is what the
model was trained with, not what the server was started with). Settings say more than the server.

Every project has a process of its own, so the list is kept in a file that all of them read.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from actors.errors import ModelError
from actors.generation.atomic_file import replace_file
from actors.generation.model import ModelFacts

log = logging.getLogger(__name__)

KEPT_SECONDS = 3_600.0
RETRY_SECONDS = 300.0  # after a failure: a list that cannot be had is not asked for at each call
WAIT_AGAIN_SECONDS = 2.0  # of a call, where the list could not be had before
MAX_TOKENS = 1_000_000_000  # what is above, or below one, is no count of tokens
MAX_USD_PER_TOKEN = 1.0

Facts = dict[str, ModelFacts]
Fetch = Callable[[], Awaitable[bytes]]


class Catalog:
    """The facts of one server's models; `facts` never fails.

    An old list is better than none: it serves while a new one is fetched in the background, and
    for as long as none can be had.

    `fetch` returns the server's list, None where there is no server. `prices` are by model, of
    prompt and completion in USD per token; `context_tokens` 0 is what the server says.
    """

    def __init__(
        self,
        base_url: str,
        fetch: Fetch | None,
        *,
        file: Path | None = None,
        prices: Mapping[str, tuple[float, float]] | None = None,
        context_tokens: int = 0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._base_url = base_url
        self._fetch = fetch
        self._file = file
        self._prices = dict(prices or {})
        self._context_tokens = context_tokens
        self._now = now
        self._facts: Facts = {}
        self._fetched_at = 0.0
        self._due_at = 0.0  # when the server is asked again
        self._has_failed = False
        self._refreshing: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    async def facts(self, model: str) -> ModelFacts:
        """Return what is known of a model."""
        if self._fetch is not None:
            await self._look(self._fetch)
        facts = find(self._facts, model)
        if self._context_tokens:
            facts = dataclasses.replace(facts, context_tokens=self._context_tokens)
        if model in self._prices:
            prompt_usd, completion_usd = self._prices[model]
            facts = dataclasses.replace(facts, prompt_usd=prompt_usd, completion_usd=completion_usd)
        return facts

    async def close(self) -> None:
        """Give up fetching the list, if it is being fetched."""
        if (task := self._refreshing) is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _look(self, fetch: Fetch) -> None:
        """Have the list fetched where it is due; who knows no older one waits for it."""
        async with self._lock:
            await self._begin(fetch)
        if not self._facts and self._refreshing is not None:
            seconds = WAIT_AGAIN_SECONDS if self._has_failed else None
            await asyncio.wait([self._refreshing], timeout=seconds)

    async def _begin(self, fetch: Fetch) -> None:
        """Begin to fetch the list, unless it is not due or another process has had it."""
        if self._refreshing is not None or self._now() < self._due_at:
            return
        await self._share()
        if self._now() >= self._due_at:
            self._refreshing = asyncio.create_task(self._refresh(fetch), name="list of models")
            self._refreshing.add_done_callback(self._refreshed)

    async def _refresh(self, fetch: Fetch) -> None:
        now = self._now()
        self._due_at = now + RETRY_SECONDS
        try:
            facts = parse_list(await fetch())
        except (ModelError, ValueError) as error:
            log.warning("the list of models, their sizes and prices, cannot be had: %s", error)
            facts = {}
        if facts:
            self._facts, self._fetched_at, self._due_at = facts, now, now + KEPT_SECONDS
        else:
            self._has_failed = True
            await self._share()  # another process may have had it meanwhile
        if facts or not self._facts:  # what is known is not given up for nothing
            await asyncio.to_thread(self._save, now)

    def _refreshed(self, task: asyncio.Task[None]) -> None:
        self._refreshing = None
        if not task.cancelled() and (error := task.exception()):
            log.error("fetching the list of models failed", exc_info=error)

    async def _share(self) -> None:
        """Take the list that another process has fetched, if it is newer; an old one is due."""
        kept = await asyncio.to_thread(self._load, self._now())
        if kept is None:
            return
        facts, fetched_at = kept
        if facts and fetched_at > self._fetched_at:
            self._facts, self._fetched_at = facts, fetched_at
            self._due_at = fetched_at + KEPT_SECONDS
        elif not facts and not self._facts:
            self._has_failed = True
            self._due_at = max(self._due_at, fetched_at + RETRY_SECONDS)

    def _load(self, now: float) -> tuple[Facts, float] | None:
        """Return what a process has fetched, and when."""
        if self._file is None:
            return None
        try:
            kept = orjson.loads(self._file.read_bytes())
            fetched_at = float(kept["fetchedAt"])
            facts = {name: ModelFacts(**members) for name, members in kept["models"].items()}
            if kept["baseUrl"] != self._base_url or fetched_at > now:
                return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # missing, or not of this version: it is written anew
        return facts, fetched_at

    def _save(self, now: float) -> None:
        if self._file is None:
            return
        models = {name: dataclasses.asdict(facts) for name, facts in self._facts.items()}
        data = orjson.dumps({"baseUrl": self._base_url, "fetchedAt": now, "models": models})
        try:
            replace_file(self._file, data)
        except OSError as error:
            log.warning("the list of models is not kept: %s", error)


def find(facts: Facts, model: str) -> ModelFacts:
    """Return a model's facts, those of its base for a variant (`model:nitro`), or unknown ones."""
    return facts.get(model) or facts.get(model.rpartition(":")[0]) or ModelFacts()


def parse_list(body: bytes) -> Facts:
    """Read the list of a server; what cannot be read is unknown.

    Raises ValueError where it is no list at all.
    """
    value = orjson.loads(body)
    entries = value.get("data") if isinstance(value, Mapping) else None
    if not isinstance(entries, list):
        raise ValueError("the server's answer is no list of models")
    models = [entry for entry in entries if isinstance(entry, Mapping)]
    return {entry["id"]: _facts(entry) for entry in models if isinstance(entry.get("id"), str)}


def _facts(entry: Mapping[str, Any]) -> ModelFacts:
    provider, pricing = _mapping(entry.get("top_provider")), _mapping(entry.get("pricing"))
    sizes = (
        entry.get("context_length"),
        entry.get("max_model_len"),
        provider.get("context_length"),
    )
    known = [size for size in map(_tokens, sizes) if size is not None]
    return ModelFacts(
        context_tokens=min(known, default=None),
        max_completion_tokens=_tokens(provider.get("max_completion_tokens")),
        prompt_usd=_price(pricing.get("prompt")),
        completion_usd=_price(pricing.get("completion")),
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _tokens(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return value if is_count and 0 < value <= MAX_TOKENS else None


def _price(value: Any) -> float | None:
    """Read a price; OpenRouter's -1 says that it depends on the model that is chosen."""
    if not isinstance(value, str | int | float):
        return None
    try:
        price = float(value)
    except ValueError:
        return None
    return price if 0 <= price <= MAX_USD_PER_TOKEN else None
