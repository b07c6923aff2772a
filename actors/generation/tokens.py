"""How many tokens a text is, about: what a model counts is known only once it has counted.

Four characters of English prose are a token to the usual vocabularies; code with its short names
and punctuation has about three and a half, other scripts have fewer. The estimate is to be on the
safe side of all of them but the last: whoever needs a bound adds a margin.
"""

from __future__ import annotations

CHARS_PER_TOKEN = 3.5
ESTIMATE_MARGIN = 1.2  # times its estimate a prompt may be, where it is to fit into a context


def estimated_tokens(*texts: str) -> int:
    """Return about how many tokens the texts are together: characters beyond ASCII count whole."""
    ascii_chars = sum(len(text.encode("ascii", "ignore")) for text in texts)
    return round(ascii_chars / CHARS_PER_TOKEN) + sum(map(len, texts)) - ascii_chars
