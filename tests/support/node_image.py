"""A Node image made without a registry: a file system as a tar that `docker import` takes.

It holds busybox, the shared objects of libc6, libstdc++6 and libgcc-s1 (native npm packages want
more of them than node itself), node, npm, the machine's CA bundle, and a user `node` (1000). The
tar is kept under `~/.cache/codegen-tests`, named by what went into it, for the next run.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

RECIPE = 1  # part of the tar's name; raise it when what is written below changes
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
REGISTRY = "https://registry.npmjs.org"
LIBRARY_PACKAGES = ("libc6", "libstdc++6", "libgcc-s1")
PASSED_ON = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "NPM_CONFIG_REGISTRY")
ETC = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000:node:/home/node:/bin/sh\n",
    "etc/group": "root:x:0:\nnode:x:1000:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


@dataclass(frozen=True)
class NodeSource:
    """Where node and npm come from: the host's own, or (no paths) the npm registry."""

    name: str
    node: Path | None = None
    npm: Path | None = None


def node_image_tar() -> Path:
    """Return the tar, made now unless an earlier run left it."""
    if shutil.which("busybox") is None:
        raise RuntimeError("busybox is missing; run scripts/test, which installs busybox-static")
    source = host_source() or NodeSource("npm-node22-npm11")
    cache = cache_directory()
    path = cache / f"node-image-{RECIPE}-{source.name}.tar"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            draft = Path(scratch, "draft.tar")
            node = source.node or fetched(f"node-linux-{npm_machine()}", "22", scratch) / "bin/node"
            npm = source.npm or fetched("npm", "11", scratch)
            with tarfile.open(draft, "w") as tar:
                _fill(tar, node, npm)
            draft.rename(path)
    return path


def cache_directory() -> Path:
    """Return the directory of what the next run of the tests finds again."""
    cache = Path.home() / ".cache" / "codegen-tests"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def image_environment() -> list[str]:
    """The image's variables; the machine's proxy and registry settings hold inside as well."""
    passed = [f"{name}={os.environ[name]}" for name in PASSED_ON if os.environ.get(name)]
    return ["PATH=/usr/bin:/bin", f"NODE_EXTRA_CA_CERTS={CA_BUNDLE}", *passed]


def host_source() -> NodeSource | None:
    """The machine's own node and npm, if they are self-contained and new enough for Vite."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    npm_root = Path(npm).resolve().parent.parent
    if npm_root.name != "npm" or not (npm_root / "node_modules").is_dir():
        return None  # Debian's own npm is spread over hundreds of packages
    packaged = {path.name for path in _shared_objects()}
    if any(library not in packaged for library in _needed_libraries(node)):
        return None
    node_version = _output(node, "--version").lstrip("v")
    npm_version = json.loads((npm_root / "package.json").read_text())["version"]
    if int(node_version.split(".")[0]) < 20:
        return None
    return NodeSource(f"node{node_version}-npm{npm_version}", Path(node).resolve(), npm_root)


def _needed_libraries(program: str) -> list[str]:
    return re.findall(r"^\s*(\S+\.so\S*) =>", _output("ldd", program), re.MULTILINE)


def _shared_objects() -> list[Path]:
    paths = [Path(line) for line in _output("dpkg", "-L", *LIBRARY_PACKAGES).splitlines()]
    return [
        path
        for path in paths
        if re.search(r"\.so(\.|$)", path.name) and path.is_file() and "gconv" not in path.parts
        # a loader's path is also listed where it is a link into the library directory
    ]


def _fill(tar: tarfile.TarFile, node: Path, npm: Path) -> None:
    for name, mode in (("bin", 0o755), ("usr/bin", 0o755), ("etc", 0o755), ("tmp", 0o1777)):
        _add_directory(tar, name, mode)
    for name in ("app", "home/node"):
        _add_directory(tar, name, 0o755, owner=1000)
    for name, text in ETC.items():
        _add_bytes(tar, name, text.encode())
    tar.add(Path(CA_BUNDLE).resolve(), CA_BUNDLE.lstrip("/"), filter=_as_root)
    for path in _shared_objects():
        tar.add(path.resolve(), str(path).lstrip("/"), filter=_as_root)
    _add_programs(tar, node, npm)


def _add_programs(tar: tarfile.TarFile, node: Path, npm: Path) -> None:
    tar.add(shutil.which("busybox") or "", "bin/busybox", filter=_as_root)
    for applet in _output("busybox", "--list").split():
        if applet != "busybox":
            _add_link(tar, f"bin/{applet}", "/bin/busybox")
    _add_link(tar, "usr/bin/env", "/bin/busybox")
    tar.add(node, "usr/bin/node", filter=_as_root)
    tar.add(npm, "usr/lib/node_modules/npm", filter=_as_root)
    _add_link(tar, "usr/bin/npm", "../lib/node_modules/npm/bin/npm-cli.js")
    _add_link(tar, "usr/bin/npx", "../lib/node_modules/npm/bin/npx-cli.js")


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    if member.isfile() and "/bin/" in f"/{member.name}":
        member.mode |= 0o755
    return member


def _add_directory(tar: tarfile.TarFile, name: str, mode: int, *, owner: int = 0) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.uid, member.gid = tarfile.DIRTYPE, mode, owner, owner
    tar.addfile(member)


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    tar.addfile(member, io.BytesIO(content))


def _add_link(tar: tarfile.TarFile, name: str, target: str) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    tar.addfile(member)


def npm_machine() -> str:
    return {"x86_64": "x64", "aarch64": "arm64"}[platform.machine()]


def fetched(package: str, version: str, directory: str) -> Path:
    """Fetch the newest `version`.* of a package and unpack it; its checksum is verified."""
    request = urllib.request.Request(
        f"{REGISTRY}/{package}", headers={"Accept": "application/vnd.npm.install-v1+json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        versions = json.load(response)["versions"]
    wanted = [number for number in versions if re.fullmatch(rf"{version}\.\d+\.\d+", number)]
    newest = max(wanted, key=lambda number: [int(part) for part in number.split(".")])
    dist = versions[newest]["dist"]
    with urllib.request.urlopen(dist["tarball"], timeout=300) as response:
        packed = response.read()
    digest = base64.b64encode(hashlib.sha512(packed).digest()).decode()
    if f"sha512-{digest}" != dist["integrity"]:
        raise RuntimeError(f"the npm registry's {package}@{newest} has a wrong checksum")
    target = Path(directory, package)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        tar.extractall(target, filter="data")
    return target / "package"


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
