"""Which places an install may reach: a list of hosts, and what their addresses may be. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from actors.errors import InvalidSetting

HTTPS_PORT = 443
NPM_REGISTRY = "https://registry.npmjs.org"  # where npm asks unless it is told otherwise
_CONNECT = re.compile(rb"CONNECT (\S{1,300}) HTTP/1\.[01]\r\n")
_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*|[0-9a-f:.]{{2,45}}")
_REGISTRY_PATH = re.compile(r"[\w.~/-]*", re.ASCII)
_NPM = "npm_config_"
#: What npm may be told that does not change which registry it asks, or how.
_INERT = {"proxy", "https_proxy", "cache", "loglevel", "progress", "color"} | {
    "audit",
    "fund",
    "update_notifier",
}
_NAT64 = int(IPv6Address("64:ff9b::")) >> 32  # RFC 6052; the last 32 bits are an IPv4 address


class Place(NamedTuple):
    """A host, by its name in lower case or its address, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return self.host if self.port == HTTPS_PORT else f"{self.host}:{self.port}"

    @property
    def authority(self) -> str:
        """The place as an address of HTTP has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Registries:
    """The places that are allowed.

    What a name resolves to may be any address but those by which a machine speaks to itself or to
    its own link: there no registry is, but the host's services and the cloud's metadata are. Such
    an address must be on the list itself.
    """

    places: frozenset[Place]

    def allow(self, place: Place) -> bool:
        """Say whether this place may be asked for."""
        return place in self.places

    def allow_address(self, address: str, port: int) -> bool:
        """Say whether a place that is allowed may be reached at this address."""
        found = _embedded(ip_address(address.partition("%")[0]))
        is_odd = (
            *(found.is_loopback, found.is_link_local),
            *(found.is_multicast, found.is_unspecified),
        )
        return not any(is_odd) or Place(str(found), port) in self.places


def read_registries(text: str) -> Registries:
    """Read `host,host:port,...`; the port is 443 where there is none. Raises InvalidSetting."""
    entries = filter(None, map(str.strip, text.split(",")))
    return Registries(frozenset(_read_entry(entry) for entry in entries))


def _read_entry(entry: str) -> Place:
    place = _read_place(entry)
    if place is None:
        raise InvalidSetting(
            "CODEGEN_SANDBOX_REGISTRIES must be hosts, such as registry.npmjs.org or "
            f"npm.example.com:8443, comma separated, not {entry!r}"
        )
    return place


def with_configured(registries: Registries, environment: Mapping[str, str]) -> Registries:
    """Allow the registry that an image's variables tell npm to use as well."""
    place = _place_in(environment, "NPM_CONFIG_REGISTRY", "https")
    return Registries(registries.places | ({place} if place else set()))


def npm_registry(registries: Registries, environment: Mapping[str, str]) -> str | None:
    """Return the address of the registry that npm asks in an image with these variables.

    None where it may not be asked, or where the variables tell npm more than that: how to log in,
    or which other registries there are, say.
    """
    told = {
        name.lower().removeprefix(_NPM): value
        for name, value in environment.items()
        if name.lower().startswith(_NPM) and value
    }
    url = (told.pop("registry", "") or NPM_REGISTRY).rstrip("/")
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    place = _read_place(authority) if scheme.lower() == "https" else None
    is_plain = told.keys() <= _INERT and _REGISTRY_PATH.fullmatch(path) is not None
    return url if is_plain and place is not None and registries.allow(place) else None


def upstream_proxy(environment: Mapping[str, str]) -> Place | None:
    """Return the proxy that an image's variables name for https, if one does."""
    return _place_in(environment, "HTTPS_PROXY", "http", default_port=80)


def parse_connect(head: bytes) -> Place | None:
    """Return the place that the head of an HTTP request asks to be connected to, if it does."""
    found = _CONNECT.match(head)
    return _read_place(found[1].decode("latin-1")) if found else None


def _place_in(
    environment: Mapping[str, str], variable: str, scheme: str, default_port: int = HTTPS_PORT
) -> Place | None:
    """Return the place in a variable's address, in either spelling of the variable."""
    url = environment.get(variable) or environment.get(variable.lower()) or ""
    found, _, rest = url.partition("://")
    authority = rest.partition("/")[0].rpartition("@")[2]
    return _read_place(authority, default_port) if found.lower() == scheme else None


def _read_place(authority: str, default_port: int = HTTPS_PORT) -> Place | None:
    """Read `host`, `host:port` or `[address]:port`; None for anything else."""
    try:
        parts = urlsplit(f"//{authority}")
        host, port = (parts.hostname or "").rstrip("."), parts.port or default_port
    except ValueError:
        return None
    is_whole = parts.netloc == authority and "@" not in authority
    return Place(host, port) if is_whole and _HOST.fullmatch(host) else None


def _embedded(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 address leads to, if it is of such a kind."""
    if isinstance(address, IPv4Address):
        return address
    if int(address) >> 32 == _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address
