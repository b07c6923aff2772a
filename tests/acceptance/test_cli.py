"""The `codegen` command as a user runs it: its own process, a real service, a scripted model."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.openrouter import Answer, ScriptedOpenRouter
from tests.support.service import WAIT_SECONDS, Service, ServiceFactory

PAGE = {"index.html": "<!doctype html><h1>Hello</h1>\n", "src/app.js": "console.log(1);\n"}


class Command:
    """One `codegen` process against a service."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, service: Service, *arguments: str, stdout: int = -1) -> Command:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CODEGEN_")}
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "gateway",
                *arguments,
                env={
                    **environment,
                    "CODEGEN_STATE_DIR": str(service.state_dir),
                    "TERM": "xterm",
                    "NO_COLOR": "1",
                    "COLUMNS": "80",
                },
                stdin=asyncio.subprocess.DEVNULL,
                stdout=stdout,
                stderr=asyncio.subprocess.PIPE,
            )
        )

    async def until(self, text: str) -> None:
        """Read lines of its output up to one that contains `text`."""
        assert self._process.stdout is not None
        async with asyncio.timeout(WAIT_SECONDS):
            while text not in (line := (await self._process.stdout.readline()).decode()):
                assert line, f"ended without {text!r}"

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def end(self) -> tuple[int, str, str]:
        """Return its exit status and what it wrote (since `until`) to stdout and stderr."""
        async with asyncio.timeout(WAIT_SECONDS):
            output, errors = await self._process.communicate()
        assert self._process.returncode is not None
        return self._process.returncode, (output or b"").decode(), errors.decode()


async def run(service: Service, *arguments: str) -> tuple[int, str, str]:
    return await (await Command.start(service, *arguments)).end()


async def test_generate_streams_progress_and_ends_with_the_preview_url(
    services: ServiceFactory, openrouter: ScriptedOpenRouter, tmp_path: Path
) -> None:
    openrouter.add_phase("Base", PAGE)
    openrouter.add_phase("Style", {"style.css": "h1 {}\n"}, last=True)
    service = await services.start(None, **openrouter.environment)
    out = tmp_path / "out"
    status, output, errors = await run(
        service, "generate", "a shop", "--project", "shop", "--out", str(out)
    )
    assert (status, errors) == (0, "")
    lines = output.splitlines()
    assert "Phase 1  Base" in lines
    assert "Phase 2  Style" in lines
    assert any("index.html" in line and "30 B" in line for line in lines)
    assert lines[-1] == service.app_url("shop")
    written = {str(p.relative_to(out)): p.read_text() for p in out.rglob("*") if p.is_file()}
    assert written == {**PAGE, "style.css": "h1 {}\n"}


async def test_what_a_phase_deletes_goes_from_the_directory_too(
    services: ServiceFactory, openrouter: ScriptedOpenRouter, tmp_path: Path
) -> None:
    openrouter.add_phase("Base", PAGE)
    openrouter.add_phase("Style", {"style.css": "h1 {}\n"}, last=True, delete=("src/app.js",))
    service = await services.start(None, **openrouter.environment)
    out = tmp_path / "out"
    status, output, errors = await run(
        service, "generate", "a shop", "--project", "shop", "--out", str(out)
    )
    assert (status, errors) == (0, "")
    assert any("src/app.js is deleted" in line for line in output.splitlines())
    assert {str(p.relative_to(out)) for p in out.rglob("*")} == {"index.html", "style.css"}
    status, listed, errors = await run(service, "files", "shop")
    assert (status, errors) == (0, "")
    assert "src/app.js" not in listed
    assert "style.css" in listed


async def test_a_follow_up_writes_the_files_of_earlier_runs_too(
    services: ServiceFactory, openrouter: ScriptedOpenRouter, tmp_path: Path
) -> None:
    openrouter.add_phase("Base", PAGE, last=True)
    openrouter.add_phase("More", {"about.html": "<h1>About</h1>\n"}, last=True)
    service = await services.start(None, **openrouter.environment)
    await run(service, "generate", "a shop", "--project", "shop")
    out = tmp_path / "out"
    status, _, errors = await run(
        service, "generate", "an about page", "--project", "shop", "--out", str(out)
    )
    assert (status, errors) == (0, "")
    assert {p.name for p in out.rglob("*") if p.is_file()} == {
        "index.html",
        "app.js",
        "about.html",
    }


async def test_json_prints_the_frames_and_nothing_else(
    services: ServiceFactory, openrouter: ScriptedOpenRouter
) -> None:
    openrouter.add_phase("Base", PAGE, last=True)
    service = await services.start(None, **openrouter.environment)
    status, output, errors = await run(service, "generate", "a shop", "--json")
    assert (status, errors) == (0, "")
    types = [json.loads(line)["type"] for line in output.splitlines()]
    assert types[:2] == ["state_change", "snapshot"]
    assert types[-1] == "generation_complete"


async def test_a_failed_run_is_exit_status_1_with_code_and_sentence(
    services: ServiceFactory, openrouter: ScriptedOpenRouter
) -> None:
    openrouter.answer_next(Answer(status=402, message="No credit."), always=True)
    service = await services.start(None, **openrouter.environment)
    status, output, errors = await run(service, "generate", "a shop")
    assert status == 1
    assert "(model_payment_required)" in errors
    assert "Traceback" not in output + errors


async def test_ctrl_c_cancels_the_run_and_keeps_the_finished_files(
    services: ServiceFactory, openrouter: ScriptedOpenRouter
) -> None:
    openrouter.add_phase("Base", PAGE, last=True)
    gate = openrouter.hold("console")
    service = await services.start(None, **openrouter.environment)
    command = await Command.start(service, "generate", "a shop", "--project", "shop")
    await command.until("index.html")
    await gate.reached.happened()
    command.signal(signal.SIGINT)
    status, output, errors = await command.end()
    assert (status, errors) == (130, "")
    assert "Cancelled; the finished files are kept" in output
    _, listing, _ = await run(service, "files", "shop", "--json")
    assert [file["path"] for file in json.loads(listing)] == ["index.html"]


async def test_a_second_ctrl_c_leaves_at_once(
    services: ServiceFactory, openrouter: ScriptedOpenRouter
) -> None:
    openrouter.add_phase("Base", PAGE, last=True)
    openrouter.hold("console")
    service = await services.start(None, **openrouter.environment)
    command = await Command.start(service, "generate", "a shop")
    await command.until("index.html")
    os.kill(service.pid, signal.SIGSTOP)  # so that nothing confirms the cancel
    try:
        command.signal(signal.SIGINT)
        await command.until("Cancelling")
        command.signal(signal.SIGINT)
        status, _, errors = await command.end()
    finally:
        os.kill(service.pid, signal.SIGCONT)
    assert (status, errors) == (130, "")


async def test_ctrl_c_takes_a_queued_command_back_and_leaves_the_run_before_it_alone(
    services: ServiceFactory, openrouter: ScriptedOpenRouter
) -> None:
    openrouter.add_phase("Base", PAGE, last=True)
    openrouter.add_phase("More", {"about.html": "<h1>About</h1>\n"}, last=True)
    gate = openrouter.hold("console")
    service = await services.start(None, **openrouter.environment)
    first = await Command.start(service, "generate", "a shop", "--project", "shop")
    await gate.reached.happened()
    second = await Command.start(service, "generate", "an about page", "--project", "shop")
    await second.until("Queued: one run of this project first")
    await second.until("Project shop")
    second.signal(signal.SIGINT)
    status, _, _ = await second.end()
    assert status == 130
    gate.release()
    assert (await first.end())[0] == 0
    assert len(openrouter.received("plan")) == 1


async def test_a_run_that_somebody_else_cancels_is_an_error(
    services: ServiceFactory, openrouter: ScriptedOpenRouter
) -> None:
    openrouter.add_phase("Base", PAGE, last=True)
    gate = openrouter.hold("console")
    service = await services.start(None, **openrouter.environment)
    command = await Command.start(service, "generate", "a shop", "--project", "shop")
    await gate.reached.happened()
    status, output, _ = await run(service, "cancel", "shop")
    assert (status, output) == (0, "Cancelled the run of shop; its finished files are kept.\n")
    status, _, errors = await command.end()
    assert status == 1
    assert "(cancelled)" in errors


class Relay:
    """A TCP relay in front of a service whose connections can be cut."""

    def __init__(self, url: str) -> None:
        self._port = urlsplit(url).port
        self._writers: list[asyncio.StreamWriter] = []
        self.connections = 0

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            self.cut()

    def cut(self) -> None:
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, to_writer]
        await asyncio.gather(self._pump(reader, to_writer), self._pump(to_reader, writer))

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()


async def test_a_lost_connection_is_opened_again_and_nothing_is_missed(
    services: ServiceFactory, openrouter: ScriptedOpenRouter, tmp_path: Path
) -> None:
    openrouter.add_phase("Base", PAGE, last=True)
    gate = openrouter.hold("console")
    service = await services.start(None, **openrouter.environment)
    relay = Relay(service.url)
    async with relay.opened() as url:
        command = await Command.start(
            service, "generate", "a shop", "--url", url, "--out", str(tmp_path / "out")
        )
        await command.until("index.html")
        relay.cut()
        await command.until("The connection was lost; connecting again ...")
        await command.until("Connected again; nothing was missed")
        gate.release()
        status, output, errors = await command.end()
    assert (status, errors) == (0, "")
    assert output.count("index.html") == 0  # shown once, before the cut
    assert (tmp_path / "out/src/app.js").read_text() == PAGE["src/app.js"]
    assert relay.connections == 2


async def test_a_terminal_gets_a_live_display(
    services: ServiceFactory, openrouter: ScriptedOpenRouter
) -> None:
    openrouter.add_phase("Base", PAGE, last=True)
    service = await services.start(None, **openrouter.environment)
    terminal, command_end = pty.openpty()
    command = await Command.start(
        service, "generate", "a shop", "--project", "shop", stdout=command_end
    )
    os.close(command_end)
    screen = asyncio.create_task(asyncio.to_thread(_read_terminal, terminal))
    status, _, errors = await command.end()
    text = (await screen).decode()
    assert (status, errors) == (0, "")
    assert "\x1b[1A\x1b[2K" in text
    assert text.rstrip().endswith(service.app_url("shop"))


def _read_terminal(descriptor: int) -> bytes:
    data = b""
    with contextlib.suppress(OSError):  # EIO is the end of a terminal on Linux
        while piece := os.read(descriptor, 65536):
            data += piece
    os.close(descriptor)
    return data


async def test_logs_are_shown_and_followed_until_ctrl_c(
    services: ServiceFactory, openrouter: ScriptedOpenRouter
) -> None:
    openrouter.add_phase("Base", PAGE, last=True)
    openrouter.add_phase("More", {"package.json": "{}\n"}, last=True)
    service = await services.start(None, **openrouter.environment)
    await run(service, "generate", "a shop", "--project", "shop")
    said_nothing = "The sandbox of shop has said nothing yet.\n"
    assert await run(service, "logs", "shop") == (0, said_nothing, "")
    following = await Command.start(service, "logs", "shop", "--follow")
    await run(service, "generate", "more", "--project", "shop")
    await following.until("The dependencies in package.json are not installed.")
    following.signal(signal.SIGINT)
    assert (await following.end())[0] == 130
    _, output, _ = await run(service, "logs", "shop", "--json", "--limit", "1")
    assert json.loads(output)["stream"] == "stderr"


async def test_projects_files_status_remove_and_shutdown_answer_in_words_and_in_json(
    services: ServiceFactory, openrouter: ScriptedOpenRouter
) -> None:
    openrouter.add_phase("Base", PAGE, last=True)
    service = await services.start(None, **openrouter.environment)
    assert (await run(service, "projects"))[1].startswith("No projects yet")
    await run(service, "generate", "a shop", "--project", "shop")

    _, output, _ = await run(service, "projects")
    assert output.splitlines()[1].startswith("shop     complete  ")
    _, output, _ = await run(service, "projects", "--json", "--limit", "1")
    assert [project["id"] for project in json.loads(output)] == ["shop"]
    _, output, _ = await run(service, "files", "shop")
    assert output.splitlines()[1].split() == ["index.html", "30", "B", "1"]
    _, output, _ = await run(service, "files", "shop", "src/app.js")
    assert output == PAGE["src/app.js"]
    _, output, _ = await run(service, "status")
    assert ["model:", "is", "demo", "no"] in [line.split() for line in output.splitlines()]
    _, output, _ = await run(service, "status", "--json")
    assert json.loads(output)["model"]["isDemo"] is False

    status, _, errors = await run(service, "cancel", "shop", "--json")
    assert (status, json.loads(errors)["error"]["code"]) == (1, "nothing_running")
    assert await run(service, "remove", "shop") == (0, "Deleted shop.\n", "")
    status, _, errors = await run(service, "remove", "shop", "--json")
    assert (status, json.loads(errors)["error"]["code"]) == (1, "not_found")

    status, output, errors = await run(service, "shutdown", "--json")
    assert (status, errors) == (0, "")
    assert set(json.loads(output)) == {"saved", "abandoned"}
    await service.wait_until_gone()


@pytest.mark.parametrize(("answer", "is_removed"), [("n", False), ("yes", True)])
async def test_remove_asks_on_a_terminal(
    services: ServiceFactory,
    openrouter: ScriptedOpenRouter,
    answer: str,
    is_removed: bool,
) -> None:
    openrouter.add_phase("Base", PAGE, last=True)
    service = await services.start(None, **openrouter.environment)
    await run(service, "generate", "a shop", "--project", "shop")
    terminal, command_end = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway",
        "remove",
        "shop",
        "--url",
        service.url,
        stdin=command_end,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(command_end)
    os.write(terminal, f"{answer}\n".encode())
    output, errors = await process.communicate()
    os.close(terminal)
    assert b"Delete project shop with all its files? [y/N]" in output
    assert (process.returncode == 0) is is_removed
    assert (b"(not_confirmed)" in errors) is not is_removed
    _, listing, _ = await run(service, "projects", "--json")
    assert [project["id"] for project in json.loads(listing)] == ([] if is_removed else ["shop"])
