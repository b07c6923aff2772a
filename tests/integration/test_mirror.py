"""The registry of ours for installs: what it answers, what it keeps, and what it never does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from actors.registries import read_registries
from actors.sandbox import cache as cache_module
from actors.sandbox import mirror as mirror_module
from actors.sandbox.cache import Cache
from actors.sandbox.doors import PACKAGES_DOOR
from actors.sandbox.mirror import FRESH_SECONDS, MAX_CONNECTIONS, Upstream, mirror
from actors.sandbox.package_store import HEAD_BYTES, PackageStore
from actors.sandbox.packages import ABBREVIATED
from tests.integration.test_relay import Relay, relay
from tests.support.npm_registry import CANONICAL, NpmRegistry, tarball_path

__all__ = ["relay"]

BOUND_SECONDS = 30.0
TARBALL = tarball_path("left", "1.0.0")


class House:
    """A cache, the door directory of one project, and what its log was told."""

    def __init__(self, path: Path, registry: NpmRegistry) -> None:
        self.registry = registry
        self.doors = path / "doors"
        self.doors.mkdir()
        self.cache = Cache(path / "cache", 64 * 1024 * 1024)
        self.cache.prepare()
        self.told: list[str] = []
        self.registries = registry.place

    @contextlib.asynccontextmanager
    async def mirror(self, doors: Path | None = None) -> AsyncIterator[None]:
        url = self.registry.url
        upstream = Upstream(url=url, registries=read_registries(self.registries))
        store = PackageStore(self.cache, url)
        async with mirror(doors or self.doors, upstream, store, self.told.append):
            yield

    def kept(self) -> list[Path]:
        return sorted(self.cache.packages.iterdir())

    def drafts(self) -> list[Path]:
        return list((self.cache.packages.parent / "drafts").iterdir())

    def age(self, seconds: float) -> None:
        """Make all that is kept so much older."""
        for path in self.kept():
            then = time.time() - seconds
            os.utime(path, (then, then))


class Answer:
    def __init__(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.status = status
        self.body = body
        self.headers = headers


async def ask(doors: Path, path: str, method: str = "GET", **headers: str) -> Answer:
    """Send one request as raw as it is, and read the answer whole."""
    async with asyncio.timeout(BOUND_SECONDS):
        reader, writer = await asyncio.open_unix_connection(doors / PACKAGES_DOOR)
        try:
            lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
            head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *lines]
            writer.write("\r\n".join([*head, "", ""]).encode())
            status, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            pairs = (line.split(": ", 1) for line in rest if line)
            fields = {name.lower(): value for name, value in pairs}
            body = await reader.read()
        finally:
            writer.close()
    if int(fields.get("content-length", len(body))) != len(body):
        raise EOFError
    return Answer(int(status.split()[1]), body, fields)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    registry = NpmRegistry()
    registry.add("left", "1.0.0", "module.exports = 'left'")
    registry.add("@scope/right", "2.0.0", "module.exports = 'right'")
    async with registry.running():
        yield House(tmp_path, registry)


async def test_a_tarball_is_fetched_once_and_kept_for_good(house: House) -> None:
    tarball = house.registry.tarball("left", "1.0.0")
    for _ in range(2):
        async with house.mirror():
            assert (await ask(house.doors, TARBALL)).body == tarball
        house.age(10 * FRESH_SECONDS)
    assert house.registry.asked == [TARBALL]
    assert not (house.doors / PACKAGES_DOOR).exists()
    assert house.told == []
    assert house.drafts() == []


async def test_what_is_known_of_a_package_is_asked_for_again_after_a_while(house: House) -> None:
    async with house.mirror():
        for _ in range(2):
            answer = await ask(house.doors, "/@scope%2fright")
            assert answer.body == house.registry.packument("@scope/right")
        assert house.registry.asked == ["/@scope%2fright"]
        house.age(FRESH_SECONDS + 1)
        assert (await ask(house.doors, "/@scope/right")).body == answer.body
        assert len(house.registry.asked) == 2
        assert house.registry.headers[1]["if-none-match"] == answer.headers["etag"]
        assert (await ask(house.doors, "/@scope/right")).body == answer.body
        assert len(house.registry.asked) == 2  # 304 made it fresh again
        house.registry.add("@scope/right", "3.0.0")
        house.age(FRESH_SECONDS + 1)
        assert b"3.0.0" in (await ask(house.doors, "/@scope/right")).body


async def test_the_whole_and_the_short_form_are_kept_apart(house: House) -> None:
    async with house.mirror():
        await ask(house.doors, "/left", Accept=f"{ABBREVIATED}; q=1.0, application/json; q=0.8")
        await ask(house.doors, "/left", Accept="application/json")
    assert [h["accept"] for h in house.registry.headers] == [ABBREVIATED, "application/json"]
    assert len(house.kept()) == 2


async def test_who_has_the_same_answer_already_gets_none(house: House) -> None:
    async with house.mirror():
        etag = (await ask(house.doors, "/left")).headers["etag"]
        again = await ask(house.doors, "/left", If_None_Match=etag)
    assert (again.status, again.body) == (304, b"")


async def test_what_was_known_is_used_where_the_registry_fails(house: House) -> None:
    async with house.mirror():
        known = (await ask(house.doors, "/left")).body
        house.age(FRESH_SECONDS + 1)
        house.registry.status = 503
        assert (await ask(house.doors, "/left")).body == known
        assert (await ask(house.doors, "/left")).body == known
        assert (await ask(house.doors, "/@scope%2fright")).status == 503
    [line] = house.told
    assert "answers 503" in line
    assert "from earlier installs" in line


async def test_what_was_known_is_used_where_the_registry_is_away(tmp_path: Path) -> None:
    registry = NpmRegistry()
    registry.add("left", "1.0.0")
    house = House(tmp_path, registry)
    async with registry.running():
        house.registries = registry.place
        async with house.mirror():
            known = (await ask(house.doors, "/left")).body
    house.age(FRESH_SECONDS + 1)
    async with house.mirror():
        assert (await ask(house.doors, "/left")).body == known
        assert (await ask(house.doors, TARBALL)).status == 502
    assert "from earlier installs" in house.told[0]


@pytest.mark.parametrize("status", [404, 410, 429, 500])
async def test_a_refusal_is_handed_on_and_not_kept(house: House, status: int) -> None:
    house.registry.status = status
    async with house.mirror():
        answer = await ask(house.doors, "/left")
    assert (answer.status, answer.body) == (status, b"as the test wants it")
    assert house.kept() == []


async def test_a_redirect_is_handed_on_and_not_followed(house: House) -> None:
    house.registry.redirect = "/elsewhere.tgz"
    async with house.mirror():
        answer = await ask(house.doors, TARBALL)
    assert answer.status == 302
    assert answer.headers["location"] == f"{house.registry.url}/elsewhere.tgz"
    assert house.registry.asked == [TARBALL]
    assert house.kept() == []


async def test_an_answer_that_breaks_off_breaks_off_and_is_not_kept(house: House) -> None:
    house.registry.cut = 100
    async with house.mirror():
        with pytest.raises((EOFError, ConnectionResetError)):
            await ask(house.doors, TARBALL)
        assert (house.kept(), house.drafts()) == ([], [])
        house.registry.cut = 0
        assert (await ask(house.doors, TARBALL)).body == house.registry.tarball("left", "1.0.0")
    assert "broke off" in house.told[0]


async def test_a_huge_answer_is_cut_off(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_module, "MAX_ANSWER_BYTES", 1_000_000)
    house.registry.body = bytes(1_000_001)
    async with house.mirror():
        with pytest.raises((EOFError, ConnectionResetError)):
            await ask(house.doors, TARBALL)
    assert (house.kept(), house.drafts()) == ([], [])


async def test_what_is_large_for_the_cache_passes_through(house: House) -> None:
    house.cache = Cache(house.cache.packages.parent, 400_000)
    house.registry.body = bytes(100_001)
    async with house.mirror():
        assert (await ask(house.doors, TARBALL)).body == house.registry.body
    assert (house.kept(), house.drafts()) == ([], [])


async def test_a_cache_that_cannot_be_written_steps_aside_and_says_so_once(house: House) -> None:
    (house.cache.packages.parent / "drafts").rmdir()
    async with house.mirror():
        for path in (TARBALL, "/left", TARBALL):
            assert (await ask(house.doors, path)).status == 200
    assert house.told == ["The package cache cannot be used (No such file or directory)."]
    assert house.registry.asked == [TARBALL, "/left", TARBALL]


@pytest.mark.parametrize("padding", [0, 1_000_000])
async def test_where_the_disk_is_full_answers_pass_through(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, padding: int
) -> None:
    def full(**_: object) -> tuple[int, str]:
        return os.open("/dev/full", os.O_RDWR), str(tmp_path / "draft")

    house.registry.add("big", "1.0.0", padding=padding)
    monkeypatch.setattr(tempfile, "mkstemp", full)
    async with house.mirror():
        for _ in range(2):
            answer = await ask(house.doors, tarball_path("big", "1.0.0"))
            assert answer.body == house.registry.tarball("big", "1.0.0")
    assert house.told == ["The package cache cannot be used (No space left on device)."]
    assert house.kept() == []


async def test_a_file_that_is_not_whole_is_fetched_anew(house: House) -> None:
    async with house.mirror():
        tarball = (await ask(house.doors, TARBALL)).body
        for content in (house.kept()[0].read_bytes()[:-1], b"", b"[" * HEAD_BYTES):
            house.kept()[0].write_bytes(content)
            assert (await ask(house.doors, TARBALL)).body == tarball
    assert len(house.registry.asked) == 4


async def test_two_projects_fetch_the_same_at_once_and_both_get_it(
    house: House, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    house.registry.is_open.clear()
    async with house.mirror(), house.mirror(other):
        both = asyncio.gather(ask(house.doors, TARBALL), ask(other, TARBALL))
        async with asyncio.timeout(BOUND_SECONDS):
            await house.registry.wait_asked(2)
        house.registry.is_open.set()
        answers = await both
    assert {answer.body for answer in answers} == {house.registry.tarball("left", "1.0.0")}
    assert len(house.kept()) == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "CONNECT"])
async def test_nothing_but_a_question_is_taken(house: House, method: str) -> None:
    async with house.mirror():
        assert (await ask(house.doors, "/left", method)).status == 405
    assert (house.registry.asked, house.kept()) == ([], [])


async def test_what_is_for_one_user_alone_is_neither_asked_for_nor_kept(house: House) -> None:
    async with house.mirror():
        await ask(house.doors, "/left")
        answer = await ask(house.doors, TARBALL, Authorization="Bearer secret")
        assert answer.status == 403
        await ask(house.doors, "/@scope%2fright", Cookie="a=b", X_Secret="secret")
    assert house.registry.asked == ["/left", "/@scope%2fright"]
    assert not {"cookie", "x-secret"} & house.registry.headers[1].keys()


@pytest.mark.parametrize(
    "path",
    [
        *("/../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/left/../../x", "/.left", "/", "//left"),
        *("/-/all", "/left/latest", "/left?write=true", "/left/-/..%2fx.tgz", "/left/-/x.zip"),
        *("/@scope", "/@scope%2f..", "/@scope%2fa%2fb", "/@scope%252fright", "/a%00b"),
        *("http://127.0.0.1:1/left", "/" + "a" * 215, "/left/-/" + "a" * 300 + ".tgz"),
    ],
)
async def test_a_path_that_is_no_package_is_not_asked_for(house: House, path: str) -> None:
    async with house.mirror():
        assert (await ask(house.doors, path)).status == 404
    assert (house.registry.asked, house.kept()) == ([], [])


async def test_a_registry_at_an_address_that_is_not_allowed_is_not_asked(house: House) -> None:
    port = house.registry.port
    house.registries = f"localhost:{port}"
    url = f"http://localhost:{port}"
    upstream = Upstream(url=url, registries=read_registries(house.registries))
    store = PackageStore(house.cache, url)
    async with mirror(house.doors, upstream, store, house.told.append):
        answer = await ask(house.doors, "/left")
    assert answer.status == 502
    assert b"no registry may be at" in answer.body
    assert house.registry.asked == []


async def test_the_operators_proxy_is_gone_through(house: House) -> None:
    registries = read_registries("registry.invalid")
    place = next(iter(read_registries(house.registry.place).places))
    url = "http://registry.invalid"
    upstream = Upstream(url=url, registries=registries, proxy=place)
    store = PackageStore(house.cache, url)
    async with mirror(house.doors, upstream, store, house.told.append):
        assert (await ask(house.doors, "/left")).status == 200
    assert house.registry.headers[0]["host"] == "registry.invalid"


async def test_connections_are_bounded_and_all_end_with_the_install(house: House) -> None:
    house.registry.is_open.clear()
    async with house.mirror():
        streams = [
            await asyncio.open_unix_connection(house.doors / PACKAGES_DOOR)
            for _ in range(MAX_CONNECTIONS)
        ]
        streams[0][1].write(f"GET {TARBALL} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        async with asyncio.timeout(BOUND_SECONDS):
            await house.registry.wait_asked(1)
            one_more = await asyncio.open_unix_connection(house.doors / PACKAGES_DOOR)
            assert await one_more[0].read() == b""
            one_more[1].close()
    house.registry.is_open.set()
    async with asyncio.timeout(BOUND_SECONDS):
        for reader, writer in streams:
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()
    assert (house.kept(), house.drafts()) == ([], [])


async def test_npm_installs_through_the_relay_and_its_lock_file_names_the_registry(
    house: House, relay: Relay, tmp_path: Path
) -> None:
    app = tmp_path / "app"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "NO_PROXY": "127.0.0.1",
        "NPM_CONFIG_REGISTRY": f"http://127.0.0.1:{relay.packages_port}/",
        "NPM_CONFIG_AUDIT": "false",
        "NPM_CONFIG_UPDATE_NOTIFIER": "false",
    }
    dependencies = {"left": "^1.0.0", "@scope/right": "latest"}
    for number in range(2):
        app.mkdir()
        (app / "package.json").write_text(json.dumps({"dependencies": dependencies}))
        environment["NPM_CONFIG_CACHE"] = str(tmp_path / f"npm-{number}")  # its own
        async with house.mirror(relay.directory), asyncio.timeout(60):
            npm = await asyncio.create_subprocess_exec("npm", "install", cwd=app, env=environment)
            assert await npm.wait() == 0
        assert (app / "node_modules/left/index.js").read_text() == "module.exports = 'left'"
        lock = json.loads((app / "package-lock.json").read_text())["packages"]
        resolved = lock["node_modules/@scope/right"]["resolved"]
        assert resolved == f"{CANONICAL}{tarball_path('@scope/right', '2.0.0')}"
        app.rename(tmp_path / f"app-{number}")
    assert len(house.registry.asked) == 4  # two packuments and two tarballs, once
    assert len(house.kept()) == 4


# --- the cache's size ----------------------------------------------------------------------------


async def test_what_was_used_the_longest_ago_goes_first(house: House) -> None:
    house.cache = Cache(house.cache.packages.parent, 10_000)
    for name in "abcdef":
        house.registry.add(name, "1.0.0", padding=1_500)
    async with house.mirror():
        for name in "abcdef":
            await ask(house.doors, tarball_path(name, "1.0.0"))
        house.age(100.0)
        await ask(house.doors, tarball_path("b", "1.0.0"))  # it is used
        (house.cache.templates / "old.tar").write_bytes(bytes(2_000))
        os.utime(house.cache.templates / "old.tar", (1, time.time()))
        await ask(house.doors, "/a")  # something is written
    assert not (house.cache.templates / "old.tar").exists()
    assert sum(path.stat().st_size for path in house.kept()) <= 10_000
    house.registry.asked.clear()
    async with house.mirror():
        await ask(house.doors, tarball_path("b", "1.0.0"))
    assert house.registry.asked == []


def test_drafts_of_processes_that_are_no_more_are_removed(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 1_000)
    cache.prepare()
    with cache.draft() as young, cache.draft() as old:
        paths = list((tmp_path / "cache" / "drafts").iterdir())
        assert len(paths) == 2
        then = time.time() - cache_module.DRAFT_SECONDS - 1
        os.utime(old.file.fileno(), (then, then))
        cache.prune()
        assert len(list((tmp_path / "cache" / "drafts").iterdir())) == 1
        young.keep(cache.packages / "kept")
    assert (cache.packages / "kept").exists()


def test_the_cache_is_ours_alone(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "state" / "cache", 1_000)
    cache.prepare()
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "state").rglob("*")}
    assert modes == {0o700}
    with cache.draft() as draft:
        draft.keep(cache.packages / "kept")
    assert (cache.packages / "kept").stat().st_mode & 0o777 == 0o600


async def test_a_session_of_requests_over_one_connection_is_answered(house: House) -> None:
    connector = aiohttp.UnixConnector(str(house.doors / PACKAGES_DOOR))
    async with house.mirror(), aiohttp.ClientSession(connector=connector) as session:
        for _ in range(3):
            async with session.get("http://127.0.0.1/left") as answer:
                assert await answer.read() == house.registry.packument("left")
