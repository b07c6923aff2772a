"""An app that fills the disk loses its sandbox, is told to the next plan, and harms nobody."""

from __future__ import annotations

import pytest

from actors.addresses import slug_of
from tests.support.browsing import browsing
from tests.support.docker import DockerEngine
from tests.support.openrouter import ScriptedOpenRouter
from tests.support.service import ServiceFactory, Viewer

pytestmark = pytest.mark.usefixtures("unmeasured")

SERVER = """
const http = require('http'), fs = require('fs');
http.createServer((request, response) => {
  response.end('here');
  if (request.url === '/fill') fill(0);
}).listen(Number(process.env.PORT), process.env.HOST);
function fill(n) {
  fs.writeFile('waste' + n, Buffer.alloc(4 << 20, 1), () => n < 100 && fill(n + 1));
}
"""


def environment_of(kind: str, request: pytest.FixtureRequest) -> dict[str, str]:
    """Return the variables that put apps there; an engine is started only where it is needed."""
    if kind == "docker":
        engine: DockerEngine = request.getfixturevalue("docker_engine")
        return engine.environment
    variables: dict[str, str] = request.getfixturevalue("bubblewrap_environment")
    return variables


@pytest.mark.parametrize("kind", ["docker", "bubblewrap"])
async def test_an_app_that_fills_the_disk_is_removed_and_made_anew(
    services: ServiceFactory,
    openrouter: ScriptedOpenRouter,
    request: pytest.FixtureRequest,
    kind: str,
) -> None:
    openrouter.add_phase("Server", {"server.js": SERVER}, last=True)
    openrouter.add_phase("Mend", {"notes.txt": "mended\n"}, last=True)
    variables = {
        **openrouter.environment,
        **environment_of(kind, request),
        "CODEGEN_SANDBOX_DISK_MIB": "64",
        "CODEGEN_SANDBOX_IDLE_SECONDS": "600",
    }
    service = await services.start(**variables)
    greedy, other = Viewer(service, "greedy"), Viewer(service, "other")
    async with greedy.connected(), other.connected(), browsing() as http:

        async def page(name: str, path: str = "") -> str:
            async with http.get(service.app_url(slug_of(name)) + path) as answer:
                return await answer.text()

        for viewer in (greedy, other):
            await viewer.send({"type": "generate", "description": "a shop"})
            await viewer.expect("generation_complete")
        assert await page("greedy", "fill") == "here"
        told = (await greedy.expect("problem_reported"))["data"]["message"]
        assert told.endswith("and is made anew from the project's files.")
        assert "the limit is 64 MiB (CODEGEN_SANDBOX_DISK_MIB)" in told
        assert await page("other") == "here"
        assert await page("greedy") != "here"
        await greedy.expect("server_started")
        assert await page("greedy") == "here"
        await greedy.send({"type": "generate", "description": "mend it"})
        await greedy.expect("generation_complete")
    assert told in openrouter.received("plan")[-1].prompt
    assert await service.stop() == 0
