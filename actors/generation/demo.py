"""The built-in demo model: without key and network it plans and writes a small working app.

It answers the same prompts, in the same formats and at a human pace, as a real model does, so
everything around it works as in earnest. It cannot read a request, only its keywords: a timer, a
list, or a board for everything else. A first run takes two phases, the app and its polish; a
later request changes the palette and is noted on the page. The templates are in `demo_app/`.
"""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from actors.generation.model import (
    ModelEvent,
    ModelFacts,
    ModelFinished,
    ModelRequest,
    ModelText,
    ModelUsage,
)
from actors.generation.prompts import Brief, free_marker, read_brief, write_scof
from actors.generation.scof import FileClosed, ScofParser

CHARACTERS_PER_SECOND = 400.0
PIECES_PER_SECOND = 25.0
UNPACED_PIECE_CHARS = 64
CHARS_PER_TOKEN = 4  # a rule of thumb; what the demo reports is only roughly a model's usage
MAX_TITLE_CHARS = 44
MAX_SHOWN_DESCRIPTION_CHARS = 140

BASE_PATHS = ("index.html", "styles.css", "app.js")
POLISH_PATHS = ("index.html", "theme.css", "theme.js")
CHANGE_PATHS = ("theme.css", "theme.js")
#: Where the app goes in a project that holds files which the demo did not write.
GUEST_FOLDER = "demo/"

_PURPOSES = {
    "index.html": "the page: its structure and texts",
    "styles.css": "the layout and the look, light and dark",
    "app.js": "what the page does",
    "theme.css": "the palette, the theme switch and the entrance",
    "theme.js": "the theme switch and the note of the latest change",
}

_KINDS = (
    ("timer", re.compile(r"\b(timers?|pomodoros?|countdown|stopwatch|clock|focus)\b", re.I)),
    (
        "list",
        re.compile(r"\b(to-?dos?|tasks?|lists?|notes?|checklists?|shopping|reminders?)\b", re.I),
    ),
)

_POLITENESS = re.compile(
    r"^(please )?((can|could|would) you )?(please )?"
    r"((i|we) (want|need|would like) |(build|create|make|write|design|develop|generate|give) )?"
    r"((me|us) )?((a|an|the|my|our) )?((simple|small|little|tiny|nice|basic) )?"
    r"((web ?)?(app|application|page|site|tool) (for|to|about) )?",
    re.I,
)
_CLAUSE_END = re.compile(r"[.!?;:,](\s|$)|\s(with|that|which|where|using|so|for me)\s", re.I)


@dataclass(frozen=True, slots=True)
class _Palette:
    name: str
    words: tuple[str, ...]
    accent_light: str
    accent_dark: str
    glow_light: str
    glow_dark: str


_PALETTES = (
    _Palette("ember", ("orange", "warm", "autumn"), "#c2410c", "#fb923c", "#fffaf3", "#241c17"),
    _Palette("ocean", ("blue", "ocean", "sea", "sky"), "#1d4ed8", "#7cb3ff", "#f4f8ff", "#151d2c"),
    _Palette(
        "violet", ("purple", "violet", "lavender"), "#6d28d9", "#b79cff", "#faf7ff", "#1f1a2d"
    ),
    _Palette("forest", ("green", "forest", "nature"), "#15703d", "#67d391", "#f4fbf5", "#14211a"),
    _Palette("rose", ("pink", "rose", "red"), "#be185d", "#fb86b4", "#fff6f9", "#291922"),
)


class DemoModel:
    """The `Model` port without a model; `characters_per_second` 0 means no pace at all."""

    is_demo = True

    def __init__(self, *, characters_per_second: float = CHARACTERS_PER_SECOND) -> None:
        self._characters_per_second = characters_per_second

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Answer the request; see `Model.stream`. It never fails, it costs nothing."""
        prompt = request.messages[-1].content
        brief = read_brief(prompt)
        text = _plan(request, brief) if request.purpose == "plan" else _files(request, brief)
        async for piece in self._paced(text):
            yield ModelText(text=piece)
        yield ModelUsage(
            model="demo",
            prompt_tokens=sum(len(m.content) for m in request.messages) // CHARS_PER_TOKEN,
            completion_tokens=len(text) // CHARS_PER_TOKEN,
            cost_usd=0.0,
        )
        yield ModelFinished(reason="stop")

    async def facts(self, model: str) -> ModelFacts:
        """Say that it is free."""
        return ModelFacts(prompt_usd=0.0, completion_usd=0.0)

    async def close(self) -> None:
        """Do nothing: there are no connections."""

    async def _paced(self, text: str) -> AsyncGenerator[str, None]:
        """Yield the text in pieces; a slow consumer is not made to wait in addition."""
        pace = self._characters_per_second
        size = max(1, round(pace / PIECES_PER_SECOND)) if pace > 0 else UNPACED_PIECE_CHARS
        now = asyncio.get_running_loop().time
        started = now()
        for position in range(0, len(text), size):
            yield text[position : position + size]
            due = started + (position + size) / pace if pace > 0 else 0.0
            await asyncio.sleep(max(0.0, due - now()))


def _plan(request: ModelRequest, brief: Brief) -> str:
    """Choose the phase by what exists, not by its number: a run may have been cancelled."""
    existing = set(brief.existing_paths)
    title = title_of(request.description)
    own = {*BASE_PATHS, *POLISH_PATHS}
    if any(path not in own for path in existing):
        name, paths, is_last = "App beside", tuple(GUEST_FOLDER + p for p in BASE_PATHS), True
        text = (
            "The demo model cannot change code that it did not write: it adds a working app of "
            f"its own in {GUEST_FOLDER}. With OPENROUTER_API_KEY a real model does as asked."
        )
    elif not existing.issuperset(BASE_PATHS):
        name, paths, is_last = "Working app", BASE_PATHS, False
        text = f"{title}, usable from the first phase: one page, its look and its behaviour."
    elif not existing.issuperset(POLISH_PATHS):
        name, paths, is_last = "Polish", POLISH_PATHS, True
        text = "A palette of its own, a switch between light and dark, and a gentle entrance."
    else:
        name, paths, is_last = "Fresh look", CHANGE_PATHS, True
        text = (
            f"The {_palette(request).name} palette, and a note of the latest request on the page. "
            "The demo model can do no more; with OPENROUTER_API_KEY a real model does as asked."
        )
    again = f", anew in phase {brief.phase_number}"
    purposes = {p: _PURPOSES[p.removeprefix(GUEST_FOLDER)] for p in paths}
    files = [{"path": p, "purpose": purposes[p] + again * (p in existing)} for p in paths]
    plan = {
        "name": name,
        "description": text,
        "files": files,
        "delete": [],
        "isLastPhase": is_last,
    }
    return json.dumps(plan, indent=2, ensure_ascii=False)


def _files(request: ModelRequest, brief: Brief) -> str:
    """Write the files that the prompt asks for, in its order."""
    existing = _read_code(brief.existing_code)
    is_polish = "theme.js" in brief.paths_to_write
    values = _values(request, is_change="theme.js" in existing)
    rendered: dict[str, str] = {}
    for path in brief.paths_to_write:
        name = path.removeprefix(GUEST_FOLDER)
        if name == "index.html" and is_polish:
            rendered[path] = _with_theme(existing.get(path) or _render(name, request, values))
        elif name in _PURPOSES:
            rendered[path] = _render(name, request, values)
    marker = free_marker(rendered.values())
    if brief.unfinished_path in rendered:
        text = rendered[brief.unfinished_path]
        rendered[brief.unfinished_path] = text[max(0, text.find(brief.seam)) :]
    return "\n".join(write_scof(path, text, marker) for path, text in rendered.items())


def _read_code(scof: str) -> dict[str, str]:
    parser = ScofParser()
    events = [*parser.feed(scof), *parser.close()]
    return {event.path: event.content for event in events if isinstance(event, FileClosed)}


def _render(name: str, request: ModelRequest, values: Mapping[str, str]) -> str:
    """Fill in a template, in one pass: a value that looks like a placeholder stays as it is."""
    kind = kind_of(request.description)
    match name:
        case "styles.css":
            text = _template("base.css") + _template(f"{kind}/app.css")
        case "theme.css" | "theme.js":
            text = _template(name)
        case _:
            text = _template(f"{kind}/{name}")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], text)


def _values(request: ModelRequest, *, is_change: bool) -> dict[str, str]:
    palette = _palette(request)
    description = _one_line(request.description, MAX_SHOWN_DESCRIPTION_CHARS)
    return {
        "title": html.escape(title_of(request.description)),
        "description": f"You asked for \u201c{html.escape(description)}\u201d",
        "palette": palette.name,
        "accent_light": palette.accent_light,
        "accent_dark": palette.accent_dark,
        "glow_light": palette.glow_light,
        "glow_dark": palette.glow_dark,
        "latest_change": _script_value(description if is_change else None),
        "start_theme": _script_value(_start_theme(request.description)),
    }


def kind_of(description: str) -> str:
    """Return timer, list or board: whichever keyword comes first, a board where there is none."""
    found = [
        (match.start(), kind) for kind, words in _KINDS if (match := words.search(description))
    ]
    return min(found)[1] if found else "board"


def title_of(description: str) -> str:
    """Make a short title of a description: its first clause without "please build me a"."""
    text = _POLITENESS.sub("", _one_line(description, MAX_SHOWN_DESCRIPTION_CHARS), count=1)
    text = _CLAUSE_END.split(text, maxsplit=1)[0]
    text = _one_line(text, MAX_TITLE_CHARS)
    has_words = any(char.isalnum() for char in text)
    return text[:1].upper() + text[1:] if has_words else "Your app"


def _one_line(text: str, limit: int) -> str:
    """Return printable text without line ends, cut between words."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(line) <= limit:
        return line
    head = line[: limit - 1]
    return (head.rpartition(" ")[0] or head).rstrip(" ,.;:-") + "\u2026"


def _palette(request: ModelRequest) -> _Palette:
    words = set(re.findall(r"\w+", request.description.lower()))
    asked = [palette for palette in _PALETTES if words.intersection(palette.words)]
    return asked[0] if asked else _PALETTES[request.phase_number % len(_PALETTES)]


def _start_theme(description: str) -> str | None:
    match = re.search(r"\b(dark|light)\b", description, re.I)
    return match[1].lower() if match else None


def _script_value(value: str | None) -> str:
    """Return a JavaScript literal; `<` is escaped so that it is safe inside a page as well."""
    return json.dumps(value).replace("<", "\\u003c")


def _with_theme(page: str) -> str:
    """Link the theme's files in a page; one that links them already is left alone."""
    if "theme.js" in page:
        return page
    links = '  <link rel="stylesheet" href="theme.css">\n  <script src="theme.js"></script>\n'
    return page.replace("</head>", links + "</head>", 1)


@cache
def _template(name: str) -> str:
    folder = resources.files("actors.generation") / "demo_app"
    return (folder / name).read_text(encoding="utf-8")
