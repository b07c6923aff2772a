"""The outline of a file names what others can use, and stays short."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.generation.outline import (
    MAX_OUTLINE_LINE_CHARS,
    MAX_OUTLINE_LINES,
    MAX_READ_LINE_CHARS,
    exported_names,
    outline,
)

CASES = {
    "src/a.tsx": (
        'import x from "y";\n\nexport function App({ a }: Props): Node {\n  const b = 1;\n'
        "  if (b) {\n  }\n}\nexport default App;\nclass Store {\n  async load(id: string) {\n"
        "    return id;\n  }\n}\napp.get('/api', (req, res) => {\n",
        'import x from "y";\nexport function App({ a }: Props): Node\nexport default App;\n'
        "class Store\n  async load(id: string)\napp.get('/api', (req, res) =>",
    ),
    "a.py": (
        "import os\n\nLIMIT = 3\nvalue = 1\n\n@cache\ndef f(a):\n    return a\n\n"
        "class A:\n    def g(self):\n        pass\n",
        "import os\nLIMIT = 3\n@cache\ndef f(a):\nclass A:\n    def g(self):",
    ),
    "a.css": (
        "@import 'b';\n.card,\n.box {\n  color: red;\n}\n:root { --a: b; }\n",
        "@import 'b';\n.box\n:root { --a: b; }",
    ),
    "a.html": (
        "<!doctype html>\n<title>T</title>\n<p>x</p>\n<ul id='list'>\n"
        "  <script src='a.js'></script>\n",
        "<title>T</title>\n<ul id='list'>\n  <script src='a.js'></script>",
    ),
    "a.json": ('{\n  "a": {\n    "b": 1\n  },\n  "c": 2\n}\n', '  "a":\n  "c": 2'),
    "a.md": ("# Title\ntext\n## Part\n", "# Title\n## Part"),
    "a.sql": ("CREATE TABLE a (\n  id int\n);\n", "CREATE TABLE a ("),
    "a.go": ("package a\n\nfunc F() {\n\tx := 1\n}\n", "package a\nfunc F()"),
    "Makefile": (
        "".join(f"line {n}\n" for n in range(20)),
        "\n".join(f"line {n}" for n in range(8)),
    ),
}


@pytest.mark.parametrize("path", CASES)
def test_an_outline_has_the_lines_that_others_need(path: str) -> None:
    text, expected = CASES[path]
    assert outline(path, text).replace(": {", ":") == expected


def test_an_outline_is_cut_in_both_directions() -> None:
    text = f"export const a = '{'x' * 500}';\n" * (MAX_OUTLINE_LINES + 5)
    lines = outline("a.js", text).splitlines()
    assert len(lines) == MAX_OUTLINE_LINES + 1
    assert lines[0] == text[:MAX_OUTLINE_LINE_CHARS] + " ..."
    assert lines[-1] == "... and 5 more"


def test_of_a_long_line_the_beginning_is_looked_at() -> None:
    far = f"<p {' ' * MAX_READ_LINE_CHARS} id='far'>"
    assert outline("a.html", f"{far}\n<p {' ' * 100} id='near'>\n").startswith("<p ")
    assert outline("a.html", far) == ""


@pytest.mark.parametrize("path", sorted(CASES))
@pytest.mark.parametrize(
    "piece", ["){", "  f(", "{ ", "id ", "export ", "a\n", "export {\n", "module.exports = {\n"]
)
def test_a_megabyte_of_any_of_these_comes_through(path: str, piece: str) -> None:
    text = f"  f({piece * (2**20 // len(piece))}"
    assert len(outline(path, text)) <= (MAX_OUTLINE_LINE_CHARS + 5) * (MAX_OUTLINE_LINES + 1)
    assert exported_names(text) == set()


@given(st.text(alphabet=" f(){};", max_size=30))
def test_a_method_is_a_name_with_brackets_and_an_opening_brace_at_the_end(rest: str) -> None:
    is_method = re.match(r"[^;]*\)[^;]*\{\s*$", rest) is not None
    assert bool(outline("a.js", f"  f({rest}")) == is_method


def test_the_names_that_a_file_offers_are_found() -> None:
    text = (
        "export default function Timer() {}\nexport const format = 1\n"
        "export async function load() {}\n"
        "export { a, b as c,\n  d };\nexports.e = 1\nmodule.exports = { f, g: h }\n"
        "const hidden = 1\ndef run():\n    def inner(): ...\nclass Board:\n"
    )
    assert exported_names(text) == {
        *("Timer", "format", "load", "a", "c", "d", "e", "f", "g", "run", "Board")
    }


@given(st.sampled_from(["a.js", "a.py", "a.css", "a.html", "a.json", "x"]), st.text())
def test_any_text_has_an_outline_that_is_not_much_longer(path: str, text: str) -> None:
    assert len(outline(path, text)) <= len(text) + 20
    exported_names(text)
