"""Whose pages may talk to the service."""

from __future__ import annotations

import pytest

from gateway.guard import is_loopback, is_same_origin, is_trusted_host


@pytest.mark.parametrize(
    ("host", "listening", "is_trusted"),
    [
        ("localhost:8080", "127.0.0.1", True),
        ("localhost", "127.0.0.1", True),
        ("LOCALHOST:8080", "127.0.0.1", True),
        ("127.0.0.1:8080", "127.0.0.1", True),
        ("127.0.0.2:8080", "127.0.0.1", True),
        ("[::1]:8080", "127.0.0.1", True),
        ("app.localhost:8080", "127.0.0.1", False),
        ("codegen.internal", "codegen.internal", True),
        ("evil.example:8080", "127.0.0.1", False),
        ("localhost.evil.example", "127.0.0.1", False),
        ("127.0.0.1.evil.example", "127.0.0.1", False),
        ("192.168.1.5:8080", "127.0.0.1", False),
        ("", "127.0.0.1", False),
        (":8080", "127.0.0.1", False),
        ("localhost:99999", "127.0.0.1", False),
        ("[::1", "127.0.0.1", False),
        ("box.example:8080", "0.0.0.0", True),
        ("box.example:8080", "192.168.1.5", True),
        ("", "0.0.0.0", False),
    ],
)
def test_host_headers(host: str, listening: str, is_trusted: bool) -> None:
    assert is_trusted_host(host, listening) is is_trusted


@pytest.mark.parametrize(
    ("origin", "host", "is_same"),
    [
        ("http://localhost:8080", "localhost:8080", True),
        ("http://localhost:8080", "127.0.0.1:8080", True),
        ("http://[::1]:8080", "localhost:8080", True),
        ("http://box.example", "box.example", True),
        ("http://box.example", "box.example:80", True),
        ("https://box.example", "box.example", True),
        ("https://Box.Example", "box.example", True),
        ("http://localhost:5173", "localhost:8080", False),
        ("http://app.localhost:8080", "localhost:8080", False),
        ("http://app.localhost:8080", "127.0.0.1:8080", False),
        ("http://localhost:8080", "app.localhost:8080", False),
        ("http://other.localhost:8080", "app.localhost:8080", False),
        ("http://app.localhost:8080", "app.localhost:8080", True),
        ("http://app.localhost.:8080", "app.localhost.:8080", True),
        ("http://localhost", "localhost:8080", False),
        ("http://evil.example", "localhost:8080", False),
        ("http://evil.example:8080", "localhost:8080", False),
        ("null", "localhost:8080", False),
        ("", "localhost:8080", False),
        ("file://", "localhost:8080", False),
        ("chrome-extension://localhost:8080", "localhost:8080", False),
        ("http://localhost:x", "localhost:8080", False),
    ],
)
def test_origins(origin: str, host: str, is_same: bool) -> None:
    assert is_same_origin(origin, host) is is_same


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("localhost", True),
        ("localhost.", True),
        ("a.localhost", False),
        ("127.1.2.3", True),
        ("::1", True),
        ("notlocalhost", False),
        ("8.8.8.8", False),
        ("", False),
        (None, False),
    ],
)
def test_loopback_names(name: str | None, expected: bool) -> None:
    assert is_loopback(name) is expected
