from __future__ import annotations

import io
import tarfile

import pytest

from actors.errors import InvalidInput
from actors.sandbox.archive import check_paths, files_archive, home_archive
from actors.sandbox.layout import APP

NOTE = "node/.codegen-note"
UNDO = "node/.codegen-undo"


def entries(archive: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name: member for member in tar.getmembers()}


def texts(archive: bytes) -> list[tuple[str, str]]:
    """Return the names and contents of the files, in their order."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        opened = [(member.name, tar.extractfile(member)) for member in tar.getmembers()]
        return [(name, file.read().decode()) for name, file in opened if file is not None]


def test_files_come_after_their_directories_and_belong_to_the_sandbox_user() -> None:
    archive = files_archive(APP, {"a/b/c.txt": "text ü", "a/d.txt": "", "top.txt": "x"})
    found = entries(archive)
    note, undo, *others = found
    assert (note, undo) == (NOTE, UNDO)
    assert others == [
        "node/app",
        "node/app/a",
        "node/app/a/b",
        "node/app/a/b/c.txt",
        "node/app/a/d.txt",
        "node/app/top.txt",
    ]
    assert {(member.uid, member.gid) for member in found.values()} == {(1000, 1000)}
    assert found["node/app/a/b"].isdir()
    assert (found["node/app/a/b"].mode, found["node/app/top.txt"].mode) == (0o755, 0o644)
    assert dict(texts(archive))["node/app/a/b/c.txt"] == "text ü"


def test_a_note_is_emptied_before_the_first_file_and_filled_after_the_last() -> None:
    assert texts(files_archive(APP, {"a": "x"}, "all")) == [
        (NOTE, ""),
        (UNDO, ""),
        ("node/app/a", "x"),
        (NOTE, "all"),
    ]
    assert texts(files_archive(APP, {"a": "x"})) == [
        (NOTE, ""),
        (UNDO, ""),
        ("node/app/a", "x"),
    ]


def test_a_script_is_executable() -> None:
    assert entries(files_archive(APP, {"run": "#!/bin/sh\n"}))["node/app/run"].mode == 0o755


def test_a_long_path_survives() -> None:
    path = "d" * 120 + "/" + "f" * 120
    assert f"node/app/{path}" in entries(files_archive(APP, {path: "x"}))


@pytest.mark.parametrize("path", ["/abs", "../up", "a/../b", "~/x", "C:/x", "a\\b", "", ".git/x"])
def test_an_unsafe_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput, match="may not name a file"):
        files_archive(APP, {"good.txt": "x", path: "x"})
    with pytest.raises(InvalidInput):
        check_paths([path])


def test_the_home_archive_makes_both_directories() -> None:
    found = entries(home_archive())
    assert list(found) == ["node", "node/app"]
    assert all(member.isdir() and member.uid == 1000 for member in found.values())
