"""Every address of the service."""

from __future__ import annotations

from aiohttp import web

from gateway import api, page
from gateway.context import CONTEXT, Context
from gateway.errors_http import errors_as_json
from gateway.frames import MAX_FRAME_BYTES
from gateway.guard import add_default_headers, refuse_foreign_pages
from gateway.logs import show_logs
from gateway.preview import end_exchanges, lead_to_app, provide_proxy, route_by_host
from gateway.proxy import drop_automatic_headers
from gateway.websocket import serve_socket

# The pattern is loose on purpose: a bad id is told so (400), not that the address is unknown.
PROJECT = "/api/projects/{project_id}"
MAX_HEADER_BYTES = 32 * 1024  # apps may set cookies as large as Node takes


def make_runner(context: Context, shutdown_seconds: float) -> web.AppRunner:
    """Return what serves the application: bodies are taken as they come, also those with gzip."""
    return web.AppRunner(
        make_application(context),
        access_log=None,
        auto_decompress=False,
        max_field_size=MAX_HEADER_BYTES,
        shutdown_timeout=shutdown_seconds,
    )


def make_application(context: Context) -> web.Application:
    """Return the web application over the running service's parts."""
    application = web.Application(
        middlewares=[errors_as_json, route_by_host, refuse_foreign_pages],
        client_max_size=MAX_FRAME_BYTES,
    )
    application[CONTEXT] = context
    application.cleanup_ctx.append(provide_proxy)
    application.on_shutdown.append(end_exchanges)
    application.on_response_prepare.append(add_default_headers)
    application.on_response_prepare.append(drop_automatic_headers)
    application.add_routes(
        [
            web.get("/", page.serve_page),
            web.get("/static/{path:.+}", page.serve_static),
            web.get("/healthz", api.healthz),
            web.get("/readyz", api.readyz),
            web.get("/ws/{project_id}", serve_socket),
            web.get("/api/status", api.status),
            web.get("/api/usage", api.usage),
            web.get("/api/projects", api.list_projects),
            web.post("/api/projects", api.create_project),
            web.get(PROJECT, api.show_project),
            web.delete(PROJECT, api.delete_project),
            web.get(PROJECT + "/files", api.list_files),
            web.get(PROJECT + "/files/{path:.+}", api.show_file),
            web.get(PROJECT + "/archive", api.download_archive),
            web.get(PROJECT + "/events", api.list_events),
            web.get(PROJECT + "/logs", show_logs),
            web.post(PROJECT + "/generate", api.generate),
            web.post(PROJECT + "/cancel", api.cancel),
            web.post(PROJECT + "/problems", api.report_problem),
            web.get("/preview/{project_id}", lead_to_app),
            web.get("/preview/{project_id}/{path:.*}", lead_to_app),
        ]
    )
    return application
