"""The inventory: what its digests tell apart, and which notes are believed."""

from __future__ import annotations

import pytest

from actors.generation.inventory import Inventory, content_digest, file_digests


def test_a_note_says_what_was_noted() -> None:
    for inventory in (
        Inventory(files={}),
        Inventory(files=file_digests({"a/b.txt": "ü"}), installed="1", checked="2"),
    ):
        assert Inventory.parse(inventory.dump()) == inventory


@pytest.mark.parametrize(
    "note",
    [
        "",
        "{",
        "null",
        "[]",
        "{}",
        '{"files": [], "installed": null, "checked": null}',
        '{"files": {}, "installed": 1, "checked": null}',
        '{"files": {}, "installed": null}',
        '{"files": {"../up": "1"}, "installed": null, "checked": null}',
    ],
)
def test_a_note_that_is_none_of_ours_is_no_note(note: str) -> None:
    assert Inventory.parse(note) is None


def test_the_digest_of_files_tells_paths_texts_and_their_number_apart() -> None:
    projects = [{}, {"a": ""}, {"b": ""}, {"a": "b"}, {"a": "", "b": ""}, {"a": "b", "b": ""}]
    assert len({content_digest(files) for files in projects}) == len(projects)
    assert content_digest({"b": "1", "a": "2"}) == content_digest({"a": "2", "b": "1"})
