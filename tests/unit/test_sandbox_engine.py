from __future__ import annotations

import json

import aiodocker
import aiohttp
import pytest

from actors.errors import SandboxError, SandboxUnavailable, ServiceError
from actors.sandbox import engine
from actors.sandbox.engine import NOT_CONNECTED, connect, engine_errors


@pytest.mark.parametrize(
    ("raised", "expected", "words"),
    [
        (aiodocker.DockerError(NOT_CONNECTED, "refused"), SandboxUnavailable, "start Docker"),
        (aiodocker.DockerError(500, "no space\nleft"), SandboxUnavailable, "no space left"),
        (aiodocker.DockerError(404, "No such container"), SandboxUnavailable, "generate again"),
        (aiodocker.DockerError(409, "is not running"), SandboxUnavailable, "generate again"),
        (aiodocker.DockerError(400, "bad parameter"), SandboxError, "bad parameter"),
        (aiohttp.ServerDisconnectedError(), SandboxUnavailable, "start Docker"),
        (ConnectionResetError("reset"), SandboxUnavailable, "reset"),
        (TimeoutError(), SandboxUnavailable, "TimeoutError"),
        (json.JSONDecodeError("bad", "", 0), SandboxUnavailable, "start Docker"),
    ],
)
def test_what_the_engine_raises_becomes_ours(
    raised: Exception, expected: type[ServiceError], words: str
) -> None:
    with pytest.raises(expected, match=words) as caught, engine_errors():
        raise raised
    assert type(caught.value) is expected
    assert caught.value.__cause__ is raised
    assert "\n" not in str(caught.value)


def test_our_own_errors_and_bugs_pass() -> None:
    with pytest.raises(SandboxError, match="ours"), engine_errors():
        raise SandboxError("ours")
    with pytest.raises(KeyError), engine_errors():
        raise KeyError("bug")


async def test_a_host_that_is_none_is_told_as_not_connected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "nonsense")
    with pytest.raises(aiodocker.DockerError) as caught:
        connect()
    assert caught.value.status == NOT_CONNECTED


async def test_a_machine_without_a_socket_is_told_as_not_connected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr("aiodocker.docker._sock_search_paths", [])
    with pytest.raises(SandboxUnavailable, match="no Docker socket"), engine_errors():
        engine.connect()
