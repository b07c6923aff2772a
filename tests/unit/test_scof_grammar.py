"""The grammar of a line: headers, markers, paths, scripts and install commands, as answers."""

from __future__ import annotations

import pytest

from actors.generation.scof_grammar import MAX_HEADER_CHARS, Kind, Line, classify, parse_header
from tests.unit.test_scof import assert_however_cut, block, install, parse, warned

# --- headers -------------------------------------------------------------------------------------

#: A header -> (path, mode) of the block that it opens; its marker is EOF.
HEADERS: dict[str, tuple[str, str]] = {
    "cat > a.ts << 'EOF'": ("a.ts", "write"),
    "cat >> a.ts << 'EOF'": ("a.ts", "append"),
    "cat << 'EOF' | patch a.ts": ("a.ts", "patch"),
    # the marker's quotes
    "cat > a.ts << EOF": ("a.ts", "write"),
    'cat > a.ts << "EOF"': ("a.ts", "write"),
    "cat > a.ts << 'EOF\"": ("a.ts", "write"),
    "cat > a.ts << \"EOF'": ("a.ts", "write"),
    "cat > a.ts << 'EOF": ("a.ts", "write"),
    "cat > a.ts << EOF'": ("a.ts", "write"),
    "cat > a.ts << \\EOF": ("a.ts", "write"),
    # blanks
    "cat>a.ts<<EOF": ("a.ts", "write"),
    "cat>>a.ts<<'EOF'": ("a.ts", "append"),
    "cat   >\ta.ts\t<<   EOF   ": ("a.ts", "write"),
    "cat<<EOF>a.ts": ("a.ts", "write"),
    "cat<<EOF|patch a.ts": ("a.ts", "patch"),
    "  cat > a.ts << 'EOF'": ("a.ts", "write"),
    # case
    "CAT > a.ts << 'EOF'": ("a.ts", "write"),
    "Cat >> Cat.tsx << 'EOF'": ("Cat.tsx", "append"),
    "CAT << 'EOF' | PATCH A.ts": ("A.ts", "patch"),
    # the path behind the marker
    "cat << 'EOF' > a.ts": ("a.ts", "write"),
    "cat << 'EOF' >> a.ts": ("a.ts", "append"),
    "cat <<EOF >'my file.ts'": ("my file.ts", "write"),
    "cat << 'EOF' > my file.ts": ("my file.ts", "write"),
    # <<-
    "cat > a.ts <<- 'EOF'": ("a.ts", "write"),
    "cat <<-EOF > a.ts": ("a.ts", "write"),
    "cat > a.ts <<-EOF": ("a.ts", "write"),
    # paths
    'cat > "my file.ts" << EOF': ("my file.ts", "write"),
    "cat > 'my file.ts' << EOF": ("my file.ts", "write"),
    'cat > "it\'s.ts" << EOF': ("it's.ts", "write"),
    "cat > my  own file.ts << EOF": ("my  own file.ts", "write"),
    "cat > my\\ file.ts << EOF": ("my file.ts", "write"),
    "cat > app/\\(group\\)/\\[id\\].tsx << EOF": ("app/(group)/[id].tsx", "write"),
    'cat > "routes/\\$id.tsx" << EOF': ("routes/$id.tsx", "write"),
    "cat > app/(group)/[id]/page.tsx << EOF": ("app/(group)/[id]/page.tsx", "write"),
    "cat > ./src//a.ts << EOF": ("src/a.ts", "write"),
    "cat > 'a.ts\" << EOF": ("a.ts", "write"),
    'cat > "a << b.ts" << EOF': ("a << b.ts", "write"),
    "cat > 'a > b.ts' << EOF": ("a > b.ts", "write"),
    "cat > a#b.ts << EOF": ("a#b.ts", "write"),
    "cat << EOF > a#b.ts": ("a#b.ts", "write"),
    'cat << EOF > "a #b.ts"': ("a #b.ts", "write"),
    "cat > cat.ts << EOF": ("cat.ts", "write"),
    "cat > ünïcode/日本.ts << EOF": ("ünïcode/日本.ts", "write"),
    # comments
    "cat > a.ts << 'EOF' # create it": ("a.ts", "write"),
    "cat > a.ts << 'EOF'# create it": ("a.ts", "write"),
    "cat > a.ts << 'EOF' # it's > \"x\" | y; << z && \\": ("a.ts", "write"),
    "cat << 'EOF' > a.ts # create it": ("a.ts", "write"),
    "cat << 'EOF' > a.ts # it's > \"x\" | y;": ("a.ts", "write"),
    "cat << 'EOF' > 'a b.ts' # it's > x": ("a b.ts", "write"),
    "cat << 'EOF' > \"a b.ts\"# x": ("a b.ts", "write"),
    "cat << 'EOF' | patch a.ts # mend it": ("a.ts", "patch"),
    # the prompt
    "$ cat > a.ts << 'EOF'": ("a.ts", "write"),
    "  $  cat > a.ts << 'EOF'": ("a.ts", "write"),
    # mkdir
    "mkdir -p src && cat > src/a.ts << 'EOF'": ("src/a.ts", "write"),
    "mkdir -p src/{a,b} 'x y'&&cat > src/a.ts << 'EOF'": ("src/a.ts", "write"),
    "$ mkdir a && mkdir -p a/b && cat << EOF >> a/b/c.ts": ("a/b/c.ts", "append"),
    "mkdir -p src && cat << EOF | patch src/a.ts": ("src/a.ts", "patch"),
    # continued lines
    "cat > a.ts \\\n<< 'EOF'": ("a.ts", "write"),
    "cat \\\n  > a.ts \\\n  << 'EOF'": ("a.ts", "write"),
    "cat > src/\\\na.ts << 'EOF'": ("src/a.ts", "write"),
    "cat > a.ts << \\\n'EOF'": ("a.ts", "write"),
    "cat << 'EOF' \\\n > a.ts": ("a.ts", "write"),
    "cat << 'EOF' > \\\na.ts": ("a.ts", "write"),
    "cat << 'EOF' | \\\npatch a.ts": ("a.ts", "patch"),
    "cat << 'EOF' | patch \\\na.ts": ("a.ts", "patch"),
    "mkdir -p src && \\\ncat > src/a.ts << 'EOF'": ("src/a.ts", "write"),
    "mkdir -p \\\r\nsrc \\\r\n&& cat > src/a.ts << 'EOF'\r": ("src/a.ts", "write"),
    "cat \\\n\\\n\\\n\\\n\\\n\\\n\\\n> a.ts << 'EOF'": ("a.ts", "write"),
    # patch options
    "cat << 'EOF' | patch -p1 a.ts": ("a.ts", "patch"),
    "cat << 'EOF' | patch -p 1 a.ts": ("a.ts", "patch"),
    "cat << 'EOF' | patch -N --forward -r - --fuzz=3 a.ts": ("a.ts", "patch"),
    "cat << 'EOF' | patch -u -i - 'my file.ts'": ("my file.ts", "patch"),
    "cat << 'EOF' | patch my file.ts": ("my file.ts", "patch"),
    "cat << 'EOF' | patch a.ts -p1 # x": ("a.ts", "patch"),
    "cat << 'EOF' | patch \"a b.ts\" -p1": ("a b.ts", "patch"),
}

NO_HEADERS = [
    "cat a.ts",
    "cat > a.ts",
    "cat > a.ts <<",
    "cat > a.ts << ''",
    "cat > a.ts < EOF",
    "cat > a.ts <<< EOF",
    "cat > a.ts << EOF and more",
    "cat > a.ts << EOF.",
    "cat > a.ts << EOF, which",
    "cat > a.ts << EOF#",
    "cat > a.ts << EOF && npm install",
    "cat > a.ts > b.ts << EOF",
    "cat > a.ts; cat > b.ts << EOF",
    "cat > a.ts && cat > b.ts << EOF",
    "cat > a.ts << EOF > b.ts",
    "cat << EOF | psql",
    "cat << EOF | patchwork a.ts",
    "cat << EOF | patch < a.ts",
    "concat > a.ts << EOF",
    "category > a.ts << EOF",
    "# cat > a.ts << EOF",
    "Use cat > a.ts << EOF",
    "`cat > a.ts << EOF`",
    "cat > a.ts << EOF\u2028",
    "\u00a0cat > a.ts << EOF",
    "$cat > a.ts << EOF",
    "mkdir -p src; cat > src/a.ts << EOF",
    "mkdir -p src & cat > src/a.ts << EOF",
    "mkdir -p src &&",
    "cat > a.ts \\",
    "cat > a.ts \\\n\n<< EOF",
    "cat > a.ts \\ \n<< EOF",
    "cat \\\n\\\n\\\n\\\n\\\n\\\n\\\n\\\n> a.ts << 'EOF'",
    "cat > " + "a" * MAX_HEADER_CHARS + " << EOF",
]


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_opens_a_block(header: str) -> None:
    path, mode = HEADERS[header]
    expected = block(path, "x\n", mode=mode) + install("npm i")
    assert_however_cut(f"{header}\nx\nEOF\nnpm i\n", "stop", expected)


@pytest.mark.parametrize("text", NO_HEADERS)
def test_what_is_no_header_is_prose(text: str) -> None:
    assert parse([text + "\nx\n"]) == [["prose", text + "\nx\n"]]
    assert parse(text + "\nx\n") == [["prose", text + "\nx\n"]]


@pytest.mark.parametrize("marker", ["EOF", "END_OF_FILE", "FILE-1", "a.b", "_", "1", "ЖЖ", "cat"])
def test_any_word_is_a_marker(marker: str) -> None:
    text = f"cat > a.ts << '{marker}'\nEOF.\n{marker}\n"
    assert_however_cut(text, "stop", block("a.ts", "EOF.\n"))


def test_a_markers_case_counts() -> None:
    text = "cat > a.ts << 'Eof'\nEOF\neof\nEof\n"
    assert_however_cut(text, "stop", block("a.ts", "EOF\neof\n"))


@pytest.mark.parametrize(
    "name",
    ["a.sh", "a.bash", "a.zsh", "a.md", "a.mdx", "a.yml", "a.yaml", "x/Dockerfile", "Makefile"],
)
def test_here_documents_nest_in_scripts_and_documents(name: str) -> None:
    body = "cat > b.ts << EOF\nx\nEOF\n"
    assert parse([f"cat > {name} << EOF\n{body}EOF\n"]) == block(name, body)


@pytest.mark.parametrize("name", ["a.ts", "a.sh.txt", "sh", "md", "Dockerfile/a", "a.py"])
def test_here_documents_do_not_nest_elsewhere(name: str) -> None:
    found = parse([f"cat > {name} << EOF\ncat > b.ts << EOF\nx\nEOF\n"])
    assert [row for row in found if row[0] == "close"] == [
        ["close", name, "", "implicit"],
        ["close", "b.ts", "x\n", "complete"],
    ]


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/abs.ts",
            "~/a",
            "~",
            "C:/a",
            "C:\\a",
            "../a",
            "a/../../b",
            "a/..",
            "a\\b",
            ".git/config",
        ),
        *("a\0b", ".git", "./.git/hooks/x", "/", "a/", "x/.git/y", "a" * 300),
    ],
)
@pytest.mark.parametrize(
    "header", ["cat > {} << EOF", "cat << 'EOF' >> '{}'", "cat <<EOF|patch {}"]
)
def test_an_unsafe_path_is_refused_with_its_block(header: str, path: str) -> None:
    text = header.format(path) + "\nx\nnpm i\nEOF\nnpm i zod\n"
    expected = [*warned("unsafe_path", "discarded_block"), *install("npm i zod")]
    assert_however_cut(text, "stop", expected)


# --- install commands ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "npm install",
        "npm i",
        "npm add zod",
        "pnpm add -D vite@^5.0.0 @types/node",
        "yarn add react react-dom",
        "bun i zod",
        "npm install --save-dev --registry=http://x/y ./local ../b git+ssh://git@h/r.git#main .",
        "npm  install\tzod",
        "npm i \"react@>=18 <19\" 'x@*'",
    ],
)
def test_a_whole_line_is_an_install_command(line: str) -> None:
    assert_however_cut(f"{line}\n", "stop", install(line))
    assert parse([f"  $ {line} \t# for x; y\r\n"]) == install(line)


@pytest.mark.parametrize(
    "line",
    [
        "# npm install zod",
        "`npm install zod`",
        "Run npm install zod",
        "npm install is needed first",
        "npm install zod and react",
        "npm install zod.",
        "npm install zod:",
        "npm install zod, react",
        "npm install zod; rm -rf /",
        "npm install zod && npm run dev",
        "npm install $(x)",
        "npm install `x`",
        'npm install "$x"',
        "npm install zod > log",
        "npm install zod | tee",
        "npm install zod \\",
        "npm installer",
        "npm insta",
        "npm run dev",
        "npm ci",
        "NPM install",
        "npmi zod",
        "yarn",
        "$npm i",
        "npm i " + "a" * MAX_HEADER_CHARS,
    ],
)
def test_anything_else_is_no_install_command(line: str) -> None:
    assert parse([f"{line}\n"]) == [["prose", f"{line}\n"]]
    assert parse(f"{line}\n") == [["prose", f"{line}\n"]]


# --- kinds ---------------------------------------------------------------------------------------

#: A line -> its kind outside of blocks, and inside of one whose marker is EOF.
KINDS: dict[str, tuple[Kind, Kind]] = {
    "EOF": (Kind.TEXT, Kind.MARKER),
    "EOF \t": (Kind.TEXT, Kind.MARKER),
    "\tEOF": (Kind.TEXT, Kind.INDENTED_MARKER),
    "EOF.": (Kind.TEXT, Kind.TEXT),
    "cat > b.ts << EOF": (Kind.HEADER, Kind.HEADER),
    "npm i zod": (Kind.INSTALL, Kind.INSTALL),
    "```sh": (Kind.FENCE, Kind.FENCE),
    "  ~~~": (Kind.FENCE, Kind.FENCE),
    "": (Kind.BLANK, Kind.BLANK),
    " \t": (Kind.BLANK, Kind.BLANK),
    "\u00a0": (Kind.TEXT, Kind.TEXT),
}


@pytest.mark.parametrize("text", KINDS)
def test_a_line_has_a_kind(text: str) -> None:
    outside, inside = KINDS[text]
    opened = parse_header("cat > a.ts << EOF")
    assert classify(Line(text, text), None)[0] is outside
    assert classify(Line(text, text), opened)[0] is inside


def test_the_dash_takes_a_markers_tabs_but_not_its_blanks() -> None:
    opened = parse_header("cat > a.ts <<-EOF")
    assert classify(Line("\tEOF", "\tEOF\n"), opened) == (Kind.MARKER, None)
    assert classify(Line("\t EOF", "\t EOF\n"), opened) == (Kind.INDENTED_MARKER, None)


@pytest.mark.parametrize("text", ["cat > b.ts << EOF", "npm i zod"])
def test_a_line_that_was_cut_off_is_no_command(text: str) -> None:
    assert classify(Line(text, text, is_cut=True), None) == (Kind.TEXT, None)
