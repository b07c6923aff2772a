"""One kill at a time: whatever ends, the work goes on, and nothing is left over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import socket
from itertools import pairwise
from typing import Any

import aiohttp
import psutil
import pytest

from tests.support.openrouter import ScriptedOpenRouter
from tests.support.service import WAIT_SECONDS, Frame, Service, ServiceFactory, Viewer

ORPHANED_SECONDS = 10.0  # the contract: by then no process is left without its service
ANCESTRY = ["project actor", "nursery", "supervisor", "admin", "guard"]
LINES = [f"console.log({number}); // line {number} of the app\n" for number in range(60)]
APP, UNTIL_30 = "".join(LINES), "".join(LINES[:31])
SITE = {"index.html": "<h1>Hello</h1>\n", "app.js": APP}


async def status(service: Service) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session, session.get(f"{service.url}/api/status") as got:
        answer: dict[str, Any] = await got.json()
        return answer


async def file_text(service: Service, project_id: str, path: str) -> str:
    url = f"{service.url}/api/projects/{project_id}/files/{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as got:
        assert got.status == 200
        return await got.text()


async def generating(viewer: Viewer, service: Service, model: ScriptedOpenRouter) -> Any:
    """Begin a run and stop it in the middle of the second file; returns the gate.

    What viewers have seen of the file is then in PostgreSQL, so that no kill can take it back.
    """
    model.add_phase("Base", SITE, last=True)
    gate = model.hold(LINES[30])
    await viewer.expect("snapshot")
    await viewer.send({"type": "generate", "description": "an app"})
    await viewer.until(lambda f: f["data"].get("chunk", "").endswith(LINES[30]))
    async with asyncio.timeout(WAIT_SECONDS):
        while await saved_text(service, viewer.project_id) != UNTIL_30:
            pass
    return gate


async def saved_text(service: Service, project_id: str) -> str:
    """The open file's text as the journal has it: a new viewer's snapshot is read from there."""
    viewer = Viewer(service, project_id)
    async with viewer.connected():
        open_file = (await viewer.expect("snapshot"))["data"]["openFile"]
    return open_file["text"] if open_file else ""


async def finished(viewer: Viewer, service: Service, model: ScriptedOpenRouter) -> None:
    await viewer.expect("run_resumed")
    await viewer.expect("generation_complete")
    for path, text in SITE.items():
        assert await file_text(service, viewer.project_id, path) == text
    check_continued(model)
    check_order(viewer.frames)
    check_text(viewer.frames)


def check_continued(model: ScriptedOpenRouter) -> None:
    """Nothing was asked for twice: the file that was open was gone on with."""
    assert len(model.received("plan")) == 1
    first, last = model.received("implement")
    assert (first.brief.unfinished_path, last.brief.unfinished_path) == ("", "app.js")
    assert last.brief.paths_to_write == ("app.js",)
    assert UNTIL_30.endswith(last.brief.seam)


def check_text(frames: list[Frame]) -> None:
    """No viewer ever had a line of app.js doubled, missing or out of place."""
    text = ""
    for frame in frames:
        data = frame["data"]
        match frame["type"]:
            case "snapshot":
                text = data["openFile"]["text"] if data["openFile"] else ""
            case "file_start":
                text = ""
            case "file_chunk" if data["path"] == "app.js":
                text += data["chunk"]
                assert APP.startswith(text)
            case "file_restored":
                raise AssertionError("the file was given up")
    assert text == APP


def check_order(frames: list[Frame]) -> None:
    """Numbers only grow, but where a snapshot begins the stream anew."""
    last = -1
    for frame, following in pairwise([*frames, {"type": ""}]):
        if frame["type"] == "snapshot":
            last = frame["seq"]
        elif frame["type"] != "accepted" and following["type"] != "snapshot":
            assert frame["seq"] > last, [(f["type"], f["seq"]) for f in frames]
            last = frame["seq"]


def parent(process: psutil.Process) -> psutil.Process:
    found = process.parent()
    assert found is not None
    return found


@pytest.fixture
async def service(services: ServiceFactory, openrouter: ScriptedOpenRouter) -> Service:
    return await services.start(**openrouter.environment)


@pytest.mark.parametrize("generation", ANCESTRY)
async def test_a_kill_during_a_file_costs_nothing_that_was_saved_of_it(
    service: Service, openrouter: ScriptedOpenRouter, generation: str
) -> None:
    viewer = Viewer(service, "p1")
    async with viewer.connected():
        gate = await generating(viewer, service, openrouter)
        project = victim = psutil.Process((await status(service))["pids"]["p1"])
        for _ in range(ANCESTRY.index(generation)):
            victim = parent(victim)
        victim.kill()
        await asyncio.to_thread(project.wait, WAIT_SECONDS)
        gate.release()
        await finished(viewer, service, openrouter)
    assert await service.stop() == 0
    await service.wait_until_gone()


async def test_three_crashes_end_the_run_with_a_reason_and_the_work_intact(
    service: Service, openrouter: ScriptedOpenRouter
) -> None:
    viewer, other = Viewer(service, "p1"), Viewer(service, "p2")
    async with viewer.connected(), other.connected():
        gate = await generating(viewer, service, openrouter)
        others_gate = openrouter.hold("console", project="another")
        await other.send({"type": "generate", "description": "another app"})
        await others_gate.reached.happened()
        others_pid = (await status(service))["pids"]["p2"]
        for number in range(3):
            if number:
                await viewer.expect("run_resumed")
                await gate.reached.happened()
            victim = psutil.Process((await status(service))["pids"]["p1"])
            gate = openrouter.hold("console", project="an app")
            victim.kill()
            await asyncio.to_thread(victim.wait, WAIT_SECONDS)
        error = await viewer.expect("error")
        assert error["data"]["code"] == "actor_crashed"
        reason, *lines = error["data"]["message"].splitlines()
        assert "3 times" in reason
        assert any("INFO p1: epoch" in line for line in lines)
        await viewer.expect("state_change", state="error")
        gate.release()  # nobody has reached it
        others_gate.release()
        await other.expect("generation_complete")
        assert (await status(service))["pids"]["p2"] == others_pid
        assert await file_text(service, "p1", "index.html") == SITE["index.html"]
        openrouter.add_phase("Again", SITE, last=True)
        await viewer.send({"type": "generate", "description": "an app, again"})
        await viewer.expect("generation_complete")


@pytest.mark.parametrize("victims", ["gateway", "every process"])
async def test_a_killed_service_leaves_no_process_and_the_next_start_goes_on(
    service: Service, services: ServiceFactory, openrouter: ScriptedOpenRouter, victims: str
) -> None:
    viewer = Viewer(service, "p1")
    async with viewer.connected():
        gate = await generating(viewer, service, openrouter)
        for process in service.processes():  # with the database, as the end of a machine
            if victims == "every process" or process.pid == service.pid:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        await service.wait_until_gone(ORPHANED_SECONDS)
        gate.release()
    again = await services.start(service.state_dir, **openrouter.environment)
    viewer = Viewer(again, "p1")
    async with viewer.connected(since=1):
        await viewer.expect("run_resumed")
        await viewer.expect("generation_complete")
    for path, text in SITE.items():
        assert await file_text(again, "p1", path) == text
    check_continued(openrouter)
    assert await again.stop() == 0


async def test_garbage_on_every_actor_port_kills_and_runs_nothing(
    service: Service, openrouter: ScriptedOpenRouter
) -> None:
    openrouter.add_phase("Base", SITE, last=True)
    viewer = Viewer(service, "p1")
    async with viewer.connected():
        await viewer.expect("snapshot")
        await viewer.send({"type": "generate", "description": "an app"})
        await viewer.expect("generation_complete")
        before = {p.pid for p in service.processes()}
        ports = actor_ports(service)
        assert len(ports) >= 5  # admin, logger, supervisor, nursery, project, spares
        for host, port in ports:
            assert host == "127.0.0.1"
            for garbage in (b"-5>x", b"9" * 40, b"\0" * 100, b"999999999>", evil_packet()):
                with socket.create_connection((host, port)) as connection:
                    connection.sendall(garbage)
        openrouter.add_phase("More", {"more.html": "x\n"}, last=True)
        await viewer.send({"type": "generate", "description": "more"})
        await viewer.expect("generation_complete")
        assert before <= {p.pid for p in service.processes()}
    assert not (service.state_dir / "evil").exists()


def actor_ports(service: Service) -> list[tuple[str, int]]:
    """Every listening TCP address of the service but the gateway's own."""
    own = int(service.url.rpartition(":")[2])
    return [
        (connection.laddr.ip, connection.laddr.port)
        for process in service.processes()
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port != own
    ]


def evil_packet() -> bytes:
    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return (os.system, ('touch "$CODEGEN_STATE_DIR/evil"',))

    body = pickle.dumps(Evil())
    return b"%d>" % len(body) + body


async def test_a_command_that_meets_a_dying_actor_is_carried_out_once(
    service: Service, openrouter: ScriptedOpenRouter
) -> None:
    openrouter.add_phase("Base", SITE, last=True)
    openrouter.add_phase("More", {"more.html": "x\n"}, last=True)
    viewer = Viewer(service, "p1")
    async with viewer.connected():
        await viewer.send({"type": "generate", "description": "an app"})
        await viewer.expect("generation_complete")
        victim = psutil.Process((await status(service))["pids"]["p1"])
        victim.suspend()  # so that the command is with it when it dies
        await viewer.send({"type": "generate", "description": "more", "id": "once"})
        await status(service)  # the supervisor has passed the command on by now
        victim.kill()
        await viewer.expect("accepted", id="once")
        await viewer.expect("generation_complete")
    assert len(openrouter.received("plan")) == 2
