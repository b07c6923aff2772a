"""The JSON endpoints and the page over real HTTP; no actor system runs."""

from __future__ import annotations

import gzip
import hashlib
import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, FormData, WSServerHandshakeError

from actors import events as ev
from actors.events import PhasePlan, PlannedFile, RunState
from actors.sandbox.choose import SandboxChoice
from gateway import page
from tests.support.gateway import Gateway, Owner

PROJECT = "p1"
HTML = "<!doctype html><p>é</p>"
LARGE = "x = 1;\n" * 20_000


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with Gateway(database_url, tmp_path) as gateway:
        yield gateway


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[Owner]:
    """A project with three files."""
    owner = await Owner(database_url, PROJECT).claim()
    files = {"index.html": HTML, "js/main app.js": LARGE, "docs/index.html": "docs"}
    plan = PhasePlan(
        name="One",
        description="All of it",
        files=tuple(PlannedFile(path=path, purpose="-") for path in files),
        is_last_phase=True,
    )
    await owner.write(
        ev.StateChange(state=RunState.IMPLEMENTING_PHASE),
        ev.PhaseDesigning(phase_number=1),
        ev.PhaseDesigned(phase=plan),
        *(ev.FileEnd(path=path, content=content) for path, content in files.items()),
    )
    yield owner
    await owner.store.close()


async def error_of(response: ClientResponse) -> tuple[int, str, str]:
    """Return status, code and sentence of a refusal, checking its shape."""
    assert response.content_type == "application/json"
    body = await response.json()
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"code", "message"}
    assert "Traceback" not in body["error"]["message"]
    return response.status, body["error"]["code"], body["error"]["message"]


# --- monitoring --------------------------------------------------------------------------------


async def test_a_service_without_actors_is_alive_but_not_ready(gateway: Gateway) -> None:
    alive = await gateway.http.get("/healthz")
    assert (alive.status, await alive.json()) == (200, {"ok": True})
    ready = await gateway.http.get("/readyz")
    assert (await error_of(ready))[:2] == (503, "actors_unavailable")


async def test_a_service_without_its_database_is_not_ready_and_says_so(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        gateway.reader, "_database_url", "postgresql://nobody@/nothing?host=/nonexistent"
    )
    ready = await gateway.http.get("/readyz")
    assert (await error_of(ready))[:2] == (503, "storage_unavailable")
    status = await (await gateway.http.get("/api/status")).json()
    assert status["database"] == {"kind": "external", "ok": False}
    assert status["projects"] is None


NO_USAGE = {
    "calls": 0,
    "promptTokens": 0,
    "completionTokens": 0,
    "costUsd": 0.0,
    "estimatedCalls": 0,
}


async def test_the_status_tells_what_serves(gateway: Gateway, owner: Owner) -> None:
    status = await (await gateway.http.get("/api/status")).json()
    assert status.pop("uptimeSeconds") >= 0
    assert status == {
        "version": "0.1.0",
        "model": {"name": "demo", "isDemo": True},
        "sandbox": {"kind": "static", "note": "No engine."},
        "database": {"kind": "external", "ok": True},
        "liveActors": None,
        "running": None,
        "queued": None,
        "viewers": 0,
        "projects": {"implementing_phase": 1},
        "usageToday": NO_USAGE,
        "maxCostUsd": None,
        "maxDailyCostUsd": None,
        "restarts": {"actors": None, "actorSystem": 0},
        "pids": None,
    }


async def test_the_status_of_sandboxes_that_run_commands_tells_their_image_and_limits(
    database_url: str, tmp_path: Path
) -> None:
    choice = SandboxChoice(kind="docker", note="No seccomp.")
    async with Gateway(database_url, tmp_path, sandbox=choice) as gateway:
        status = await (await gateway.http.get("/api/status")).json()
    assert status["sandbox"] == {
        "kind": "docker",
        "note": "No seccomp.",
        "image": "node:22-slim",
        "runtime": None,
        "limits": {
            "memoryMib": 1024,
            "cpus": 2.0,
            "pids": 512,
            "fileMib": 512,
            "diskMib": 4096,
        },
    }


# --- projects ----------------------------------------------------------------------------------


async def test_projects_are_created_once(gateway: Gateway) -> None:
    first = await gateway.http.post("/api/projects", json={"id": "mine"})
    assert (first.status, await first.json()) == (201, {"id": "mine"})
    assert first.headers["Location"] == "/api/projects/mine"
    again = await gateway.http.post("/api/projects", json={"id": "mine"})
    assert (again.status, await again.json()) == (200, {"id": "mine"})


@pytest.mark.parametrize("body", [{}, {"json": {}}, {"json": {"id": None}}])
async def test_a_project_without_an_id_is_given_one(gateway: Gateway, body: Any) -> None:
    response = await gateway.http.post("/api/projects", **body)
    project_id = (await response.json())["id"]
    assert response.status == 201
    assert (await gateway.http.get(f"/api/projects/{project_id}")).status == 200


async def test_projects_are_listed_in_pages(gateway: Gateway, owner: Owner) -> None:
    for number in range(4):
        await gateway.http.post("/api/projects", json={"id": f"n{number}"})
    seen: list[dict[str, Any]] = []
    query: dict[str, str] = {"limit": "2"}
    while True:
        listed = await (await gateway.http.get("/api/projects", params=query)).json()
        seen += listed["projects"]
        if listed["nextCursor"] is None:
            break
        query["cursor"] = listed["nextCursor"]
    assert [project["id"] for project in seen] == ["n3", "n2", "n1", "n0", PROJECT]
    assert seen[-1] | {"updatedAt": ""} == {
        "id": PROJECT,
        "description": "",
        "status": "idle",
        "state": "implementing_phase",
        "files": 3,
        "updatedAt": "",
    }
    assert seen[0]["updatedAt"].endswith("Z")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "invalid_input"),
        ("limit=201", "invalid_input"),
        ("limit=x", "invalid_input"),
        ("limit=", "invalid_input"),
        ("limit=99999999999999999999", "invalid_input"),
        ("cursor=nonsense", "invalid_input"),
        ("cursor=%00", "invalid_input"),
    ],
)
async def test_bad_queries_are_refused(gateway: Gateway, query: str, code: str) -> None:
    response = await gateway.http.get(f"/api/projects?{query}")
    assert (await error_of(response))[:2] == (400, code)


async def test_a_project_is_shown_as_its_snapshot(gateway: Gateway, owner: Owner) -> None:
    shown = await (await gateway.http.get(f"/api/projects/{PROJECT}")).json()
    assert (shown["id"], shown["state"], shown["lastSeq"]) == (PROJECT, "implementing_phase", 6)
    assert [file["path"] for file in shown["files"]] == [
        "docs/index.html",
        "index.html",
        "js/main app.js",
    ]


@pytest.mark.parametrize(
    "path", ["", "/files", "/files/a.js", "/archive", "/events", "/events?since=3"]
)
async def test_an_unknown_project_is_not_found(gateway: Gateway, path: str) -> None:
    response = await gateway.http.get(f"/api/projects/nobody{path}")
    assert (await error_of(response))[:2] == (404, "not_found")


@pytest.mark.parametrize("project_id", ["x" * 65, "a b", "a.b", "%C3%A9", "a%2Fb"])
@pytest.mark.parametrize("path", ["/api/projects/{}", "/api/projects/{}/files", "/preview/{}/"])
async def test_a_bad_project_id_is_refused(gateway: Gateway, project_id: str, path: str) -> None:
    response = await gateway.http.get(path.format(project_id))
    assert (await error_of(response))[:2] == (400, "invalid_project_id")


# --- files -------------------------------------------------------------------------------------


async def test_files_are_listed_and_fetched(gateway: Gateway, owner: Owner) -> None:
    listed = await (await gateway.http.get(f"/api/projects/{PROJECT}/files")).json()
    sha256 = hashlib.sha256(HTML.encode()).hexdigest()
    assert {
        "path": "index.html",
        "size": len(HTML.encode()),
        "sha256": sha256,
        "phaseNumber": 1,
    } in listed["files"]
    one = await gateway.http.get(f"/api/projects/{PROJECT}/files/index.html")
    assert await one.text() == HTML
    assert one.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert one.headers["ETag"] == f'"{sha256}"'
    assert one.headers["X-Content-Type-Options"] == "nosniff"
    other = await gateway.http.get(f"/api/projects/{PROJECT}/files/js/main%20app.js")
    assert await other.text() == LARGE
    known = await gateway.http.get(
        f"/api/projects/{PROJECT}/files/index.html", headers={"If-None-Match": f'"{sha256}"'}
    )
    assert (known.status, await known.read()) == (304, b"")


@pytest.mark.parametrize("path", ["nothing.js", "..%2Fsecret", "%2Fetc%2Fpasswd", "a%00b", "js"])
async def test_other_files_are_not_found(gateway: Gateway, owner: Owner, path: str) -> None:
    response = await gateway.http.get(f"/api/projects/{PROJECT}/files/{path}")
    assert (await error_of(response))[:2] == (404, "not_found")


async def test_the_archive_holds_every_file(gateway: Gateway, owner: Owner) -> None:
    response = await gateway.http.get(f"/api/projects/{PROJECT}/archive")
    assert response.headers["Content-Type"] == "application/zip"
    assert response.headers["Content-Disposition"] == 'attachment; filename="p1.zip"'
    with zipfile.ZipFile(io.BytesIO(await response.read())) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["docs/index.html", "index.html", "js/main app.js"]
        assert archive.read("index.html").decode() == HTML
        assert archive.read("js/main app.js").decode() == LARGE


async def test_the_archive_of_an_empty_project_is_empty(gateway: Gateway) -> None:
    await gateway.http.post("/api/projects", json={"id": "empty"})
    response = await gateway.http.get("/api/projects/empty/archive")
    with zipfile.ZipFile(io.BytesIO(await response.read())) as archive:
        assert archive.namelist() == []


async def test_events_are_the_frames_that_viewers_see(gateway: Gateway, owner: Owner) -> None:
    url = f"/api/projects/{PROJECT}/events"
    frames = await (await gateway.http.get(url)).json()
    assert [frame["seq"] for frame in frames] == [1, 2, 3, 4, 5, 6]
    assert frames[0] == {"type": "state_change", "data": {"state": "implementing_phase"}, "seq": 1}
    some = await (await gateway.http.get(url, params={"since": "2", "limit": "2"})).json()
    assert [frame["seq"] for frame in some] == [3, 4]
    bad = await gateway.http.get(url, params={"since": "x"})
    assert (await error_of(bad))[:2] == (400, "invalid_input")


async def test_events_that_are_not_kept_any_more_are_gone(
    gateway: Gateway, database_url: str
) -> None:
    owner = await Owner(database_url, PROJECT, kept_events=1).claim()
    await owner.write(ev.SandboxLog(stream="stdout", line="old"))
    await owner.write(ev.GenerationComplete(files=(), phases=1))
    gone = await gateway.http.get(f"/api/projects/{PROJECT}/events")
    assert (await error_of(gone))[:2] == (410, "cursor_too_old")
    await owner.store.close()


# --- commands ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"{", "invalid_frame"),
        (b"[]", "invalid_frame"),
        (b'{"description":"x","maxPhases":0}', "invalid_frame"),
        (b'{"description":"x","mode":"now"}', "invalid_frame"),
        (b"{}", "invalid_description"),
        (b"", "invalid_description"),
        (b'{"description":""}', "invalid_description"),
        (b'{"description":5}', "invalid_description"),
        (b'{"description":"%b"}' % (b"x" * 20_001), "invalid_description"),
    ],
)
async def test_bad_commands_are_refused(gateway: Gateway, data: bytes, code: str) -> None:
    response = await gateway.http.post(
        f"/api/projects/{PROJECT}/generate",
        data=data,
        headers={"Content-Type": "application/json"},
    )
    assert (await error_of(response))[:2] == (400, code)


async def test_commands_need_the_actor_system(
    gateway: Gateway, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.commands.COMMAND_SECONDS", 6.0)  # each is tried again, not long
    generate = await gateway.http.post(
        f"/api/projects/{PROJECT}/generate", json={"description": "x"}
    )
    assert (await error_of(generate))[:2] == (503, "actors_unavailable")
    cancel = await gateway.http.post(f"/api/projects/{PROJECT}/cancel")
    assert (await error_of(cancel))[:2] == (503, "actors_unavailable")
    delete = await gateway.http.delete(f"/api/projects/{PROJECT}")
    assert (await error_of(delete))[:2] == (503, "actors_unavailable")


async def test_unknown_projects_can_neither_be_cancelled_nor_deleted(gateway: Gateway) -> None:
    cancel = await gateway.http.post("/api/projects/nobody/cancel")
    assert (await error_of(cancel))[:2] == (404, "not_found")
    delete = await gateway.http.delete("/api/projects/nobody")
    assert (await error_of(delete))[:2] == (404, "not_found")


async def test_a_body_that_is_not_json_is_refused(gateway: Gateway) -> None:
    url = f"/api/projects/{PROJECT}/generate"
    form = await gateway.http.post(url, data=FormData({"description": "x"}))
    assert (await error_of(form))[:2] == (415, "unsupported_media_type")
    text = await gateway.http.post(
        url, data=b'{"description":"x"}', headers={"Content-Type": "text/plain"}
    )
    assert (await error_of(text))[:2] == (415, "unsupported_media_type")


async def test_a_body_that_is_too_large_is_refused(gateway: Gateway) -> None:
    response = await gateway.http.post(
        f"/api/projects/{PROJECT}/generate", json={"description": "x" * 300_000}
    )
    assert (await error_of(response))[:2] == (413, "body_too_large")


# --- addresses, methods, foreign pages ---------------------------------------------------------


@pytest.mark.parametrize("path", ["/nothing", "/api", "/api/projects/p1/nothing", "/static/no.js"])
async def test_unknown_addresses_are_not_found(gateway: Gateway, path: str) -> None:
    assert (await error_of(await gateway.http.get(path)))[:2] == (404, "not_found")


async def test_other_methods_are_refused_with_those_that_are_allowed(gateway: Gateway) -> None:
    response = await gateway.http.put("/api/projects/p1")
    assert (await error_of(response))[:2] == (405, "method_not_allowed")
    assert response.headers["Allow"] == "DELETE,GET,HEAD"


async def test_a_foreign_host_is_refused_everywhere(gateway: Gateway) -> None:
    for path in ("/", "/healthz", "/api/projects", "/preview/p1/", "/ws/p1"):
        response = await gateway.http.get(path, headers={"Host": "evil.example"})
        assert (await error_of(response))[:2] == (403, "forbidden")


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "http://p1.localhost:{port}"]
)
async def test_a_foreign_page_can_change_nothing(gateway: Gateway, origin: str) -> None:
    headers = {"Origin": origin.format(port=gateway.port)}
    post = await gateway.http.post("/api/projects", json={}, headers=headers)
    assert (await error_of(post))[:2] == (403, "forbidden")
    delete = await gateway.http.delete(f"/api/projects/{PROJECT}", headers=headers)
    assert (await error_of(delete))[:2] == (403, "forbidden")
    read = await gateway.http.get("/api/projects", headers=headers)
    assert "Access-Control-Allow-Origin" not in read.headers
    with pytest.raises(WSServerHandshakeError) as refusal:
        await gateway.http.ws_connect(f"/ws/{PROJECT}", headers=headers)
    assert refusal.value.status == 403


async def test_a_body_that_is_compressed_is_refused(gateway: Gateway) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    post = await gateway.http.post("/api/projects", data=gzip.compress(b"{}"), headers=headers)
    assert (await error_of(post))[:2] == (415, "unsupported_media_type")


async def test_our_own_page_may_change_things(gateway: Gateway) -> None:
    port = gateway.url.rpartition(":")[2]
    for origin in (gateway.url, f"http://localhost:{port}"):
        response = await gateway.http.post("/api/projects", json={}, headers={"Origin": origin})
        assert response.status == 201


async def test_an_unexpected_error_is_told_without_its_traceback(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gateway.reader, "_pool", "not a pool")
    response = await gateway.http.get("/api/projects")
    status, code, message = await error_of(response)
    monkeypatch.undo()
    assert (status, code) == (500, "internal_error")
    assert message == "Something went wrong inside the service; its log has the details."
    assert "Traceback" in caplog.text


# --- the page ----------------------------------------------------------------------------------


async def test_the_page_is_served_with_a_strict_policy(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "index.html").write_text("<p>page</p>")
    (tmp_path / "js").mkdir()
    (tmp_path / "js" / "main.js").write_text("1")
    monkeypatch.setattr(page, "STATIC_DIRECTORY", tmp_path)
    response = await gateway.http.get("/")
    assert await response.text() == "<p>page</p>"
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "script-src 'self';" in response.headers["Content-Security-Policy"]
    script = await gateway.http.get("/static/js/main.js")
    assert (script.status, script.content_type) == (200, "text/javascript")
    for path in ("..%2Findex.html", "js", "%2Fetc%2Fpasswd"):
        assert (await gateway.http.get(f"/static/{path}")).status == 404
