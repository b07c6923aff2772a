"""The draft: what the app is to become, installed and checked while the app itself goes on.

It is a folder beside the app's with the project's files and, by hard links, the app's dependencies;
nothing is served from it. What has turned out well is taken over: the files that differ, what a
build has made among them, and the dependencies where they were installed anew. Files that the
running app has made for itself stay. What is replaced is kept, so that it can be undone.

All of it is done inside the sandbox, as its user, whatever the code there has made of the folders.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from actors.errors import SandboxError
from actors.sandbox.archive import text_archive
from actors.sandbox.folder import Folder
from actors.sandbox.layout import APP, DRAFT, FORMER_DIR, ORDER_FILE, VOLUME_DIR

OWN = ".codegen-own"  # in dependencies that share no file with the app's

# A check works with the app's dependencies by hard links, but for what tools write there in place.
_BEGIN = f"""\
rm -rf {DRAFT.directory} {FORMER_DIR} && mkdir {DRAFT.directory} && cd {APP.directory} || exit 1
for name in package-lock.json pnpm-lock.yaml yarn.lock bun.lock bun.lockb; do
  [ -f "$name" ] && [ ! -L "$name" ] && cp -p "$name" {DRAFT.directory}
done
[ -d node_modules ] && [ ! -L node_modules ] || exit 0
cp -al node_modules {DRAFT.directory} || exit 1
cd {DRAFT.directory}/node_modules
rm -rf .cache .vite .vite-temp {OWN}
"""

# An install, which may write any file in place, is given copies.
_WITH_COPIES = f"""\
if [ -d node_modules ] && [ ! -e node_modules/{OWN} ]; then
  rm -rf node_modules && cp -a {APP.directory}/node_modules . && touch node_modules/{OWN} || exit 1
fi
exec "$@"
"""

_MOVES = r"""
const fs = require('fs'), { join, dirname } = require('path');
const [app, draft, former, orderFile] = process.argv.slice(1);
const MODULES = 'node_modules', record = join(former, 'record.json');
function look(path) {
  try { return fs.lstatSync(path); } catch (error) {
    if (!['ENOENT', 'ENOTDIR'].includes(error.code)) throw error;
  }
}
const isFile = (path) => look(path)?.isFile() ?? false;

function* filesIn(root, below = '') {
  for (const entry of fs.readdirSync(join(root, below), { withFileTypes: true })) {
    const path = join(below, entry.name);
    if (entry.isDirectory() && path !== MODULES) yield* filesIn(root, path);
    else if (entry.isFile()) yield path;
  }
}
function isSame(a, b) {
  const [x, y] = [look(a), look(b)];
  return y?.isFile() && x.size === y.size && fs.readFileSync(a).equals(fs.readFileSync(b));
}
// Makes way for a file or a directory; a link is not followed.
function provide(root, path) {
  const parent = dirname(path);
  if (parent !== '.') provide(root, parent);
  else if (!look(root)?.isDirectory()) { fs.rmSync(root, { force: true }); fs.mkdirSync(root); }
  if (parent === '.') return;
  const directory = join(root, parent);
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
"""

_TAKE_OVER = r"""
const { files, gone, dependencies } = JSON.parse(fs.readFileSync(orderFile));
const replaced = [], added = [];
fs.rmSync(former, { recursive: true, force: true });
fs.mkdirSync(join(former, 'files'), { recursive: true });
const changed = [...(files ?? filesIn(draft))].filter(
  (path) => isFile(join(draft, path)) && !isSame(join(draft, path), join(app, path)));
for (const path of [...changed, ...gone])
  if (isFile(join(app, path))) {
    place(join(app, path), join(former, 'files'), path);
    replaced.push(path);
  } else added.push(path);
fs.writeFileSync(record, JSON.stringify({ replaced, added, dependencies }));
for (const path of gone) if (isFile(join(app, path))) fs.rmSync(join(app, path));
for (const path of changed) place(join(draft, path), app, path);
if (dependencies) {
  if (look(join(app, MODULES))) fs.renameSync(join(app, MODULES), join(former, MODULES));
  if (look(join(draft, MODULES))) fs.renameSync(join(draft, MODULES), join(app, MODULES));
}
"""

_UNDO = r"""
const { replaced, added, dependencies } = JSON.parse(fs.readFileSync(record));
for (const path of added) if (isFile(join(app, path))) fs.rmSync(join(app, path));
for (const path of replaced) place(join(former, 'files', path), app, path);
if (dependencies) {
  fs.rmSync(join(app, MODULES), { recursive: true, force: true });
  if (look(join(former, MODULES))) fs.renameSync(join(former, MODULES), join(app, MODULES));
}
"""


class Draft(Folder):
    """The folder beside the app's. Between `begin` and `take_over` it is used as a folder is."""

    def prepared(self, command: Sequence[str]) -> Sequence[str]:
        """Have the install not touch the app's dependencies."""
        return ("sh", "-c", _WITH_COPIES, "sh", *command)

    async def begin(self) -> None:
        """Make the draft anew: no files, and the dependencies that the app has."""
        await self._do("A draft of the app cannot be made", _BEGIN)

    async def take_over(
        self, changed: Collection[str] | None, gone: Collection[str], *, dependencies: bool
    ) -> None:
        """Have these of the draft's files in the app's folder, and those that are gone no more.

        `changed` None is whatever the draft has, also what a build has made there: nothing runs in
        the app's folder then. `dependencies` says that the draft's were installed anew; the draft
        has none after that. The app's note is void.
        """
        order = {
            "files": None if changed is None else sorted(changed),
            "gone": sorted(gone),
            "dependencies": dependencies,
        }
        await self._runtime.unpack(text_archive(ORDER_FILE, json.dumps(order)))
        await self._move("The app's new state cannot be taken over", _TAKE_OVER)

    async def undo(self) -> None:
        """Have the app's folder be as it was before `take_over`."""
        await self._move("The app's former state cannot be brought back", _UNDO)

    async def _move(self, problem: str, script: str) -> None:
        places = (APP.directory, DRAFT.directory, FORMER_DIR, ORDER_FILE)
        await self._do(
            problem, f'rm -f {APP.note}\nexec node -e "$@" 2>&1', f"{_MOVES}{script}", *places
        )

    async def _do(self, problem: str, script: str, *arguments: str) -> None:
        code, output = await self._runtime.run_short(VOLUME_DIR, script, *arguments)
        if code != 0:
            reason = output.decode(errors="replace").strip()[-300:]
            raise SandboxError(f"{problem} ({reason or f'exit code {code}'}).")
