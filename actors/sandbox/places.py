"""Where a place that is allowed really is: its addresses, looked up once and then connected to.

A name that means another address a moment later gains nothing by it.
"""

from __future__ import annotations

import asyncio
import errno
import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from actors.registries import Place, Registries


class NoRegistryThere(OSError):
    """A place is at addresses alone where no registry may be; `address` is the first one."""

    def __init__(self, address: str) -> None:
        super().__init__(errno.EACCES, f"no registry may be at {address}")
        self.address = address


async def addresses_of(place: Place, registries: Registries) -> list[str]:
    """Look a place up; returns its addresses that may be connected to, at least one.

    Raises OSError, NoRegistryThere where there is none of them.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    addresses = [str(row[4][0]) for row in found]
    allowed = [a for a in addresses if registries.allow_address(a, place.port)]
    if not allowed:
        raise NoRegistryThere(addresses[0])
    return allowed


class PlaceResolver(AbstractResolver):
    """Resolves names for aiohttp's client to the addresses that are allowed."""

    def __init__(self, registries: Registries) -> None:
        self._registries = registries

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Look a name up; raises OSError. Both families are answered, whichever is asked for."""
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await addresses_of(Place(host, port), self._registries)
        ]

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""
