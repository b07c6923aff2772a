"""A registry that serves one small image over HTTP, as Docker's registry protocol v2 wants it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import shutil
import tarfile
import uuid

from aiohttp import web

APPLETS = ("sh", "sleep", "ls", "head", "tr", "cat")
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


class Registry:
    """Serves `tiny:1`, a busybox; `is_open` cleared makes every layer wait."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.layer_asked = asyncio.Event()
        self.image = ""
        self._layer = _layer()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        layer_digest = _digest(self._layer)
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Env": ["PATH=/bin"]},
                "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
            }
        ).encode()
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": {
                    "mediaType": "application/vnd.docker.container.image.v1+json",
                    "size": len(config),
                    "digest": _digest(config),
                },
                "layers": [
                    {
                        "mediaType": "application/vnd.docker.image.rootfs.diff.tar",
                        "size": len(self._layer),
                        "digest": layer_digest,
                    }
                ],
            }
        ).encode()
        self._blobs = {_digest(config): config, layer_digest: self._layer}
        self._manifest = manifest
        app = web.Application()
        app.router.add_get("/v2/", self._version)
        app.router.add_get("/v2/tiny/manifests/{reference}", self._get_manifest)
        app.router.add_get("/v2/tiny/blobs/{digest}", self._get_blob)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port = self._runner.addresses[0][1]
        self.image = f"127.0.0.1:{port}/tiny:1"

    async def stop(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({}, headers={"Docker-Distribution-API-Version": "registry/2.0"})

    async def _get_manifest(self, request: web.Request) -> web.Response:
        reference = request.match_info["reference"]
        if reference not in ("1", _digest(self._manifest)):
            raise web.HTTPNotFound
        return web.Response(
            body=self._manifest,
            headers={
                "Content-Type": MANIFEST_TYPE,
                "Docker-Content-Digest": _digest(self._manifest),
            },
        )

    async def _get_blob(self, request: web.Request) -> web.StreamResponse:
        blob = self._blobs[request.match_info["digest"]]
        response = web.StreamResponse(headers={"Content-Length": str(len(blob))})
        await response.prepare(request)
        if blob is self._layer:
            self.layer_asked.set()
            await self.is_open.wait()
        await response.write(blob)
        return response


def _layer() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(shutil.which("busybox") or "", "bin/busybox")
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "/bin/busybox"
            tar.addfile(link)
        unique = tarfile.TarInfo(f"unique/{uuid.uuid4()}")  # an engine skips layers that it has
        tar.addfile(unique)
    return buffer.getvalue()


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"
