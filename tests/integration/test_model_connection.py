"""Connections to the model's server that fail, each in its own way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors import errors
from actors.generation import http_transport as http_module
from actors.generation import openrouter as openrouter_module
from actors.generation.model import ModelFacts
from tests.support.model_client import PLAN, Make, failure
from tests.support.openrouter import TEST_KEY, Answer, ScriptedOpenRouter
from tests.support.sse_stream import stream_of
from tests.support.wait import wait_until

#: A certificate for these tests alone, with its key; no machine trusts it.
SELF_SIGNED = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgzcmFR/Cwd6BLFxU+
xQPfzCx85LqBgHLxJsQt3so0vymhRANCAARg3kRvoiMS27v7KOrQ1BT4gncwWq2P
Zb3aUPZwnefBJg0SISrONjahj6yqyuUnw+kHJB3NvFe7YfJi6nDQWhq3
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBfjCCASWgAwIBAgIUb8u1Ky5KDpn3FFxsYJOk0O5XDR4wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjE2MTQxOFoYDzIxMjYxMDI5
MTYxNDE4WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARg3kRvoiMS27v7KOrQ1BT4gncwWq2PZb3aUPZwnefBJg0SISrONjah
j6yqyuUnw+kHJB3NvFe7YfJi6nDQWhq3o1MwUTAdBgNVHQ4EFgQUyr2pC/TrHuQS
SVTnWTStANlhHDwwHwYDVR0jBBgwFoAUyr2pC/TrHuQSSVTnWTStANlhHDwwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiAp+9670fjIhzTp93mpYJ0k
aGH/1pH1Alg8vaWWSKf0sAIgR6ZREulDNQu3tG9XLv4U36+s3l2K55w9susA+Nf2
97U=
-----END CERTIFICATE-----
"""


async def test_a_refused_connection_is_reported_with_its_address(make: Make) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

    problem = await failure(make(base_url=f"http://127.0.0.1:{port}/v1"))

    assert isinstance(problem, errors.ModelUnavailable)
    assert f"127.0.0.1:{port} cannot be reached" in str(problem)


async def test_an_unknown_host_is_unavailable(make: Make) -> None:
    problem = await failure(make(base_url="http://no-such-host.invalid/v1"))

    assert isinstance(problem, errors.ModelUnavailable)
    assert "no-such-host.invalid" in str(problem)


async def test_a_server_that_speaks_no_http_is_unavailable(make: Make) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        problem = await failure(make(base_url=f"http://127.0.0.1:{port}"))

    assert isinstance(problem, errors.ModelUnavailable)
    assert "HTTP" in str(problem)
    assert problem.__cause__ is None


async def test_a_server_that_hangs_up_is_unavailable(make: Make) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        problem = await failure(make(base_url=f"http://127.0.0.1:{port}"))

    assert isinstance(problem, errors.ModelUnavailable)


async def test_a_certificate_that_nobody_vouches_for_is_reported(
    make: Make, tmp_path: Path
) -> None:
    pem = tmp_path / "server.pem"
    pem.write_text(SELF_SIGNED)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pem)

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    async with server:
        problem = await failure(make(base_url=f"https://127.0.0.1:{port}"))

    assert isinstance(problem, errors.ModelUnavailable)
    assert "certificate" in str(problem)


async def test_plain_http_where_tls_is_expected_is_unavailable(
    openrouter: ScriptedOpenRouter, make: Make
) -> None:
    problem = await failure(make(base_url=openrouter.base_url.replace("http:", "https:")))

    assert isinstance(problem, errors.ModelUnavailable)


async def test_a_server_that_accepts_no_connection_is_given_up(make: Make) -> None:
    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind(("127.0.0.1", 0))
        server.listen(0)  # one connection waits in the queue, further ones are left hanging
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        url = f"http://127.0.0.1:{server.getsockname()[1]}"

        problem = await failure(make(base_url=url, connect_seconds=0.2))

    assert isinstance(problem, errors.ModelUnavailable)
    assert "within 0.2 seconds" in str(problem)


# --- answers that break off where no stream is expected -------------------------------------------


@contextlib.asynccontextmanager
async def answering(*pieces: bytes, hangs_up: bool = True) -> AsyncIterator[str]:
    """A server that answers with these bytes, then closes the connection or falls silent."""
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if not hangs_up:
            await gone.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        gone.set()


@pytest.mark.parametrize("hangs_up", [True, False])
async def test_an_error_whose_text_breaks_off_is_told_by_its_status(
    make: Make, monkeypatch: pytest.MonkeyPatch, hangs_up: bool
) -> None:
    monkeypatch.setattr(openrouter_module, "ERROR_BODY_SECONDS", 0.2)
    head = b"HTTP/1.1 402 Payment Required\r\nContent-Length: 1000\r\n\r\n"
    async with answering(head, b"No more", hangs_up=hangs_up) as url:
        problem = await failure(make(base_url=url))

    assert isinstance(problem, errors.ModelPaymentRequired)
    assert "(402: No more)" in str(problem)


@pytest.mark.parametrize("hangs_up", [True, False])
async def test_a_list_of_models_that_breaks_off_leaves_them_unknown(
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    hangs_up: bool,
) -> None:
    monkeypatch.setattr(http_module, "LIST_SECONDS", 0.2)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    async with answering(head, b'{"data": [', hangs_up=hangs_up) as url:
        facts = await make(base_url=url).facts("m")

    assert facts == ModelFacts()
    assert "could not be read" in caplog.text


async def test_a_list_of_models_may_come_in_pieces(make: Make) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b'{"data": [{"id": "m", "max_model_len": 4096}]}'
    pieces = [b"%x\r\n%b\r\n" % (1, bytes([byte])) for byte in body]
    async with answering(head, *pieces, b"0\r\n\r\n") as url:
        facts = await make(base_url=url).facts("m")

    assert facts == ModelFacts(context_tokens=4096)


async def test_an_address_without_a_server_leaves_models_unknown(make: Make) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

    assert await make(base_url=f"http://127.0.0.1:{port}/v1").facts("m") == ModelFacts()


async def test_what_arrived_before_a_break_is_read_by_a_slow_reader(
    openrouter: ScriptedOpenRouter,
) -> None:
    stream = stream_of("a text", " and more")
    openrouter.answer_next(Answer(raw_stream=stream, cut_at_bytes=len(stream) - 5))
    transport = http_module.HttpTransport(openrouter.base_url, TEST_KEY, first_byte_seconds=30.0)
    exchange = await transport.post(PLAN, b'{"messages": [{"content": ""}]}')
    await wait_until(lambda: exchange._response.content.exception() is not None)

    assert await exchange.read() == stream[:-5]
    with pytest.raises(errors.ModelStreamBroken):
        await exchange.read()

    exchange.close()
    await transport.close()
