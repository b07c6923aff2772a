"""What a sandbox in bubblewrap takes on disk is seen, whatever its app does to hide it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors.addresses import id_digest
from actors.sandbox import disk
from actors.sandbox.bubblewrap import BubblewrapRuntime
from actors.sandbox.disk import disk_use
from actors.sandbox.layout import HOME_DIR
from actors.settings import Settings
from tests.support.bubblewrap import open_way

DIGEST = id_digest("demo")
SOME_USER_ID = 54_323
#: Says so once it holds 8 MiB of a deleted file.
HOLD = """
head -c 8388608 /dev/zero >waste
exec perl -e '$| = 1; open(F, "<", "waste"); unlink "waste"; print "held"; sleep 4242'
"""
#: Measures as another user than root.
MEASURE = f"""
import asyncio, os, sys
from actors.sandbox.disk import disk_use
from actors.settings import Settings
os.setgroups([])
os.setgid({SOME_USER_ID})
os.setuid({SOME_USER_ID})
print(asyncio.run(disk_use(Settings.read({{}}, state_dir=sys.argv[1])))["closed"])
"""

pytestmark = pytest.mark.usefixtures("bubblewrap")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.read({}, state_dir=str(tmp_path))


@pytest.fixture
async def runtime(settings: Settings) -> AsyncIterator[BubblewrapRuntime]:
    runtime = BubblewrapRuntime("demo", settings)
    await runtime.obtain()
    yield runtime
    await runtime.remove()


async def test_deleted_files_that_are_open_count(
    runtime: BubblewrapRuntime, settings: Settings
) -> None:
    task = runtime.task(HOME_DIR, "check", ("sh", "-c", HOLD), {})
    await task.start()
    assert await task.read() == ("stdout", b"held")
    assert 8 <= (await disk_use(settings))[DIGEST] < 16
    await task.end()
    assert (await disk_use(settings))[DIGEST] < 8


async def test_what_cannot_be_measured_in_time_is_above_the_bound(
    runtime: BubblewrapRuntime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "MEASURE_SECONDS", 0.0)
    assert (await disk_use(settings))[DIGEST] > settings.sandbox_disk_mib


async def test_directories_that_the_app_has_closed_count(tmp_path: Path) -> None:
    closed = tmp_path / "sandboxes" / "closed" / "node" / "app"
    closed.mkdir(parents=True)
    (closed / "waste").write_bytes(bytes(8 * 1024 * 1024))
    closed.chmod(0o300)
    for path in (closed, *closed.parents[:3]):
        os.chown(path, SOME_USER_ID, -1)
    open_way(tmp_path / "sandboxes")
    measuring = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", MEASURE, str(tmp_path)), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await measuring.communicate()
    assert int(said) >= 8
