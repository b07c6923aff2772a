"""The outline of a file: what the other files can use of it, by simple rules for its lines.

It is shown to the model instead of a text for which there is no room. Nothing here does I/O.
"""

from __future__ import annotations

import re

MAX_OUTLINE_LINES = 60
MAX_OUTLINE_LINE_CHARS = 160
MAX_READ_LINE_CHARS = 1_000  # what is longer was not written by hand, and no rule reads it whole
HEAD_LINES = 8  # of a file without rules

_SCRIPT = re.compile(
    r"import\b|export\b|module\.exports\b|exports\.\w|(?:async )?function\b|(?:abstract )?class\b|"
    r"(?:interface|type|enum|namespace)\s+\w|(?:const|let|var)\s+[\w{\[]|"
    r"\w+\.(?:get|post|put|patch|delete|use|route|all)\(|"
    r"\s{1,4}(?:(?:static|async|get|set|public|private|protected|readonly)\s+)*"
    r"(?!(?:if|for|while|switch|catch|return|function)\b)[#\w]+\([^;)]*\)[^;]*\{\s*$"
)
_PYTHON = re.compile(
    r"(?:from|import|class|def|async def|@)\b|@\w|[A-Z][A-Z0-9_]+\b|\s{4}(?:async )?def\b"
)
_STYLE = re.compile(r"@|[^\s{};/*][^{};]*\{")
_PAGE = re.compile(
    r"\s*<(?:title|script|link|form|template|main|nav|header|footer|section)\b|.*\bid\s*=", re.I
)
_DATA = re.compile(r"\s{0,2}\"[^\"]*\"\s*:|[\w.-]+\s*[:=]|\[")
_PROSE = re.compile(r"#{1,6} |=+$|-+$")
_QUERY = re.compile(r"(?:create|alter|insert into|drop)\b", re.I)
_OTHER_CODE = re.compile(
    r"(?:package|import|use|using|module|namespace|#include)\b|\s{0,4}(?:(?:pub|public|private|"
    r"protected|internal|static|final|abstract|override|async|export|open|data)(?:\([^)]*\))?\s+)*"
    r"(?:fn|func|fun|def|class|struct|enum|trait|interface|impl|type|module|object|record|sub|"
    r"function)\b"
)

_RULES = {
    **dict.fromkeys(("js", "jsx", "mjs", "cjs", "ts", "tsx", "mts", "vue", "svelte"), _SCRIPT),
    **dict.fromkeys(("py", "pyi"), _PYTHON),
    **dict.fromkeys(("css", "scss", "sass", "less"), _STYLE),
    **dict.fromkeys(("html", "htm", "ejs", "hbs", "svg"), _PAGE),
    **dict.fromkeys(("json", "yml", "yaml", "toml", "ini", "env"), _DATA),
    **dict.fromkeys(("md", "mdx", "txt", "rst"), _PROSE),
    "sql": _QUERY,
    **dict.fromkeys(
        ("go", "rs", "java", "kt", "cs", "rb", "php", "swift", "c", "cpp"), _OTHER_CODE
    ),
}

_EXPORTED = re.compile(
    r"^export\s+(?:default\s+)?(?:async\s+)?"
    r"(?:function\*?|class|const|let|var|interface|type|enum)\s+(\w+)|"
    r"^exports\.(\w+)|^(?:def|async def|class)\s+(\w+)",
    re.MULTILINE,
)
_EXPORT_LIST = re.compile(r"^(?:export|module\.exports\s*=)\s*\{([^}]*)\}", re.MULTILINE)
_EXPORT_ITEM = re.compile(r"(?:\w+ as )?(\w+)")


def outline(path: str, text: str) -> str:
    """Return the lines that say what is in the file, each cut to its head; maybe none."""
    lines = text.splitlines()
    rule = _RULES.get(path.rpartition(".")[2].lower())
    found = (
        lines[:HEAD_LINES]
        if rule is None
        else [line for line in lines if rule.match(line[:MAX_READ_LINE_CHARS])]
    )
    shown = [_head(line) for line in found[:MAX_OUTLINE_LINES]]
    if len(found) > MAX_OUTLINE_LINES:
        shown.append(f"... and {len(found) - MAX_OUTLINE_LINES} more")
    return "\n".join(shown)


def exported_names(text: str) -> frozenset[str]:
    """Return the names that a script or a Python module offers to others."""
    names = {name for match in _EXPORTED.finditer(text) for name in match.groups() if name}
    # Behind the last brace no list ends; each that begins there would be searched to the end.
    for listed in _EXPORT_LIST.finditer(text, 0, text.rfind("}") + 1):
        items = [_EXPORT_ITEM.match(" ".join(item.split())) for item in listed[1].split(",")]
        names |= {item[1] for item in items if item is not None}
    return frozenset(names)


def _head(line: str) -> str:
    line = line.rstrip()
    cut = line[:MAX_OUTLINE_LINE_CHARS]
    return cut.removesuffix("{").rstrip() if cut == line else f"{cut} ..."
