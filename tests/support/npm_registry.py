"""A registry of npm packages over HTTP, with packages made here; it can fail in many ways."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

CANONICAL = "https://registry.npmjs.org"


class NpmRegistry:
    """Serves packages by name; `asked` are the paths of all requests, as they came.

    `status` answers every request where it is set, `cut` ends every body after so many bytes, and
    `body` is sent instead of what there is.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.status = 0
        self.cut = 0
        self.body = b""
        self.redirect = ""
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.port = 0
        self._was_asked = asyncio.Condition()
        self._packages: dict[str, dict[str, bytes]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    def add(self, name: str, version: str, text: str = "", padding: int = 0) -> None:
        """Publish a version whose `index.js` is this text, with a file of so many bytes."""
        manifest = json.dumps({"name": name, "version": version, "main": "index.js"})
        files = {"package.json": manifest.encode(), "index.js": text.encode()}
        if padding:
            files["padding"] = hashlib.shake_128(name.encode()).digest(padding)
        self._packages.setdefault(name, {})[version] = _tarball(files)

    def tarball(self, name: str, version: str) -> bytes:
        return self._packages[name][version]

    def packument(self, name: str) -> bytes:
        versions = self._packages[name]
        return json.dumps(
            {
                "name": name,
                "dist-tags": {"latest": list(versions)[-1]},
                "versions": {
                    version: {
                        "name": name,
                        "version": version,
                        "dist": {
                            "tarball": f"{CANONICAL}{tarball_path(name, version)}",
                            "integrity": _integrity(tarball),
                        },
                    }
                    for version, tarball in versions.items()
                },
            }
        ).encode()

    async def wait_asked(self, times: int) -> None:
        """Return when so many requests have come."""
        async with self._was_asked:
            await self._was_asked.wait_for(lambda: len(self.asked) >= times)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        runner = web.ServerRunner(web.Server(self._answer))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request.raw_path)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        async with self._was_asked:
            self._was_asked.notify_all()
        await self.is_open.wait()
        if self.redirect:
            return web.Response(status=302, headers={"Location": self.redirect})
        if self.status:
            return web.Response(status=self.status, text="as the test wants it")
        body = self.body or self._find(request.path)
        if body is None:
            return web.json_response({"error": "Not found"}, status=404)
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304)
        response = web.StreamResponse(headers={"ETag": etag, "Content-Type": "application/json"})
        response.content_length = len(body)
        await response.prepare(request)
        if self.cut:
            await response.write(body[: self.cut])
            assert request.transport is not None
            request.transport.close()
            return response
        await response.write(body)
        return response

    def _find(self, path: str) -> bytes | None:
        for name, versions in self._packages.items():
            if path == f"/{name}":
                return self.packument(name)
            for version, tarball in versions.items():
                if path == tarball_path(name, version):
                    return tarball
        return None


def tarball_path(name: str, version: str) -> str:
    return f"/{name}/-/{name.rsplit('/', 1)[-1]}-{version}.tgz"


def _tarball(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _integrity(content: bytes) -> str:
    return f"sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}"
