"""What is known of models: from lists of all kinds, from the file that processes share."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from actors.errors import ModelUnavailable
from actors.generation import catalog as module
from actors.generation.catalog import KEPT_SECONDS, RETRY_SECONDS, Catalog, find, parse_list
from actors.generation.model import ModelFacts

UNKNOWN = ModelFacts()
OPENROUTER = {
    "id": "a/model",
    "context_length": 200_000,
    "pricing": {"prompt": "0.000003", "completion": "0.000015", "request": "0"},
    "top_provider": {"context_length": 180_000, "max_completion_tokens": 8_192},
}
FACTS = ModelFacts(
    context_tokens=180_000,
    max_completion_tokens=8_192,
    prompt_usd=0.000003,
    completion_usd=0.000015,
)
BASE = "http://server/v1"


def listing(*entries: Any) -> bytes:
    return orjson.dumps({"object": "list", "data": entries})


class Server:
    """Answers with its list, or fails."""

    def __init__(self, *entries: Any) -> None:
        self.body = listing(*entries)
        self.error: Exception | None = None
        self.asked = 0

    async def fetch(self) -> bytes:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.body


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def in_background() -> None:
    """Wait until a list that is being fetched is there."""
    if tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(tasks)


class Gate:
    """A server that hangs until it is opened."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.is_asked, self.opens = asyncio.Event(), asyncio.Event()

    async def fetch(self) -> bytes:
        self.is_asked.set()
        await self.opens.wait()
        return await self._server.fetch()


# --- lists ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (OPENROUTER, FACTS),
        ({"object": "model"}, UNKNOWN),
        ({"max_model_len": 32_768, "root": "m"}, ModelFacts(context_tokens=32_768)),
        ({"meta": {"n_ctx_train": 131_072}}, UNKNOWN),
        ({"context_length": 4096, "top_provider": None}, ModelFacts(context_tokens=4096)),
        ({"context_length": True, "max_model_len": 0}, UNKNOWN),
        ({"context_length": "many", "max_model_len": 10**12}, UNKNOWN),
        ({"top_provider": [], "pricing": "free"}, UNKNOWN),
        ({"pricing": {"prompt": "-1", "completion": "-1"}}, UNKNOWN),
        ({"pricing": {"prompt": "nan", "completion": "inf"}}, UNKNOWN),
        ({"pricing": {"prompt": "?", "completion": None}}, UNKNOWN),
        ({"pricing": {"prompt": 0, "completion": "0"}}, ModelFacts(prompt_usd=0, completion_usd=0)),
    ],
)
def test_an_entry_is_read_as_far_as_it_goes(entry: Any, expected: ModelFacts) -> None:
    assert parse_list(listing({"id": "m", **entry}))[entry.get("id", "m")] == expected


def test_entries_that_are_no_models_are_left_out() -> None:
    assert parse_list(listing("x", None, {}, {"id": 1}, {"id": "m"})) == {"m": UNKNOWN}


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"data": {}}', b"null"])
def test_what_is_no_list_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_list(body)


def test_a_variant_has_the_facts_of_its_base_unless_it_has_its_own() -> None:
    free = ModelFacts(prompt_usd=0.0)
    facts = {"a/model": FACTS, "a/model:free": free}

    assert find(facts, "a/model:free") == free
    assert find(facts, "a/model:nitro") == FACTS
    assert find(facts, "b/model") == UNKNOWN


# --- the catalogue -------------------------------------------------------------------------------


async def test_the_list_is_fetched_once_an_hour() -> None:
    server, clock = Server(OPENROUTER), Clock()
    catalog = Catalog(BASE, server.fetch, now=clock)

    told = await asyncio.gather(*(catalog.facts("a/model") for _ in range(5)))
    clock.now += KEPT_SECONDS - 1
    told.append(await catalog.facts("a/model"))

    assert told == [FACTS] * 6
    assert server.asked == 1
    clock.now += 1
    await catalog.facts("a/model")
    await in_background()
    assert server.asked == 2


async def test_processes_share_the_list_by_a_file(tmp_path: Path) -> None:
    server, clock, file = Server(OPENROUTER), Clock(), tmp_path / "models.json"
    assert await Catalog(BASE, server.fetch, file=file, now=clock).facts("a/model") == FACTS
    clock.now += KEPT_SECONDS - 1

    other = Catalog(BASE, server.fetch, file=file, now=clock)

    assert await other.facts("a/model") == FACTS
    assert server.asked == 1
    assert os.listdir(tmp_path) == ["models.json"]
    assert file.stat().st_mode & 0o777 == 0o600
    clock.now += 1
    assert await other.facts("a/model") == FACTS
    await in_background()
    assert server.asked == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"baseUrl": "http://server/v1", "fetchedAt": "now", "models": {}}',
        b'{"baseUrl": "http://server/v1", "fetchedAt": 1000000, "models": []}',
        b'{"baseUrl": "http://server/v1", "fetchedAt": 1000000, "models": {"m": {"size": 1}}}',
        b'{"baseUrl": "http://server/v1", "fetchedAt": 1000001, "models": {}}',
        b'{"baseUrl": "http://other/v1", "fetchedAt": 1000000, "models": {}}',
    ],
)
async def test_a_file_that_is_of_no_use_is_written_anew(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "models.json"
    file.write_bytes(content)
    server = Server(OPENROUTER)

    assert await Catalog(BASE, server.fetch, file=file, now=Clock()).facts("a/model") == FACTS

    assert orjson.loads(file.read_bytes())["models"]["a/model"]["prompt_usd"] == 0.000003


async def test_a_file_that_cannot_be_written_is_reported_and_not_needed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(OPENROUTER)
    file = tmp_path / "no such directory" / "models.json"

    assert await Catalog(BASE, server.fetch, file=file, now=Clock()).facts("a/model") == FACTS

    assert "not kept" in caplog.text


@pytest.mark.parametrize("error", [ModelUnavailable("It is down."), None])
async def test_a_list_that_cannot_be_had_leaves_all_unknown_with_one_line(
    error: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    server, clock = Server(OPENROUTER), Clock()
    server.error, server.body = error, b"<html>"
    catalog = Catalog(BASE, server.fetch, now=clock)

    with caplog.at_level(logging.INFO):
        told = [await catalog.facts("a/model") for _ in range(3)]

    assert told == [UNKNOWN] * 3
    assert server.asked == len(caplog.records) == 1
    clock.now += RETRY_SECONDS
    server.error, server.body = None, listing(OPENROUTER)
    assert await catalog.facts("a/model") == FACTS


async def test_a_list_that_cannot_be_had_is_not_asked_for_by_every_process(tmp_path: Path) -> None:
    server, clock = Server(OPENROUTER), Clock()
    server.error = ModelUnavailable("gone")
    for _ in range(3):
        catalog = Catalog(BASE, server.fetch, file=tmp_path / "models.json", now=clock)
        assert await catalog.facts("a/model") == UNKNOWN
    assert server.asked == 1
    clock.now += RETRY_SECONDS
    server.error = None
    catalog = Catalog(BASE, server.fetch, file=tmp_path / "models.json", now=clock)
    assert await catalog.facts("a/model") == FACTS


async def test_a_list_that_cannot_be_had_again_stays_known(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server, clock = Server(OPENROUTER), Clock()
    catalog = Catalog(BASE, server.fetch, now=clock)
    await catalog.facts("a/model")
    clock.now += KEPT_SECONDS
    server.error = ModelUnavailable("It is down.")

    for _ in range(2):
        assert await catalog.facts("a/model") == FACTS
        await in_background()
    assert server.asked == 2
    assert len(caplog.records) == 1

    clock.now += RETRY_SECONDS
    server.error, server.body = None, listing({**OPENROUTER, "pricing": {}})
    assert await catalog.facts("a/model") == FACTS
    await in_background()
    assert (await catalog.facts("a/model")).prompt_usd is None
    assert server.asked == 3


@pytest.mark.parametrize("body", [b"<html>", listing()])
async def test_a_list_that_cannot_be_had_again_stays_known_to_other_processes(
    tmp_path: Path, body: bytes
) -> None:
    server, clock, file = Server(OPENROUTER), Clock(), tmp_path / "models.json"
    await Catalog(BASE, server.fetch, file=file, now=clock).facts("a/model")
    kept = file.read_bytes()
    clock.now += KEPT_SECONDS
    server.body = body

    for _ in range(2):
        assert await Catalog(BASE, server.fetch, file=file, now=clock).facts("a/model") == FACTS
        await in_background()

    assert server.asked == 3
    assert file.read_bytes() == kept


async def test_what_another_process_has_had_meanwhile_is_taken(tmp_path: Path) -> None:
    server, clock, file = Server(OPENROUTER), Clock(), tmp_path / "models.json"

    async def fetch() -> bytes:
        clock.now += 1
        await Catalog(BASE, server.fetch, file=file, now=clock).facts("a/model")
        raise ModelUnavailable("It is down.")

    assert await Catalog(BASE, fetch, file=file, now=clock).facts("a/model") == FACTS
    assert await Catalog(BASE, server.fetch, file=file, now=clock).facts("a/model") == FACTS
    assert server.asked == 1


async def test_an_old_list_serves_until_a_new_one_is_there(tmp_path: Path) -> None:
    server, clock, file = Server(OPENROUTER), Clock(), tmp_path / "models.json"
    catalog = Catalog(BASE, server.fetch, file=file, now=clock)
    assert await catalog.facts("a/model") == FACTS
    clock.now += KEPT_SECONDS
    server.body = listing({**OPENROUTER, "pricing": {}})
    gate = Gate(server)
    other = Catalog(BASE, gate.fetch, file=file, now=clock)

    assert [await other.facts("a/model") for _ in range(3)] == [FACTS] * 3
    await gate.is_asked.wait()
    gate.opens.set()
    await in_background()

    assert (await other.facts("a/model")).prompt_usd is None
    assert (await catalog.facts("a/model")).prompt_usd is None  # by the file
    assert server.asked == 2


async def test_who_knows_nothing_waits_for_the_list_and_only_for_a_moment_once_it_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "WAIT_AGAIN_SECONDS", 0.0)
    server, clock = Server(OPENROUTER), Clock()
    server.error = ModelUnavailable("It is down.")
    gate = Gate(server)
    catalog = Catalog(BASE, gate.fetch, now=clock)

    waiting = asyncio.create_task(catalog.facts("a/model"))
    await gate.is_asked.wait()
    assert not waiting.done()
    gate.opens.set()
    assert await waiting == UNKNOWN

    gate.opens.clear()
    clock.now += RETRY_SECONDS
    assert await catalog.facts("a/model") == UNKNOWN
    server.error = None
    gate.opens.set()
    await in_background()
    assert await catalog.facts("a/model") == FACTS


async def test_closing_gives_up_the_list_and_lets_who_waits_go_on() -> None:
    gate = Gate(Server(OPENROUTER))
    catalog = Catalog(BASE, gate.fetch)
    waiting = asyncio.create_task(catalog.facts("a/model"))
    await gate.is_asked.wait()

    await catalog.close()

    assert await waiting == UNKNOWN
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await catalog.close()


async def test_a_defect_in_fetching_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(OPENROUTER)
    server.error = RuntimeError("a defect")

    assert await Catalog(BASE, server.fetch).facts("a/model") == UNKNOWN

    assert "RuntimeError: a defect" in caplog.text


async def test_settings_say_more_than_the_server() -> None:
    catalog = Catalog(
        BASE,
        Server(OPENROUTER).fetch,
        prices={"a/model": (0.1, 0.2), "other": (0.0, 0.0)},
        context_tokens=8_000,
    )

    assert await catalog.facts("a/model") == ModelFacts(
        context_tokens=8_000, max_completion_tokens=8_192, prompt_usd=0.1, completion_usd=0.2
    )
    assert await catalog.facts("other") == ModelFacts(
        context_tokens=8_000, prompt_usd=0.0, completion_usd=0.0
    )


async def test_without_a_server_only_the_settings_are_known() -> None:
    catalog = Catalog("", None, context_tokens=8_000)

    assert await catalog.facts("any") == ModelFacts(context_tokens=8_000)
    assert await catalog.facts("any") == ModelFacts(context_tokens=8_000)


async def test_a_draft_that_cannot_take_its_place_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "replace", fail)
    catalog = Catalog(BASE, Server(OPENROUTER).fetch, file=tmp_path / "models.json", now=Clock())

    assert await catalog.facts("a/model") == FACTS
    assert "the disk is full" in caplog.text
    assert os.listdir(tmp_path) == []
