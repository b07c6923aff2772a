"""An app of the static sandbox at its own address: files out of the database, nobody is woken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientResponse

from actors import events as ev
from actors.addresses import slug_of
from tests.support.gateway import Gateway, Owner

FILES = {
    "index.html": "<!doctype html><p>é</p>",
    "js/main app.js": "run();",
    "docs/index.html": "docs",
    "notes.unknown": "text",
}


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path) -> AsyncIterator[Gateway]:
    """A service with three projects: two with files, of which one has no label for an id."""
    async with Gateway(database_url, tmp_path) as gateway:
        for project_id in ("p1", "My_App"):
            owner = await Owner(database_url, project_id).claim()
            await owner.write(*(ev.FileEnd(path=p, content=text) for p, text in FILES.items()))
            await owner.store.close()
        await gateway.http.post("/api/projects", json={"id": "empty"})
        yield gateway


async def asked(
    gateway: Gateway, path: str = "/", host: str = "p1.localhost", method: str = "GET", **more: str
) -> ClientResponse:
    headers = {"Host": f"{host}:{gateway.port}", **more}
    return await gateway.http.request(method, path, headers=headers, allow_redirects=False)


async def test_files_are_served_with_strict_headers_and_may_be_kept(gateway: Gateway) -> None:
    response = await asked(gateway)
    assert await response.text() == FILES["index.html"]
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert response.headers["Cache-Control"] == "no-cache"
    # its origin is its own, so it may do what any page may
    assert "Content-Security-Policy" not in response.headers
    assert "Access-Control-Allow-Origin" not in response.headers
    known = await asked(gateway, **{"If-None-Match": response.headers["ETag"]})
    assert known.status == 304
    head = await asked(gateway, method="HEAD")
    assert head.headers["Content-Length"] == response.headers["Content-Length"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/js/main%20app.js", "text/javascript"), ("/notes.unknown", "text/plain")],
)
async def test_a_file_s_type_goes_by_its_name(gateway: Gateway, path: str, kind: str) -> None:
    response = await asked(gateway, path)
    assert (response.status, response.content_type) == (200, kind)


async def test_directories_are_their_index(gateway: Gateway) -> None:
    response = await asked(gateway, "/docs?x=%20")
    assert (response.status, response.headers["Location"]) == (302, "/docs/?x=%20")
    assert await (await asked(gateway, "/docs/")).text() == "docs"


async def test_what_a_page_s_own_router_shows_is_the_index(gateway: Gateway) -> None:
    response = await asked(gateway, "/cart/7", Accept="text/html,*/*")
    assert await response.text() == FILES["index.html"]
    assert (await asked(gateway, "/cart/7")).status == 404
    assert (await asked(gateway, "/cart.js", Accept="text/html")).status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/no.js",
        "/js/",
        "/js",
        "/..%2Findex.html",
        "/%2Fetc%2Fpasswd",
        "/api/status",
    ],
)
async def test_what_is_no_file_is_not_found(gateway: Gateway, path: str) -> None:
    response = await asked(gateway, path)
    assert (response.status, response.content_type) == (404, "text/html")
    assert "The app has no file for this address yet." in await response.text()


async def test_other_methods_are_refused(gateway: Gateway) -> None:
    response = await asked(gateway, method="POST")
    assert (response.status, response.headers["Allow"]) == (405, "GET,HEAD")


async def test_every_spelling_of_a_host_is_the_same_app(gateway: Gateway) -> None:
    for host in ("p1.localhost", "P1.LocalHost", "p1.localhost.", f"{slug_of('My_App')}.localhost"):
        assert await (await asked(gateway, host=host)).text() == FILES["index.html"]


@pytest.mark.parametrize(
    "host",
    [
        "nobody.localhost",
        "empty.localhost",
        "My_App.localhost",
        "a.p1.localhost",
        ".localhost",
        "-.localhost",
        "x@p1.localhost",
        "xn--p1.localhost",
        "other-" + slug_of("My_App") + ".localhost",
        "p" + "0" * 20 + ".localhost",
    ],
)
async def test_other_names_below_the_domain_are_nobody_s(gateway: Gateway, host: str) -> None:
    response = await asked(gateway, host=host)
    assert (response.status, response.content_type) == (404, "text/html")


@pytest.mark.parametrize("host", ["p1.example", "localhost.p1", "p1.localhost.example"])
async def test_names_elsewhere_are_refused(gateway: Gateway, host: str) -> None:
    response = await asked(gateway, host=host)
    assert (response.status, response.content_type) == (403, "application/json")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
async def test_the_service_itself_is_at_the_names_of_the_machine(
    gateway: Gateway, host: str
) -> None:
    response = await asked(gateway, "/healthz", host=host)
    assert await response.json() == {"ok": True}


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/preview/My_App", ""),
        ("/preview/My_App/", ""),
        ("/preview/My_App?q=%20", "?q=%20"),
        ("/preview/My_App/a%2Fb%20c?q=%26&r", "a%2Fb%20c?q=%26&r"),
        ("/preview/My_App//evil.example/", "/evil.example/"),
        ("/preview/My_App/..%2Fx", "..%2Fx"),
    ],
)
async def test_an_address_at_the_service_leads_to_the_app_s_own(
    gateway: Gateway, path: str, place: str
) -> None:
    response = await asked(gateway, path, host="localhost")
    base = f"http://{slug_of('My_App')}.localhost:{gateway.settings.port}/"
    assert (response.status, response.headers["Location"]) == (302, base + place)


@pytest.mark.parametrize("path", ["/preview/b@d/", "/preview/b@d"])
async def test_a_bad_id_is_refused_as_everywhere(gateway: Gateway, path: str) -> None:
    assert (await asked(gateway, path, host="localhost")).status == 400
