"""The apps of the projects, each under a host name of its own: `http://{slug}.localhost:8080/`.

So each is an origin of its own: it runs its scripts and keeps its data, and to the service's API
and its page it is a foreign page. With the static sandbox the gateway is the app's web server; with
any other it is the proxy before the project's dev server, and a small page stands where the app is
still being started.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from actors.addresses import preview_url, slug_of
from actors.errors import (
    ActorsUnavailable,
    NotFound,
    ProjectBusy,
    ServiceError,
    StorageUnavailable,
)
from actors.sandbox.base import runs_commands
from actors.settings import Settings
from gateway.apps import Apps, Whereabouts
from gateway.banner import BEHIND
from gateway.context import CONTEXT
from gateway.doors import Doors
from gateway.frames import check_project_id
from gateway.guard import IS_PREVIEW, is_same_origin
from gateway.preview_pages import (
    broken_page,
    failed_page,
    missing_page,
    not_yet,
    waiting_page,
)
from gateway.proxy import AppUnreachable, BadAnswer, Proxy, cut, is_socket
from gateway.stored_app import serve_stored

PROXY = web.AppKey("proxy", Proxy)
APPS = web.AppKey("apps", Apps)
#: Up to version 5 Vite's client takes any answer to this for a sign that it should load its page
#: anew, which would wake the project.
_VITE_PING = "text/x-vite-ping"


async def provide_proxy(application: web.Application) -> AsyncIterator[None]:
    """Have the connections to apps for as long as the application runs."""
    context = application[CONTEXT]
    application[PROXY] = Proxy(Doors(context.settings))
    application[APPS] = Apps(context.actors, context.reader)
    yield
    await application[APPS].close()
    await application[PROXY].close()


async def end_exchanges(application: web.Application) -> None:
    """End what goes on with apps, which could go on for ever: the service stops."""
    await application[PROXY].end_exchanges()


@web.middleware
async def route_by_host(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Serve an app where the Host header names one; anything else is for the service itself."""
    slug = slug_in(request.headers.get(hdrs.HOST, ""), request.app[CONTEXT].settings)
    if slug is None:
        return await handler(request)
    request[IS_PREVIEW] = True
    try:
        return await _serve_app(request, slug)
    except (ActorsUnavailable, ProjectBusy, StorageUnavailable) as error:
        return _wait(request, str(error))  # as a rule all is well a moment later
    except NotFound as error:
        return missing_page(str(error))
    except ServiceError as error:
        return failed_page(str(error))


def slug_in(host: str, settings: Settings) -> str | None:
    """Return what stands before the previews' domain in a Host header; None for other hosts."""
    name = host.lower()
    name = name if name.endswith("]") else name.partition(":")[0].removesuffix(".")
    for domain in ("localhost", settings.preview_base.partition("://")[2].partition(":")[0]):
        if name.endswith(f".{domain}"):
            return name.removesuffix(f".{domain}")
    return None


async def _serve_app(request: web.Request, slug: str) -> web.StreamResponse:
    context = request.app[CONTEXT]
    project_id = await request.app[APPS].project_at(slug)
    if not runs_commands(context.sandbox.kind):
        return await serve_stored(request, context.reader, project_id)
    origin, host = request.headers.get(hdrs.ORIGIN), request.headers[hdrs.HOST]
    if is_socket(request) and origin is not None and not is_same_origin(origin, host):
        raise web.HTTPForbidden  # browsers let any page open a socket to any app
    return await _serve_from_sandbox(request, project_id)


async def _serve_from_sandbox(request: web.Request, project_id: str) -> web.StreamResponse:
    """Hand the request on; an address that has just become wrong is asked for once more."""
    apps, proxy = request.app[APPS], request.app[PROXY]
    host = _own_name(request, project_id)
    for _ in range(2):
        app = await _whereabouts(request, project_id)
        if app.url is None:
            return _wait(request, app.sentence)
        try:
            footer = BEHIND if app.is_behind and _wants_page(request) else b""
            return await proxy.forward(request, app.url, host, lambda: apps.use(project_id), footer)
        except AppUnreachable as error:
            apps.lose(project_id)
            if not error.may_repeat:
                return broken_page("The app ended the connection without an answer.")
        except BadAnswer:
            return broken_page("What the app answered is not HTTP.")
    return _wait(request)


def _own_name(request: web.Request, project_id: str) -> str:
    """Return the host that the app is told; dev servers refuse names that do not end in localhost.

    Where the browser used another, that one is in `X-Forwarded-Host`.
    """
    host = request.headers[hdrs.HOST]
    name = host.lower().partition(":")[0]
    if name.endswith(".localhost"):
        return host
    return f"{slug_of(project_id)}.localhost:{request.app[CONTEXT].settings.port}"


async def _whereabouts(request: web.Request, project_id: str) -> Whereabouts:
    """A tab that was left open wakes nobody: only somebody who goes to the address does."""
    apps = request.app[APPS]
    return await (apps.visit(project_id) if _is_visit(request) else apps.find(project_id))


def _is_visit(request: web.Request) -> bool:
    """Say whether somebody goes to the address, as far as is known: older clients do not tell."""
    mode = request.headers.get("Sec-Fetch-Mode", "navigate")
    return mode == "navigate" and not is_socket(request)


def _wants_page(request: web.Request) -> bool:
    """Say whether the answer is to be looked at: scripts ask for `*/*` if nothing else."""
    return _is_visit(request) and "text/html" in request.headers.get(hdrs.ACCEPT, "")


def _wait(request: web.Request, sentence: str = "") -> web.Response:
    if _is_visit(request):
        return waiting_page(sentence)
    if request.headers.get(hdrs.ACCEPT) == _VITE_PING:
        cut(request)
    return not_yet()


async def lead_to_app(request: web.Request) -> web.StreamResponse:
    """Lead `/preview/{projectId}/...` to the app's own address."""
    project_id = check_project_id(request.match_info["project_id"])
    base = preview_url(request.app[CONTEXT].settings.preview_base, project_id)
    asked = request.rel_url
    below = "/".join(asked.raw_path.split("/")[3:])
    query = f"?{asked.raw_query_string}" if asked.raw_query_string else ""
    raise web.HTTPFound(f"{base}{below}{query}")
