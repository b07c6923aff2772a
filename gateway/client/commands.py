"""The commands of `codegen` that ask the running service once and print its answer."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from actors.settings import Settings
from gateway.client.service import CommandFailed, ServiceClient, project_path
from gateway.client.tables import files_table, projects_table, status_lines

PAGE_PROJECTS = 100


def print_lines(lines: Sequence[str]) -> None:
    for line in lines:
        print(line)


def print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))


async def show_projects(client: ServiceClient, *, limit: int, is_json: bool) -> None:
    """Print the newest projects, at most `limit` of them, from as many pages as it takes."""
    projects: list[Any] = []
    query = {"limit": str(min(limit, PAGE_PROJECTS))}
    while len(projects) < limit:
        page = await client.get("/api/projects", **query)
        projects += page["projects"]
        if not page["nextCursor"]:
            break
        query["cursor"] = page["nextCursor"]
    projects = projects[:limit]
    if is_json:
        print_json(projects)
    elif projects:
        print_lines(projects_table(projects))
    else:
        print('No projects yet; make one with: codegen generate "a pomodoro timer"')


async def show_status(client: ServiceClient, *, is_json: bool) -> None:
    """Print what the service says of itself."""
    status = await client.get("/api/status")
    if is_json:
        print_json(status)
    else:
        print_lines(status_lines(status))


async def cancel_run(
    client: ServiceClient, project_id: str, command_id: str | None, *, is_json: bool
) -> None:
    """Stop a project's run, or one command that runs or waits; `nothing_running` without one."""
    target = {} if command_id is None else {"commandId": command_id}
    await client.post(f"{project_path(project_id)}/cancel", target)
    if is_json:
        print_json({"cancelled": project_id, **target})
    elif command_id is None:
        print(f"Cancelled the run of {project_id}; its finished files are kept.")
    else:
        print(f"Cancelled {command_id} of {project_id}.")


async def remove_project(
    client: ServiceClient, project_id: str, *, is_sure: bool, is_json: bool
) -> None:
    """Delete a project with its files and its sandbox; ask first on a terminal."""
    if not is_sure and sys.stdin.isatty():
        await client.get(project_path(project_id))
        question = f"Delete project {project_id} with all its files? [y/N] "
        answer = await asyncio.to_thread(input, question)
        if answer.strip().lower() not in ("y", "yes"):
            raise CommandFailed("not_confirmed", "Nothing was deleted.")
    await client.delete(project_path(project_id))
    if is_json:
        print_json({"removed": project_id})
    else:
        print(f"Deleted {project_id}.")


async def show_files(
    client: ServiceClient, project_id: str, path: str | None, *, is_json: bool
) -> None:
    """Print a project's list of files, or the text of one, byte for byte."""
    if path is not None:
        sys.stdout.write(await client.file_text(project_id, path))
        return
    files = (await client.get(f"{project_path(project_id)}/files"))["files"]
    if is_json:
        print_json(files)
    elif files:
        print_lines(files_table(files))
    else:
        print(f"Project {project_id} has no files yet.")


async def show_logs(
    client: ServiceClient, project_id: str, *, limit: int, follow: bool, is_json: bool
) -> None:
    """Print the sandbox's newest lines, one each; with `follow` those to come as well."""
    path = f"{project_path(project_id)}/logs"
    if follow:
        async for line in client.lines(path, limit=str(limit), follow="1"):
            _print_log(line, is_json=is_json)
        return
    lines = (await client.get(path, limit=str(limit)))["lines"]
    if not lines and not is_json:
        print(f"The sandbox of {project_id} has said nothing yet.")
    for line in lines:
        _print_log(line, is_json=is_json)


def _print_log(line: Mapping[str, Any], *, is_json: bool) -> None:
    if is_json:
        print(json.dumps(line, ensure_ascii=False), flush=True)
    else:
        print(line["line"], flush=True)


def shut_down_service(settings: Settings, *, is_json: bool) -> None:
    """Send the admin message that ends the service and wait until everything is saved."""
    from gateway.mailbox import shut_down  # noqa: PLC0415  # imports thespian, which others need not

    complete = shut_down(settings)
    if is_json:
        print_json({"saved": complete.saved, "abandoned": complete.abandoned})
    else:
        print(f"The service has stopped; live projects saved: {complete.saved}")
        if complete.abandoned:
            print(f"Projects that go on from their last event: {complete.abandoned}")
