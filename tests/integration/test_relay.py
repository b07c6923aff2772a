"""The relay as a plain process, its doors, and the connector that goes through them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from actors.sandbox import doors
from actors.sandbox.doors import (
    APP_DOOR,
    EGRESS_DOOR,
    PROBE_DOOR,
    Door,
    DoorConnector,
    app_url,
    door_directory,
    listen_at,
    make_door_directory,
    remove_foreign_door_directories,
    remove_left_sockets,
)
from actors.sandbox.relay import relay_arguments
from actors.settings import Settings
from gateway import doors as gateway_doors

BOUND_SECONDS = 30.0
MIB = 1024 * 1024
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Relay:
    """A relay process with its directory and ports."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port, self.proxy_port, self.packages_port = free_port(), free_port(), free_port()
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        ports = self.port, self.proxy_port, self.packages_port
        arguments = relay_arguments(str(self.directory), *ports)
        self._process = await asyncio.create_subprocess_exec("node", "-e", *arguments)

    async def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            await process.wait()


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    with tempfile.TemporaryDirectory() as directory:
        relay = Relay(Path(directory))
        await relay.start()
        yield relay
        await relay.kill()


@pytest.fixture
async def door(relay: Relay) -> AsyncIterator[Door]:
    door = Door(relay.directory, APP_DOOR)
    yield door
    door.close()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def through(door: Door) -> AsyncIterator[Streams]:
    async with asyncio.timeout(BOUND_SECONDS):
        reader, writer = await asyncio.open_unix_connection(sock=await door.take())
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def app(relay: Relay, serve: Serve, host: str = "127.0.0.1") -> AsyncIterator[None]:
    async def serve_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve_and_close, host, relay.port)
    async with server:
        yield


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what came, once the other side has ended its own."""
    writer.write(await reader.read())
    await writer.drain()


async def ask(door: Door, text: bytes) -> bytes:
    async with through(door) as (reader, writer):
        writer.write(text)
        writer.write_eof()
        return await reader.read()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_bytes_go_both_ways_and_each_way_has_its_own_end(
    relay: Relay, door: Door, host: str
) -> None:
    async with app(relay, echo, host):
        text = bytes(range(256)) * 20_000
        assert await ask(door, text) == text


async def test_more_connections_than_wait_are_served_at_once(relay: Relay, door: Door) -> None:
    all_here = asyncio.Barrier(40)

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await all_here.wait()
        await echo(reader, writer)

    async with app(relay, meet):
        texts = [b"%d" % number for number in range(40)]
        assert await asyncio.gather(*(ask(door, text) for text in texts)) == texts


async def test_without_an_app_a_connection_ends_and_the_next_ones_work(
    relay: Relay, door: Door
) -> None:
    for _ in range(2 * APP_DOOR.waiting):
        with pytest.raises(ConnectionRefusedError):
            await ask(door, b"anybody?")
    async with app(relay, echo):
        assert await ask(door, b"anybody?") == b"anybody?"


async def test_what_is_not_read_is_not_taken_from_the_app(relay: Relay, door: Door) -> None:
    written = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readexactly(1)
        for _ in range(256):
            writer.write(bytes(MIB))
            await writer.drain()
            written += MIB

    async with app(relay, flood), through(door) as (reader, writer):
        writer.write(b"!")
        assert len(await reader.readexactly(MIB)) == MIB
        before = -1
        while written != before:  # until it stands still
            before = written
            await asyncio.sleep(0.2)
        assert written < 32 * MIB
        assert len(await reader.read(-1)) == 255 * MIB


async def test_the_last_bytes_of_an_app_that_resets_its_connection_arrive(
    relay: Relay, door: Door
) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.write(b"413")
        await writer.drain()

    async with app(relay, refuse), through(door) as (reader, writer):
        writer.write(b"x" * 1000)
        assert await reader.read() == b"413"


async def test_a_door_that_is_opened_anew_is_found_again(relay: Relay, door: Door) -> None:
    async with app(relay, echo):
        for _ in range(3):  # as when the gateway restarts
            assert await ask(door, b"a") == b"a"
            door.close()
        assert await ask(door, b"b") == b"b"


async def test_a_door_that_another_owner_left_behind_is_replaced(relay: Relay, door: Door) -> None:
    async with app(relay, echo):
        listen_at(relay.directory, APP_DOOR.name, 1).close()  # it was killed: the name stays
        assert await ask(door, b"a") == b"a"
        (relay.directory / APP_DOOR.name).unlink()
        assert await ask(door, b"b") == b"b"


async def test_connections_of_a_relay_that_died_are_passed_over(relay: Relay, door: Door) -> None:
    async with app(relay, echo):
        assert await ask(door, b"a") == b"a"
        await relay.kill()
        await relay.start()
        assert await ask(door, b"b") == b"b"


async def test_who_speaks_before_being_asked_is_passed_over(relay: Relay, door: Door) -> None:
    await relay.kill()
    with pytest.raises(TimeoutError):  # the door is open from here on
        await asyncio.wait_for(door.take(), timeout=0.01)
    intruders = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    for intruder in intruders:
        intruder.connect(str(relay.directory / APP_DOOR.name))
        intruder.send(b"HTTP/1.1 200 OK\r\n\r\n")
    await relay.start()
    async with app(relay, echo):
        assert await ask(door, b"a") == b"a"
    for intruder in intruders:
        intruder.close()


async def test_a_flood_of_connections_waits_in_the_kernel(relay: Relay, door: Door) -> None:
    async with app(relay, echo):
        assert await ask(door, b"a") == b"a"
        flood = []
        with pytest.raises(BlockingIOError):  # noqa: PT012  # any of them may be the one
            for _ in range(10_000):
                flood.append(socket.socket(socket.AF_UNIX))
                flood[-1].setblocking(False)
                flood[-1].connect(str(relay.directory / APP_DOOR.name))
        assert len(flood) < 3 * APP_DOOR.waiting
        for intruder in flood:
            intruder.close()
        assert await ask(door, b"b") == b"b"


async def test_the_actor_has_a_door_of_its_own_to_the_same_app(relay: Relay) -> None:
    door = Door(relay.directory, PROBE_DOOR)
    async with app(relay, echo):
        assert await ask(door, b"a") == b"a"
    door.close()
    assert not (relay.directory / PROBE_DOOR.name).exists()


async def test_the_way_out_is_there_while_somebody_listens(relay: Relay, door: Door) -> None:
    with pytest.raises(ConnectionRefusedError):  # by the relay, which runs then
        await ask(door, b"x")

    async def leave() -> bytes:
        async with asyncio.timeout(BOUND_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.proxy_port)
            try:
                writer.write(b"out")
                return await reader.read(3)
            except OSError:  # it was closed at once
                return b""
            finally:
                writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(3))
        await writer.drain()
        writer.close()

    assert await leave() == b""
    listener = listen_at(relay.directory, EGRESS_DOOR, 8)
    async with await asyncio.start_unix_server(serve, sock=listener):
        assert await leave() == b"out"


# --- the connector -------------------------------------------------------------------------------


async def test_a_session_speaks_http_with_apps_behind_doors_and_with_others(
    relay: Relay, door: Door
) -> None:
    asked: list[str] = []

    def find_door(name: str) -> Door:
        asked.append(name)
        return door

    async def hello(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.path} at {request.host}")

    application = web.Application()
    application.router.add_get("/{rest:.*}", hello)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", relay.port).start()
    async with aiohttp.ClientSession(connector=DoorConnector(find_door)) as session:
        for _ in range(2):  # the second time over the same connection
            async with session.get(app_url("p1") + "x", headers={"Host": "p1.localhost"}) as answer:
                assert await answer.text() == "/x at p1.localhost"
        async with session.get(f"http://127.0.0.1:{relay.port}/y") as answer:
            assert await answer.text() == f"/y at 127.0.0.1:{relay.port}"
    await runner.cleanup()
    assert len(asked) == 1
    assert asked[0] in app_url("p1")


async def test_a_door_that_nobody_comes_to_is_a_timeout(tmp_path: Path) -> None:
    door = Door(tmp_path, APP_DOOR)
    timeout = aiohttp.ClientTimeout(sock_connect=0.05)
    connector = DoorConnector(lambda _: door)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        with pytest.raises(aiohttp.ConnectionTimeoutError):
            await session.get(app_url("p1"))
    door.close()


async def test_a_door_that_nobody_comes_to_in_time_is_a_connection_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "RELAY_SECONDS", 0.05)
    door = Door(tmp_path, APP_DOOR)
    async with aiohttp.ClientSession(connector=DoorConnector(lambda _: door)) as session:
        with pytest.raises(aiohttp.ClientConnectorError, match="no relay comes"):
            await session.get(app_url("p1"))
    door.close()


async def test_an_app_that_does_not_listen_is_a_connection_error(relay: Relay, door: Door) -> None:
    async with aiohttp.ClientSession(connector=DoorConnector(lambda _: door)) as session:
        with pytest.raises(aiohttp.ClientConnectorError, match="nobody listens"):
            await session.get(app_url("p1"))


async def test_a_door_without_its_directory_is_a_connection_error(tmp_path: Path) -> None:
    door = Door(tmp_path / "absent", APP_DOOR)
    async with aiohttp.ClientSession(connector=DoorConnector(lambda _: door)) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(app_url("p1"))


async def test_beyond_the_most_doors_the_longest_unused_one_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_doors, "MAX_DOORS", 2)
    settings = Settings.read({}, state_dir=str(tmp_path / "s"))
    ours = gateway_doors.Doors(settings)

    async def is_open_at(project_id: str) -> bool:
        path = door_directory(project_id, settings)
        make_door_directory(path)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ours.find(path.name).take(), timeout=0.01)
        return (path / APP_DOOR.name).exists()

    for project_id in ("a", "b", "a", "c"):
        assert await is_open_at(project_id)
    left = [(door_directory(name, settings) / APP_DOOR.name).exists() for name in "abc"]
    assert left == [True, False, True]
    ours.close()
    assert not (door_directory("c", settings) / APP_DOOR.name).exists()


# --- directories ---------------------------------------------------------------------------------


def test_a_directory_is_passed_through_by_all_and_changed_by_us_alone(tmp_path: Path) -> None:
    settings = Settings.read({}, state_dir=str(tmp_path / "s"))
    path = door_directory("p1", settings)
    for _ in range(2):
        make_door_directory(path)
    modes = [p.stat().st_mode & 0o7777 for p in (path, path.parent, path.parent.parent)]
    assert modes == [0o755, 0o700, 0o700]


def test_only_the_directories_of_known_projects_are_kept(tmp_path: Path) -> None:
    settings = Settings.read({}, state_dir=str(tmp_path / "s"))
    remove_foreign_door_directories(settings, {"kept"})
    kept, gone = door_directory("kept", settings), door_directory("gone", settings)
    for path in (kept, gone):
        make_door_directory(path)
        listen_at(path, APP_DOOR.name, 1).close()
    remove_foreign_door_directories(settings, {"kept"})
    assert (kept.exists(), gone.exists()) == (True, False)


def test_a_door_may_lie_as_deep_as_it_likes(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    listen_at(deep, APP_DOOR.name, 1).close()
    assert (deep / APP_DOOR.name).is_socket()


def test_the_sockets_of_those_who_were_killed_are_removed_and_their_directories_stay(
    tmp_path: Path,
) -> None:
    settings = Settings.read({}, state_dir=str(tmp_path))
    directory = door_directory("p1", settings)
    make_door_directory(directory)
    listen_at(directory, "probe.sock", 1).close()
    assert (directory / "probe.sock").exists()
    remove_left_sockets(settings)
    assert list(directory.iterdir()) == []
