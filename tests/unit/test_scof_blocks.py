"""Where blocks begin and end: a table of cases for every sentence of shared/scof.md."""

from __future__ import annotations

import pytest

from actors.generation.scof import ParserWarning, ScofParser
from tests.unit.test_scof import A, Row, assert_however_cut, block, install, warned

SH = "cat > a.sh << 'EOF'\n"
YML = "cat > ci.yml << 'EOF'\n"

#: name -> (text, events without prose), closed with "stop".
CASES: dict[str, tuple[str, list[Row]]] = {
    # rule 1: line ends
    "CRLF": (A.replace("\n", "\r\n") + "x\r\n\r\nEOF\r\n", block("a.ts", "x\n\n")),
    "one CR is dropped": (A + "x\r\r\nEOF\n", block("a.ts", "x\r\n")),
    "a CR elsewhere stays": (A + "x\ry\n\rz\nEOF\n", block("a.ts", "x\ry\n\rz\n")),
    "a marker and two CRs are content": (A + "EOF\r\r\nEOF\n", block("a.ts", "EOF\r\n")),
    "no other character ends a line": (
        A + "a\u2028EOF\u2029EOF\vEOF\fEOF\x85EOF\x1cEOF\nEOF\n",
        block("a.ts", "a\u2028EOF\u2029EOF\vEOF\fEOF\x85EOF\x1cEOF\n"),
    ),
    "U+2028 in a header": ("cat > a.ts << EOF\u2028x\nEOF\n", []),
    # rule 3: the body is verbatim
    "blanks, dollars, fences, quotes": (
        A + "\n  x  \t\n$& $1 \\1\n```\n~~~\n'EOF'\n\"EOF\"\n\n\n\nEOF\n",
        block("a.ts", "\n  x  \t\n$& $1 \\1\n```\n~~~\n'EOF'\n\"EOF\"\n\n\n\n"),
    ),
    "NUL, BOM and astral characters": (
        A + "\0\ufeff😀\x1b[0m\nEOF\n",
        block("a.ts", "\0\ufeff😀\x1b[0m\n"),
    ),
    "commands are content": (
        A + "npm install zod\nmkdir -p x\n$ ls\ncat x\n# y\nEOF\n",
        block("a.ts", "npm install zod\nmkdir -p x\n$ ls\ncat x\n# y\n"),
    ),
    "an empty file": (A + "EOF\n", block("a.ts", "")),
    "a single blank line": (A + "\nEOF\n", block("a.ts", "\n")),
    # rule 4: the marker
    "blanks after the marker": (A + "x\nEOF \t \n", block("a.ts", "x\n")),
    "words that begin with the marker": (
        A + "EOF_TOKEN\nEOF is\nEOF;\nEOFEOF\nEOF EOF\nEOF\u00a0\nEOF\n",
        block("a.ts", "EOF_TOKEN\nEOF is\nEOF;\nEOFEOF\nEOF EOF\nEOF\u00a0\n"),
    ),
    "another marker is content": (A + "END\nEOF\n", block("a.ts", "END\n")),
    "a marker outside is prose": ("EOF\n" + A + "EOF\nEOF\n", block("a.ts", "")),
    # rule 5: the indented marker
    "held, then a header": (
        A + "x\n  EOF\ncat > b.ts << EOF\ny\nEOF\n",
        block("a.ts", "x\n") + block("b.ts", "y\n"),
    ),
    "held, blank lines, then a header": (
        A + "x\n\tEOF \n\n \t\n\r\ncat > b.ts << EOF\ny\nEOF\n",
        block("a.ts", "x\n") + block("b.ts", "y\n"),
    ),
    "held, then a continued header": (
        A + "x\n  EOF\n\ncat > b.ts \\\n<< EOF\ny\nEOF\n",
        block("a.ts", "x\n") + block("b.ts", "y\n"),
    ),
    "held, then what only begins like a continued header": (
        A + "x\n  EOF\n\ncat > b.ts \\\ny\nEOF\n",
        block("a.ts", "x\n  EOF\n\ncat > b.ts \\\ny\n"),
    ),
    "held, then a refused header": (
        A + "x\n  EOF\ncat > /b.ts << EOF\ny\nEOF\n",
        block("a.ts", "x\n") + warned("unsafe_path", "discarded_block"),
    ),
    "held, then an install command": (
        A + "x\n EOF\n\nnpm i zod\n",
        block("a.ts", "x\n") + install("npm i zod"),
    ),
    "held, then a fence": (A + "x\n  EOF\n```\nEOF\n", block("a.ts", "x\n")),
    "held, then a fence of tildes": (A + "x\n  EOF\n\n~~~~\n", block("a.ts", "x\n")),
    "held, then the end": (A + "x\n  EOF\n", block("a.ts", "x\n")),
    "held without LF, then the end": (A + "x\n  EOF", block("a.ts", "x\n")),
    "held, then blank lines and the end": (A + "x\n  EOF\n\n \n  ", block("a.ts", "x\n")),
    "held, then content": (A + "  EOF\ny\nEOF\n", block("a.ts", "  EOF\ny\n")),
    "held, blank lines, then content": (
        A + "  EOF \n\n \ny\nEOF\n",
        block("a.ts", "  EOF \n\n \ny\n"),
    ),
    "held, then content without LF": (A + "  EOF\ny", block("a.ts", "  EOF\ny", "truncated")),
    "held, then the marker": (A + "x\n  EOF\n\nEOF\n", block("a.ts", "x\n  EOF\n\n")),
    "held, then held again": (
        A + "  EOF\n\n EOF\n\nnpm i\n",
        block("a.ts", "  EOF\n\n") + install("npm i"),
    ),
    "held, then an indented header": (
        A + "`\n  EOF\n  cat > b.ts << EOF\n  y\n  EOF\n`\nEOF\n",
        block("a.ts", "`\n  EOF\n  cat > b.ts << EOF\n  y\n  EOF\n`\n"),
    ),
    "held, then an indented install command": (
        A + "  EOF\n  npm i\nEOF\n",
        block("a.ts", "  EOF\n  npm i\n"),
    ),
    "held, then an indented fence": (A + "  EOF\n  ```\nEOF\n", block("a.ts", "  EOF\n  ```\n")),
    "an indented answer": (
        "  cat > a.ts << EOF\n  x\n  EOF\n  cat > b.ts << EOF\n  y\n  EOF\n  ```\n",
        block("a.ts", "  x\n") + block("b.ts", "  y\n"),
    ),
    "held, then prose is content": (
        A + "  EOF\nThat was it.\n",
        [
            ["open", "a.ts", "write"],
            ["chunk", "a.ts", "  EOF\nThat was it.\n"],
            ["close", "a.ts", "  EOF\nThat was it.\n", "truncated"],
        ],
    ),
    "an indented word that begins with the marker": (
        A + "  EOFS\n\nEOF\n",
        block("a.ts", "  EOFS\n\n"),
    ),
    "held in a script": (
        SH + "x\n EOF\ncat > b.ts << EOF\nEOF\n",
        [
            *block("a.sh", "x\n"),
            *block("b.ts", ""),
        ],
    ),
    # rule 6: nesting
    "nested, an indented header and marker": (
        YML + "run: |\n  cat > b << EOF\n  x\n  EOF\nEOF\n",
        block("ci.yml", "run: |\n  cat > b << EOF\n  x\n  EOF\n"),
    ),
    "nested, indented, with a marker at column 0": (
        SH + "f() {\n  cat << EOF\nx\nEOF\n}\nEOF\n",
        block("a.sh", "f() {\n  cat << EOF\nx\nEOF\n}\n"),
    ),
    "nested, at column 0: an indented marker is content": (
        SH + "cat << EOF\n  EOF\nEOF\nEOF\n",
        block("a.sh", "cat << EOF\n  EOF\nEOF\n"),
    ),
    "nested with <<-": (
        SH + "cat <<-EOF\n\tx\n\tEOF\ny\nEOF\n",
        block("a.sh", "cat <<-EOF\n\tx\n\tEOF\ny\n"),
    ),
    "nested twice": (
        SH + "bash <<EOF\ncat <<'EOF'\nx\nEOF\nEOF\nEOF\n",
        block("a.sh", "bash <<EOF\ncat <<'EOF'\nx\nEOF\nEOF\n"),
    ),
    "nested one after the other": (
        SH + 'cat <<EOF\nEOF\npsql db << "EOF" | tee x\nEOF\nEOF\n',
        block("a.sh", 'cat <<EOF\nEOF\npsql db << "EOF" | tee x\nEOF\n'),
    ),
    "nested header over two lines": (
        SH + "cat > b \\\n << EOF\nx\nEOF\nEOF\n",
        block("a.sh", "cat > b \\\n << EOF\nx\nEOF\n"),
    ),
    "nested, any command": (
        "cat > Dockerfile << EOF\nRUN <<EOF\nls\nEOF\nCMD x\nEOF\n",
        block("Dockerfile", "RUN <<EOF\nls\nEOF\nCMD x\n"),
    ),
    "nested with another marker": (
        SH + "cat > b << END\nx\nEND\nEOF\n",
        block("a.sh", "cat > b << END\nx\nEND\n"),
    ),
    "nested with a longer marker": (SH + "cat << EOFX\nEOF\n", block("a.sh", "cat << EOFX\n")),
    "no nesting: a here-string": (SH + "cat <<< EOF\nEOF\n", block("a.sh", "cat <<< EOF\n")),
    "no nesting: a comment": (SH + "  # cat << EOF\nEOF\n", block("a.sh", "  # cat << EOF\n")),
    "no nesting: inline code": (
        "cat > a.md << EOF\nSee `cat << EOF > x` and `x <<EOF`.\nEOF\n",
        block("a.md", "See `cat << EOF > x` and `x <<EOF`.\n"),
    ),
    "no nesting in a diff": (
        "cat << EOF | patch a.sh\n@@\n+cat << EOF\n+x\n+EOF\nEOF\n",
        block("a.sh", "@@\n+cat << EOF\n+x\n+EOF\n", mode="patch"),
    ),
    "no implicit end in a script": (
        SH + "x\ncat > b.ts << 'END'\ny\nEND\nEOF\n",
        block("a.sh", "x\ncat > b.ts << 'END'\ny\nEND\n"),
    ),
    "nested and cut off": (
        SH + "cat << EOF\nx\nEOF\n",
        block("a.sh", "cat << EOF\nx\nEOF\n", "truncated"),
    ),
    # rule 7: the forgotten marker
    "implicit, then a continued header": (
        A + "x\nmkdir -p b && \\\ncat > b/c.ts << EOF\ny\nEOF\n",
        [
            ["open", "a.ts", "write"],
            ["chunk", "a.ts", "x\n"],
            *warned("missing_terminator"),
            ["close", "a.ts", "x\n", "implicit"],
            *block("b/c.ts", "y\n"),
        ],
    ),
    "implicit in a diff, even of a script": (
        "cat << EOF | patch a.sh\n@@\n$ cat >> b.ts << END\ny\nEND\n",
        [
            ["open", "a.sh", "patch"],
            ["chunk", "a.sh", "@@\n"],
            *warned("missing_terminator"),
            ["close", "a.sh", "@@\n", "implicit"],
            *block("b.ts", "y\n", mode="append"),
        ],
    ),
    "implicit of an empty file": (
        A + "cat > b.ts << EOF\nEOF\n",
        [
            ["open", "a.ts", "write"],
            *warned("missing_terminator"),
            ["close", "a.ts", "", "implicit"],
            *block("b.ts", ""),
        ],
    ),
    "implicit of a discarded block": (
        "cat > /a.ts << EOF\nx\ncat > b.ts << EOF\nEOF\n",
        [*warned("unsafe_path", "missing_terminator", "discarded_block"), *block("b.ts", "")],
    ),
    "an indented header is content": (
        A + "  cat > b.ts << END\nEOF\n",
        block("a.ts", "  cat > b.ts << END\n"),
    ),
    "a refused header is content": (
        A + "cat > /etc/x << END\ncat << END\ncat > b.ts\nEOF\n",
        block("a.ts", "cat > /etc/x << END\ncat << END\ncat > b.ts\n"),
    ),
    "what only begins like a continued header is content": (
        A + "cat > b.ts \\\ncat > c.ts \\\nx\nEOF\n",
        block("a.ts", "cat > b.ts \\\ncat > c.ts \\\nx\n"),
    ),
    "the marker ends a continued header and the block": (
        A + "cat > b.ts << \\\nEOF\nnpm i\n",
        block("a.ts", "cat > b.ts << \\\n") + install("npm i"),
    ),
    "lines behind a false start are lines again": (
        A + "cat \\\ncat > b.ts << EOF\nEOF\n",
        [
            ["open", "a.ts", "write"],
            ["chunk", "a.ts", "cat \\\n"],
            *warned("missing_terminator"),
            ["close", "a.ts", "cat \\\n", "implicit"],
            *block("b.ts", ""),
        ],
    ),
    # rule 8: the end
    "the end in a line": (A + "x\ny", block("a.ts", "x\ny", "truncated")),
    "the end after a CR": (A + "x\r", block("a.ts", "x\r", "truncated")),
    "the end after a header": (A, block("a.ts", "", "truncated")),
    "the end in a header's line": (A[:-1], block("a.ts", "", "truncated")),
    "the end in a continued header": ("cat > a.ts \\\n<< EOF", block("a.ts", "", "truncated")),
    "the end behind a continued header": (
        A + "cat > b.ts \\\n",
        block("a.ts", "cat > b.ts \\\n", "truncated"),
    ),
    "the end after the marker": (A + "x\nEOF", block("a.ts", "x\n")),
    "the end after the marker and blanks": (A + "x\nEOF \t", block("a.ts", "x\n")),
    "the end after the marker and a CR": (A + "x\r\nEOF\r", block("a.ts", "x\n")),
    "the end in a marker": (A + "x\nEO", block("a.ts", "x\nEO", "truncated")),
    "the end after an install command": ("npm i zod", install("npm i zod")),
    "the end in prose": (A + "EOF\nThat was", block("a.ts", "")),
    "the end in a nested marker": (
        SH + "cat << EOF\nEOF",
        block("a.sh", "cat << EOF\nEOF", "truncated"),
    ),
    "the end in a discarded block": (
        "cat > /a << EOF\nx",
        warned("unsafe_path", "discarded_block"),
    ),
    # rule 9: paths
    "no path": (
        "cat << EOF\nx\nEOF\ncat > << 'EOF' # x\nEOF\ncat << EOF # y\nEOF\ncat << EOF >\nEOF\n"
        "cat << EOF | patch\nEOF\ncat << EOF | patch -p1\nEOF\ncat > '' << EOF\nEOF\n",
        warned(*["header_without_path", "discarded_block"] * 7),
    ),
    "a discarded block is no place for commands": (
        "cat > /a << EOF\nnpm i\ncat << EOF\n  EOF\nx\nEOF\nnpm i zod\n",
        [*warned("unsafe_path", "discarded_block"), *install("npm i zod")],
    ),
    "nested in a discarded block": (
        "cat > /a.sh << EOF\ncat > b << EOF\nEOF\nEOF\nnpm i\n",
        [*warned("unsafe_path", "discarded_block"), *install("npm i")],
    ),
    "held in a discarded block": (
        "cat > ../a << EOF\nx\n  EOF\nnpm i\n",
        [*warned("unsafe_path", "discarded_block"), *install("npm i")],
    ),
    # <<-
    "tabs of body and marker are removed": (
        "cat > a.ts <<- EOF\n\tx\n\t\t y\t\n \tz\n\t\n\tEOF\n",
        block("a.ts", "x\n y\t\n \tz\n\n"),
    ),
    "tabs alone at the end": ("cat > a.ts <<-EOF\nx\n\t\t", block("a.ts", "x\n", "truncated")),
    "a marker behind tabs and blanks is held": (
        "cat > a.ts <<-EOF\n\t EOF\n\tx\n\t EOF\n",
        block("a.ts", " EOF\nx\n"),
    ),
    "no tabs are removed without the dash": (A + "\tx\nEOF\n", block("a.ts", "\tx\n")),
    # around blocks
    "fences and prose": (
        "Sure! Here it is:\n\n1. the file\n```bash\n$ cat > a.ts << EOF\nx\nEOF\n```\nDone.\n",
        block("a.ts", "x\n"),
    ),
    "a comment with a command": ("# npm install zod\n// npm i\n#cat > a << EOF\n", []),
}


@pytest.mark.parametrize("name", CASES)
def test_a_case_gives_its_events_however_it_is_cut(name: str) -> None:
    text, expected = CASES[name]
    assert_however_cut(text, "stop", expected)


def test_warnings_say_what_it_is_about() -> None:
    text = "cat > /a << X\nab\nX\ncat << X\nX\ncat > a << X\ncat > b << X\nX\n"
    assert [event for event in ScofParser().feed(text) if isinstance(event, ParserWarning)] == [
        ParserWarning("unsafe_path", "/a"),
        ParserWarning("discarded_block", "/a: 3 characters"),
        ParserWarning("header_without_path", "cat << X"),
        ParserWarning("discarded_block", "no path: 0 characters"),
        ParserWarning("missing_terminator", "a: no line X before b"),
    ]
