"""Where things are inside a sandbox of any kind, and who may open how many files there. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of project files, and the file that holds its note.

    `told` are all files that tell what the folder holds: void before anything in it is changed.
    """

    directory: str
    note: str
    told: tuple[str, ...]


VOLUME_DIR = "/home"  # all that stays
HOME_DIR = f"{VOLUME_DIR}/node"
APP_DIR = f"{HOME_DIR}/app"
NOTE_FILE = f"{HOME_DIR}/.codegen-note"
UNDO_FILE = f"{HOME_DIR}/.codegen-undo"  # how a draft that was taken over is undone
APP = Place(APP_DIR, NOTE_FILE, (NOTE_FILE, UNDO_FILE))
DRAFT_NOTE_FILE = f"{HOME_DIR}/.codegen-draft-note"
DRAFT = Place(f"{HOME_DIR}/draft", DRAFT_NOTE_FILE, (DRAFT_NOTE_FILE,))
FORMER_DIR = f"{HOME_DIR}/former"  # what the draft has replaced
ORDER_FILE = f"{HOME_DIR}/.codegen-order"  # what is to be taken over
STARTED_FILE = f"{HOME_DIR}/.codegen-started"  # as old as the last start of the dev server
USER_ID = 1000  # `node` in the official images
MAX_OPEN_FILES = 16_384  # Vite watches many; some hosts refuse limits above 20,000


def in_directory(directory: str) -> str:
    """Return the lines of a shell script that go there.

    An app may have removed its own directory; only the one above its home is there for certain.
    """
    return (
        f"[ -d {directory} ] || {{ rm -f {directory}; mkdir {directory}; }}\n"
        f"cd {directory} || exit 126\n"
    )
