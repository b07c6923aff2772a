"""`--out DIR` writes below the directory and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.client.output import OutputDirectory
from gateway.client.service import CommandFailed


def test_files_are_written_byte_for_byte_with_their_directories(tmp_path: Path) -> None:
    output = OutputDirectory(str(tmp_path / "new" / "out"))
    output.write("src/deep/a.txt", "é\r\nb\n")
    assert (tmp_path / "new/out/src/deep/a.txt").read_bytes() == "é\r\nb\n".encode()
    assert output.written == {"src/deep/a.txt"}


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    output = OutputDirectory(str(tmp_path))
    output.write("a.txt", "old")
    output.write("a.txt", "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "new"}


def test_files_have_the_usual_mode(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        OutputDirectory(str(tmp_path)).write("a.txt", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("path", ["../a", "/etc/a", "a/../../b", ".git/config", "", "a\x00b"])
def test_unsafe_paths_are_refused(tmp_path: Path, path: str) -> None:
    output = OutputDirectory(str(tmp_path / "out"))
    with pytest.raises(CommandFailed) as refused:
        output.write(path, "x")
    assert refused.value.code == "unsafe_path"
    assert list((tmp_path / "out").iterdir()) == []


def test_a_linked_directory_that_leaves_is_refused(tmp_path: Path) -> None:
    output = OutputDirectory(str(tmp_path / "out"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CommandFailed) as refused:
        output.write("link/deep/a.txt", "x")
    assert refused.value.code == "unsafe_path"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_linked_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    output = OutputDirectory(str(tmp_path / "out"))
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "out" / "a.txt").symlink_to(tmp_path / "precious")
    output.write("a.txt", "x")
    assert (tmp_path / "precious").read_text() == "mine"
    assert (tmp_path / "out" / "a.txt").read_text() == "x"


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandFailed) as refused:
        OutputDirectory(str(tmp_path / "file" / "out"))
    assert refused.value.code == "output_unwritable"
    assert "--out" in refused.value.message


def test_a_file_that_cannot_be_replaced_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    output = OutputDirectory(str(tmp_path))
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(CommandFailed) as refused:
        output.write("a.txt", "x")
    assert refused.value.code == "output_unwritable"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_deleted_file_goes_with_the_directories_that_it_leaves_empty(tmp_path: Path) -> None:
    output = OutputDirectory(str(tmp_path))
    for path in ("a/b/c.txt", "a/d.txt"):
        output.write(path, "x")
    output.delete("a/b/c.txt")
    output.delete("a/never.txt")
    assert output.written == {"a/d.txt"}
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["d.txt"]
    output.delete("a/d.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_deleted_is_told(tmp_path: Path) -> None:
    output = OutputDirectory(str(tmp_path))
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(CommandFailed) as refused:
        output.delete("a.txt")
    assert refused.value.code == "output_unwritable"


def test_what_lies_beyond_a_link_is_not_deleted(tmp_path: Path) -> None:
    output = OutputDirectory(str(tmp_path / "out"))
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/a.txt").write_text("mine")
    (tmp_path / "out/link").symlink_to(tmp_path / "precious")
    with pytest.raises(CommandFailed) as refused:
        output.delete("link/a.txt")
    assert refused.value.code == "unsafe_path"
    assert (tmp_path / "precious/a.txt").read_text() == "mine"
