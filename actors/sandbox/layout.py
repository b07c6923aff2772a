"""Where things are inside a sandbox of any kind, and who may open how many files there. Pure."""

from __future__ import annotations

VOLUME_DIR = "/home"  # all that stays
HOME_DIR = f"{VOLUME_DIR}/node"
APP_DIR = f"{HOME_DIR}/app"
NOTE_FILE = f"{HOME_DIR}/.codegen-note"
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
