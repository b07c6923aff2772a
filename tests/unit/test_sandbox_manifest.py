from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import ServerFailed
from actors.sandbox.manifest import (
    Survey,
    command_label,
    dev_command,
    install_command,
    parse_survey,
    reloads_files,
    server_flags,
)

VITE = ("--host", "0.0.0.0", "--port", "5173", "--strictPort")
LONG = ("--host", "0.0.0.0", "--port", "5173")


def survey(*files: str, tools: tuple[str, ...] = (), **manifest: Any) -> Survey:
    return Survey(
        files=frozenset(files),
        tools=frozenset(tools),
        manifest=json.dumps({"name": "a"} | manifest),
    )


def test_a_survey_is_read() -> None:
    output = b'file yarn.lock\nfile index.html\ntool yarn\nmanifest\n{"a":\n"manifest\n"}'
    assert parse_survey(output) == Survey(
        files=frozenset({"yarn.lock", "index.html"}),
        tools=frozenset({"yarn"}),
        manifest='{"a":\n"manifest\n"}',
    )


def test_a_survey_without_a_manifest_and_one_with_an_empty_manifest_differ() -> None:
    assert parse_survey(b"file index.html\n").manifest is None
    assert parse_survey(b"manifest\n").manifest == ""
    assert parse_survey(b"") == Survey()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_survey(output: bytes) -> None:
    found = parse_survey(output)
    install_command(found)
    with contextlib.suppress(ServerFailed):
        assert dev_command(found)


@pytest.mark.parametrize(
    ("files", "tools", "command"),
    [
        ((), (), "npm install"),
        (("package-lock.json",), (), "npm install"),
        (("pnpm-lock.yaml",), ("pnpm",), "pnpm install --no-frozen-lockfile"),
        (("pnpm-lock.yaml",), (), "npm install"),
        (("yarn.lock",), ("yarn",), "yarn install"),
        (("bun.lock",), ("bun",), "bun install"),
        (("bun.lockb",), ("bun",), "bun install"),
        (("yarn.lock", "package-lock.json"), ("yarn",), "npm install"),
        (("bun.lock", "yarn.lock"), ("yarn",), "yarn install"),
    ],
)
def test_the_lock_file_and_the_image_decide_who_installs(
    files: tuple[str, ...], tools: tuple[str, ...], command: str
) -> None:
    assert install_command(survey(*files, tools=tools)) == tuple(command.split())


def test_without_a_manifest_nothing_is_installed() -> None:
    assert install_command(Survey(files=frozenset({"yarn.lock"}))) is None


@pytest.mark.parametrize(
    ("manifest", "command"),
    [
        ({"scripts": {"dev": "vite", "start": "node x"}}, ("npm", "run", "dev", "--", *VITE)),
        ({"scripts": {"start": "node server.js"}}, ("npm", "run", "start")),
        ({"scripts": {"dev": " ", "start": "node x"}}, ("npm", "run", "start")),
        ({"scripts": {"dev": 3, "start": "node x"}}, ("npm", "run", "start")),
        ({"scripts": {"build": "vite build"}, "devDependencies": {"vite": "^7"}}, None),
        ({"scripts": [], "dependencies": {"vite": "^7"}}, None),
    ],
)
def test_a_manifest_decides_what_serves(
    manifest: dict[str, Any], command: tuple[str, ...] | None
) -> None:
    assert dev_command(survey(**manifest)) == (command or ("node_modules/.bin/vite", *VITE))


def test_files_decide_where_the_manifest_is_silent() -> None:
    assert dev_command(survey("server.js", "index.html")) == ("node", "server.js")
    assert dev_command(Survey(files=frozenset({"server.js"}))) == ("node", "server.js")
    for found in (
        survey("index.html"),
        Survey(files=frozenset({"index.html", "server.js"})),
        Survey(),
    ):
        assert dev_command(found)[:2] == ("node", "-e")
        assert command_label(dev_command(found)) == "serve the folder"


@pytest.mark.parametrize(
    ("script", "reloads"),
    [
        ("vite", True),
        ("npm run build && next dev", True),
        ("vite dev", True),
        ("vite --port 3000", True),
        ("webpack serve --mode development", True),
        ("cross-env PORT=1 nodemon server.js", False),
        ("node --watch server.js", False),
        ("npx tsx watch src/index.ts", False),
        ("next start", False),
        ("vite preview", False),
        ("serve dist", False),
        ("http-server dist", False),
        ("node server.js", False),
        ("tsx src/index.ts", False),
        ("'", False),
    ],
)
def test_a_script_shows_changed_files_by_itself_or_does_not(script: str, reloads: bool) -> None:
    assert reloads_files(survey(scripts={"dev": script})) is reloads


def test_without_a_script_it_is_the_program_that_is_started() -> None:
    assert reloads_files(survey(devDependencies={"vite": "7"}))
    assert reloads_files(Survey(files=frozenset({"index.html"})))
    assert not reloads_files(Survey(files=frozenset({"server.js"})))


def test_commands_are_shown_as_they_are() -> None:
    assert command_label(("npm", "install")) == "npm install"


def test_nothing_to_serve_is_told() -> None:
    with pytest.raises(ServerFailed, match="no `dev` or `start` script"):
        dev_command(survey(scripts={"build": "x"}))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "[" * 100_000])
def test_a_manifest_that_is_no_object_is_told(text: str) -> None:
    with pytest.raises(ServerFailed, match="not a JSON object"):
        dev_command(Survey(manifest=text))


@pytest.mark.parametrize(
    ("script", "flags"),
    [
        ("vite", VITE),
        ("vite dev", VITE),
        ("vite preview --outDir out", VITE),
        ("vite --port 3000", VITE),
        ("npx vite", VITE),
        ("npx -y vite", VITE),
        ("./node_modules/.bin/vite", VITE),
        ("NODE_ENV=development vite", VITE),
        ("cross-env NODE_ENV=development DEBUG=1 vite", VITE),
        ("tsc -b && vite", VITE),
        ("tsc; vite", VITE),
        ("vite build", ()),
        ("vite build --watch", ()),
        ("vite && node server.js", ()),
        ("vite &", ()),
        ("next dev", ("--hostname", "0.0.0.0", "--port", "5173")),
        ("next build", ()),
        ("astro dev", LONG),
        ("nuxt dev", LONG),
        ("webpack serve --open", LONG),
        ("parcel index.html", LONG),
        ("serve -s dist", ("-l", "tcp://0.0.0.0:5173")),
        ("http-server .", ("-a", "0.0.0.0", "-p", "5173")),
        ("react-scripts start", ()),
        ("node server.js", ()),
        ("nodemon --exec vite", ()),
        ('concurrently "vite" "node api.js"', ()),
        ('echo "unbalanced', ()),
        ("''", ()),
        ("", ()),
        ("A=1", ()),
    ],
)
def test_flags_fit_the_last_command_of_a_script(script: str, flags: tuple[str, ...]) -> None:
    assert server_flags(script) == flags


@given(st.text(max_size=60))
def test_any_script_gets_flags_or_none(script: str) -> None:
    assert isinstance(server_flags(script), tuple)
