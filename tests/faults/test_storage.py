"""PostgreSQL killed, stopped, full: the project waits, everybody is told, nothing is skipped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import psutil

from actors.postgres import EmbeddedPostgres
from tests.support.openrouter import Gate, ScriptedOpenRouter
from tests.support.postgres import execute
from tests.support.service import WAIT_SECONDS, Service, ServiceFactory, Viewer
from tests.support.wait import wait_until

PAGE_BYTES = 4096
DISK_BYTES = 128 * 1024 * 1024  # of which an empty cluster takes a quarter

#: Run a service whose database has a disk of its own, which is gone when the service is.
WITH_OWN_DISK = f'mount -t tmpfs -o size={DISK_BYTES} tmpfs "$0" && exec "$@"'


async def postgres_of(service: Service) -> list[psutil.Process]:
    """The embedded server and its children, the newest last; waits while it is being started."""
    found: list[psutil.Process] = []

    def is_there() -> bool:
        pid_file = service.state_dir / "postgres/data/postmaster.pid"
        with contextlib.suppress(FileNotFoundError, ValueError, psutil.NoSuchProcess):
            server = psutil.Process(int(pid_file.read_text().split("\n")[0]))
            found[:] = [server, *server.children()]
        return len(found) > 1

    await wait_until(is_there)
    return found


@contextlib.asynccontextmanager
async def standing_still(service: Service) -> AsyncIterator[list[psutil.Process]]:
    """Let PostgreSQL do nothing meanwhile."""
    server, *_ = await postgres_of(service)
    server.suspend()  # first: then there are no new children
    processes = [server, *server.children()]
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.suspend()
    try:
        yield processes
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


async def call(service: Service, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, service.url + path, json=body) as answer,
    ):
        return answer.status, orjson.loads(await answer.read())


async def logged(service: Service, text: str) -> None:
    """Wait for a line of the service's log."""
    await wait_until(lambda: text in service.log)


async def wait_until_gone(process: psutil.Process) -> None:
    await asyncio.to_thread(process.wait, WAIT_SECONDS)


def files_of(*names: str) -> dict[str, str]:
    return {f"{name}.txt": f"first {name}\nlast {name}\n" for name in names}


class Story:
    """One run of which every file is held in its middle, and a viewer who sees all of it."""

    def __init__(self, service: Service, model: ScriptedOpenRouter, files: dict[str, str]) -> None:
        self.service = service
        self.files = files
        self.viewer = Viewer(service, "p1")
        self._model = model
        model.add_phase("Base", files, last=True)
        self._gates = {path: model.hold(text.split("\n")[0]) for path, text in files.items()}

    async def begin(self) -> None:
        await self.viewer.send({"type": "generate", "description": "an app", "id": "first"})

    async def reach(self, path: str) -> Gate:
        """Wait until the model is in the middle of this file."""
        await self.viewer.until(lambda f: f["type"] == "file_start" and f["data"]["path"] == path)
        await self._gates[path].reached.happened()
        return self._gates[path]

    async def check(self, service: Service | None = None) -> None:
        """Nothing was skipped, nothing asked for twice, nothing carried out that was refused."""
        listed = (await call(service or self.service, "GET", "/api/projects/p1/events"))[1]
        ends = {f["data"]["path"]: f["data"]["content"] for f in listed if f["type"] == "file_end"}
        assert ends == self.files
        assert [f["data"]["id"] for f in listed if f["type"] == "command_queued"] == ["first"]
        assert len(self._model.received("plan")) == 1

    def check_seen(self) -> None:
        """The viewer saw every number once, and notices in pairs."""
        numbered = [f["seq"] for f in self.viewer.frames if not is_of_its_moment(f["type"])]
        assert all(later == earlier + 1 for earlier, later in pairwise(numbered[1:]))
        notices = [type_ for type_ in self.viewer.types() if type_.startswith("storage_")]
        assert notices == ["storage_unavailable", "storage_restored"] * (len(notices) // 2)


def is_of_its_moment(type_: str) -> bool:
    return type_.startswith("storage_") or type_ in ("accepted", "error", "snapshot")


async def test_a_run_goes_on_whatever_happens_to_postgresql(
    services: ServiceFactory, openrouter: ScriptedOpenRouter
) -> None:
    service = await services.start(**openrouter.environment)
    story = Story(service, openrouter, files_of("a", "b", "c", "d"))
    viewer = story.viewer
    async with viewer.connected():
        await story.begin()

        gate = await story.reach("a.txt")
        actors = (await call(service, "GET", "/api/status"))[1]["pids"]
        (await postgres_of(service))[0].kill()
        gate.release()

        gate = await story.reach("b.txt")
        (await postgres_of(service))[-1].kill()
        gate.release()

        gate = await story.reach("c.txt")
        async with standing_still(service):
            gate.release()
            notice = await viewer.expect("storage_unavailable")
            assert "has not answered" in notice["data"]["message"]
        await viewer.expect("storage_restored")

        gate = await story.reach("d.txt")
        async with standing_still(service) as processes:
            gate.release()
            await viewer.expect("storage_unavailable")
            processes[0].kill()  # its children stand still, and hold what the next one needs
            await viewer.expect("storage_restored")

        await viewer.expect("generation_complete")
    story.check_seen()
    await story.check()
    assert "run_resumed" not in viewer.types()
    status = (await call(service, "GET", "/api/status"))[1]
    assert (status["pids"], status["restarts"]["actors"]) == (actors, 0)


READS = [
    "/readyz",
    "/api/projects",
    "/api/projects/p1",
    "/api/projects/p1/files",
    "/api/projects/p1/files/a.txt",
    "/api/projects/p1/archive",
    "/api/projects/p1/events",
]
COMMANDS = [
    ("POST", "/api/projects"),
    ("POST", "/api/projects/p1/generate"),
    ("POST", "/api/projects/asleep/generate"),
    ("POST", "/api/projects/p1/cancel"),
    ("DELETE", "/api/projects/p1"),
]


async def test_while_postgresql_stands_still_all_are_answered_and_the_service_ends_when_told_to(
    services: ServiceFactory, openrouter: ScriptedOpenRouter
) -> None:
    service = await services.start(**openrouter.environment)
    story = Story(service, openrouter, files_of("a", "b"))
    late, asleep = Viewer(service, "p1"), Viewer(service, "asleep")
    async with story.viewer.connected(), contextlib.AsyncExitStack() as sockets:
        await story.begin()
        (await story.reach("a.txt")).release()
        gate = await story.reach("b.txt")
        async with standing_still(service):
            gate.release()
            await story.viewer.expect("storage_unavailable")
            for viewer in (late, asleep):
                await sockets.enter_async_context(viewer.connected())
                await viewer.send({"type": "generate", "description": "no", "id": "refused"})
                await viewer.send({"type": "cancel", "id": "refused"})
            healthz, status, *answers = await asyncio.gather(
                call(service, "GET", "/healthz"),
                call(service, "GET", "/api/status"),
                *(call(service, "GET", path) for path in READS),
                *(call(service, method, path, {"description": "no"}) for method, path in COMMANDS),
            )
            assert {(status, answer["error"]["code"]) for status, answer in answers} == {
                (503, "storage_unavailable")
            }
            assert healthz == (200, {"ok": True})
            assert (status[0], status[1]["projects"]) == (200, None)
            assert not status[1]["database"]["ok"]
            assert (status[1]["running"], status[1]["restarts"]["actors"]) == (1, 0)
            for viewer in (late, asleep):
                for _ in range(2):
                    await viewer.expect("error", code="storage_unavailable", id="refused")
                assert viewer.types() == ["storage_unavailable", "error", "error"]
            assert await service.stop() == 0
    await service.wait_until_gone()
    again = await services.start(service.state_dir, **openrouter.environment)
    viewer = Viewer(again, "p1")
    async with viewer.connected(since=story.viewer.frames[-1]["seq"]):
        await viewer.expect("run_resumed")
        await viewer.expect("generation_complete")
    await story.check(again)


async def test_what_dies_while_postgresql_is_away_goes_on_when_it_is_back(
    services: ServiceFactory, openrouter: ScriptedOpenRouter
) -> None:
    service = await services.start(**openrouter.environment)
    story = Story(service, openrouter, files_of("a", "b"))
    viewer = story.viewer
    version = service.state_dir / "postgres/data/PG_VERSION"
    async with viewer.connected():
        await story.begin()
        (await story.reach("a.txt")).release()
        gate = await story.reach("b.txt")
        actor = psutil.Process((await call(service, "GET", "/api/status"))[1]["pids"]["p1"])
        ours = version.read_text()
        version.write_text("9.6\n")  # so that it cannot be started again for a while
        (await postgres_of(service))[0].kill()
        gate.release()
        await viewer.expect("storage_unavailable")
        nursery = actor.parent()
        assert nursery is not None
        supervisor = nursery.parent()
        assert supervisor is not None
        supervisor.kill()
        await wait_until_gone(actor)
        await logged(service, "open projects cannot be revived yet")
        version.write_text(ours)
        await viewer.expect("run_resumed")  # restored the viewer may be before it, or behind
        await viewer.expect("generation_complete")
        await wait_until(lambda: "storage_restored" in viewer.types())
    await story.check()


async def test_a_full_disk_holds_a_run_up_until_there_is_space_again(
    services: ServiceFactory, openrouter: ScriptedOpenRouter
) -> None:
    service = services.make(**openrouter.environment)
    directory = service.state_dir / "postgres"
    directory.mkdir(parents=True)
    await service.start("unshare", "--mount", "sh", "-c", WITH_OWN_DISK, str(directory))
    disk = Path(f"/proc/{service.pid}/root{directory}")
    incompressible = "".join(f"{os.urandom(40).hex()}\n" for _ in range(10_000))
    story = Story(service, openrouter, {"a.txt": f"first\n{incompressible}", **files_of("b")})
    async with story.viewer.connected():
        await story.begin()
        gate = await story.reach("a.txt")
        ballast = fill(disk)
        gate.release()
        notice = await story.viewer.expect("storage_unavailable")
        assert "no disk space left" in notice["data"]["message"]
        status, answer = await call(service, "POST", "/api/projects/p1/cancel", {})
        assert (status, answer["error"]["code"]) == (503, "storage_unavailable")
        # The write-ahead log has no room either: the server ends, and cannot even recover.
        await asyncio.to_thread(switch_log, service)
        await logged(service, "No space left on device")
        ballast.unlink()
        await story.viewer.expect("storage_restored")
        (await story.reach("b.txt")).release()
        await story.viewer.expect("generation_complete")
    story.check_seen()
    await story.check()
    assert await service.stop() == 0


def switch_log(service: Service) -> None:
    """Have the server write into a new file of its write-ahead log from now on."""
    socket_dir = EmbeddedPostgres(service.state_dir / "postgres")._socket_dir
    with tempfile.TemporaryDirectory() as place:
        short = Path(place, "socket")
        short.symlink_to(f"/proc/{service.pid}/root{socket_dir}")
        execute(f"postgresql://postgres@/postgres?host={short}", "SELECT pg_switch_wal()")


def fill(disk: Path) -> Path:
    """Leave no space on a disk; returns the file that takes it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * PAGE_BYTES):
            pass
    return ballast
