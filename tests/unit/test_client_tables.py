"""Tables and lists of the CLI."""

from __future__ import annotations

from gateway.client.tables import files_table, projects_table, status_lines, table


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table(("A", "LONG"), [("1234", "x"), ("1", "yy")]) == [
        "A     LONG",
        "1234  x",
        "1     yy",
    ]


def test_long_and_hostile_cells_are_cut_and_cleaned() -> None:
    assert table(("A",), [("x" * 61,), ("a\x1b[2Jb\nc",)]) == ["A", "x" * 59 + "…", "a [2Jb c"]


def test_projects_are_listed_by_id_status_change_and_wish() -> None:
    project = {
        "id": "p-1",
        "status": "complete",
        "updatedAt": "2026-01-02T03:04:05.678Z",
        "description": None,
    }
    assert projects_table([project, {**project, "description": "a timer"}]) == [
        "PROJECT  STATUS    CHANGED (UTC)     DESCRIPTION",
        "p-1      complete  2026-01-02 03:04",
        "p-1      complete  2026-01-02 03:04  a timer",
    ]


def test_files_are_listed_by_path_size_and_phase() -> None:
    files = [{"path": "src/a.js", "size": 2100, "phaseNumber": 1}]
    assert files_table(files) == ["PATH      SIZE    PHASE", "src/a.js  2.1 KB  1"]


def test_a_status_is_one_line_for_each_member() -> None:
    status = {
        "uptimeSeconds": 1.5,
        "model": {"isDemo": True, "name": "demo"},
        "names": ["a", "b"],
        "pids": None,
        "ok": False,
    }
    assert status_lines(status) == [
        "uptime seconds  1.5",
        "model: is demo  yes",
        "model: name     demo",
        "names           a, b",
        "pids            -",
        "ok              no",
    ]


def test_an_empty_status_has_no_lines() -> None:
    assert status_lines({}) == []
