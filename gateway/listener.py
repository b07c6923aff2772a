"""The listening socket, bound before anything else is started: a taken port is told at once."""

from __future__ import annotations

import errno
import socket

from actors.errors import InvalidSetting, PortTaken
from gateway.guard import is_loopback

BACKLOG = 1024


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; connections wait in it until the service is up.

    Raises PortTaken or InvalidSetting; the latter also for an address that others can reach, since
    whoever reaches the service may use it.
    """
    if not is_loopback(host):
        raise InvalidSetting(
            f"CODEGEN_HOST {host!r} would let the whole network in; listen on 127.0.0.1, and reach "
            f"it from elsewhere through a tunnel: ssh -L {port}:127.0.0.1:{port} THIS-MACHINE."
        )
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except socket.gaierror as error:
        raise InvalidSetting(
            f"CODEGEN_HOST {host!r} is not known here: {error.strerror}."
        ) from error
    except OSError as error:
        raise _refusal(host, port, error) from error


def _refusal(host: str, port: int, error: OSError) -> PortTaken | InvalidSetting:
    match error.errno:
        case errno.EADDRINUSE:
            return PortTaken(
                f"Port {port} on {host} is taken; choose another with CODEGEN_PORT or --port, "
                "or 0 for any free one."
            )
        case errno.EACCES:
            return InvalidSetting(
                f"This user may not listen on port {port}; choose CODEGEN_PORT from 1024 up."
            )
        case _:
            return InvalidSetting(f"CODEGEN_HOST {host!r} cannot be used: {error.strerror}.")
