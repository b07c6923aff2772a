"""Real sockets against the web server: what a client may do to one, and what it sees."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, WSServerHandshakeError

from actors import events as ev
from gateway.viewer import Viewer
from gateway.websocket import MAX_MESSAGE_BYTES, MAX_WAITING_COMMANDS, close_sockets
from tests.support.gateway import Gateway, Owner, Page, publish

PROJECT = "p1"


@pytest.fixture
async def gateway(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Gateway]:
    monkeypatch.setattr("gateway.commands.COMMAND_SECONDS", 0.0)  # no actors will come
    async with Gateway(database_url, tmp_path) as gateway:
        yield gateway


@pytest.fixture
async def page(gateway: Gateway) -> AsyncIterator[Page]:
    """A socket that has had its first two frames."""
    page = await Page.open(gateway, PROJECT)
    await page.take(2)
    yield page
    await page.socket.close()


async def test_the_first_frame_is_the_state_the_second_a_snapshot(gateway: Gateway) -> None:
    page = await Page.open(gateway, PROJECT)
    state_change, snapshot = await page.take(2)
    await page.socket.close()
    assert state_change == {"type": "state_change", "data": {"state": "idle"}, "seq": 0}
    assert snapshot["type"] == "snapshot"
    assert (snapshot["data"]["model"], snapshot["data"]["isDemo"]) == ("demo", True)


async def test_live_frames_and_a_replay_are_the_same_bytes(
    gateway: Gateway, database_url: str
) -> None:
    owner = await Owner(database_url, PROJECT).claim()
    live = await Page.open(gateway, PROJECT)
    await live.take(2)
    feed = gateway.hub.attach(PROJECT, epoch=owner.epoch, durable=0)
    publish(feed, await owner.write(ev.FileEnd(path="ä.js", content="“x”\n"), ev.Hibernated()))
    seen = [await live.socket.receive_str() for _ in range(2)]
    back = await Page.open(gateway, PROJECT, "?since=0")
    assert (await back.next())["type"] == "state_change"
    assert [await back.socket.receive_str() for _ in range(2)] == seen
    await live.socket.close()
    await back.socket.close()
    await owner.store.close()


async def test_a_client_that_reads_late_misses_nothing(
    gateway: Gateway, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.viewer.MAX_QUEUED_BYTES", 1024 * 1024)
    owner = await Owner(database_url, PROJECT).claim()
    page = await Page.open(gateway, PROJECT)
    await page.take(2)
    feed = gateway.hub.attach(PROJECT, epoch=owner.epoch, durable=0)
    log_line = ev.SandboxLog(stream="stdout", line="x" * 10_000)
    for _ in range(20):  # 10 MB, far more than the sockets' buffers hold
        entries = await owner.write(*[log_line] * 50)
        publish(feed, entries)
        feed.mark_durable(entries[-1].seq)
    frames = await page.take(1000)
    await page.socket.close()
    await owner.store.close()
    assert [frame["seq"] for frame in frames] == list(range(1, 1001))


@pytest.mark.parametrize("since", ["x", "-1", "99", ""])
async def test_a_cursor_that_means_nothing_is_answered_with_a_resync(
    gateway: Gateway, since: str
) -> None:
    page = await Page.open(gateway, PROJECT, f"?since={since}")
    state_change, snapshot = await page.take(2)
    await page.socket.close()
    assert (state_change["type"], snapshot["type"]) == ("state_change", "snapshot")
    assert snapshot["data"]["resync"] is True


@pytest.mark.parametrize(
    ("text", "code", "answered"),
    [
        ("{", "invalid_frame", None),
        ("[]", "invalid_frame", None),
        ('{"type":"dance","id":"c1"}', "invalid_frame", "c1"),
        ('{"type":"generate","id":"c1"}', "invalid_description", "c1"),
        ('{"type":"generate","id":7,"description":"x"}', "invalid_frame", None),
        (
            json.dumps({"type": "generate", "description": "x" * 20_001}),
            "invalid_description",
            None,
        ),
        (json.dumps({"type": "cancel", "padding": "x" * 262_144}), "invalid_frame", None),
        ('{"type":"cancel","id":"c2"}', "actors_unavailable", "c2"),
        ('{"type":"generate","description":"x","id":"c3"}', "actors_unavailable", "c3"),
    ],
)
async def test_a_bad_frame_is_answered_and_the_socket_stays_open(
    page: Page, text: str, code: str, answered: str | None
) -> None:
    for _ in range(2):
        error = await page.ask(text)
        assert (error["type"], error["seq"], error["data"]["code"]) == ("error", 0, code)
        assert error["data"].get("id") == answered
        assert error["data"]["message"]
        assert "Traceback" not in error["data"]["message"]


async def test_a_binary_frame_is_answered_and_the_socket_stays_open(page: Page) -> None:
    await page.socket.send_bytes(b'{"type":"cancel"}')
    error = await page.next()
    assert error["data"]["code"] == "invalid_frame"
    assert (await page.ask("{"))["type"] == "error"


async def test_a_flood_of_bad_frames_is_answered_one_by_one(page: Page) -> None:
    for _ in range(500):
        await page.socket.send_str("{")
    errors = await page.take(500)
    assert {error["data"]["code"] for error in errors} == {"invalid_frame"}


async def test_commands_of_one_socket_are_answered_in_order(page: Page) -> None:
    sent = [f"c{number}" for number in range(MAX_WAITING_COMMANDS)]
    for command_id in sent:
        await page.socket.send_json({"type": "cancel", "id": command_id})
    answers = await page.take(len(sent))
    assert [answer["data"]["id"] for answer in answers] == sent


async def test_a_frame_above_the_hard_limit_closes_its_socket_alone(
    gateway: Gateway, page: Page
) -> None:
    other = await Page.open(gateway, PROJECT)
    await other.take(2)
    # the service stops reading, so the client may see its own sending fail instead of the 1009
    with contextlib.suppress(ConnectionError):
        await page.socket.send_str("x" * (MAX_MESSAGE_BYTES + 1))
    async with asyncio.timeout(10):
        message = await page.socket.receive()
    assert message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.ERROR)
    assert (await other.ask("{"))["type"] == "error"
    await other.socket.close()


@pytest.mark.parametrize("project_id", ["a.b", "x" * 65, "%20"])
async def test_a_bad_project_id_is_refused_before_the_upgrade(
    gateway: Gateway, project_id: str
) -> None:
    with pytest.raises(WSServerHandshakeError) as refusal:
        await Page.open(gateway, project_id)
    assert refusal.value.status == 400
    plain = await gateway.http.get(f"/ws/{project_id}")
    assert (await plain.json())["error"]["code"] == "invalid_project_id"


async def test_a_plain_request_is_told_to_upgrade(gateway: Gateway) -> None:
    response = await gateway.http.get(f"/ws/{PROJECT}")
    assert response.status == 426
    assert (await response.json())["error"]["code"] == "upgrade_required"


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}],
)
async def test_a_foreign_page_cannot_open_a_socket(
    gateway: Gateway, headers: dict[str, Any]
) -> None:
    with pytest.raises(WSServerHandshakeError) as refusal:
        await Page.open(gateway, PROJECT, **headers)
    assert refusal.value.status == 403


async def test_our_own_page_can_open_a_socket(gateway: Gateway) -> None:
    port = gateway.url.rpartition(":")[2]
    page = await Page.open(gateway, PROJECT, Origin=f"http://localhost:{port}")
    await page.take(2)
    await page.socket.close()


async def test_a_client_that_leaves_is_forgotten(
    gateway: Gateway, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_left = asyncio.Event()
    leave = gateway.hub.leave

    def note(viewer: Viewer) -> None:
        leave(viewer)
        has_left.set()

    monkeypatch.setattr(gateway.hub, "leave", note)
    assert gateway.hub.viewers == 1
    page.socket._response.close()  # no closing handshake: the cable was pulled
    async with asyncio.timeout(10):
        await has_left.wait()
    assert gateway.hub.viewers == 0


async def test_a_stopping_service_says_goodbye(gateway: Gateway, page: Page) -> None:
    closing = asyncio.create_task(close_sockets(gateway.context))
    async with asyncio.timeout(10):
        message = await page.socket.receive()
    await closing
    assert message.type is WSMsgType.CLOSE
    assert page.socket.close_code == 1001


async def test_a_socket_stays_open_while_the_database_is_away_and_goes_on_when_it_is_back(
    gateway: Gateway, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.viewer.JOIN_RETRY_SECONDS", (0.01,))
    nowhere = "postgresql://nobody@/nothing?host=/nonexistent"
    monkeypatch.setattr(gateway.reader, "_database_url", nowhere)
    page = await Page.open(gateway, PROJECT)
    notice = await page.next()
    assert (notice["type"], notice["seq"]) == ("storage_unavailable", 0)
    assert notice["data"]["message"]
    answer = await page.ask('{"type":"cancel","id":"c"}')
    assert (answer["type"], answer["data"]["id"]) == ("error", "c")
    monkeypatch.setattr(gateway.reader, "_database_url", database_url)
    await gateway.reader.close()  # its pool is of the other address
    assert [frame["type"] for frame in await page.take(3)] == [
        "state_change",
        "snapshot",
        "storage_restored",
    ]
    await page.socket.close()


async def test_a_viewer_that_fails_is_told_and_its_socket_closed(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("our own bug")

    monkeypatch.setattr("gateway.viewer.Viewer._is_in_ring", fail)
    page = await Page.open(gateway, PROJECT, "?since=0")
    error = await page.next()
    await page.socket.receive()
    assert error["data"]["code"] == "internal_error"
    assert page.socket.close_code == 1011
