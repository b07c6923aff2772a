"""The connection to a Docker engine, and the one place where its errors become ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import aiodocker
import aiohttp

from actors.errors import SandboxError, SandboxUnavailable

#: Makes a client; it is called inside the event loop that will use it.
ClientFactory = Callable[[], aiodocker.Docker]

CONNECT_SECONDS = 5.0
CALL_SECONDS = 60.0  # of one plain call; streams (exec, pull) have deadlines of their own
NOT_CONNECTED = 900  # aiodocker's status for an engine that does not answer
MAX_REASON_CHARS = 300


def connect() -> aiodocker.Docker:
    """Make a client for DOCKER_HOST, the Docker context or the default socket, in that order.

    Nothing is sent yet. Raises DockerError with `NOT_CONNECTED` where there is no such place.
    """
    timeout = aiohttp.ClientTimeout(total=CALL_SECONDS, sock_connect=CONNECT_SECONDS)
    try:
        return aiodocker.Docker(timeout=timeout)
    except AssertionError as error:  # how aiodocker says that it found no socket
        reason = "there is no Docker socket and DOCKER_HOST is not set"
        raise aiodocker.DockerError(NOT_CONNECTED, reason) from error
    except (ValueError, OSError, aiodocker.DockerError) as error:
        raise aiodocker.DockerError(NOT_CONNECTED, str(error)) from error


@contextmanager
def engine_errors() -> Iterator[None]:
    """Turn whatever a call to the engine raises into a SandboxError; no foreign error escapes."""
    try:
        yield
    except aiodocker.DockerError as error:
        raise from_docker(error) from error
    except (aiohttp.ClientError, OSError, json.JSONDecodeError) as error:
        raise _unavailable(str(error) or type(error).__name__) from error


def from_docker(error: aiodocker.DockerError) -> SandboxError:
    """Say what an answer of the engine means to the user of a sandbox."""
    reason = reason_of(error)
    if error.status == NOT_CONNECTED:
        return _unavailable(reason)
    if error.status >= 500:
        return SandboxUnavailable(
            f"The Docker engine failed ({reason}); check its log and generate again."
        )
    if error.status in (404, 409):
        return SandboxUnavailable(
            f"The sandbox's container is gone or stopped ({reason}); generate again."
        )
    return SandboxError(f"The Docker engine refused a request ({reason}).")


def reason_of(error: aiodocker.DockerError) -> str:
    """Return the engine's own words on one line, shortened."""
    return " ".join(str(error.message).split())[:MAX_REASON_CHARS]


def _unavailable(reason: str) -> SandboxUnavailable:
    return SandboxUnavailable(
        f"No Docker engine answers ({reason[:MAX_REASON_CHARS]}); "
        "start Docker, or set CODEGEN_SANDBOX=static."
    )
