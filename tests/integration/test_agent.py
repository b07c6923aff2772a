"""The project agent over the real store, a real feed socket and the scripted model's HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors import messages as m
from actors.journal import UNCLEAN_GAP
from actors.store import Store
from tests.support.agent import MORE, SITE, World
from tests.support.openrouter import Answer


async def test_a_run_designs_writes_and_serves_two_phases_in_the_documented_order(
    world: World,
) -> None:
    world.model.add_phase("Base", SITE)
    world.model.add_phase("More", MORE, last=True)
    await world.live()
    answer = await world.generate()
    assert isinstance(answer, m.Accepted)
    assert answer.place == 0
    await world.sink.expect("generation_complete")
    file_events = ["file_start", "file_chunk", "file_end"]
    assert world.sink.types() == [
        "command_queued",
        "run_started",
        "state_change",
        "phase_designing",
        "model_call",
        "usage",
        "phase_designed",
        "state_change",
        "model_call",
        *file_events,
        *file_events,
        "usage",
        "sandbox_started",
        "files_written",
        "state_change",
        "deps_installed",
        "state_change",
        "server_started",
        "phase_completed",
        "state_change",
        "phase_designing",
        "model_call",
        "usage",
        "phase_designed",
        "state_change",
        "model_call",
        *file_events,
        "usage",
        "files_written",
        "phase_completed",
        "state_change",
        "generation_complete",
    ]
    assert await world.files() == SITE | MORE
    seqs = [frame["seq"] for frame in world.sink.frames]
    assert seqs == list(range(1, len(seqs) + 1))


async def test_what_is_queued_runs_afterwards_and_continues_from_the_files(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    world.model.add_phase("More", MORE, last=True)
    gate = world.model.hold("Hello")
    await world.live()
    await world.generate("first")
    await world.sink.expect("file_start")
    second = await world.generate("second")
    assert isinstance(second, m.Accepted)
    assert second.place == 1
    gate.release()
    await world.sink.expect("generation_complete", 2)
    assert await world.files() == SITE | MORE
    assert "first" in world.model.requests[-1].prompt


async def test_a_run_of_a_later_life_tells_of_the_files_of_all_lives_in_its_end(
    world: World,
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    world.model.add_phase("More", MORE, last=True)
    await world.live()
    await world.generate("first")
    await world.sink.expect("generation_complete")
    await world.die()
    await world.live()
    await world.generate("second")
    complete = await world.sink.expect("generation_complete", 2)
    assert complete["data"]["files"] == sorted(SITE | MORE)


async def test_cancel_during_a_file_keeps_the_finished_files_and_drops_the_open_one(
    world: World,
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    gate = world.model.hold("console")
    await world.live()
    await world.generate()
    await world.sink.until(lambda f: f["type"] == "file_start" and f["data"]["path"] == "app.js")
    assert isinstance(await world.request(m.CancelGeneration), m.Done)
    types = world.sink.types()
    assert types[-4:] == [
        "file_restored",
        "command_answered",
        "generation_cancelled",
        "state_change",
    ]
    assert world.sink.frames[-1]["data"] == {"state": "idle"}
    assert "generation_complete" not in types
    assert await world.files() == {"index.html": SITE["index.html"]}
    await world.model.requests[-1].client_gone.happened()
    gate.release()


async def test_cancel_of_a_rewrite_restores_the_former_content(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    world.model.add_phase("Again", {"index.html": "<h1>Bye</h1>\n"}, last=True)
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    gate = world.model.hold("Bye")
    await world.generate("say bye")
    await world.sink.expect("file_start", 3)
    await world.request(m.CancelGeneration)
    restored = await world.sink.expect("file_restored")
    assert restored["data"] == {"path": "index.html", "content": SITE["index.html"]}
    assert await world.files() == SITE
    gate.release()


async def test_cancel_with_nothing_running_is_refused_and_with_a_queue_drops_it(
    world: World,
) -> None:
    await world.live(grants=False)
    answer = await world.request(m.CancelGeneration)
    assert isinstance(answer, m.Failed)
    assert answer.code == "nothing_running"
    await world.generate()
    assert isinstance(await world.request(m.CancelGeneration), m.Done)
    assert world.sink.types() == [
        "command_answered",
        "command_queued",
        "command_dropped",
        "command_answered",
    ]


async def test_replace_stops_the_run_and_goes_first(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    gate = world.model.hold("Hello")
    await world.live()
    await world.generate("first")
    await world.sink.expect("file_start")
    await world.generate("waiting", command_id="waiting")
    answer = await world.generate("instead", command_id="instead", mode="replace")
    assert isinstance(answer, m.Accepted)
    assert answer.place == 0
    cancelled = await world.sink.expect("generation_cancelled")
    assert cancelled["data"] == {"reason": "replaced"}
    started = await world.sink.expect("run_started", 2)
    assert started["data"]["id"] == "instead"
    gate.release()


async def test_a_command_id_that_was_seen_gets_its_first_answer_also_in_a_new_life(
    world: World,
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    await world.live()
    first = await world.generate(command_id="once")
    await world.sink.expect("generation_complete")
    world.desk.post(m.SaveAndStop())
    await world.desk.left.wait()
    await world.live()
    second = await world.generate(command_id="once")
    assert isinstance(first, m.Accepted)
    assert isinstance(second, m.Accepted)
    assert (second.command_id, second.place, second.seq) == ("once", first.place, first.seq)
    assert len(world.model.received("plan")) == 1


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"description": "  "}, "invalid_description"),
        ({"description": "x" * 20_001}, "invalid_description"),
        ({"description": "x", "mode": "wrong"}, "invalid_input"),
    ],
)
async def test_an_invalid_command_changes_nothing(
    world: World, fields: dict[str, Any], code: str
) -> None:
    await world.live()
    answer = await world.generate(**fields)
    assert isinstance(answer, m.Failed)
    assert answer.code == code
    assert world.sink.frames == []


async def test_a_full_queue_refuses_and_keeps_what_it_has(world: World) -> None:
    await world.live(grants=False)
    for _ in range(world.settings.max_queue):
        assert isinstance(await world.generate(), m.Accepted)
    answer = await world.generate()
    assert isinstance(answer, m.Failed)
    assert answer.code == "project_busy"
    assert world.sink.types() == ["command_queued"] * world.settings.max_queue


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(status=401), "model_unauthorized"),
        (Answer(status=402), "model_payment_required"),
        (Answer(status=404), "model_not_found"),
        (Answer(finish_reason="content_filter"), "model_refused"),
        (Answer(text="I would rather not."), "plan_invalid"),
        (
            Answer(text='{"name":"x","description":"y","files":[],"isLastPhase":true}'),
            "plan_invalid",
        ),
        (
            Answer(
                text='{"name":"x","description":"y","isLastPhase":true,'
                '"files":[{"path":"/etc/passwd","purpose":"z"}]}'
            ),
            "plan_invalid",
        ),
    ],
)
async def test_a_failing_model_ends_the_run_with_a_code_and_a_new_command_goes_on(
    world: World, answer: Answer, code: str
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    for _ in range(3):
        world.model.answer_next(answer, purpose="plan")
    await world.live()
    await world.generate()
    error = await world.sink.expect("error")
    assert error["data"]["code"] == code
    assert "Traceback" not in error["data"]["message"]
    await world.sink.until(lambda f: f["data"] == {"state": "error"})
    world.model.answer_next(Answer(), purpose="plan", always=True)
    for _ in range(3 - len(world.model.received("plan"))):
        await world.generate()
    await world.generate()
    await world.sink.expect("generation_complete")
    assert await world.files() == SITE


async def test_a_refused_plan_is_asked_for_again_with_the_complaint(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    world.model.answer_next("no plan at all", purpose="plan")
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    assert len(world.model.received("plan")) == 2
    warning = await world.sink.expect("model_warning")
    assert warning["data"]["kind"] == "plan_invalid"
    assert warning["data"]["detail"] in world.model.received("plan")[1].prompt


async def test_files_that_the_model_left_out_are_asked_for_again_and_only_they(
    world: World,
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    world.model.answer_next("cat > index.html << 'EOF'\n<h1>Hello</h1>\nEOF\n", purpose="implement")
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    assert await world.files() == SITE
    assert world.model.received("implement")[1].brief.paths_to_write == ("app.js",)


async def test_a_model_that_never_writes_a_planned_file_fails_the_run(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    world.model.answer_next("Sorry, no files today.", purpose="implement", always=True)
    await world.live()
    await world.generate()
    error = await world.sink.expect("error")
    assert error["data"]["code"] == "output_invalid"
    assert "index.html" in error["data"]["message"]


async def test_a_stream_that_is_cut_in_a_file_is_gone_on_with_from_the_finished_ones(
    world: World,
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    half = "cat > index.html << 'EOF'\n<h1>Hello</h1>\nEOF\ncat > app.js << 'EOF'\ncons"
    world.model.answer_next(
        Answer(text=half, finish_reason=None, is_done_sent=False), purpose="implement"
    )
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    assert await world.files() == SITE
    assert "file_restored" in world.sink.types()


async def test_an_unsafe_path_is_discarded_with_a_warning_and_the_rest_is_kept(
    world: World,
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    world.model.answer_next(
        "cat > ../../etc/passwd << 'EOF'\nroot\nEOF\n"
        "cat > index.html << 'EOF'\n<h1>Hello</h1>\nEOF\n"
        "npm install left-pad\n"
        "cat > app.js << 'EOF'\nconsole.log(1);\nEOF\n",
        purpose="implement",
    )
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    assert await world.files() == SITE
    kinds = [f["data"]["kind"] for f in world.sink.frames if f["type"] == "model_warning"]
    assert kinds == ["unsafe_path", "discarded_block", "install_command"]


async def test_append_and_patch_change_the_former_text(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    world.model.add_phase("Change", SITE, last=True)
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    world.model.answer_next(
        "cat >> app.js << 'EOF'\nconsole.log(2);\nEOF\n"
        "cat << 'EOF' | patch index.html\n@@ -1 +1 @@\n-<h1>Hello</h1>\n+<h1>Bye</h1>\nEOF\n",
        purpose="implement",
    )
    await world.generate("change it")
    await world.sink.expect("generation_complete", 2)
    assert await world.files() == {
        "index.html": "<h1>Bye</h1>\n",
        "app.js": "console.log(1);\nconsole.log(2);\n",
    }


async def test_a_patch_that_does_not_fit_leaves_the_file_and_asks_again(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    world.model.add_phase("Change", {"index.html": "<h1>New</h1>\n"}, last=True)
    await world.live()
    await world.generate()
    await world.sink.expect("generation_complete")
    world.model.answer_next(
        "cat << 'EOF' | patch index.html\n@@ -1 +1 @@\n-not there\n+x\nEOF\n", purpose="implement"
    )
    await world.generate("change it")
    await world.sink.expect("generation_complete", 2)
    assert (await world.files())["index.html"] == "<h1>New</h1>\n"
    assert "patch_rejected" in [
        f["data"]["kind"] for f in world.sink.frames if f["type"] == "model_warning"
    ]


async def test_max_phases_ends_a_run_that_never_says_last(world: World) -> None:
    for number in range(4):
        world.model.add_phase(f"Phase {number}", {f"{number}.html": "x\n"})
    await world.live()
    await world.generate(max_phases=2)
    complete = await world.sink.expect("generation_complete")
    assert complete["data"] == {"files": ["0.html", "1.html"], "phases": 2}


async def test_a_new_life_resumes_the_run_and_pays_for_no_finished_work_twice(
    world: World,
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    gate = world.model.hold("console")
    await world.live()
    await world.generate()
    await world.sink.until(lambda f: f["type"] == "file_start" and f["data"]["path"] == "app.js")
    last = world.sink.frames[-1]["seq"]
    await world.die()
    gate.release()
    await world.live()
    resumed = await world.sink.expect("run_resumed")
    assert resumed["seq"] > last
    await world.sink.expect("generation_complete")
    assert await world.files() == SITE
    assert len(world.model.received("plan")) == 1
    assert world.model.received("implement")[1].brief.paths_to_write == ("app.js",)


async def test_no_number_is_used_again_where_a_life_after_a_crash_left_before_its_run_went_on(
    world: World,
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    gate = world.model.hold("console")
    await world.live()
    await world.generate()
    await world.sink.until(lambda f: f["type"] == "file_start" and f["data"]["path"] == "app.js")
    shown = max(frame["seq"] for frame in world.sink.frames)
    await world.die()  # whatever it was about to say may have been shown, too
    await world.live(grants=False)
    world.desk.post(m.SaveAndStop())
    await world.has_left()
    gate.release()
    await world.live()
    resumed = await world.sink.expect("run_resumed")
    assert resumed["seq"] > shown + UNCLEAN_GAP // 2


async def test_a_new_life_asks_for_no_file_when_all_are_finished(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    gate = world.model.hold_end()
    await world.live()
    await world.generate()
    await world.sink.expect("file_end", 2)
    await world.die()
    gate.release()
    await world.live()
    await world.sink.expect("generation_complete")
    assert len(world.model.received("implement")) == 1


async def test_a_stop_for_shutdown_keeps_the_run_open_and_the_next_life_goes_on(
    world: World,
) -> None:
    world.model.add_phase("Base", SITE, last=True)
    gate = world.model.hold("console")
    await world.live()
    await world.generate()
    await world.sink.until(lambda f: f["type"] == "file_start" and f["data"]["path"] == "app.js")
    world.desk.post(m.SaveAndStop())
    await world.desk.left.wait()
    assert isinstance(world.desk.told[-1], m.ProjectGone)
    assert "generation_cancelled" not in world.sink.types()
    gate.release()
    await world.live()
    await world.sink.expect("generation_complete")
    seqs = [frame["seq"] for frame in world.sink.frames]
    assert seqs == list(range(1, len(seqs) + 1))  # an orderly end skips no number


DIED = m.CrashReport(sentence="It died three times.", pids=(77, 78, 79))


async def test_a_project_that_died_too_often_ends_its_run_with_the_reason(world: World) -> None:
    world.settings.log_file.parent.mkdir(parents=True)
    world.settings.log_file.write_text(
        "2026-11-22 12:00:01,001 INFO    77 actors.agent: p1: epoch 1\n"
        "2026-11-22 12:00:02,002 ERROR   79 actors.journal: it broke\n"
        "Traceback (most recent call last):\n"
        "2026-11-22 12:00:03,003 ERROR   80 actors.agent: another project\n"
    )
    world.model.add_phase("Base", SITE, last=True)
    gate = world.model.hold("Hello")
    await world.live()
    await world.generate()
    await world.sink.expect("file_start")
    await world.die()
    await world.live(DIED)
    error = await world.sink.expect("error")
    assert error["data"]["code"] == "actor_crashed"
    assert error["data"]["message"].splitlines() == [
        "It died three times.",
        "12:00:01 INFO p1: epoch 1",
        "12:00:02 ERROR it broke",
    ]
    await world.sink.until(lambda f: f["data"] == {"state": "error"})
    gate.release()
    world.model.add_phase("Again", SITE, last=True)
    await world.generate()
    await world.sink.expect("generation_complete")


async def test_a_queued_command_that_the_project_died_of_is_set_aside(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    await world.live(grants=False)
    await world.generate("poison", command_id="poison")
    await world.generate("harmless", command_id="harmless")
    await world.die()
    await world.live(DIED)
    dropped = await world.sink.expect("command_dropped")
    assert dropped["data"] == {"id": "poison", "reason": "crashed"}
    started = await world.sink.expect("run_started")
    assert started["data"]["id"] == "harmless"
    await world.sink.expect("generation_complete")
    assert world.sink.types().count("error") == 1
    repeat = await world.generate("poison", command_id="poison")
    assert isinstance(repeat, m.Accepted)
    assert len(world.model.received("plan")) == 1


async def test_an_idle_project_is_passivated_and_a_working_one_refuses(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    gate = world.model.hold("Hello")
    await world.live()
    assert m.ProjectIdle(project_id="p1", idle=True) in world.desk.told
    await world.generate()
    await world.sink.expect("file_start")
    refused = await world.request(m.PassivateProject)
    assert isinstance(refused, m.Failed)
    assert refused.code == "project_busy"
    gate.release()
    await world.sink.expect("generation_complete")
    world.desk.post(m.PassivateProject(request_id="last", project_id="p1"))
    await world.desk.left.wait()
    await world.sink.expect("hibernated")
    assert isinstance(world.desk.told[-1], m.ProjectGone)


async def test_a_removed_project_leaves_nothing(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    gate = world.model.hold("Hello")
    await world.live()
    await world.generate()
    await world.sink.expect("file_start")
    assert isinstance(await world.request(m.RemoveProject), m.Done)
    await world.desk.left.wait()
    assert await world.files() == {}
    gate.release()


async def test_a_request_that_comes_after_the_agent_has_left_goes_back_to_the_supervisor(
    world: World,
) -> None:
    await world.live()
    late = m.StartGeneration(request_id="late", project_id="p1", description="an app")
    world.desk.post(m.PassivateProject(request_id="p", project_id="p1"))
    world.desk.post(late)
    world.desk.post(m.PassivateProject(request_id="again", project_id="p1"))
    async with asyncio.timeout(20):
        await world.desk.left.wait()
    assert world.desk.told[-2:] == [m.ProjectGone(project_id="p1"), late]


async def test_an_owner_that_was_succeeded_stops_and_writes_nothing(world: World) -> None:
    world.model.add_phase("Base", SITE, last=True)
    gate = world.model.hold("Hello")
    await world.live()
    await world.generate()
    await world.sink.expect("file_start")
    successor = Store(world.settings.database_url)
    claim = await successor.claim("p1")
    gate.release()
    async with asyncio.timeout(20):
        await world.desk.left.wait()
    assert (await successor.claim("p1")).state.last_seq == claim.state.last_seq
    await successor.close()


async def test_revive_answers_with_what_it_finds(world: World) -> None:
    await world.live()
    answer = await world.request(m.ReviveProject)
    assert isinstance(answer, m.ProjectInfo)
    assert (answer.stage, answer.running) == ("live", False)
