"""Only so many sandboxes are in use at once: who was idle for the longest makes room."""

from __future__ import annotations

import asyncio

import pytest

from tests.acceptance.test_docker_story import BASE, environment, is_running
from tests.support.docker import DockerEngine
from tests.support.openrouter import ScriptedOpenRouter
from tests.support.service import ServiceFactory, Viewer

pytestmark = pytest.mark.usefixtures("unmeasured")


async def test_a_run_waits_for_a_place_and_its_viewers_are_told_why(
    services: ServiceFactory, openrouter: ScriptedOpenRouter, docker_engine: DockerEngine
) -> None:
    openrouter.add_phase("Server", BASE, last=True)
    second_plan = openrouter.hold("isLastPhase", purpose="plan")
    limits = {"CODEGEN_MAX_SANDBOXES": "1", "CODEGEN_SANDBOX_IDLE_SECONDS": "600"}
    service = await services.start(**environment(docker_engine, openrouter) | limits)
    first, second = Viewer(service, "first"), Viewer(service, "second")
    async with first.connected(), second.connected():
        await first.send({"type": "generate", "description": "a shop"})
        await second_plan.reached.happened()
        await second.send({"type": "generate", "description": "a shop"})
        told = await second.expect("sandbox_log", stream="progress")
        assert "CODEGEN_MAX_SANDBOXES" in told["data"]["line"]
        second_plan.release()
        async with asyncio.TaskGroup() as group:
            group.create_task(first.expect("hibernated"))
            group.create_task(second.expect("generation_complete"))
    assert await is_running(docker_engine, "first") is False
    assert await is_running(docker_engine, "second")
    assert await service.stop() == 0
