"""What the model is told of its last answer's faults, and a user of those that stay."""

from __future__ import annotations

from actors.generation.faults import Fault, complaint, undelivered

PLACEHOLDER = Fault("placeholder", "a.js", "a.js, line 3, stands for text left out: '// ...'")
REJECTED = Fault("patch_rejected", "b.js", "b.js: hunk 1 does not fit")
MISMATCH = Fault("seam_mismatch", "c.js", "c.js: the answer does not go on where the text ends")
REFUSED = Fault("path_refused", "d/e.js", "d/e.js cannot be a file beside d")


def test_a_placeholder_is_named_and_the_full_text_demanded() -> None:
    assert complaint([], [PLACEHOLDER]) == (
        "a.js, line 3, stands for text left out: '// ...'. Leave nothing out: write every line "
        "of the full text, or a patch where the file exists."
    )


def test_after_a_rejected_patch_the_full_text_is_demanded() -> None:
    assert complaint([], [REJECTED]) == (
        "b.js: hunk 1 does not fit. The file is as it was before; write its full text, not a patch."
    )


def test_each_fault_and_all_that_is_missing_is_told() -> None:
    text = complaint(["x.js", "y.js"], [MISMATCH, REFUSED])
    assert "c.js: the answer does not go on" in text
    assert "from its first line on" in text
    assert "d/e.js cannot be a file beside d. Write it where it can be." in text
    assert text.endswith("Not written at all: x.js, y.js.")


def test_there_is_nothing_to_complain_about_in_an_answer_that_broke_off() -> None:
    assert complaint([], []) == ""


def test_the_error_names_each_file_and_its_fault() -> None:
    error = undelivered(["a.js", "x.js"], {"a.js": PLACEHOLDER})
    assert error.code == "output_invalid"
    assert str(error) == (
        "The model did not deliver 2 planned files, also when asked again: a.js, line 3, stands "
        "for text left out: '// ...'; x.js is missing. Generate again or choose another model."
    )
    assert "deliver 1 planned file," in str(undelivered(["x.js"], {}))
