from __future__ import annotations

import pytest

from actors.errors import InvalidSetting
from actors.registries import (
    Place,
    Registries,
    npm_registry,
    parse_connect,
    read_registries,
    upstream_proxy,
    with_configured,
)


def registries(text: str) -> Registries:
    return read_registries(text)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("", set()),
        ("registry.npmjs.org", {("registry.npmjs.org", 443)}),
        (" A.example , b:8443,", {("a.example", 443), ("b", 8443)}),
        ("10.1.2.3,[fd00::1]:8080", {("10.1.2.3", 443), ("fd00::1", 8080)}),
    ],
)
def test_a_list_is_read(text: str, places: set[tuple[str, int]]) -> None:
    assert registries(text).places == {Place(*place) for place in places}


@pytest.mark.parametrize(
    "text",
    ["https://a.example", "a.example/x", "user@a", "a b", "a:x", "a:70000", "-a", "[::1", "*.a"],
)
def test_what_is_no_host_is_refused_with_the_variables_name(text: str) -> None:
    with pytest.raises(InvalidSetting, match="CODEGEN_SANDBOX_REGISTRIES"):
        registries(f"registry.npmjs.org,{text}")


@pytest.mark.parametrize(
    ("head", "place"),
    [
        (
            b"CONNECT registry.npmjs.org:443 HTTP/1.1\r\nHost: x\r\n\r\n",
            ("registry.npmjs.org", 443),
        ),
        (b"CONNECT Registry.NPMJS.org.:443 HTTP/1.1\r\n\r\n", ("registry.npmjs.org", 443)),
        (b"CONNECT [::1]:80 HTTP/1.0\r\n\r\n", ("::1", 80)),
        (b"GET http://a.example/ HTTP/1.1\r\n\r\n", None),
        (b"CONNECT a.example:443\r\n\r\n", None),
        (b"CONNECT a.example:x HTTP/1.1\r\n\r\n", None),
        (b"CONNECT a\x1b[31m:443 HTTP/1.1\r\n\r\n", None),
        (b"CONNECT u@a.example:443 HTTP/1.1\r\n\r\n", None),
        (b"CONNECT \xff:443 HTTP/1.1\r\n\r\n", None),
    ],
)
def test_a_request_to_be_connected_is_read(head: bytes, place: tuple[str, int] | None) -> None:
    assert parse_connect(head) == (place and Place(*place))


def test_only_a_listed_place_is_allowed_and_at_its_port() -> None:
    allowed = registries("a.example,b.example:8443")
    for place, is_allowed in (
        (Place("a.example", 443), True),
        (Place("a.example", 8443), False),
        (Place("b.example", 8443), True),
        (Place("x.a.example", 443), False),
    ):
        assert allowed.allow(place) is is_allowed


@pytest.mark.parametrize(
    ("address", "is_allowed"),
    [
        ("104.16.0.1", True),
        ("10.0.0.5", True),  # a mirror in the operator's own network
        ("203.0.113.80", True),
        ("2606:4700::1", True),
        ("127.0.0.1", False),
        ("127.9.9.9", False),
        ("0.0.0.0", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:169.254.169.254", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::6810:1", True),
    ],
)
def test_a_name_may_not_mean_the_machine_itself_or_its_link(address: str, is_allowed: bool) -> None:
    assert registries("a.example").allow_address(address, 443) is is_allowed


def test_an_address_on_the_list_is_allowed_at_its_port() -> None:
    allowed = registries("127.0.0.1:4873")
    assert allowed.allow_address("127.0.0.1", 4873)
    assert allowed.allow_address("::ffff:127.0.0.1", 4873)
    assert not allowed.allow_address("127.0.0.1", 443)


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, None),
        ({"NPM_CONFIG_REGISTRY": "https://npm.example.com/x/"}, ("npm.example.com", 443)),
        ({"npm_config_registry": "https://u:p@npm.example.com:8443"}, ("npm.example.com", 8443)),
        ({"NPM_CONFIG_REGISTRY": "http://npm.example.com/"}, None),  # not by CONNECT
        ({"NPM_CONFIG_REGISTRY": "nonsense"}, None),
    ],
)
def test_the_registry_that_an_image_names_is_allowed_too(
    environment: dict[str, str], place: tuple[str, int] | None
) -> None:
    found = with_configured(registries("a.example"), environment).places
    assert found == {Place("a.example", 443)} | ({Place(*place)} if place else set())


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, ("proxy", 3128)),
        ({"https_proxy": "http://u:p@proxy/"}, ("proxy", 80)),
        ({"HTTPS_PROXY": "socks5://proxy:1080"}, None),
    ],
)
def test_the_proxy_that_an_image_names_is_found(
    environment: dict[str, str], place: tuple[str, int] | None
) -> None:
    assert upstream_proxy(environment) == (place and Place(*place))


def test_a_place_is_told_with_its_port_where_that_is_not_the_usual_one() -> None:
    assert str(Place("a.example", 443)) == "a.example"
    assert str(Place("a.example", 80)) == "a.example:80"


NPM = "registry.npmjs.org,npm.example:8443"


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, "https://registry.npmjs.org"),
        ({"PATH": "/bin", "NPM_CONFIG_LOGLEVEL": "warn"}, "https://registry.npmjs.org"),
        (
            {"NPM_CONFIG_REGISTRY": "https://npm.example:8443/a/npm/"},
            "https://npm.example:8443/a/npm",
        ),
        ({"npm_config_registry": "HTTPS://registry.npmjs.org/"}, "HTTPS://registry.npmjs.org"),
        ({"NPM_CONFIG_USERCONFIG": "", "NPM_CONFIG_REGISTRY": ""}, "https://registry.npmjs.org"),
        ({"NPM_CONFIG_REGISTRY": "http://npm.example:8443"}, None),
        ({"NPM_CONFIG_REGISTRY": "https://other.example"}, None),
        ({"NPM_CONFIG_REGISTRY": "https://u:p@npm.example:8443"}, None),
        ({"NPM_CONFIG_REGISTRY": "https://npm.example:8443/?a=b"}, None),
        ({"NPM_CONFIG_REGISTRY": "npm.example:8443"}, None),
        ({"NPM_CONFIG_USERCONFIG": "/etc/npmrc"}, None),
        ({"npm_config_@scope:registry": "https://npm.example"}, None),
        ({"NPM_CONFIG_//registry.npmjs.org/:_authToken": "secret"}, None),
    ],
)
def test_the_registry_that_npm_asks_is_known_where_it_may_be_asked_in_its_place(
    environment: dict[str, str], url: str | None
) -> None:
    assert npm_registry(registries(NPM), environment) == url


def test_a_place_is_written_as_http_has_it() -> None:
    assert Place("a.example", 443).authority == "a.example:443"
    assert Place("fd00::1", 80).authority == "[fd00::1]:80"
