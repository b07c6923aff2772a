"""What was wrong with a file that an answer brought, told to the model that is asked again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from actors.errors import OutputInvalid

#: placeholder: a line stands for text left out; patch_rejected: it does not fit; seam_mismatch: a
#: file was not continued where its text ends; path_refused: a file here is a directory there.
FaultKind = Literal["placeholder", "patch_rejected", "seam_mismatch", "path_refused"]

_DEMANDS: dict[FaultKind, str] = {
    "placeholder": "Leave nothing out: write every line of the full text, or a patch where the "
    "file exists.",
    "patch_rejected": "The file is as it was before; write its full text, not a patch.",
    "seam_mismatch": "Write the file in full, from its first line on.",
    "path_refused": "Write it where it can be.",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a file was not taken; `detail` begins with its path and is a clause for a person."""

    kind: FaultKind
    path: str
    detail: str


def complaint(left_out: Sequence[str], faults: Iterable[Fault]) -> str:
    """Say what was wrong with the answers so far, and what is to be done about it."""
    sentences = [f"{fault.detail}. {_DEMANDS[fault.kind]}" for fault in faults]
    if left_out:
        sentences.append(f"Not written at all: {', '.join(left_out)}.")
    return " ".join(sentences)


def undelivered(missing: Sequence[str], faults: Mapping[str, Fault]) -> OutputInvalid:
    """Return the error that ends the run; it names each file and what was wrong with it."""
    reasons = [faults[path].detail if path in faults else f"{path} is missing" for path in missing]
    files = "1 planned file" if len(missing) == 1 else f"{len(missing)} planned files"
    return OutputInvalid(
        f"The model did not deliver {files}, also when asked again: {'; '.join(reasons)}. "
        "Generate again or choose another model."
    )
