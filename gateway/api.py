"""The JSON endpoints below `/api`, and the two that monitoring asks.

Reading goes to PostgreSQL and wakes nobody; commands go to the actor system.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator
from importlib.metadata import version
from typing import Any, cast
from uuid import uuid4

from aiohttp import hdrs, web

from actors.codec import frame
from actors.errors import ActorsUnavailable, InvalidInput, NotFound, StorageUnavailable
from actors.messages import Accepted, GetStatus, Status
from actors.paths import is_safe_path
from actors.reader import ProjectSummary
from actors.records import totals_record
from actors.snapshot import snapshot_data
from actors.state import FileInfo, Totals
from gateway.archive import write_archive
from gateway.commands import carry_out, remove
from gateway.context import CONTEXT, Context
from gateway.frames import check_project_id, parse_cancel, parse_generate, parse_problem
from gateway.http_json import json_body, json_response, known_project, number_in
from gateway.viewer import parse_since

MAX_PAGE_PROJECTS = 200
DEFAULT_PAGE_PROJECTS = 50
MAX_PAGE_EVENTS = 500
DEFAULT_USAGE_DAYS = 30
MAX_USAGE_DAYS = 3_660
STATUS_SECONDS = 2.0
_ADJECTIVES = "amber bold brave calm clever cosy eager fair fresh gentle keen lucid merry quick"
_NOUNS = "badger comet falcon harbor heron island lantern maple meadow otter pebble river willow"


# --- monitoring --------------------------------------------------------------------------------


async def healthz(request: web.Request) -> web.Response:
    """Say that the process is alive."""
    return json_response({"ok": True})


async def readyz(request: web.Request) -> web.Response:
    """Say whether commands would be carried out now: 200, or 503 with what is missing."""
    context = request.app[CONTEXT]
    await context.reader.ping()
    if not context.actors.is_up:
        raise ActorsUnavailable
    return json_response({"ok": True})


async def status(request: web.Request) -> web.Response:
    """Tell everything that an operator asks first; a part that does not answer is null."""
    context = request.app[CONTEXT]
    settings = context.settings
    database, actors = await asyncio.gather(_stored(context), _actors_status(context))
    projects, usage = database or (None, None)
    return json_response(
        {
            "version": version("codegen-agents"),
            "uptimeSeconds": round(time.monotonic() - context.started_at, 1),
            "model": {"name": settings.model_label, "isDemo": settings.is_demo},
            "sandbox": _sandbox(context),
            "database": {
                "kind": "embedded" if context.is_database_embedded else "external",
                "ok": database is not None,
            },
            "liveActors": actors and actors.live,
            "running": actors and actors.running,
            "queued": actors and actors.waiting_runs,
            "viewers": context.hub.viewers,
            "projects": projects,
            "usageToday": usage,
            "maxCostUsd": settings.max_cost_usd or None,
            "maxDailyCostUsd": settings.max_daily_cost_usd or None,
            "restarts": {
                "actors": actors and actors.restarts,
                "actorSystem": context.actors.restarts,
            },
            "pids": actors and dict(actors.pids),
        }
    )


async def _stored(context: Context) -> tuple[dict[str, int], dict[str, Any]] | None:
    """Return how many projects there are by state, and what they consumed today."""
    try:
        counts, usage = await asyncio.gather(context.reader.counts(), context.reader.usage(1))
    except StorageUnavailable:
        return None
    today = next(iter(usage.values()), Totals())
    return counts, totals_record(today)


async def usage(request: web.Request) -> web.Response:
    """List what model calls consumed on each of the last `?days=` (UTC), the newest first."""
    days = number_in(request, "days", DEFAULT_USAGE_DAYS, low=1, high=MAX_USAGE_DAYS)
    found = await request.app[CONTEXT].reader.usage(days)
    return json_response({"days": [{"day": day, **totals_record(t)} for day, t in found.items()]})


def _sandbox(context: Context) -> dict[str, Any]:
    """Tell which sandboxes there are, of what, and what a user should know of them."""
    settings = context.settings
    chosen: dict[str, Any] = {"kind": context.sandbox.kind, "note": context.sandbox.note}
    if context.sandbox.kind == "static":
        return chosen
    in_containers = context.sandbox.kind == "docker"
    return {
        **chosen,
        "image": settings.sandbox_image if in_containers else None,
        "runtime": settings.sandbox_runtime or None if in_containers else None,
        "limits": {
            "memoryMib": settings.sandbox_memory_mib,
            "cpus": settings.sandbox_cpus if in_containers else None,
            "pids": settings.sandbox_pids,
            "fileMib": settings.sandbox_file_mib,
            "diskMib": settings.sandbox_disk_mib or None,
        },
    }


async def _actors_status(context: Context) -> Status | None:
    try:
        answer = await context.actors.ask(GetStatus(request_id=uuid4().hex), STATUS_SECONDS)
    except ActorsUnavailable:
        return None
    assert isinstance(answer, Status)
    return answer


# --- projects ----------------------------------------------------------------------------------


async def list_projects(request: web.Request) -> web.Response:
    """List projects, newest change first; `?cursor=` is the `nextCursor` of the page before."""
    limit = number_in(request, "limit", DEFAULT_PAGE_PROJECTS, low=1, high=MAX_PAGE_PROJECTS)
    page = await request.app[CONTEXT].reader.list_projects(request.query.get("cursor"), limit)
    projects = [_summary(project) for project in page.projects]
    return json_response({"projects": projects, "nextCursor": page.cursor})


def _summary(project: ProjectSummary) -> dict[str, Any]:
    return {
        "id": project.id,
        "description": project.title,
        "status": project.status,
        "state": project.state,
        "files": project.files,
        "updatedAt": project.updated_at,
    }


async def create_project(request: web.Request) -> web.Response:
    """Create an empty project, `id` optional: 201, or 200 where it exists already."""
    members = await json_body(request)
    given = members.get("id")
    if given is not None and not isinstance(given, str):
        raise InvalidInput("id must be text.")
    project_id = check_project_id(_new_project_id() if given is None else given)
    is_new = await request.app[CONTEXT].reader.create_project(project_id)
    response = json_response({"id": project_id}, status=201 if is_new else 200)
    response.headers[hdrs.LOCATION] = f"/api/projects/{project_id}"
    return response


def _new_project_id() -> str:
    words = [secrets.choice(_ADJECTIVES.split()), secrets.choice(_NOUNS.split())]
    return "-".join([*words, secrets.token_hex(4)])


async def show_project(request: web.Request) -> web.Response:
    """Tell what a viewer's snapshot tells."""
    settings = request.app[CONTEXT].settings
    state = await known_project(request)
    data = snapshot_data(
        state,
        model=settings.model_label,
        is_demo=settings.is_demo,
        preview_base=settings.preview_base,
    )
    return json_response({"id": state.project_id, **data})


async def delete_project(request: web.Request) -> web.Response:
    """Stop the project's run, remove its sandbox and drop its data."""
    context = request.app[CONTEXT]
    project_id = (await known_project(request)).project_id
    await remove(context.actors, project_id)
    context.hub.forget(project_id)
    return web.Response(status=204)


async def list_files(request: web.Request) -> web.Response:
    """List the finished files, by path."""
    state = await known_project(request)
    return json_response(
        {"files": [_file(path, info) for path, info in sorted(state.files.items())]}
    )


def _file(path: str, info: FileInfo) -> dict[str, Any]:
    return {
        "path": path,
        "size": info.size,
        "sha256": info.sha256,
        "phaseNumber": info.phase_number,
    }


async def show_file(request: web.Request) -> web.Response:
    """Return one file's text; its ETag is its SHA-256."""
    project_id = check_project_id(request.match_info["project_id"])
    path = request.match_info["path"]
    found = await request.app[CONTEXT].reader.file(project_id, path) if is_safe_path(path) else None
    if found is None:
        raise NotFound(f"Project {project_id} has no file of this name.")
    text, sha256 = found
    return text_response(request, text, sha256, "text/plain")


def text_response(request: web.Request, text: str, sha256: str, content_type: str) -> web.Response:
    """Return a stored text, or 304 where the client has it already."""
    headers = {hdrs.ETAG: f'"{sha256}"', hdrs.CACHE_CONTROL: "no-cache"}
    if any(etag.value in (sha256, "*") for etag in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    return web.Response(text=text, content_type=content_type, charset="utf-8", headers=headers)


async def download_archive(request: web.Request) -> web.StreamResponse:
    """Stream all files as a zip."""
    project_id = (await known_project(request)).project_id
    response = web.StreamResponse(
        headers={
            hdrs.CONTENT_TYPE: "application/zip",
            hdrs.CONTENT_DISPOSITION: f'attachment; filename="{project_id}.zip"',
        }
    )
    await response.prepare(request)
    context = request.app[CONTEXT]
    async with context.archives:
        # annotated as an iterator, but an async generator: it must be closed where the client left
        files = cast(AsyncGenerator[tuple[str, str], None], context.reader.all_contents(project_id))
        await write_archive(files, response.write)
    await response.write_eof()
    return response


async def list_events(request: web.Request) -> web.Response:
    """Return the frames after `?since=` (default 0), at most `?limit=` of them, as an array."""
    since = parse_since(request.query.get("since")) or 0
    if since < 0:
        raise InvalidInput("since must be the seq of a frame, a whole number from 0.")
    limit = number_in(request, "limit", MAX_PAGE_EVENTS, low=1, high=MAX_PAGE_EVENTS)
    project_id = (await known_project(request)).project_id
    rows = await request.app[CONTEXT].reader.events_since(project_id, since, limit)
    frames = b",".join(frame(type_, data, seq) for seq, type_, data in rows)
    return web.Response(body=b"[%b]" % frames, content_type="application/json")


# --- commands ----------------------------------------------------------------------------------


async def generate(request: web.Request) -> web.Response:
    """Queue a generate command; 202 once it is durable."""
    project_id = check_project_id(request.match_info["project_id"])
    command = parse_generate(await json_body(request))
    answer = await carry_out(request.app[CONTEXT].actors, project_id, command)
    assert isinstance(answer, Accepted)
    accepted = {"id": answer.command_id, "place": answer.place, "seq": answer.seq}
    return json_response(accepted, status=202)


async def cancel(request: web.Request) -> web.Response:
    """Stop the run; 200 once nothing runs any more, 409 where nothing did."""
    project_id = (await known_project(request)).project_id
    command = parse_cancel(await json_body(request))
    await carry_out(request.app[CONTEXT].actors, project_id, command)
    return json_response({} if command.id is None else {"id": command.id})


async def report_problem(request: web.Request) -> web.Response:
    """Keep an error of the running app for the next plan; 202 once it is durable."""
    project_id = (await known_project(request)).project_id
    command = parse_problem(await json_body(request))
    await carry_out(request.app[CONTEXT].actors, project_id, command)
    return json_response({}, status=202)
