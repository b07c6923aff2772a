"""The lines of a project's sandbox over HTTP: the newest ones, and those to come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import ClientResponse

from actors import events as ev
from tests.support.gateway import WAIT_SECONDS, Gateway, Owner, publish
from tests.support.wait import wait_until

PROJECT = "p1"
PATH = f"/api/projects/{PROJECT}/logs"


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with Gateway(database_url, tmp_path) as gateway:
        yield gateway


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[Owner]:
    owner = await Owner(database_url, PROJECT).claim()
    yield owner
    await owner.store.close()


def said(*lines: str, stream: str = "stdout") -> list[ev.Event]:
    return [ev.SandboxLog(stream=stream, line=line) for line in lines]


async def next_line(response: ClientResponse) -> dict[str, Any]:
    async with asyncio.timeout(WAIT_SECONDS):
        line: dict[str, Any] = orjson.loads(await response.content.readline())
    return line


async def test_the_newest_lines_are_listed_oldest_first(gateway: Gateway, owner: Owner) -> None:
    await owner.write(*said("one"), ev.DepsInstalled(), *said("two \u2028 é", stream="stderr"))
    lines = (await (await gateway.http.get(PATH)).json())["lines"]
    assert lines == [
        {"seq": 1, "stream": "stdout", "line": "one"},
        {"seq": 3, "stream": "stderr", "line": "two \u2028 é"},
    ]
    newest = await (await gateway.http.get(f"{PATH}?limit=1")).json()
    assert newest["lines"] == lines[1:]


async def test_a_follower_is_told_the_newest_lines_and_then_what_is_said(
    gateway: Gateway, owner: Owner
) -> None:
    await owner.write(*said("old", "one"))
    feed = gateway.hub.attach(PROJECT, epoch=owner.epoch, durable=2)
    response = await gateway.http.get(f"{PATH}?follow=1&limit=1")
    assert response.headers["Content-Type"] == "application/x-ndjson"
    assert (await next_line(response))["line"] == "one"
    publish(feed, owner.number(ev.ServerStarted(url="http://h/"), *said("two")))
    assert await next_line(response) == {"seq": 4, "stream": "stdout", "line": "two"}
    response.close()
    await wait_until(lambda: gateway.hub.viewers == 0)


async def test_a_follower_who_leaves_while_nothing_is_said_is_forgotten(
    gateway: Gateway, owner: Owner
) -> None:
    response = await gateway.http.get(f"{PATH}?follow=1")
    assert gateway.hub.viewers == 1
    response.close()
    await wait_until(lambda: gateway.hub.viewers == 0)


@pytest.mark.parametrize("query", ["limit=501", "limit=-1", "limit=x", "follow=2", "follow=yes"])
async def test_a_query_that_means_nothing_is_refused(
    gateway: Gateway, owner: Owner, query: str
) -> None:
    response = await gateway.http.get(f"{PATH}?{query}")
    assert (response.status, (await response.json())["error"]["code"]) == (400, "invalid_input")


async def test_an_unknown_project_is_not_found(gateway: Gateway) -> None:
    response = await gateway.http.get("/api/projects/nobody/logs?follow=1")
    assert (response.status, (await response.json())["error"]["code"]) == (404, "not_found")
