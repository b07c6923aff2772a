"""The `codegen` command: serve, and a client of the running service's public protocol.

Exit status: 0 done, 1 failed (one sentence and its stable code on stderr), 2 wrong usage,
130 interrupted. CODEGEN_LOG_LEVEL=DEBUG shows the traceback of an internal error.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from typing import TypeAlias

from actors.errors import InternalError, ServiceError
from actors.settings import Settings
from gateway import frames
from gateway.client import commands
from gateway.client.flags import add_setting_flags, given_flags, secrets_text
from gateway.client.generate import INTERRUPTED, GenerateOptions, generate, new_project_id
from gateway.client.service import CommandFailed, ServiceClient, connected, service_url
from gateway.client.terminal import Painter, is_terminal, silence, style_of

Arguments = argparse.Namespace


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the process's exit status; nothing is raised."""
    given = build_parser().parse_args(arguments)
    try:
        status = given.run(given)
        sys.stdout.flush()
    except (ServiceError, CommandFailed) as error:
        _print_error(error.code, str(error), is_json=given.is_json)
        return getattr(error, "exit_status", 1)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        silence(sys.stdout)
        return 1
    except Exception as error:
        if os.environ.get("CODEGEN_LOG_LEVEL") == "DEBUG":
            traceback.print_exc()
        sentence = f"{type(error).__name__}: {error}; CODEGEN_LOG_LEVEL=DEBUG shows more"
        _print_error(InternalError.code, sentence, is_json=given.is_json)
        return 1
    assert isinstance(status, int)
    return status


def _print_error(code: str, message: str, *, is_json: bool) -> None:
    if is_json:
        print(json.dumps({"error": {"code": code, "message": message}}), file=sys.stderr)
    else:
        print(f"codegen: {message} ({code})", file=sys.stderr)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; each command's handler is its default for `run`."""
    parser = argparse.ArgumentParser(
        prog="codegen", description="Turn a description into a running web app."
    )
    parser.set_defaults(is_json=False)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_serve(subparsers)
    client = _client_flags()
    _add_generate(subparsers, client)

    listing = _add(subparsers, "projects", _projects, "list the projects, newest first", client)
    listing.add_argument(
        "--limit", type=int, default=100, metavar="N", help="at most so many [default 100]"
    )
    _add(subparsers, "status", _status, "show what the service is doing", client)
    files = _add(subparsers, "files", _files, "list a project's files, or print one", client)
    files.add_argument("project", metavar="PROJECT")
    files.add_argument("path", metavar="PATH", nargs="?")
    logs = _add(subparsers, "logs", _logs, "show what a project's sandbox has said", client)
    logs.add_argument("project", metavar="PROJECT")
    logs.add_argument(
        "--limit", type=int, default=100, metavar="N", help="the newest so many [default 100]"
    )
    logs.add_argument("--follow", action="store_true", help="go on with what it says, until Ctrl-C")
    cancel = _add(
        subparsers, "cancel", _cancel, "stop a project's run; finished files stay", client
    )
    cancel.add_argument("project", metavar="PROJECT")
    cancel.add_argument(
        "command_id",
        metavar="COMMAND",
        nargs="?",
        help="the id of one command, running or queued [default: what runs]",
    )
    remove = _add(subparsers, "remove", _remove, "delete a project, its files, its sandbox", client)
    remove.add_argument("project", metavar="PROJECT")
    remove.add_argument("--yes", action="store_true", help="do not ask")
    _add(subparsers, "shutdown", _shutdown, "save everything and stop the service", client)
    _add(subparsers, "version", _version, "print the version")
    return parser


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _add(
    subparsers: Commands,
    name: str,
    run: Callable[[Arguments], int],
    summary: str,
    *parents: argparse.ArgumentParser,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", parents=parents
    )
    parser.set_defaults(run=run)
    return parser


def _client_flags() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(add_help=False)
    flags.add_argument(
        "--url",
        metavar="URL",
        help="address of the service [CODEGEN_URL, default: that of the service that runs from "
        "the state directory, else http://127.0.0.1:8080]",
    )
    add_setting_flags(flags, ["state_dir"])
    flags.add_argument(
        "--json", dest="is_json", action="store_true", help="print JSON; errors too, on stderr"
    )
    return flags


def _add_serve(subparsers: Commands) -> None:
    parser = _add(subparsers, "serve", _serve, "start the service and stay in the foreground")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = secrets_text()
    add_setting_flags(parser)


def _add_generate(subparsers: Commands, client: argparse.ArgumentParser) -> None:
    parser = _add(subparsers, "generate", _generate, "make an app, or go on with one", client)
    parser.description = "Make an app, or go on with one; Ctrl-C cancels the run."
    parser.add_argument("description", metavar="DESCRIPTION", help="what to build; - reads stdin")
    parser.add_argument(
        "--project", metavar="ID", help="go on with this project [default: a new one]"
    )
    parser.add_argument(
        "--model", dest="run_model", metavar="MODEL", help="model id [default: the service's]"
    )
    parser.add_argument(
        "--max-phases", dest="run_phases", type=int, metavar="N", help="[default: the service's]"
    )
    parser.add_argument("--out", metavar="DIR", help="write the files below this directory")


def _serve(given: Arguments) -> int:
    from gateway.app import run_service  # noqa: PLC0415  # the whole service; clients start quicker

    status: int = run_service(_settings(given))
    return status


def _settings(given: Arguments) -> Settings:
    return Settings.read(os.environ, **given_flags(given))


def _generate(given: Arguments) -> int:
    description = sys.stdin.read() if given.description == "-" else given.description
    wish = frames.parse_generate(
        {"description": description, "model": given.run_model, "maxPhases": given.run_phases}
    )
    options = GenerateOptions(
        description=wish.description,
        project_id=frames.check_project_id(given.project or new_project_id(wish.description)),
        model=wish.model,
        max_phases=wish.max_phases,
        out=given.out,
        is_json=given.is_json,
    )
    is_live = is_terminal(sys.stdout, os.environ) and not given.is_json
    painter = Painter(sys.stdout, is_live=is_live)
    style = style_of(sys.stdout, os.environ)
    return asyncio.run(generate(_url(given), options, painter, style))


def _url(given: Arguments) -> str:
    return service_url(os.environ, given.url, _settings(given))


def _ask(given: Arguments, question: Callable[[ServiceClient], Awaitable[None]]) -> int:
    """Carry out one command of `gateway.client.commands` over a fresh connection."""

    async def ask() -> None:
        async with connected(_url(given)) as client:
            await question(client)

    asyncio.run(ask())
    return 0


def _projects(given: Arguments) -> int:
    return _ask(
        given,
        lambda client: commands.show_projects(client, limit=given.limit, is_json=given.is_json),
    )


def _status(given: Arguments) -> int:
    return _ask(given, lambda client: commands.show_status(client, is_json=given.is_json))


def _files(given: Arguments) -> int:
    project = frames.check_project_id(given.project)
    return _ask(
        given,
        lambda client: commands.show_files(client, project, given.path, is_json=given.is_json),
    )


def _logs(given: Arguments) -> int:
    project = frames.check_project_id(given.project)
    return _ask(
        given,
        lambda client: commands.show_logs(
            client, project, limit=given.limit, follow=given.follow, is_json=given.is_json
        ),
    )


def _cancel(given: Arguments) -> int:
    project = frames.check_project_id(given.project)
    return _ask(
        given,
        lambda client: commands.cancel_run(
            client, project, given.command_id, is_json=given.is_json
        ),
    )


def _remove(given: Arguments) -> int:
    project = frames.check_project_id(given.project)
    return _ask(
        given,
        lambda client: commands.remove_project(
            client, project, is_sure=given.yes, is_json=given.is_json
        ),
    )


def _shutdown(given: Arguments) -> int:
    commands.shut_down_service(_settings(given), is_json=given.is_json)
    return 0


def _version(given: Arguments) -> int:
    print(version("codegen-agents"))
    return 0
