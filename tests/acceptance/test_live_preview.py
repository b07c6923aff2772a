"""What a real browser shows of an app that Vite serves in a container, through the gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from actors.addresses import slug_of
from tests.support.docker import DockerEngine
from tests.support.openrouter import ScriptedOpenRouter
from tests.support.service import WAIT_SECONDS, ServiceFactory, Viewer

pytestmark = pytest.mark.usefixtures("unmeasured")

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage"]
PAGE = """\
<!doctype html>
<title>Shop</title>
<link rel="icon" href="data:," />
<h1 id="greeting"></h1>
<script type="module" src="/main.js"></script>
"""
MAIN = """\
import { greeting } from './greeting.js';


const show = (text) => { document.querySelector('#greeting').textContent = text; };
show(greeting);
import.meta.hot.accept('./greeting.js', (changed) => show(changed.greeting));
"""


def app_of(vite: str) -> dict[str, str]:
    package = {
        "name": "shop",
        "private": True,
        "type": "module",
        "scripts": {"dev": "vite"},
        "devDependencies": {"vite": vite},
    }
    return {
        "package.json": json.dumps(package),
        "index.html": PAGE,
        "main.js": MAIN,
        "greeting.js": greeting("hello"),
    }


def greeting(text: str) -> str:
    return f"export const greeting = '{text}';\n"


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """The system's Chromium; to it, `*.localhost` is this machine."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


def problems_of(page: Page) -> list[str]:
    """Return what the page is going to complain of."""
    problems: list[str] = []

    def take(line: ConsoleMessage) -> None:
        if line.type == "error":
            problems.append(line.text)

    page.on("console", take)
    page.on("pageerror", lambda error: problems.append(str(error)))
    return problems


async def shows(page: Page, text: str) -> None:
    await expect(page.locator("#greeting")).to_have_text(text, timeout=WAIT_SECONDS * 1_000)


@pytest.mark.parametrize("vite", ["^5", "latest"])
async def test_a_change_appears_in_the_open_page_without_a_reload_or_behind_a_new_server(
    services: ServiceFactory,
    openrouter: ScriptedOpenRouter,
    docker_engine: DockerEngine,
    browser: Browser,
    vite: str,
) -> None:
    files = app_of(vite)
    changed = {
        "greeting.js": greeting("welcome"),
        "package.json": files["package.json"].replace('"private"', '"version": "2.0.0", "private"'),
    }
    openrouter.add_phase("Page", files, last=True)
    openrouter.add_phase("Text", {"greeting.js": greeting("goodbye")}, last=True)
    openrouter.add_phase("Manifest", changed, last=True)
    service = await services.start(**openrouter.environment, **docker_engine.environment)
    viewer = Viewer(service, "Shop_1")
    async with viewer.connected():
        await viewer.send({"type": "generate", "description": "a shop"})
        url = (await viewer.expect("server_started"))["data"]["url"]
        assert url == service.app_url(slug_of("Shop_1"))
        await viewer.expect("generation_complete")
        page = await browser.new_page()
        problems = problems_of(page)
        await page.goto(url)
        await shows(page, "hello")
        await page.evaluate("window.survivor = 42")
        await viewer.send({"type": "generate", "description": "say goodbye"})
        await shows(page, "goodbye")
        assert await page.evaluate("window.survivor") == 42
        assert problems == []
        await viewer.expect("generation_complete")
        await viewer.send({"type": "generate", "description": "say welcome"})
        await viewer.expect("state_change", state="starting_server")
        await viewer.expect("generation_complete")
        await shows(page, "welcome")
    assert await service.stop() == 0


#: How often Vite's client is to have looked for its server; the newest does so in a shared worker,
#: where nobody sees it.
@pytest.mark.parametrize(("vite", "attempts"), [("^5", 3), ("latest", 0)])
async def test_a_tab_that_is_left_open_lets_the_project_sleep_until_somebody_comes_back(
    services: ServiceFactory,
    openrouter: ScriptedOpenRouter,
    docker_engine: DockerEngine,
    browser: Browser,
    vite: str,
    attempts: int,
) -> None:
    openrouter.add_phase("Page", app_of(vite), last=True)
    environment = {**openrouter.environment, **docker_engine.environment}
    service = await services.start(**environment, CODEGEN_SANDBOX_IDLE_SECONDS="3")
    viewer = Viewer(service, "shop")
    async with viewer.connected():
        await viewer.send({"type": "generate", "description": "a shop"})
        url = (await viewer.expect("server_started"))["data"]["url"]
        await viewer.expect("generation_complete")
        page = await browser.new_page()
        await page.goto(url)
        await shows(page, "hello")
        await viewer.expect("hibernated")
        for _ in range(attempts):
            await request_that_fails(page)
        assert await page.evaluate("fetch('/greeting.js').then((r) => r.status)") == 503
        await shows(page, "hello")
        assert viewer.types()[-1] == "hibernated"
        waiting = await page.reload()
        assert waiting is not None
        assert waiting.status == 503
        assert "It appears here as soon as it answers." in await waiting.text()
        await shows(page, "hello")
        await viewer.expect("server_started")
    assert await service.stop() == 0


async def request_that_fails(page: Page) -> None:
    """Wait until the page's next request has failed."""
    failed = asyncio.Event()
    page.once("requestfailed", lambda _: failed.set())
    await asyncio.wait_for(failed.wait(), WAIT_SECONDS)


#: What a page at the app's address tries against the service that hosts it.
INTRUSION = """
async ([api, socket]) => {
    const outcomes = [];
    const attempt = (name, promise) => promise.then(
        (text) => outcomes.push(`${name}: ${text}`), () => outcomes.push(`${name}: refused`));
    await attempt('read', fetch(`${api}/api/projects`).then((r) => r.text()));
    await attempt('read by the app host', fetch('/api/projects').then((r) => r.status));
    await attempt('create', fetch(`${api}/api/projects`, {
        method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{"id":"stolen"}',
    }).then((r) => r.text()));
    await attempt('create unseen', fetch(`${api}/api/projects`, {
        method: 'POST', mode: 'no-cors', body: '{"id":"stolen"}',
    }).then((r) => r.type));
    await attempt('delete', fetch(`${api}/api/projects/Shop_1`, {method: 'DELETE'}));
    await attempt('listen', new Promise((resolve, reject) => {
        const ws = new WebSocket(`${socket}/ws/Shop_1`);
        ws.onopen = () => resolve('open');
        ws.onerror = reject;
    }));
    await attempt('frame', new Promise((resolve) => {
        const frame = document.createElement('iframe');
        frame.src = api;
        frame.onload = () => {
            try { resolve(frame.contentDocument.title); } catch { resolve('out of reach'); }
        };
        document.body.append(frame);
    }));
    return outcomes;
}
"""


async def test_an_app_s_page_cannot_reach_the_service_that_hosts_it(
    services: ServiceFactory, openrouter: ScriptedOpenRouter, browser: Browser
) -> None:
    openrouter.add_phase("Page", {"index.html": "<h1 id=greeting>hello</h1>"}, last=True)
    service = await services.start(**openrouter.environment)
    viewer = Viewer(service, "Shop_1")
    async with viewer.connected():
        await viewer.send({"type": "generate", "description": "a shop"})
        url = (await viewer.expect("server_started"))["data"]["url"]
        await viewer.expect("generation_complete")
    page = await browser.new_page()
    await page.goto(url)
    await shows(page, "hello")
    for host in ("127.0.0.1", "localhost"):
        api = service.url.replace("127.0.0.1", host)
        outcomes = await page.evaluate(INTRUSION, [api, api.replace("http", "ws")])
        assert outcomes == [
            "read: refused",
            "read by the app host: 404",
            "create: refused",
            "create unseen: refused",
            "delete: refused",
            "listen: refused",
            "frame: out of reach",
        ]
    address = f"{service.url}/api/projects"
    async with aiohttp.ClientSession() as session, session.get(address) as response:
        projects = (await response.json())["projects"]
    assert [project["id"] for project in projects] == ["Shop_1"]
    assert await service.stop() == 0


async def test_the_service_s_own_page_shows_the_app_in_a_frame_that_may_keep_data(
    services: ServiceFactory, openrouter: ScriptedOpenRouter, tmp_path: Path
) -> None:
    """As far as the browser lets frames of other sites: Debian's Chromium must be told to."""
    script = "<h1 id=greeting></h1><script>localStorage.text = 'kept'; "
    script += "document.querySelector('h1').textContent = localStorage.text</script>"
    openrouter.add_phase("Page", {"index.html": script}, last=True)
    service = await services.start(**openrouter.environment)
    viewer = Viewer(service, "shop")
    async with viewer.connected():
        await viewer.send({"type": "generate", "description": "a shop"})
        await viewer.expect("generation_complete")
    preferences = tmp_path / "profile" / "Default" / "Preferences"
    preferences.parent.mkdir(parents=True)
    preferences.write_text('{"profile": {"cookie_controls_mode": 0}}')
    async with async_playwright() as playwright:
        profile = await playwright.chromium.launch_persistent_context(
            tmp_path / "profile", executable_path=CHROMIUM, args=FLAGS
        )
        page = await profile.new_page()
        problems = problems_of(page)
        await page.goto(f"{service.url}/#/p/shop")
        frame = page.frame_locator("iframe")
        await expect(frame.locator("#greeting")).to_have_text("kept", timeout=WAIT_SECONDS * 1_000)
        assert problems == []
        await profile.close()
    assert await service.stop() == 0
