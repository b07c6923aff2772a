"""From a preview's address to a container's app: the gateway's routes over a real project agent."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse

from actors import messages as m
from actors.errors import ActorsUnavailable, error_from_code
from actors.sandbox.choose import SandboxChoice
from tests.support.agent import SITE, World
from tests.support.gateway import Gateway
from tests.support.log import log_line
from tests.support.sandbox import URL, MemoryEngine

BROKEN = {**SITE, "package.json": '{"<script>alert(1)</script>": '}


class OneAgent:
    """An actor system that is the agent of one project; `problem` is what it answers meanwhile."""

    is_up = True
    restarts = 0

    def __init__(self, world: World) -> None:
        self._world = world
        self.problem: Exception | None = None
        self.asked: list[m.Request] = []

    async def ask(self, request: m.Request, timeout_seconds: float) -> m.Answer:
        self.asked.append(request)
        if self.problem is not None:
            raise self.problem
        answer = await self._world.desk.ask(request)
        if isinstance(answer, m.Failed):
            raise error_from_code(answer.code, answer.message)
        return answer


@pytest.fixture
def engine(world: World) -> MemoryEngine:
    world.engine = MemoryEngine()
    return world.engine


@pytest.fixture
def actors(world: World) -> OneAgent:
    return OneAgent(world)


@pytest.fixture
async def gateway(
    world: World, database_url: str, tmp_path: Path, actors: OneAgent
) -> AsyncIterator[Gateway]:
    choice = SandboxChoice(kind="docker")
    async with Gateway(
        database_url, tmp_path / "gateway", actors=actors, sandbox=choice
    ) as gateway:
        yield gateway


async def asked(gateway: Gateway, below: str = "", **options: Any) -> ClientResponse:
    return await gateway.http.get(f"/preview/p1/{below}", allow_redirects=False, **options)


async def awake_again(world: World, files: dict[str, str]) -> None:
    """Have the files written by a run, let the project sleep, and begin another life."""
    world.model.add_phase("Base", files, last=True)
    await world.live()
    await world.generate()
    await world.sink.until(lambda f: f["data"].get("state") in ("complete", "error"))
    world.desk.post(m.PassivateProject(request_id="p", project_id="p1"))
    await world.has_left()
    await world.live()


async def waits(response: ClientResponse) -> str:
    """Check that this is the page that asks again, and return its text."""
    assert (response.status, response.headers["Retry-After"]) == (503, "1")
    html = await response.text()
    assert '<meta http-equiv="refresh" content="1">' in html
    check_page(response, html)
    return text_of(html)


def check_page(response: ClientResponse, html: str) -> None:
    """Check that a browser shows it as it is meant, wherever it is framed, and runs nothing."""
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script-src" not in policy
    assert "frame-ancestors" not in policy
    # a sandboxed page refreshes itself only where it might run scripts
    assert policy.endswith("sandbox allow-scripts")
    assert not re.search(r"<(?!/?(?:html|head|meta|title|style|body|p|pre|a)\b|!doctype)", html)
    assert not re.search(r'\b(?:src|style|on\w+)=|href="[^"]', html)


def text_of(html: str) -> str:
    body = html.partition("<body>")[2].partition("</body>")[0]
    return unescape(re.sub("<[^>]+>", "", body))


async def test_who_opens_a_sleeping_app_waits_in_a_page_that_becomes_the_app(
    gateway: Gateway, world: World, engine: MemoryEngine
) -> None:
    await awake_again(world, SITE)
    server = engine.hold("start_dev_server")
    text = await waits(await asked(gateway))
    assert text == "The app is being built or started; it appears here as soon as it answers."
    assert await waits(await asked(gateway, "deep/page")) == text
    server.release()
    await world.sink.expect("server_started", 2)
    await world.request(m.ReviveProject)
    response = await asked(gateway)
    assert (response.status, response.headers["Location"]) == (302, URL)
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "below", ["", "a/b.html", "a%2Fb%20c?q=%26&r=1", "?q", "//evil.example/", "..%2Findex.html"]
)
async def test_the_whole_address_is_handed_on_and_leads_nowhere_else(
    gateway: Gateway, world: World, engine: MemoryEngine, below: str
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    response = await asked(gateway, below)
    assert response.status == 302
    assert response.headers["Location"] == URL + below


async def test_a_start_that_failed_is_shown_with_its_last_lines_and_a_way_to_try_again(
    gateway: Gateway, world: World, engine: MemoryEngine
) -> None:
    await awake_again(world, BROKEN)
    for _ in range(2):
        with log_line("actors.preview", "cannot be started") as failed:
            await waits(await asked(gateway))
            await failed.logged()
        response = await asked(gateway)
        assert response.status == 502
        html = await response.text()
        check_page(response, html)
        assert "refresh" not in html
        assert "<p>package.json is not JSON.</p><pre>Expecting value" in html
        assert '<a href="">Try again</a>' in html


async def test_what_a_start_failed_with_is_shown_as_text(
    gateway: Gateway, world: World, engine: MemoryEngine
) -> None:
    await awake_again(world, SITE)
    engine.problem = error_from_code("server_failed", "<b>It</b> failed:\n<script>1</script> & so")
    with log_line("actors.preview", "cannot be started") as failed:
        await waits(await asked(gateway))
        await failed.logged()
    engine.problem = None
    response = await asked(gateway)
    assert response.status == 502
    check_page(response, await response.text())
    shown = "<b>It</b> failed:<script>1</script> & soTry again"
    assert text_of(await response.text()) == shown


async def test_a_service_that_recovers_makes_who_opens_an_app_wait(
    gateway: Gateway, world: World, engine: MemoryEngine, actors: OneAgent
) -> None:
    await awake_again(world, SITE)
    actors.problem = ActorsUnavailable()
    assert (await waits(await asked(gateway))).startswith("The service is starting or recovering")
    actors.problem = None
    async with world.database_away():
        assert "PostgreSQL" in await waits(await asked(gateway))
    await waits(await asked(gateway))
    await world.sink.expect("server_started", 2)


@pytest.mark.parametrize("project_id", ["p1", "nobody"])
async def test_a_project_without_files_is_not_found_and_wakes_nobody(
    gateway: Gateway, actors: OneAgent, project_id: str
) -> None:
    await gateway.http.post("/api/projects", json={"id": "p1"})
    response = await gateway.http.get(f"/preview/{project_id}/")
    assert response.status == 404
    assert (await response.json())["error"] == {
        "code": "not_found",
        "message": f"Project {project_id} has no files to be shown yet.",
    }
    assert actors.asked == []


async def test_a_project_that_is_removed_meanwhile_is_not_found(
    gateway: Gateway, world: World, engine: MemoryEngine, actors: OneAgent
) -> None:
    await awake_again(world, SITE)
    actors.problem = error_from_code("not_found", "The project has no files yet.")
    response = await asked(gateway)
    assert (response.status, (await response.json())["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/preview/b@d/", "/preview/b@d"])
async def test_a_bad_id_is_refused_as_everywhere(gateway: Gateway, path: str) -> None:
    assert (await gateway.http.get(path, allow_redirects=False)).status == 400


async def test_the_address_without_its_slash_leads_to_the_one_with_it(gateway: Gateway) -> None:
    response = await gateway.http.get("/preview/p1", allow_redirects=False)
    assert (response.status, response.headers["Location"]) == (302, "/preview/p1/")
