"""The grammar of one line of SCOF: headers, markers, install commands, fences.

Nothing here knows what came before, short of the header of the block that is open. "Rule n" is
the numbering of shared/scof.md.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import NamedTuple

from actors.generation.scof_events import Mode
from actors.paths import normalized_path

MAX_HEADER_CHARS = 4096  # a longer line is text; also bounds the work per candidate
MAX_HEADER_LINES = 8  # a header continued over more lines with `\` is text

BLANKS = " \t"
_PROMPT = r"[ \t]*(?:\$[ \t]+)?"
_HEADER_START = r"(?i:cat[ \t]*[<>\\]|mkdir[ \t])"
_BEGIN = r"(?i:(?P<indent>[ \t]*)(?:\$[ \t]+)?(?:mkdir[ \t][^&|;<>]*&&[ \t]*)*cat)[ \t]*"
_HERE = r"""<<(?P<dash>-?)[ \t]*[\\'"]?(?P<marker>\w(?:[\w.:+-]*\w)?)['"]?[ \t]*"""
_PATH = r"""(?P<path>[ \t]*"[^"]*"[^<>|;&"]*|[ \t]*'[^']*'[^<>|;&']*|[^<>|;&]*)"""
_COMMENT = r"""(?:(?<=[ \t'"])#.*)?"""
_FORMS = (
    re.compile(rf"{_BEGIN}(?P<into>>>?){_PATH}{_HERE}{_COMMENT}"),
    re.compile(rf"{_BEGIN}{_HERE}(?:(?P<into>>>?|\|[ \t]*(?i:patch)(?![^ \t])){_PATH})?{_COMMENT}"),
)
_CONTINUABLE = re.compile(_PROMPT + _HEADER_START)

_QUOTED = re.compile(r"""(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)')[ \t]*(?:#.*)?""")
_ESCAPED = re.compile(r"\\([^A-Za-z0-9])")
_PATCH_OPTIONS = re.compile(
    r"(?:[ \t]+(?:-[pFg][ \t]+\d+(?![^ \t])|-[diorBDVYz][ \t]+[^ \t]+|-[^ \t]*))*"
)
_AFTER_PATH = re.compile(r"(?:^|[ \t])#")
_AFTER_PATCH_PATH = re.compile(r"(?:^|[ \t])[#-]")

_MANAGERS = r"(?:npm|pnpm|yarn|bun)[ \t]"
_ARGUMENT = r"""(?:"[^"`$\\]*"|'[^']*'|\.|[\w@~./-][\w@~./:^=*+#%-]*(?<![.:]))(?![^ \t])"""
_INSTALL = re.compile(
    rf"{_PROMPT}({_MANAGERS}[ \t]*(?:install|i|add)(?![^ \t])(?:[ \t]+{_ARGUMENT})*)"
    r"[ \t]*(?:(?<=[ \t])#.*)?"
)
#: "npm install is needed first" must not install three packages: a line with one is prose.
_PROSE_WORDS = frozenset(
    {"a", "all", "and", "are", "before", "for", "if", "is", "it", "must", "of", "or", "should"}
    | {"the", "them", "then", "these", "this", "to", "when", "will", "with", "you", "your"}
)
_FENCE = re.compile(r"[ \t]*(?:```|~~~)")

# Searches in "\n" + lines; the literal LF in front makes them one memchr per line.
EVERY_LINE = re.compile(r"\n")
COMMANDS = re.compile(rf"\n{_PROMPT}(?:{_HEADER_START}|{_MANAGERS})")

_SCRIPT_SUFFIXES = (".sh", ".bash", ".zsh", ".md", ".mdx", ".yml", ".yaml")
_SCRIPT_NAMES = ("dockerfile", "makefile")


class Line(NamedTuple):
    """A line: `text` to judge, `raw` as content; `is_cut` where the stream broke off in it."""

    text: str
    raw: str
    is_cut: bool = False


class Kind(Enum):
    """What a line is, by itself and by the open block's marker."""

    MARKER = auto()
    INDENTED_MARKER = auto()
    HEADER = auto()
    INSTALL = auto()
    FENCE = auto()
    BLANK = auto()
    TEXT = auto()


class Header(NamedTuple):
    """A block's first line, understood; `path` is None where it is missing or not safe."""

    mode: Mode
    written_path: str
    path: str | None
    marker: str
    strips_tabs: bool
    indent: int

    @property
    def nests(self) -> bool:
        """Say whether here-documents may nest in the block (rule 6)."""
        # In a diff the inner marker never stands alone: nothing to nest.
        return self.mode != "patch" and _is_script(self.written_path)


def parse_header(text: str) -> Header | None:
    """Read one line, continuations joined; None for anything but a header."""
    if len(text) > MAX_HEADER_CHARS:
        return None
    found = next(filter(None, (form.fullmatch(text) for form in _FORMS)), None)
    if found is None:
        return None
    into = found["into"] or ""
    mode: Mode = "patch" if into[:1] == "|" else "append" if into == ">>" else "write"
    written = _written_path(found["path"] or "", mode)
    if written.endswith("\\"):
        return None  # the path goes on in the next line
    return Header(
        mode=mode,
        written_path=written,
        path=normalized_path(written),
        marker=found["marker"],
        strips_tabs=bool(found["dash"]),
        indent=len(found["indent"]),
    )


def _written_path(text: str, mode: Mode) -> str:
    """Take options, comment, quotes and escapes off a path."""
    after = _AFTER_PATH
    if mode == "patch":
        text = _PATCH_OPTIONS.sub("", text, count=1)
        after = _AFTER_PATCH_PATH
    text = text.strip(BLANKS)
    quoted = _QUOTED.fullmatch(text)
    if quoted is not None and quoted["single"] is not None:
        return quoted["single"]
    if quoted is not None:
        return _ESCAPED.sub(r"\1", quoted["double"])
    return _ESCAPED.sub(r"\1", after.split(text, maxsplit=1)[0].strip(BLANKS + "'\""))


def parse_install(text: str) -> str | None:
    """Return the install command that is this whole line, or None."""
    found = _INSTALL.fullmatch(text) if len(text) <= MAX_HEADER_CHARS else None
    if found is None or not _PROSE_WORDS.isdisjoint(found[1].split()):
        return None
    return found[1]


def classify(line: Line, block: Header | None) -> tuple[Kind, Header | None]:
    """Tell a line's kind, and what it says if it is a header; `block` is the open block's."""
    kind = marker_kind(line.text, block)
    if kind is not None:
        return kind, None
    if not line.is_cut:
        header = parse_header(line.text)
        if header is not None:
            return Kind.HEADER, header
        if parse_install(line.text) is not None:
            return Kind.INSTALL, None
    if _FENCE.match(line.text):
        return Kind.FENCE, None
    return (Kind.TEXT if line.text.strip(BLANKS) else Kind.BLANK), None


def marker_kind(text: str, block: Header | None) -> Kind | None:
    """Return MARKER or INDENTED_MARKER for a line that could end the open block, else None."""
    if block is None:
        return None
    text = text.lstrip("\t") if block.strips_tabs else text
    if text.strip(BLANKS) != block.marker:
        return None
    return Kind.INDENTED_MARKER if text[0] in BLANKS else Kind.MARKER


def may_begin_header(text: str) -> bool:
    """Say whether a line that is no header could be one together with the lines after it."""
    return text.endswith("\\") and _CONTINUABLE.match(text) is not None


def interesting_lines(block: Header) -> re.Pattern[str]:
    """Return a search, as those above, for the lines in a block that can be more than text."""
    other = r"[^\n]*<<" if block.nests else rf"(?:\$[ \t]+)?{_HEADER_START}"
    return re.compile(rf"\n(?:[ \t]*{re.escape(block.marker)}[ \t]*\n|{other})")


def nested_opener(block: Header) -> re.Pattern[str]:
    """Return a match for the lines that open a here-document with the block's own marker.

    Not in a comment and not in inline code: a mention there has no marker line. Group 1 (indent)
    or group 2 (dash) is not empty where the marker of the nested one may be indented.
    """
    return re.compile(
        rf"(?![ \t]*#)([ \t]*+)[^`]*?(?<!<)<<(-?)[ \t]*\\?['\"]?{re.escape(block.marker)}"
        r"['\"]?(?![^ \t|<>;&)])"
    )


def _is_script(path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    return name in _SCRIPT_NAMES or name.endswith(_SCRIPT_SUFFIXES)
