from __future__ import annotations

import io
import tarfile

import pytest

from actors.errors import InvalidInput
from actors.sandbox.archive import check_paths, files_archive, home_archive


def entries(archive: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name: member for member in tar.getmembers()}


def test_files_come_after_their_directories_and_belong_to_the_sandbox_user() -> None:
    archive = files_archive({"a/b/c.txt": "text ü", "a/d.txt": "", "top.txt": "x"})
    found = entries(archive)
    assert list(found) == ["a", "a/b", "a/b/c.txt", "a/d.txt", "top.txt"]
    assert {(member.uid, member.gid) for member in found.values()} == {(1000, 1000)}
    assert found["a/b"].isdir()
    assert (found["a/b"].mode, found["top.txt"].mode) == (0o755, 0o644)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        content = tar.extractfile("a/b/c.txt")
        assert content is not None
        assert content.read() == "text ü".encode()


def test_a_script_is_executable() -> None:
    assert entries(files_archive({"run": "#!/bin/sh\n"}))["run"].mode == 0o755


def test_a_long_path_survives() -> None:
    path = "d" * 120 + "/" + "f" * 120
    assert path in entries(files_archive({path: "x"}))


@pytest.mark.parametrize("path", ["/abs", "../up", "a/../b", "~/x", "C:/x", "a\\b", "", ".git/x"])
def test_an_unsafe_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput, match="may not name a file"):
        files_archive({"good.txt": "x", path: "x"})
    with pytest.raises(InvalidInput):
        check_paths([path])


def test_the_home_archive_makes_both_directories() -> None:
    found = entries(home_archive())
    assert list(found) == ["app", "home/node"]
    assert all(member.isdir() and member.uid == 1000 for member in found.values())
