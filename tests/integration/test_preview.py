"""From an app's address to the app in its sandbox: the gateway over a real project agent."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path

import pytest
from aiohttp import ClientConnectionError, ClientResponse, WSServerHandshakeError, web

from actors import messages as m
from actors.errors import ActorsUnavailable, error_from_code
from actors.sandbox.choose import SandboxChoice
from tests.support.agent import SITE, WAIT_SECONDS, World
from tests.support.browsing import FETCH, VISIT
from tests.support.gateway import Gateway
from tests.support.log import log_line
from tests.support.proxied import app
from tests.support.sandbox import MemoryEngine

BROKEN = {**SITE, "package.json": '{"<script>alert(1)</script>": '}


class OneAgent:
    """An actor system that is the agent of one project; `problem` is what it answers meanwhile.

    As the supervisor does, it answers itself who only looks for the app of a project that sleeps.
    """

    is_up = True
    restarts = 0

    def __init__(self, world: World) -> None:
        self._world = world
        self.problem: Exception | None = None
        self.asked: list[m.Request] = []
        self.sleeps = False

    async def ask(self, request: m.Request, timeout_seconds: float) -> m.Answer:
        self.asked.append(request)
        if self.problem is not None:
            raise self.problem
        if self.sleeps and isinstance(request, m.FindPreview):
            return m.PreviewOpened(request_id=request.request_id, url=None)
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


async def asked(
    gateway: Gateway, path: str = "/", host: str = "p1.localhost", **headers: str
) -> ClientResponse:
    headers = {"Host": f"{host}:{gateway.port}", **headers}
    return await gateway.http.get(path, headers=headers, allow_redirects=False)


async def hello(request: web.BaseRequest) -> web.Response:
    return web.Response(text=f"hello {request.path}")


async def built(world: World, files: dict[str, str] = SITE) -> None:
    world.model.add_phase("Base", files, last=True)
    await world.live()
    await world.generate()
    await world.sink.until(lambda f: f["data"].get("state") in ("complete", "error"))


async def asleep(world: World) -> None:
    world.desk.post(m.PassivateProject(request_id="p", project_id="p1"))
    await world.has_left()


async def awake_again(world: World, files: dict[str, str]) -> None:
    """Have the files written by a run, let the project sleep, and begin another life."""
    await built(world, files)
    await asleep(world)
    await world.live()


async def waits(response: ClientResponse) -> str:
    """Check that this is the page that asks again, and return its sentence."""
    assert (response.status, response.headers["Retry-After"]) == (503, "1")
    html = await response.text()
    assert '<meta http-equiv="refresh" content="1">' in html
    check_page(response, html)
    sentence, _, rest = text_of(html).partition("It appears here")
    assert rest == " as soon as it answers."
    return sentence


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
    await awake_again(world, {**SITE, "package.json": "{}"})
    assert engine.container is not None
    engine.container.note = ""  # so that each step is needed
    steps = {
        "start": "Starting the sandbox …",
        "write_files": "Writing the files …",
        "install_dependencies": "Installing dependencies …",
        "start_dev_server": "Starting the dev server …",
    }
    holds = {step: engine.hold(step) for step in steps}
    async with app(engine, hello):
        await waits(await asked(gateway))
        for step, sentence in steps.items():
            await asyncio.wait_for(holds[step].reached.wait(), WAIT_SECONDS)
            assert await waits(await asked(gateway, "/deep/page")) == sentence
            holds[step].release()
        await world.sink.expect("server_started", 2)
        await world.request(m.ReviveProject)
        response = await asked(gateway, "/x")
        assert (response.status, await response.text()) == (200, "hello /x")


async def test_while_a_run_builds_the_app_the_page_says_so(
    gateway: Gateway, world: World, engine: MemoryEngine
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    server = engine.hold("start_dev_server")
    await world.live()
    await world.generate()
    await asyncio.wait_for(server.reached.wait(), WAIT_SECONDS)
    assert await waits(await asked(gateway)) == "Building the app …"
    server.release()
    await world.sink.expect("generation_complete")


async def test_a_tab_that_was_left_open_wakes_nobody(
    gateway: Gateway, world: World, engine: MemoryEngine, actors: OneAgent
) -> None:
    async with app(engine, hello):
        await built(world)
        assert (await asked(gateway)).status == 200
        assert (await asked(gateway, **FETCH)).status == 200
    await asleep(world)
    actors.asked.clear()
    actors.sleeps = True
    for mode in ("cors", "no-cors", "same-origin", "websocket"):
        response = await asked(gateway, **{"Sec-Fetch-Mode": mode})
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        assert await response.text() == ""
    with pytest.raises(WSServerHandshakeError) as refusal:
        await gateway.http.ws_connect("/", headers={"Host": f"p1.localhost:{gateway.port}"})
    assert refusal.value.status == 503
    with pytest.raises(ClientConnectionError):  # or old Vite would load the page anew
        await asked(gateway, Accept="text/x-vite-ping", **FETCH)
    assert {type(request) for request in actors.asked} == {m.FindPreview}
    await world.live()
    await waits(await asked(gateway, **VISIT))
    assert isinstance(actors.asked[-1], m.OpenPreview)
    await world.sink.expect("server_started", 2)


async def test_an_app_goes_on_while_its_actors_are_away(
    gateway: Gateway, world: World, engine: MemoryEngine, actors: OneAgent
) -> None:
    async with app(engine, hello):
        await built(world)
        assert (await asked(gateway)).status == 200
        actors.problem = ActorsUnavailable()
        assert (await asked(gateway)).status == 200


async def test_an_app_that_has_ended_is_started_again(
    gateway: Gateway, world: World, engine: MemoryEngine
) -> None:
    async with app(engine, hello):
        await built(world)
        assert (await asked(gateway)).status == 200
    assert engine.container is not None
    engine.container.is_serving = False
    async with app(engine, hello):
        await waits(await asked(gateway))
        await world.sink.expect("server_started", 2)
        await world.request(m.ReviveProject)
        assert (await asked(gateway)).status == 200


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


@pytest.mark.parametrize("host", ["p1.localhost", "nobody.localhost"])
async def test_a_project_without_files_is_not_found_and_wakes_nobody(
    gateway: Gateway, actors: OneAgent, host: str
) -> None:
    await gateway.http.post("/api/projects", json={"id": "p1"})
    response = await asked(gateway, host=host)
    assert response.status == 404
    check_page(response, await response.text())
    assert actors.asked == []


async def test_a_project_that_is_removed_meanwhile_is_not_found(
    gateway: Gateway, world: World, engine: MemoryEngine, actors: OneAgent
) -> None:
    await awake_again(world, SITE)
    actors.problem = error_from_code("not_found", "The project has no files yet.")
    response = await asked(gateway)
    assert (response.status, response.content_type) == (404, "text/html")
