"""The draft: what the app is to become, installed and checked while the app itself goes on.

It is a folder beside the app's with the project's files and, by hard links, the app's dependencies;
nothing is served from it. What has turned out well is taken over: the project's files that have
changed; where nothing runs meanwhile, what a build has made; and the dependencies, if they are new.
Files that the app has made since it was started are its own, and stay. What is replaced is kept, so
that it can be undone, also when the sandbox is started again in the middle of it.

All of it is done inside the sandbox, as its user, whatever the code there has made of the folders.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from actors.errors import SandboxError
from actors.sandbox.archive import text_archive
from actors.sandbox.base import TakeOver
from actors.sandbox.command import run_quietly
from actors.sandbox.folder import Folder
from actors.sandbox.layout import (
    APP,
    DRAFT,
    FORMER_DIR,
    HOME_DIR,
    ORDER_FILE,
    STARTED_FILE,
    UNDO_FILE,
    VOLUME_DIR,
)

BEGIN_SECONDS = 120.0  # 20,000 files take 1 s
_OWN = f"{HOME_DIR}/.codegen-draft-own"  # the draft's dependencies share no file with the app's
_CHECKED = f"{HOME_DIR}/.codegen-checked"  # as old as the last check
_CACHES = ".cache .vite .vite-temp"  # in node_modules: what tools write there in place

# A name with a line's end in it, which no tool makes, shows as two that are left out.
_EACH_MODULES = """\
find . -type d -name node_modules -prune | while IFS= read -r path; do
  case $path in ./node_modules | ./*/node_modules) ;; *) continue ;; esac"""

_BEGIN = f"""\
rm -rf {DRAFT.directory} {FORMER_DIR} {_OWN} && mkdir {DRAFT.directory} || exit 1
mkdir -p {APP.directory} && cd {APP.directory} || exit 1
for name in package-lock.json pnpm-lock.yaml yarn.lock bun.lock bun.lockb; do
  [ -f "$name" ] && [ ! -L "$name" ] && cp -p "$name" {DRAFT.directory}
done
{_EACH_MODULES}
  mkdir -p "{DRAFT.directory}/${{path%/*}}" && cp -al "$path" "{DRAFT.directory}/$path" || exit 1
  cd "{DRAFT.directory}/$path" && rm -rf {_CACHES} && cd {APP.directory} || exit 1
done
"""

# An install, which may write any file in place, is given copies.
_WITH_COPIES = f"""\
if [ ! -e {_OWN} ]; then
  cd {APP.directory} || exit 1
  {_EACH_MODULES}
    rm -rf "{DRAFT.directory}/$path" && mkdir -p "{DRAFT.directory}/${{path%/*}}" || exit 1
    cp -a "$path" "{DRAFT.directory}/$path" || exit 1
  done || exit 1
  touch {_OWN} && cd {DRAFT.directory} || exit 1
fi
exec "$@"
"""

# Prints something where a check has written into the dependencies, such as a generated client.
_TOUCHED = f"""\
find . -path '*/node_modules/*' -newer {_CHECKED} -type f \\
  ! -path '*/node_modules/.cache/*' ! -path '*/node_modules/.vite*' | head -n 1
"""

_MOVES = r"""
const fs = require('fs'), { join, dirname } = require('path');
const [app, draft, former, orderFile, undoFile, noteFile, startedFile] = process.argv.slice(1);
const MODULES = 'node_modules';
function look(path) {
  try { return fs.lstatSync(path); } catch (error) {
    if (!['ENOENT', 'ENOTDIR'].includes(error.code)) throw error;
  }
}
const isFile = (path) => look(path)?.isFile() ?? false;

function* entriesIn(root, wanted, below = '') {
  if (!look(join(root, below))?.isDirectory()) return;
  for (const entry of fs.readdirSync(join(root, below), { withFileTypes: true })) {
    const path = join(below, entry.name);
    const isModules = entry.isDirectory() && entry.name === MODULES;
    if (wanted === MODULES ? isModules : entry.isFile()) yield path;
    if (entry.isDirectory() && !isModules) yield* entriesIn(root, wanted, path);
  }
}
function isSame(a, b) {
  const [x, y] = [look(a), look(b)];
  return y?.isFile() && x.size === y.size && fs.readFileSync(a).equals(fs.readFileSync(b));
}
// Makes way for a file; a link is not followed.
function provide(root, path) {
  const parent = dirname(path);
  if (parent !== '.') provide(root, parent);
  const directory = parent === '.' ? root : join(root, parent);
  if (!look(directory)?.isDirectory()) {
    fs.rmSync(directory, { force: true });
    fs.mkdirSync(directory);
  }
}
// As a whole or not at all: a watching dev server reads it at any moment.
function place(from, root, path) {
  provide(root, path);
  const to = join(root, path), news = join(former, 'new');
  if (look(to)?.isDirectory()) fs.rmSync(to, { recursive: true });
  fs.copyFileSync(from, news);
  fs.chmodSync(news, look(from).mode & 0o777);
  fs.renameSync(news, to);
}
function move(from, to) {
  if (!look(from)) return;
  fs.rmSync(to, { recursive: true, force: true });
  fs.mkdirSync(dirname(to), { recursive: true });
  fs.renameSync(from, to);
}
"""

_TAKE_OVER = r"""
const order = JSON.parse(fs.readFileSync(orderFile));
const own = new Set(order.own), started = look(startedFile)?.mtimeMs ?? -Infinity;
const isStale = (there) => !there || (there.isFile() && there.mtimeMs <= started);
const wanted = new Set(order.changed);
if (order.builds)
  for (const path of entriesIn(draft, 'files'))
    if (!own.has(path) && isStale(look(join(app, path)))) wanted.add(path);
const changed = [...wanted].filter(
  (path) => isFile(join(draft, path)) && !isSame(join(draft, path), join(app, path)));
const record = { note: order.note, replaced: [], added: [], modules: [], newModules: [] };
fs.rmSync(former, { recursive: true, force: true });
fs.mkdirSync(join(former, 'files'), { recursive: true });
for (const path of [...changed, ...order.gone])
  if (isFile(join(app, path))) {
    place(join(app, path), join(former, 'files'), path);
    record.replaced.push(path);
  } else record.added.push(path);
if (order.dependencies) {
  record.modules = [...entriesIn(app, MODULES)];
  record.newModules = [...entriesIn(draft, MODULES)];
}
fs.writeFileSync(undoFile + '.new', JSON.stringify(record));
fs.rmSync(undoFile, { recursive: true, force: true });
fs.renameSync(undoFile + '.new', undoFile);
fs.rmSync(noteFile, { recursive: true, force: true });
for (const path of order.gone) if (isFile(join(app, path))) fs.rmSync(join(app, path));
for (const path of changed) place(join(draft, path), app, path);
for (const path of record.modules) move(join(app, path), join(former, 'modules', path));
for (const path of record.newModules) move(join(draft, path), join(app, path));
"""

# What was broken off, this one included, is gone on with.
_UNDO = r"""
const record = JSON.parse(fs.readFileSync(undoFile));
for (const path of record.added) if (isFile(join(app, path))) fs.rmSync(join(app, path));
for (const path of record.replaced) place(join(former, 'files', path), app, path);
for (const path of record.newModules)
  if (!record.modules.includes(path)) fs.rmSync(join(app, path), { recursive: true, force: true });
for (const path of record.modules) move(join(former, 'modules', path), join(app, path));
fs.writeFileSync(noteFile, record.note);
fs.rmSync(undoFile);
"""


class Draft(Folder):
    """The folder beside the app's. Between `begin` and `take_over` it is used as a folder is."""

    touches_dependencies = False

    def prepared(self, command: Sequence[str]) -> Sequence[str]:
        """Have the install not touch the app's dependencies."""
        return ("sh", "-c", _WITH_COPIES, "sh", *command)

    async def begin(self) -> None:
        """Make the draft anew: no files, and the dependencies that the app has."""
        self.touches_dependencies = False
        task = self._runtime.task(VOLUME_DIR, "draft", ("sh", "-c", _BEGIN), {})
        try:
            code, reason = await run_quietly(task, BEGIN_SECONDS)
        except TimeoutError as error:
            raise _problem("A draft of the app cannot be made", "it takes too long") from error
        if code != 0:
            raise _problem("A draft of the app cannot be made", reason or f"exit code {code}")

    async def run_check(self, script: str) -> None:
        """Run a script of package.json to its end, and see what it has done to the dependencies."""
        directory = self._place.directory
        await self._runtime.run_short(directory, f"touch {_CHECKED}")
        await super().run_check(script)
        _, touched = await self._runtime.run_short(directory, _TOUCHED)
        self.touches_dependencies = self.touches_dependencies or bool(touched)

    async def take_over(self, order: TakeOver) -> None:
        """Change the app's folder to what the draft is, as far as the order says."""
        await self._runtime.unpack(text_archive(ORDER_FILE, json.dumps(asdict(order))))
        await self._move("The app's new state cannot be taken over", _TAKE_OVER)

    async def undo(self) -> None:
        """Have the app's folder and its note be as they were before `take_over`."""
        await self._move("The app's former state cannot be brought back", _UNDO)

    async def _move(self, problem: str, script: str) -> None:
        places = (APP.directory, DRAFT.directory, FORMER_DIR, ORDER_FILE)
        told = (UNDO_FILE, APP.note, STARTED_FILE)
        code, output = await self._runtime.run_short(
            VOLUME_DIR, 'exec node -e "$@" 2>&1', f"{_MOVES}{script}", *places, *told
        )
        if code != 0:
            reason = output.decode(errors="replace").strip()[-300:]
            raise _problem(problem, reason or f"exit code {code}")


def _problem(sentence: str, reason: str) -> SandboxError:
    return SandboxError(f"{sentence} ({reason}).")
