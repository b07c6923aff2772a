"""A private Docker engine for the tests, and a Node image in it.

It has its own data, socket, bridge and firewall rules, so an engine that the machine may run is
not touched: `dockerd --iptables=false`, since dockerd flushes the chains of its siblings when it
starts, and published ports work on the loopback without them. Nothing global is set; a test hands
on `docker_engine.url` (`monkeypatch.setenv("DOCKER_HOST", ...)`) and `docker_engine.image`.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.node_image import image_environment, node_image_tar

IMAGE = "codegen-test-node:1"
START_SECONDS = 20.0
STOP_SECONDS = 20.0
API = "/v1.41"

#: Runs a command that ends when standard input ends: with pytest, however that ends.
LIFELINE = """
exec 3<&0
"$@" </dev/null 3<&- & pid=$!
( read -r _; kill $pid ) <&3 >/dev/null 2>&1 & watcher=$!
wait $pid
kill $watcher 2>/dev/null
"""


class DockerEngine:
    """A dockerd of our own; `start` and `stop` may be called in turns, its images stay."""

    image = IMAGE

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._socket = directory / "docker.sock"
        self._bridge = _Bridge()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What DOCKER_HOST should be."""
        return f"unix://{self._socket}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make a service put its sandboxes here."""
        return {
            "DOCKER_HOST": self.url,
            "CODEGEN_SANDBOX": "docker",
            "CODEGEN_SANDBOX_IMAGE": self.image,
        }

    def start(self) -> None:
        """Start dockerd and wait until its socket answers."""
        self._bridge.add()
        config = self._directory / "daemon.json"
        config.write_text("{}")
        with (self._directory / "dockerd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("sh", "-c", LIFELINE, "sh", "dockerd"),
                    *("--config-file", str(config)),
                    *("--data-root", str(self._directory / "root")),
                    *("--exec-root", str(self._directory / "exec")),
                    *("--pidfile", str(self._directory / "pid")),
                    *("--host", self.url),
                    *("--bridge", self._bridge.name),
                    *("--containerd-namespace", f"codegen-test-{os.getpid()}"),
                    "--iptables=false",
                    "--ip6tables=false",
                    *("--log-level", "warn"),
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for pytest, which stops dockerd last
            )
        self._await_socket()

    def stop(self) -> None:
        """Stop dockerd and, with it, its containers; repeated calls do nothing."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._bridge.delete()

    def kill(self) -> None:
        """Kill dockerd as a crash does: its containers go on until `start` ends them."""
        process, self._process = self._process, None
        assert process is not None
        assert process.stdin is not None
        os.kill(int((self._directory / "pid").read_text()), signal.SIGKILL)
        process.wait(STOP_SECONDS)
        process.stdin.close()
        # its containerd has died with it; where nobody has reaped that one yet, it seems to run
        (self._directory / "exec/containerd/containerd.pid").unlink()
        self._bridge.delete()

    def remove(self) -> None:
        """Remove all its data; it does not run any more."""
        while _run("umount", str(self._directory / "root")) == 0:
            pass  # one for each time that it was killed
        shutil.rmtree(self._directory)

    def import_image(self, tar: Path) -> None:
        """Do what `docker import` does, with the image's variables."""
        changes = "&".join(
            f"changes={_quoted('ENV ' + variable)}" for variable in image_environment()
        )
        repository, tag = IMAGE.split(":")
        path = f"/images/create?fromSrc=-&repo={repository}&tag={tag}&{changes}"
        with tar.open("rb") as body:
            self._request("POST", path, body, {"Content-Length": str(tar.stat().st_size)})

    def log_tail(self) -> str:
        """The last lines that dockerd wrote."""
        lines = (self._directory / "dockerd.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-10:])

    def _await_socket(self) -> None:
        assert self._process is not None
        for _ in range(int(START_SECONDS * 20)):
            try:
                self._request("GET", "/_ping")
            except OSError:
                try:
                    self._process.wait(0.05)
                except subprocess.TimeoutExpired:
                    continue
                break
            return
        self.stop()
        raise RuntimeError(f"dockerd did not start:\n{self.log_tail()}")

    def _request(self, method: str, path: str, body: object = None, headers: object = None) -> None:
        connection = _UnixConnection(str(self._socket))
        try:
            connection.request(method, API + path, body, headers or {})  # type: ignore[arg-type]  # as handed in
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
            if response.status >= 400 or '"error"' in text:
                raise RuntimeError(f"the Docker engine refused {path}: {text}")
        finally:
            connection.close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _Bridge:
    """A network bridge of our own with a way out, and its three firewall rules.

    That packets are forwarded at all (`ip_forward`), which dockerd turns on, is left so: another
    engine may need it by now.
    """

    def __init__(self) -> None:
        self.name = ""
        self._rules: list[list[str]] = []

    def add(self) -> None:
        for number in range(1, 250):
            name = f"codegen-test{number}"
            if _run("ip", "link", "add", name, "type", "bridge") == 0:
                break
        else:
            raise RuntimeError("no network bridge could be made; run the tests as root")
        subnet = f"10.213.{number}"
        _run("ip", "address", "add", f"{subnet}.1/24", "dev", name)
        _run("ip", "link", "set", name, "up")
        self.name = name
        self._rules = [
            ["-t nat", "POSTROUTING", f"-s {subnet}.0/24 ! -o {name} -j MASQUERADE"],
            ["-t filter", "FORWARD", f"-i {name} -j ACCEPT"],
            ["-t filter", "FORWARD", f"-o {name} -j ACCEPT"],
        ]
        for table, chain, rule in self._rules:
            _run("iptables", *table.split(), "-I", chain, *rule.split())

    def delete(self) -> None:
        for table, chain, rule in self._rules:
            _run("iptables", *table.split(), "-D", chain, *rule.split())
        if self.name:
            _run("ip", "link", "delete", self.name)
        self.name, self._rules = "", []


def _run(*command: str) -> int:
    return subprocess.run(command, check=False, capture_output=True).returncode


def _quoted(text: str) -> str:
    return "".join(c if c.isalnum() else f"%{ord(c):02X}" for c in text)


@contextlib.contextmanager
def running_engine() -> Iterator[DockerEngine]:
    """An engine that has the Node image; it and all its data are gone at the end."""
    for program in ("dockerd", "iptables", "ip"):
        if shutil.which(program) is None:
            raise RuntimeError(f"{program} is missing; run scripts/test, which installs it")
    # a short path: a socket's path has at most 108 bytes
    directory = Path(tempfile.mkdtemp(prefix="codegen-docker-"))
    engine = DockerEngine(directory)
    try:
        engine.start()
        engine.import_image(node_image_tar())
        yield engine
    finally:
        engine.stop()
        engine.remove()


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[DockerEngine]:
    """A running engine for the whole session."""
    with running_engine() as engine:
        yield engine
