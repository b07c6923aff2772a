"""The life of the service: what it refuses to start with, how it stops, what it leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
from pathlib import Path

import aiohttp
import pytest

from tests.support.docker import DockerEngine
from tests.support.openrouter import ScriptedOpenRouter
from tests.support.service import Service, ServiceFactory, Viewer

SITE = {"index.html": "<h1>Hello</h1>\n", "app.js": "console.log(1);\n"}


async def refusal(service: Service) -> str:
    """Start a service that must not start; returns what it printed."""
    before = service.processes()  # of another service on the same state directory
    with pytest.raises(AssertionError, match="did not start"):
        await service.start()
    assert await service.exit_status() == 1
    assert "Traceback" not in service.output
    assert before or not service.processes()
    return service.output


async def test_a_taken_port_is_refused_with_the_setting_to_change(
    services: ServiceFactory,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        output = await refusal(services.make(CODEGEN_PORT=str(port)))
    assert "(port_taken)" in output
    assert "CODEGEN_PORT" in output


async def test_an_unreachable_database_is_refused_without_its_password(
    services: ServiceFactory,
) -> None:
    url = "postgresql://user:hunter2@127.0.0.1:1/nothing"
    output = await refusal(services.make(DATABASE_URL=url))
    assert "(storage_unavailable)" in output
    assert "hunter2" not in output


async def test_a_state_directory_that_cannot_be_made_is_refused(
    services: ServiceFactory, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    output = await refusal(services.make(blocked / "state"))
    assert "(state_dir_unusable)" in output


async def test_a_full_disk_is_refused_with_a_sentence(services: ServiceFactory) -> None:
    output = await refusal(services.make(Path("/proc/self/codegen")))
    assert "(state_dir_unusable)" in output


async def test_an_invalid_setting_is_named(services: ServiceFactory) -> None:
    output = await refusal(services.make(CODEGEN_MAX_PHASES="many"))
    assert "CODEGEN_MAX_PHASES" in output


def path_without_bubblewrap(directory: Path, path: str) -> str:
    """Return a PATH with links to all that is on this one, but for bwrap."""
    directory.mkdir()
    for place in map(Path, path.split(os.pathsep)):
        for program in place.iterdir() if place.is_dir() else ():
            with contextlib.suppress(FileExistsError):  # the first one is the one that is meant
                (directory / program.name).symlink_to(program)
    (directory / "bwrap").unlink()
    return str(directory)


async def test_docker_without_an_engine_is_refused_and_auto_falls_back_and_says_why(
    services: ServiceFactory, tmp_path: Path, node_path: str
) -> None:
    nowhere = {"DOCKER_HOST": f"unix://{tmp_path}/none.sock", "PATH": node_path}
    output = await refusal(services.make(CODEGEN_SANDBOX="docker", **nowhere))
    assert "(sandbox_unavailable)" in output

    async def chosen(**variables: str) -> dict[str, str]:
        service = await services.start(CODEGEN_SANDBOX="auto", **variables)
        address = f"{service.url}/api/status"
        async with aiohttp.ClientSession() as session, session.get(address) as response:
            sandbox: dict[str, str] = (await response.json())["sandbox"]
        assert await service.stop() == 0
        return sandbox

    bubblewrap = await chosen(**nowhere)
    assert bubblewrap["kind"] == "bubblewrap"
    assert "apt-get install docker.io" in bubblewrap["note"]
    neither = nowhere | {"PATH": path_without_bubblewrap(tmp_path / "programs", node_path)}
    static = await chosen(**neither)
    assert static["kind"] == "static"
    assert "no Docker engine answers" in static["note"]
    assert "apt-get install bubblewrap" in static["note"]


async def test_a_second_service_on_the_same_state_directory_says_who_holds_it(
    services: ServiceFactory,
) -> None:
    first = await services.start()
    output = await refusal(services.make(first.state_dir))
    assert str(first.pid) in output
    assert first.url in output
    second = await services.start()  # another state directory: side by side
    assert second.url != first.url


async def test_the_state_directory_is_private(services: ServiceFactory) -> None:
    service = await services.start()
    assert stat.S_IMODE((service.state_dir / "wire.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((service.state_dir / "run").stat().st_mode) == 0o700
    assert stat.S_IMODE((service.state_dir / "run" / "feed.sock").stat().st_mode) == 0o600


async def test_an_external_database_is_used(
    services: ServiceFactory, database_url: str, openrouter: ScriptedOpenRouter
) -> None:
    openrouter.add_phase("Base", SITE, last=True)
    service = await services.start(DATABASE_URL=database_url, **openrouter.environment)
    async with Viewer(service, "p1").connected() as viewer:
        await viewer.send({"type": "generate", "description": "an app"})
        await viewer.expect("generation_complete")
    assert not (service.state_dir / "postgres").exists()
    assert await service.stop() == 0
    again = await services.start(DATABASE_URL=database_url, **openrouter.environment)
    async with Viewer(again, "p1").connected() as viewer:
        snapshot = await viewer.expect("snapshot")
    assert {file["path"] for file in snapshot["data"]["files"]} == set(SITE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_stop_during_a_run_exits_0_and_the_next_start_resumes_it(
    services: ServiceFactory, openrouter: ScriptedOpenRouter, number: signal.Signals
) -> None:
    openrouter.add_phase("Base", SITE, last=True)
    gate = openrouter.hold("console")
    service = await services.start(**openrouter.environment)
    async with Viewer(service, "p1").connected() as viewer:
        await viewer.send({"type": "generate", "description": "an app"})
        await viewer.until(lambda f: f["type"] == "file_start" and f["data"]["path"] == "app.js")
        cursor = viewer.frames[-1]["seq"]
        assert await service.stop(number) == 0
    await service.wait_until_gone()
    gate.release()
    service = await services.start(service.state_dir, **openrouter.environment)
    async with Viewer(service, "p1").connected(since=cursor) as viewer:
        await viewer.expect("run_resumed")
        await viewer.expect("generation_complete")
    assert len(openrouter.received("plan")) == 1
    assert openrouter.received("implement")[-1].brief.paths_to_write == ("app.js",)


async def test_a_second_signal_ends_at_once_and_leaves_no_process(
    services: ServiceFactory,
) -> None:
    service = await services.start()
    os.kill(service.pid, signal.SIGTERM)
    os.kill(service.pid, signal.SIGTERM)
    await service.exit_status()
    await service.wait_until_gone()
    service = await services.start(service.state_dir)
    assert await service.stop() == 0


async def test_more_runs_than_allowed_wait_for_their_turn(
    services: ServiceFactory, openrouter: ScriptedOpenRouter
) -> None:
    openrouter.add_phase("Base", SITE, last=True)
    gate = openrouter.hold("Hello")
    service = await services.start(CODEGEN_MAX_RUNS="1", **openrouter.environment)
    async with (
        Viewer(service, "first").connected() as first,
        Viewer(service, "second").connected() as second,
    ):
        await first.send({"type": "generate", "description": "an app"})
        await first.expect("file_start")
        await second.send({"type": "generate", "description": "another"})
        await second.expect("command_queued")
        assert "run_started" not in second.types()
        gate.release()
        await first.expect("generation_complete")
        await second.expect("generation_complete")


async def test_every_viewer_of_a_project_sees_the_same(
    services: ServiceFactory, openrouter: ScriptedOpenRouter
) -> None:
    openrouter.add_phase("Base", SITE, last=True)
    gate = openrouter.hold("console")
    service = await services.start(**openrouter.environment)
    async with Viewer(service, "p1").connected() as early:
        await early.send({"type": "generate", "description": "an app"})
        await early.until(lambda f: f["type"] == "file_start" and f["data"]["path"] == "app.js")
        async with (
            Viewer(service, "p1").connected() as late,
            Viewer(service, "p1").connected(since=0) as replaying,
        ):
            snapshot = await late.expect("snapshot")
            await replaying.expect("file_end")
            gate.release()
            for viewer in (early, late, replaying):
                await viewer.expect("generation_complete")
            events = [f for f in early.frames if f["type"] not in ("accepted", "snapshot")][1:]
            replayed = [f for f in replaying.frames[1:] if f["type"] != "file_chunk"]
            first_file_start = next(f for f in events if f["type"] == "file_start")
            assert replayed == [
                f for f in events if f["type"] != "file_chunk" and f is not first_file_start
            ]
            assert late.frames[2:] == [f for f in events if f["seq"] > snapshot["seq"]]


async def test_docker_that_goes_away_in_mid_run_ends_the_run_and_keeps_the_files(
    services: ServiceFactory, openrouter: ScriptedOpenRouter, docker_engine: DockerEngine
) -> None:
    openrouter.add_phase("Base", SITE, last=True)
    openrouter.add_phase("Again", {"app.js": "console.log(2);\n"}, last=True)
    gate = openrouter.hold("console")
    service = await services.start(
        DOCKER_HOST=docker_engine.url,
        CODEGEN_SANDBOX="docker",
        CODEGEN_SANDBOX_IMAGE=docker_engine.image,
        **openrouter.environment,
    )
    async with Viewer(service, "gone").connected() as viewer:
        await viewer.send({"type": "generate", "description": "an app"})
        await viewer.until(lambda f: f["type"] == "file_start" and f["data"]["path"] == "app.js")
        await asyncio.to_thread(docker_engine.stop)
        try:
            gate.release()
            error = await viewer.expect("error")
        finally:
            await asyncio.to_thread(docker_engine.start)
        assert error["data"]["code"] == "sandbox_unavailable"
        await viewer.expect("state_change", state="error")
        await viewer.send({"type": "generate", "description": "once more"})
        await viewer.expect("server_started")
        await viewer.expect("generation_complete")
    assert await service.stop() == 0
