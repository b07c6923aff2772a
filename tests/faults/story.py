"""What the model writes for one project: every plan and every text follow from a number. No I/O.

The number stands in each command's description, so the prompt holds it and the model needs no
memory. The texts are made to show what goes wrong: each line of a file but `list.txt` exists once,
so a text with a piece missing or doubled is no beginning of the file.
"""

from __future__ import annotations

import json
import random
import re
from functools import cache

from tests.support.openrouter import ScriptedPhase

LINES = (12, 36)  # of an ordinary file, from, to
LONG_LINE_CHARS = 1_500
REPEATED_LINES = 40
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789 "
#: Outside ASCII, the private-use character that the database escapes, U+0000, U+2028.
UNICODE = "äß 漢字 🦊👩\u200d🔬 العربية e\u0301 \ue000 \x00 \u2028 "

PACKAGE = json.dumps({"name": "story", "private": True, "scripts": {"dev": "node server.js"}})
SERVER = """\
const { createServer } = require('node:http');
createServer((request, response) => response.end('here')).listen(process.env.PORT, '0.0.0.0');
"""
_NUMBER = re.compile(r"\bstory (\d+)( in a container)?\b")


class Story:
    """One project's; with `is_in_container` its phases are a Node app instead of plain files."""

    def __init__(self, number: int, *, is_in_container: bool = False) -> None:
        self.number = number
        self.is_in_container = is_in_container

    @classmethod
    def of(cls, prompt: str) -> Story:
        """Return the story that a prompt asks for."""
        match = _NUMBER.search(prompt)
        assert match is not None, "the description holds no story"
        return cls(int(match[1]), is_in_container=match[2] is not None)

    def description(self, command_id: str) -> str:
        """Return the description of a command."""
        place = " in a container" if self.is_in_container else ""
        return f"Write story {self.number}{place}, command {command_id}."

    def phase(self, number: int) -> ScriptedPhase:
        """Return the phase of this number; that it is the last one, maxPhases has to say."""
        return _phase(self.number, number, self.is_in_container)

    def text(self, phase_number: int, path: str) -> str:
        """Return a file as its phase writes it."""
        return self.phase(phase_number).files[path]


@cache
def _phase(story: int, number: int, is_in_container: bool) -> ScriptedPhase:
    choose = random.Random(f"{story}/{number}")
    makers = {
        f"phase-{number}.txt": _lines,
        "list.txt": _repeated,
        "styles/größe é.css": _unicode,
        f"data/long-{number}.json": _long,
        f"empty-{number}.txt": _nothing,
    }
    paths = choose.sample(sorted(makers), choose.randint(1, 3))
    files = {"index.html": _lines(choose), **{path: makers[path](choose) for path in paths}}
    if is_in_container:  # whichever phases before it were cut or cancelled
        files |= {"package.json": PACKAGE + "\n", "server.js": SERVER}
    items = list(files.items())
    choose.shuffle(items)
    return ScriptedPhase(
        name=f"Phase {number} of story {story}",
        description=f"Writes {len(files)} files.",
        files=dict(items),
        is_last=False,
    )


def _nothing(_: random.Random) -> str:
    return ""


def _lines(choose: random.Random) -> str:
    return "".join(
        f"{number:03d} {_noise(choose, choose.randint(5, 60))}\n"
        for number in range(choose.randint(*LINES))
    )


def _repeated(choose: random.Random) -> str:
    line = f"  <li>{_noise(choose, 12)}</li>\n"
    return f"<ul>\n{line * REPEATED_LINES}</ul>\n"


def _unicode(choose: random.Random) -> str:
    return "".join(
        f"{number:03d} {_noise(choose, 6)} {UNICODE}\n" for number in range(choose.randint(*LINES))
    )


def _long(choose: random.Random) -> str:
    return f"{_noise(choose, LONG_LINE_CHARS)}\n{_noise(choose, 20)}\n"


def _noise(choose: random.Random, chars: int) -> str:
    return "".join(choose.choices(ALPHABET, k=chars)).strip().ljust(chars, ".")
