"""Lines that stand for text left out are found; what only looks like one is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.generation.placeholder import MAX_LINE_CHARS, Placeholder, find_placeholder

PLACEHOLDERS = [
    "// ... rest of the file unchanged",
    "// ... rest of the code remains the same ...",
    "// rest of the file unchanged",
    "// Rest of your code here",
    "// Rest of the component stays the same",
    "// rest of code",
    "// The rest of the file remains unchanged.",
    "// rest unchanged",
    "// the rest is the same as before",
    "// ...rest of code",
    "// ... the rest of the helper functions",
    "// ... rest of the state",
    "// ... rest",
    "// ... and the rest of the code",
    "/* existing code */",
    "/* ... existing styles ... */",
    "/* Existing styles remain unchanged */",
    "/** ... existing rules */",
    "{/* ... rest of the JSX ... */}",
    "{/* existing code */}",
    "{ /* Existing content stays here */ }",
    "  // existing code here",
    "// Your existing code goes here",
    "// existing imports here",
    "// Existing routes...",
    "// ... existing imports ...",
    "// ... existing items",
    "// ... existing files",
    "// the rest of this script is unchanged",
    "// ... existing navbar with its links ...",
    "// [existing code]",
    "// (existing code unchanged)",
    "// --- existing code ---",
    "// Keep existing code",
    "// keep the rest of the file as is",
    "// Keep all other methods unchanged",
    "// other methods remain unchanged",
    "// Other functions stay the same",
    "// all other code unchanged",
    "// ... other imports",
    "// ... more tests",
    "// ... other fields",
    "// … remaining code …",
    "# (remaining code stays the same)",
    "# remaining code unchanged",
    "# ... rest of the script",
    "# ... existing code ...",
    "  # Remaining methods are unchanged",
    "-- ... rest of the schema unchanged",
    "; existing sections ...",
    "% existing code",
    " * ... rest of the file ...",
    "<!-- same as before -->",
    "<!-- ... -- existing code -->",
    "<!-- Rest of the page stays the same -->",
    "<!-- ... existing head content ... -->",
    "<!-- other sections unchanged -->",
    "<%# rest of the template unchanged %>",
    "<%-- rest of the page unchanged --%>",
    "{# rest of the template unchanged #}",
    "{{!-- existing code --}}",
    "{{! existing code }}",
    "... existing imports ...",
    "... rest of the file unchanged ...",
    "  ... existing code ...",
    "[... rest of the file ...]",
    "[rest of the file unchanged]",
    "(rest of the code remains the same)",
    "// code omitted for brevity",
    "// Implementation omitted",
    "// omitted for brevity",
    "// ... omitted for the sake of brevity",
    "// other handlers are left out for clarity",
    "// ... snip ...",
    "// [snip]",
    "// <snip>",
    "// ... unchanged ...",
    "// unchanged ...",
    "// ... no changes here",
    "// ... stays the same",
    "// ... continues as before",
    "// code remains unchanged",
    "// code continues here",
    "// same as in the previous version",
    "// unchanged from the original file",
    "// Identical to the existing code",
    "// Everything else remains the same",
    "// everything else as before",
    "// No changes to the rest of the file",
    "// ... imports ...",
    "// ... implementation",
    "function load() { /* existing code */ }",
    "const routes = [ // ... existing routes",
    "  color: red; /* other styles unchanged */",
    "<ul> <!-- existing items remain here --> </ul> <!-- existing code -->",
    "def load():  # ... rest of the function unchanged",
]

#: Lines of code, and comments that use the same words.
ORDINARY = [
    "",
    "...",
    "    ...",
    "// ...",
    "# ...",
    "/* ... */",
    "/**/",
    "...rest",
    "...rest,",
    "  ...existing,",
    "  ...existingCode,",
    "  ...other.props,",
    "... rest",
    "... args",
    "// ...rest",
    "// ...rest,",
    "  // ...existing,",
    "const { id, ...rest } = props;",
    "return { ...state, ...existing };",
    "function f(a, ...rest) {",
    "<Input {...rest} />",
    "{...rest}",
    "def f(*args: int) -> None: ...",
    "  pass  # ...",
    "def restore(existing, rest): ...",
    "// TODO: handle the remaining cases",
    "// TODO",
    "# TODO rest of the file",
    "// FIXME: existing code breaks here",
    "// Existing users stay logged in",
    "// keep the existing session",
    "// Keep existing classes",
    "// Existing routes",
    "// existing file",
    "// the file is unchanged",
    "// other files remain unchanged",
    "// The original file is left untouched",
    "// ...then load the file",
    "// ... and our tests",
    "...     # Initial schema:",
    "// ...then load the next page",
    "// same as the previous one",
    "// Existing routes below",
    "// remaining items",
    "// Remaining time in seconds",
    "// The rest of the arguments",
    "// Rest of the options",
    "// the rest of the row is blank",
    "// unchanged",
    "// Unchanged since the last save",
    "// no changes",
    "// The same as above, but reversed",
    "// same key as before",
    "// other fields stay the same",
    "// all other props are passed on",
    "// Loading...",
    "// Loading the remaining routes...",
    "// 1, 2, 3, ...",
    "// other users",
    "// add other routes here",
    "// your code here",
    "// other code points are escaped",
    "// existing code = old",
    "// existing code (see load())",
    "// existing: { code }",
    '// "existing code"',
    "// labels are omitted for brevity",
    "// The rest of the code assumes that the list is sorted.",
    "// Render the rest of the page lazily",
    "// so the rest of the file can be read",
    "# the existing code path is kept for old browsers",
    "/* Header stays on top */",
    "/* Rest of the page */",
    "<!-- Remaining time -->",
    "<p>The rest of the file is unchanged.</p>",
    "<p>... and the rest is history</p>",
    "... to be or not to be",
    "rest of the file unchanged",
    'const hint = "// ... rest of the file unchanged";',
    'const url = "https://example.org/existing/code";',
    'print("see https://x.org # ... existing code")',
    "snip(image)",
    "// snip",
    "(existing)",
    "[existing, rest]",
    "[...existing, ...rest]",
    "* { box-sizing: border-box; }",
    "#existing-code { color: red }",
    "glob('src/**/*.js', '/**/rest')",
    "a /* b */ + rest",
    "// " + "existing code " * 20,
]

SENTENCES = [
    "// Only this function has changed, and the\n// rest of the file remains unchanged.\n",
    "// Rest of the code\n// is loaded when it is needed.\n",
    "# we assume that the\n# remaining code stays the same\n",
    " * The keys are sorted;\n * keep the order,\n * rest of the code\n",
]


@pytest.mark.parametrize("line", PLACEHOLDERS)
def test_a_placeholder_is_found_with_its_line(line: str) -> None:
    text = f"import a\n\n{line}\nexport b\n"
    assert find_placeholder("src/a.js", text) == Placeholder(3, line.strip())


@pytest.mark.parametrize("line", ORDINARY)
def test_an_ordinary_line_is_none(line: str) -> None:
    assert find_placeholder("src/a.js", f"import a\n\n{line}\nexport b\n") is None


@pytest.mark.parametrize("text", SENTENCES)
def test_a_part_of_a_longer_sentence_is_none(text: str) -> None:
    assert find_placeholder("src/a.js", text) is None


@pytest.mark.parametrize(
    "text",
    [
        "// Rest of the code.\n// It is the same.\n",
        "// first.\n// rest of the code\n",
        "// Setup\n// Existing code\nx\n",
        "/*\n rest of the file unchanged\n*/\n",
        "x\n<!--\n  Existing code\n-->\n",
    ],
)
def test_a_line_that_stands_by_itself_among_comments_is_one(text: str) -> None:
    assert find_placeholder("src/a.js", text) is not None


def test_a_line_of_the_former_version_is_none() -> None:
    former = "x\n  // existing code\n"
    assert find_placeholder("a.js", former, former) is None
    assert find_placeholder("a.js", "// existing code\n", former) == Placeholder(
        1, "// existing code"
    )
    assert find_placeholder("a.js", "// existing code\n", "") is not None


@pytest.mark.parametrize(
    "line",
    [
        "The rest of the file is unchanged.",
        "# Existing code",
        "## Remaining code unchanged",
        "* existing code",
        "(the rest of the file remains the same)",
        "unchanged",
        "`/* existing code */`",
    ],
)
@pytest.mark.parametrize("path", ["README.md", "notes.TXT", "a/b.mdx"])
def test_prose_and_headings_of_a_document_are_none(path: str, line: str) -> None:
    assert find_placeholder(path, f"# Title\n\n{line}\n") is None


def test_a_fenced_example_in_a_document_is_none() -> None:
    text = "Change this:\n```js\n... existing code ...\n<!-- existing code -->\n```\n"
    assert find_placeholder("README.md", text) is None
    assert find_placeholder("README.md", text + "... existing code ...\n") == Placeholder(
        6, "... existing code ..."
    )


@pytest.mark.parametrize(
    "line", ["<!-- same as before -->", "... rest unchanged ...", "[rest of the file unchanged]"]
)
def test_a_document_may_have_placeholders_too(line: str) -> None:
    assert find_placeholder("README.md", f"# Title\n{line}\n") == Placeholder(2, line)


def test_neighbours_of_any_length_are_looked_at() -> None:
    long = "// " + "x" * MAX_LINE_CHARS
    assert find_placeholder("a.js", f"{long}\n// rest of the code\n{long}") is not None
    assert find_placeholder("a.js", "<!--\nexisting code") is None


@given(st.text(alphabet="/*#.<>!-{}[]() \nrestexisting code"))
def test_any_text_is_looked_through(text: str) -> None:
    find_placeholder("a.js", text)
