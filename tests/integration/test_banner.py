"""An app that is behind its project's newest files says so on its pages, and nowhere else."""

from __future__ import annotations

import gzip

import pytest
from aiohttp import web

from gateway.banner import BEHIND
from tests.support.browsing import FETCH
from tests.support.proxied import House, app

PAGE = b"<!doctype html><html><body><h1>Shop</h1></body></html>"
PLAIN = {"Accept-Encoding": "identity"}
NAVIGATE = {"Sec-Fetch-Mode": "navigate", "Accept": "text/html", **PLAIN}


async def shop(request: web.BaseRequest) -> web.Response:
    """Answer a page as a careful server does: packed, with a validator, and none to who has it."""
    if request.headers.get("If-None-Match"):
        return web.Response(status=304, headers={"ETag": '"1"'})
    headers = {"ETag": '"1"', "Cache-Control": "max-age=600"}
    body = PAGE
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        headers["Content-Encoding"], body = "gzip", gzip.compress(PAGE)
    kind = {"/data": "application/json", "/style.css": "text/css"}.get(request.path, "text/html")
    status = 404 if request.path == "/missing" else 200
    return web.Response(status=status, body=body, content_type=kind, headers=headers)


@pytest.mark.parametrize("path", ["/", "/deep/page?x=1"])
async def test_a_page_carries_the_banner_as_its_last_part_for_this_one_look(
    house: House, path: str
) -> None:
    house.actors.is_behind = True
    asked = {**NAVIGATE, "Accept-Encoding": "gzip", "If-None-Match": '"1"', "Range": "bytes=0-3"}
    async with app(house, shop), house.http.get(f"{house.url}{path}", headers=asked) as answer:
        assert answer.status == 200
        assert await answer.read() == PAGE + BEHIND
        assert answer.headers["Cache-Control"] == "no-store"
        assert not {"ETag", "Content-Encoding", "Content-Length"} & set(answer.headers)


async def test_an_app_that_is_up_to_date_carries_none(house: House) -> None:
    async with app(house, shop), house.http.get(house.url, headers=NAVIGATE) as answer:
        assert await answer.read() == PAGE
        assert answer.headers["ETag"] == '"1"'
        assert answer.headers["Cache-Control"] == "max-age=600"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/style.css", NAVIGATE),
        ("/data", NAVIGATE),
        ("/missing", NAVIGATE),
        ("/", FETCH | PLAIN),
    ],
)
async def test_what_is_no_page_for_a_person_is_left_as_it_is(
    house: House, path: str, headers: dict[str, str]
) -> None:
    house.actors.is_behind = True
    async with (
        app(house, shop),
        house.http.get(house.url, headers=FETCH | PLAIN) as first,
        house.http.get(f"{house.url}{path}", headers=headers) as answer,
    ):
        assert await first.read() == await answer.read() == PAGE
        assert answer.headers["ETag"] == '"1"'


async def test_a_head_request_has_the_headers_of_the_app(house: House) -> None:
    house.actors.is_behind = True
    async with app(house, shop), house.http.head(house.url, headers=NAVIGATE) as answer:
        assert answer.headers["Content-Length"] == str(len(PAGE))
