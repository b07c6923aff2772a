"""The one process of ours inside a container: it carries bytes between its loopback and our doors.

The container has no network. Its ways out are the Unix sockets in `DOOR_DIR`, a directory of the
host that it can connect to and not write to (`doors.py`); all listening there is done by us. So the
relay keeps connections waiting at the doors to the app, each idle until we knock: one byte. Then it
connects to the app at its port, IPv4 first, answers with a byte and carries what follows; where
nobody listens, it hangs up. The other way round, what connects to `PROXY_PORT` or `PACKAGES_PORT`
inside is joined to the doors to the package registries, which are there while an install runs.

A door that is not there or refuses (the gateway is being restarted) is tried again as soon as
something in the directory changes, and at least every `MAX_PAUSE` milliseconds.

In a container it runs as a user of its own, so the app can neither end nor trace it, below a shell
that starts it again: where the memory limit is hit, the kernel may choose it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from actors.sandbox.doors import APP_DOOR, EGRESS_DOOR, PACKAGES_DOOR, PROBE_DOOR, DoorKind

APP_DOORS = (APP_DOOR, PROBE_DOOR)
DOOR_DIR = "/run/codegen"
PORT = 5173  # of the app
PROXY_PORT = 3128  # of the proxy for installs
PACKAGES_PORT = 3129  # of the registry for installs
USER_ID = 65_534  # `nobody`; the app is another user

_RELAY = r"""
const fs = require('fs'), net = require('net');
const [directory, port, ways, doors] = process.argv.slice(1).map((word) => JSON.parse(word));
const MIN_PAUSE = 20, MAX_PAUSE = 500, OPEN = '!';
const half = { allowHalfOpen: true };

// Bytes flow both ways, no faster than they are read; what has been written is delivered.
function join(a, b) {
  a.on('close', () => b.destroySoon());
  b.on('close', () => a.destroySoon());
  a.pipe(b);
  b.pipe(a);
}

function toApp(door, hosts) {
  const app = net.connect({ host: hosts[0], port, ...half });
  const fail = () => hosts.length > 1 ? toApp(door, hosts.slice(1)) : door.destroy();
  app.once('error', fail);
  app.once('connect', () => {
    app.off('error', fail).on('error', () => {});
    if (door.destroyed) return app.destroy();
    door.write(OPEN);
    join(door, app);
  });
}

function keepWaiting(path, size) {
  let waiting = 0, pause = MIN_PAUSE, timer = null, isDialling = false;
  function dial() {
    if (isDialling || timer || waiting >= size) return;
    isDialling = true;
    let isWaiting = false;
    const door = net.connect({ path, ...half });
    door.on('error', () => {});
    door.once('connect', () => {
      isDialling = false; isWaiting = true; waiting++; pause = MIN_PAUSE;
      dial();
    });
    door.once('readable', () => {
      if (!isWaiting || !door.read(1)) return door.destroy();
      isWaiting = false; waiting--;
      toApp(door, ['127.0.0.1', '::1']);
      dial();
    });
    door.once('close', () => {
      if (isWaiting) { isWaiting = false; waiting--; } else if (isDialling) isDialling = false;
      else return;
      timer = timer || setTimeout(again, pause);
      pause = Math.min(2 * pause, MAX_PAUSE);
    });
  }
  function again() {
    clearTimeout(timer);
    timer = null;
    dial();
  }
  dial();
  return again;
}

const agains = doors.map(([name, waiting]) => keepWaiting(directory + '/' + name, waiting));
try {
  fs.watch(directory, () => { for (const again of agains) again(); }).on('error', () => {});
} catch (error) {}  // then the pauses alone

function leadOut(port, name) {
  const way = net.createServer(half, (client) => {
    const door = net.connect({ path: directory + '/' + name, ...half });
    client.on('error', () => {});
    door.on('error', () => {});
    join(client, door);
  });
  const listen = () => way.listen(port, '127.0.0.1');
  way.on('error', () => setTimeout(listen, MAX_PAUSE));  // somebody has the port
  listen();
}
for (const [port, name] of ways) leadOut(port, name);
"""

# Threads that it does not need count as processes, and an image's own options are for the app.
_KEEP_RUNNING = """\
unset NODE_OPTIONS NODE_EXTRA_CA_CERTS
export UV_THREADPOOL_SIZE=1
while :; do node --v8-pool-size=1 --max-semi-space-size=1 -e "$@"; sleep 1; done
"""


def relay_arguments(
    directory: str = DOOR_DIR,
    port: int = PORT,
    proxy_port: int = PROXY_PORT,
    packages_port: int = PACKAGES_PORT,
    doors: Sequence[DoorKind] = APP_DOORS,
) -> list[str]:
    """Return the arguments of `node -e` that make it the relay; `doors` are those to the app."""
    ways = [[proxy_port, EGRESS_DOOR], [packages_port, PACKAGES_DOOR]]
    waiting = [[door.name, door.waiting] for door in doors]
    return [_RELAY, *map(json.dumps, (directory, port, ways, waiting))]


def relay_command(doors: Sequence[DoorKind] = APP_DOORS) -> list[str]:
    """Return the command that runs the relay, such as a container's main command."""
    return ["sh", "-c", _KEEP_RUNNING, "sh", *relay_arguments(doors=doors)]
