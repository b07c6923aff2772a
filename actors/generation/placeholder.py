"""Finds the lines of a finished file that stand for text which was left out.

A model that is to write a whole file likes to write `// ... rest of the file unchanged` instead of
a part of it. Such a line is a comment, or begins with an ellipsis, and has nothing else to say. So
all words of it have to be of the few kinds below: a sentence that uses some of them is no
placeholder. Nothing here does I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MAX_LINE_CHARS = 200  # a longer line is no placeholder

_PROSE_SUFFIXES = (".md", ".mdx", ".markdown", ".txt", ".rst", ".adoc")
_ELLIPSIS = r"(?:\.{3,}|\u2026)"
#: What every placeholder holds; most lines hold none of it.
_SIGN = re.compile(
    rf"{_ELLIPSIS}|\brest\b|remain|existing|unchanged|\bsame\b|everything|omitted|left out|brevity|"
    r"snip|as before|as is\b|identical|continues|other ",
    re.IGNORECASE,
)

_WHOLE_COMMENT = re.compile(
    r"\s*(?:"
    r"\{?\s*/\*+(?P<block>.*?)\*+/\s*\}?|<!--(?P<html>.*?)-->|<%--(?P<jsp>.*?)--%>|"
    r"\{\{!(?:--)?(?P<mustache>.*?)(?:--)?\}\}|\{#(?P<jinja>.*?)#\}|<%#(?P<erb>.*?)%>|"
    r"(?:///*!?|\#+|--+|;+|%+|\*)(?![*/])(?P<line>.*)"
    r")\s*"
)
_INLINE_COMMENT = re.compile(
    rf"/\*+(?P<block>.*?)\*+/|<!--(?P<html>.*?)-->|(?<=\s)(?://|\#)\s*(?={_ELLIPSIS})(?P<line>.*)"
)
_HTML_COMMENT = re.compile(r"\s*<!--(?P<html>.*?)-->\s*")
_BARE = re.compile(rf"\s*(?:(?P<dots>{_ELLIPSIS}\s+\S.*)|(?P<square>\[.+\])|(?P<round>\(.+\)))\s*")
_FENCE = re.compile(r"\s*(?:```|~~~)")
_OPENERS = ("/*", "/**", "{/*", "<!--")
_CLOSERS = ("*/", "*/}", "-->")

_CODE_SIGN = re.compile(r"[={}<>|\\$\"`]|\w\(|\.\.\.[\w.]+,?$")
_LEADING = re.compile(rf"\W*?{_ELLIPSIS}")
_TRAILING = re.compile(rf"{_ELLIPSIS}\W*$")
_WORD = re.compile(r"\w[\w'.]*\w|\w")

# --- the words -----------------------------------------------------------------------------------

_CODE = (
    "(?:code|codebase|contents?|implementations?|components?|scripts?|functions?|methods?|"
    "class(?:es)?|css|html|jsx|markup|styles?|stylesheets?|rules?|templates?|imports?|exports?|"
    "import statements?|logic|modules?|document|page|body|sections?|routes?|handlers?|endpoints?|"
    "tests?|config|configuration|setup|types?|interfaces?|definitions?|declarations?|helpers?|"
    "utils|utilities|hooks?|effects?|listeners?|selectors?|schema|dependencies|packages|"
    "middleware|constants|variables|lines|parts?|blocks?|tags|structure|layout|app|application)"
)
_DATA = (
    "(?:state|fields?|props?|items?|entry|entries|values?|property|properties|data|options?|"
    "settings?|parameters?|arguments?|keys?|elements?|cases?|branch|branches|records?|rows?|"
    "attributes?|members?|objects?|buttons?|links?|cards?|nav|navigation|header|footer|head)"
)
#: What by itself says that it is text of a file.
_TEXT = "(?:code|codebase|implementation)"
_TEXT_WITH_REST = f"(?:{_TEXT}|file|component|script|stylesheet)"
_DETERMINER = "(?:(?:all|any|the|this|that|these|those|your|our|my|of) ){0,3}"
_VERB = "(?:(?:please )?(?:keep|leave|retain|preserve|copy|insert|paste|include|add|put|use) )?"
_QUALIFIERS = r"(?:[\w'.]+ ){0,3}?"
_OLD = "(?:remaining|existing|unchanged|original|previous|same)"
_MORE = "(?:other|more|additional|further|earlier|current|prior)"
_REST = "(?:rest|remainder)"
_VERSION = "(?:version|file|code|implementation)"
_SAME = (
    "(?:unchanged|unmodified|untouched|unaltered|intact|identical|as is|as it is|as they are|"
    "as it was|as they were|as before|the same|same|as above|the same as above|"
    "(?:the )?same as before|continues(?: as before)?|"
    "(?:(?:the )?same as|identical to|unchanged from|as) (?:in )?(?:the |your )?"
    f"(?:previous|original|existing|earlier|last|old)(?: {_VERSION})?)"
)
_STATE = (
    "(?: (?:will|should|can|must))?(?: (?:remains?|stays?|is|are|be|kept|left|goes|go))*"
    f"(?: (?:exactly|completely|all|just))? {_SAME}(?: here| below| above)?"
)
_HERE = "(?: (?:goes|go|comes|come|stays|stay|is|are))? here"
_LEFT_OUT = "(?:omitted|elided|left out|snipped|not shown|truncated|shortened|abbreviated)"
_OMITTED = f"(?: (?:is|are|was|were|has been|have been))? {_LEFT_OUT}(?: here)?"
_BREVITY = " for (?:the sake of )?(?:brevity|clarity|space|conciseness|readability|simplicity)"

_REST_OF_TEXT = f"{_VERB}{_DETERMINER}{_REST} of {_DETERMINER}(?:{_OLD} )?{_TEXT_WITH_REST}"
_REST_OF_CODE = f"{_VERB}{_DETERMINER}{_REST}(?: of {_DETERMINER}{_QUALIFIERS}{_CODE})?"
_OLD_TEXT = f"{_VERB}{_DETERMINER}(?:(?:remaining|existing|unchanged) {_TEXT}|other code)"
_OLD_CODE = f"{_VERB}{_DETERMINER}{_OLD} {_QUALIFIERS}(?:{_CODE}|files?)"
_ANY_CODE = (
    f"(?:{_REST_OF_CODE}|{_VERB}{_DETERMINER}(?:{_OLD}|{_MORE}) {_QUALIFIERS}{_CODE}|"
    f"{_VERB}everything else|{_DETERMINER}{_TEXT}|{_REST_OF_TEXT})"
)
#: With an ellipsis in front, nearly anything is one.
_ANY_THING = (
    f"(?:{_ANY_CODE}|{_VERB}{_DETERMINER}{_REST} of {_DETERMINER}{_QUALIFIERS}{_DATA}|"
    f"{_VERB}{_DETERMINER}(?:{_OLD}|{_MORE}) {_QUALIFIERS}{_DATA})"
)


def _one_of(*forms: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{form})" for form in forms))


#: Of a comment without any ellipsis.
_PLAIN = _one_of(
    f"{_REST_OF_TEXT}(?:{_HERE})?",
    f"{_OLD_TEXT}(?:{_HERE})?",
    f"{_ANY_CODE}{_STATE}",
    f"(?:{_REST_OF_CODE}|{_OLD_CODE}){_HERE}",
    f"no changes (?:to|in) (?:{_REST_OF_TEXT}|{_REST_OF_CODE})",
    "same as before|same code as before|"
    "(?:same as|identical to|unchanged from|as) (?:in )?(?:the |your )?"
    f"(?:previous|original|existing|earlier|last|old) {_VERSION}",
    f"{_ANY_CODE}{_OMITTED}{_BREVITY}",
    f"{_LEFT_OUT}{_BREVITY}",
    f"(?:{_DETERMINER}{_TEXT}|{_REST_OF_CODE}|{_OLD_CODE}){_OMITTED}",
)
#: Of one that ends in an ellipsis.
_BEFORE_ELLIPSIS = _one_of(f"{_REST_OF_CODE}", f"{_OLD_CODE}", _SAME, f"{_OLD_TEXT}{_HERE}")
#: Of one that begins with an ellipsis.
_BEHIND_ELLIPSIS = _one_of(
    f"(?:(?:and|plus|with|then) )?(?:{_ANY_THING}|{_OLD_CODE})"
    f"(?:{_STATE}|{_HERE}|{_OMITTED}|{_OMITTED}{_BREVITY})?",
    f"{_SAME}",
    "(?:remains?|stays?|is|are|kept|left) " + _SAME,
    "no (?:other )?changes?(?: here)?|nothing (?:else )?change[sd]",
)
#: Of one between two.
_BETWEEN_ELLIPSES = _one_of(
    rf"{_VERB}{_DETERMINER}(?:{_OLD}|{_MORE}|{_REST})\b(?: \S+){{0,4}}",
    rf"{_DETERMINER}(?:[\w'.]+ )?{_CODE}",
)
_MORE_WORDS = re.compile(r"\S+ \S+")


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A line, counted from 1, that stands for others; `text` is without the blanks around it."""

    line: int
    text: str


def find_placeholder(path: str, text: str, former: str | None = None) -> Placeholder | None:
    """Return the first line that stands for text left out.

    A line that stood byte for byte in the `former` version of the file is none: that text may
    be about placeholders.
    """
    lines = text.split("\n")
    is_prose = path.lower().endswith(_PROSE_SUFFIXES)
    known = frozenset(former.split("\n")) if former else frozenset()
    is_fenced = False
    for index, line in enumerate(lines):
        if is_prose and _FENCE.match(line):
            is_fenced = not is_fenced
        if is_fenced or len(line) > MAX_LINE_CHARS or not _SIGN.search(line) or line in known:
            continue
        found = _prose_candidates(line) if is_prose else _candidates(lines, index)
        if any(_says_left_out(comment, is_bare=bare) for comment, bare in found):
            return Placeholder(index + 1, line.strip())
    return None


def _prose_candidates(line: str) -> Iterator[tuple[str, bool]]:
    if comment := _HTML_COMMENT.fullmatch(line):
        yield comment["html"], False
    elif (bare := _BARE.fullmatch(line)) and not bare["round"]:
        yield bare["dots"] or bare["square"][1:-1], bool(bare["dots"])


def _candidates(lines: Sequence[str], index: int) -> Iterator[tuple[str, bool]]:
    """Yield the texts in a line that could be placeholders, and whether they are no comments."""
    line = lines[index]
    if whole := _WHOLE_COMMENT.fullmatch(line):
        text = whole[whole.lastgroup or 0]
        if not (whole.lastgroup == "line" and _is_part_of_a_sentence(text, lines, index)):
            yield text, False
    elif bare := _BARE.fullmatch(line):
        yield bare["dots"] or (bare["square"] or bare["round"])[1:-1], bool(bare["dots"])
    elif _is_alone_in_comment(lines, index):
        yield line, False
    else:
        for comment in _INLINE_COMMENT.finditer(line):
            yield comment[comment.lastgroup or 0], False


def _is_alone_in_comment(lines: Sequence[str], index: int) -> bool:
    around = [*lines[max(0, index - 1) : index], *lines[index + 1 : index + 2]]
    if len(around) != 2:
        return False
    return around[0].strip() in _OPENERS and around[1].strip() in _CLOSERS


def _is_part_of_a_sentence(text: str, lines: Sequence[str], index: int) -> bool:
    """Say whether the comment lines around it show that a sentence goes over several of them."""
    if _LEADING.match(text):
        return False
    before = _comment_text(lines, index - 1)
    after = _comment_text(lines, index + 1)
    words = text.strip()
    goes_on = before[-1:].isalnum() or before.endswith((",", "-", "(", "'", '"', "`"))
    is_gone_on_with = after[:1].islower() and words[-1:] not in (".", "!", "?", ":")
    return (words[:1].islower() and goes_on) or is_gone_on_with


def _comment_text(lines: Sequence[str], index: int) -> str:
    if not 0 <= index < len(lines) or len(lines[index]) > MAX_LINE_CHARS:
        return ""
    found = _WHOLE_COMMENT.fullmatch(lines[index])
    return found["line"].strip() if found and found["line"] else ""


def _says_left_out(text: str, *, is_bare: bool) -> bool:
    text = text.strip()
    if _CODE_SIGN.search(text.strip("<>[]{}() ")):
        return False
    leads, trails = bool(_LEADING.match(text)), bool(_TRAILING.search(text))
    words = " ".join(_WORD.findall(text.lower().replace("-", " ").replace("'s", "")))
    if is_bare and not _MORE_WORDS.match(words):
        return False
    if words in ("snip", "snipped"):
        return leads or trails or not text[:1].isalnum()
    return bool(
        _PLAIN.fullmatch(words)
        or (leads and _BEHIND_ELLIPSIS.fullmatch(words))
        or (trails and _BEFORE_ELLIPSIS.fullmatch(words))
        or (leads and trails and _BETWEEN_ELLIPSES.fullmatch(words))
    )
