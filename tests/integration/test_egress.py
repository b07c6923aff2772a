"""The way out of a container: what the proxy connects to, and what it refuses."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors.errors import SandboxUnavailable
from actors.registries import Place, read_registries
from actors.sandbox.doors import EGRESS_DOOR
from actors.sandbox.egress import MAX_CONNECTIONS, MAX_HEAD_BYTES, egress

BOUND_SECONDS = 30.0


class Registry:
    """A TCP server that says who it is and then echoes; `seen` is what it was sent."""

    def __init__(self, greeting: bytes = b"registry\n") -> None:
        self._greeting = greeting
        self.port = 0
        self.seen = b""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(self._greeting)
            with contextlib.suppress(OSError):
                while part := await reader.read(65_536):
                    self.seen += part
                    writer.write(part)
                    await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield


class Exit:
    """One connection to the way out."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / EGRESS_DOOR

    async def __aenter__(self) -> Exit:
        self.reader, self.writer = await asyncio.open_unix_connection(self._path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    async def ask(self, place: str) -> str:
        return await self.send(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())

    async def send(self, head: bytes) -> str:
        async with asyncio.timeout(BOUND_SECONDS):
            self.writer.write(head)
            answer = await self.reader.readuntil(b"\r\n\r\n")
        return answer.decode().split("\r\n")[0].removeprefix("HTTP/1.1 ")


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    registry = Registry()
    async with registry.running():
        yield registry


@pytest.fixture
def told() -> list[str]:
    return []


async def test_an_allowed_place_is_connected_to_both_ways(
    tmp_path: Path, registry: Registry, told: list[str]
) -> None:
    place = f"127.0.0.1:{registry.port}"
    async with egress(tmp_path, read_registries(place), None, told.append), Exit(tmp_path) as way:
        assert await way.ask(place) == "200 Connection Established"
        assert await way.reader.readline() == b"registry\n"
        way.writer.write(b"x" * 1_000_000)
        assert await way.reader.readexactly(1_000_000) == b"x" * 1_000_000
        way.writer.write_eof()
        assert await way.reader.read() == b""
    assert not (tmp_path / EGRESS_DOOR).exists()
    assert told == []


async def test_what_is_not_on_the_list_is_refused_and_told_once(
    tmp_path: Path, registry: Registry, told: list[str]
) -> None:
    place = f"127.0.0.1:{registry.port}"
    async with egress(tmp_path, read_registries("registry.npmjs.org"), None, told.append):
        for asked in (place, place, "169.254.169.254:80", "registry.npmjs.org:22"):
            async with Exit(tmp_path) as way:
                assert await way.ask(asked) == "403 Forbidden"
    assert told == [
        f"The install wanted {asked}, which is not allowed (see CODEGEN_SANDBOX_REGISTRIES)."
        for asked in (place, "169.254.169.254:80", "registry.npmjs.org:22")
    ]
    assert registry.seen == b""


async def test_a_listed_name_that_means_this_machine_is_refused(
    tmp_path: Path, registry: Registry, told: list[str]
) -> None:
    place = f"localhost:{registry.port}"
    async with egress(tmp_path, read_registries(place), None, told.append), Exit(tmp_path) as way:
        assert await way.ask(place) == "403 Forbidden"
    [line] = told
    assert "where no registry may be" in line
    allowed = read_registries(f"{place},127.0.0.1:{registry.port}")
    async with egress(tmp_path, allowed, None, told.append), Exit(tmp_path) as way:
        assert await way.ask(place) == "200 Connection Established"


@pytest.mark.parametrize(
    ("head", "answer"),
    [
        (b"GET http://127.0.0.1/ HTTP/1.1\r\n\r\n", "405 CONNECT Only"),
        (b"\x16\x03\x01\r\n\r\n", "405 CONNECT Only"),
        (b"CONNECT a:443 HTTP/1.1\r\nX: " + b"x" * 2 * MAX_HEAD_BYTES, "431 Too Large"),
    ],
)
async def test_anything_but_a_short_connect_is_refused(
    tmp_path: Path, told: list[str], head: bytes, answer: str
) -> None:
    async with egress(tmp_path, read_registries("a"), None, told.append), Exit(tmp_path) as way:
        assert await way.send(head) == answer


async def test_a_place_that_does_not_answer_is_told(tmp_path: Path, told: list[str]) -> None:
    place = "127.0.0.1:9"
    async with egress(tmp_path, read_registries(place), None, told.append), Exit(tmp_path) as way:
        assert await way.ask(place) == "502 Bad Gateway"
    assert "127.0.0.1:9, which cannot be reached" in told[0]


async def test_the_operators_proxy_is_gone_through(tmp_path: Path, told: list[str]) -> None:
    proxy = Registry(b"HTTP/1.1 200 Yes\r\n\r\n")
    async with proxy.running():
        upstream = Place("127.0.0.1", proxy.port)
        async with egress(tmp_path, read_registries("a.invalid"), upstream, told.append):
            async with Exit(tmp_path) as way:
                assert await way.ask("b.invalid:443") == "403 Forbidden"
            async with Exit(tmp_path) as way:
                assert await way.ask("a.invalid:443") == "200 Yes"
    assert proxy.seen == b"CONNECT a.invalid:443 HTTP/1.1\r\nHost: a.invalid:443\r\n\r\n"


async def test_connections_are_bounded_and_end_with_the_install(
    tmp_path: Path, registry: Registry, told: list[str]
) -> None:
    place = f"127.0.0.1:{registry.port}"
    async with contextlib.AsyncExitStack() as stack:
        async with egress(tmp_path, read_registries(place), None, told.append):
            ways = [await stack.enter_async_context(Exit(tmp_path)) for _ in range(MAX_CONNECTIONS)]
            for way in ways:
                assert await way.ask(place) == "200 Connection Established"
                assert await way.reader.readline() == b"registry\n"
            async with Exit(tmp_path) as one_more:
                assert await one_more.reader.read() == b""
        async with asyncio.timeout(BOUND_SECONDS):
            for way in ways:
                assert await way.reader.read() == b""


async def test_without_its_directory_there_is_no_sandbox(tmp_path: Path, told: list[str]) -> None:
    with pytest.raises(SandboxUnavailable):
        async with egress(tmp_path / "absent", read_registries(""), None, told.append):
            pass
