"""Random but lawful histories of a project: what a pipeline could have recorded."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from actors import events as ev
from actors.events import Event, PhasePlan, PlannedFile, RunState, encode_data
from actors.projections import JournalEntry
from actors.state import ProjectState, apply

TEXTS = ("", "a", "naïve ☃ 𝄞", "line\r\n", "nul \0 and \ue000", '{"json": "\\u0000"}', "</file>")
PATHS = ("index.html", "src/main.js", "src/ünï.css", "package.json", "a/b/c/d.txt")


def record(state: ProjectState, events: Sequence[Event]) -> list[JournalEntry]:
    """Apply events to the state and return the entries that a journal would write."""
    entries = []
    for event in events:
        seq = state.last_seq + 1
        apply(state, event, seq)
        entries.append(JournalEntry(seq, event, encode_data(event)))
    return entries


def history(rng: random.Random, runs: int = 4) -> Iterator[Event]:
    """Yield the events of some runs: finished, failed, cancelled, resumed, or still open."""
    waiting: list[ev.CommandQueued] = []
    phases = 0
    for number in range(runs):
        yield from _queue(rng, waiting, number)
        started = waiting.pop(0)
        yield ev.RunStarted(
            id=started.id,
            description=started.description,
            model=started.model,
            max_phases=started.max_phases,
            first_phase=phases + 1,
        )
        for _ in range(rng.randint(1, 2)):
            phases += 1
            yield from _phase(rng, phases, started.id)
            if rng.random() < 0.2:
                yield ev.RunResumed(id=started.id, phase_number=phases)
        if number == runs - 1 and rng.random() < 0.5:
            yield from _open_end(rng)
            return
        yield from _end(rng, phases)


def _queue(rng: random.Random, waiting: list[ev.CommandQueued], number: int) -> Iterator[Event]:
    for copy in range(rng.randint(0 if waiting else 1, 3)):
        command = ev.CommandQueued(
            id=f"{number}-{copy}-{rng.choice(TEXTS)}",
            description=f"an app {rng.choice(TEXTS)}",
            model="a/model",
            max_phases=rng.randint(1, 5),
            place=rng.randint(0, len(waiting)),
        )
        waiting.insert(len(waiting) if command.place else 0, command)
        yield command
    while len(waiting) > 1 and rng.random() < 0.3:
        yield ev.CommandDropped(id=waiting.pop(rng.randrange(len(waiting))).id, reason="replaced")


def _phase(rng: random.Random, number: int, run_id: str) -> Iterator[Event]:
    paths = rng.sample(PATHS, rng.randint(1, len(PATHS)))
    yield ev.StateChange(state=RunState.DESIGNING_PHASE)
    yield ev.PhaseDesigning(phase_number=number)
    plan = PhasePlan(
        name=rng.choice(TEXTS),
        description=rng.choice(TEXTS),
        files=tuple(PlannedFile(path=path, purpose=rng.choice(TEXTS)) for path in paths),
        is_last_phase=rng.random() < 0.5,
    )
    yield _usage(rng, "plan")
    yield ev.PhaseDesigned(phase=plan)
    yield ev.StateChange(state=RunState.IMPLEMENTING_PHASE)
    for path in paths:
        chunks = [rng.choice(TEXTS) for _ in range(rng.randint(0, 6))]
        yield ev.FileStart(path=path)
        for chunk in chunks:
            yield ev.FileChunk(path=path, chunk=chunk)
            if rng.random() < 0.1:
                yield ev.SandboxLog(stream="stdout", line=chunk)
        if rng.random() < 0.1:
            yield ev.RunResumed(id=run_id, phase_number=number)
            yield ev.StateChange(state=RunState.IMPLEMENTING_PHASE)
            yield ev.FileStart(path=path)
            yield ev.FileChunk(path=path, chunk="".join(chunks))
        if rng.random() < 0.1:
            yield ev.FileRestored(path=path, content=rng.choice((None, "former")))
        else:
            yield ev.FileEnd(path=path, content="".join(chunks))
    yield _usage(rng, "implement")
    yield ev.FilesWritten(count=len(paths))
    yield ev.SandboxStarted(kind="docker", container_id=rng.choice((None, "c0ffee")))
    yield ev.DepsInstalled()
    yield ev.ServerStarted(url=f"http://127.0.0.1:{rng.randint(1, 9)}")
    yield ev.PhaseCompleted(phase_number=number)


def _usage(rng: random.Random, purpose: str) -> ev.Usage:
    return ev.Usage(
        purpose=purpose,
        model="a/model",
        prompt_tokens=rng.randint(0, 9),
        completion_tokens=rng.randint(0, 9),
        cost_usd=rng.choice((None, 0.25)),
    )


def _open_end(rng: random.Random) -> Iterator[Event]:
    yield ev.FileStart(path="open.txt")
    for _ in range(rng.randint(0, 5)):
        yield ev.FileChunk(path="open.txt", chunk=rng.choice(TEXTS))


def _end(rng: random.Random, phases: int) -> Iterator[Event]:
    if rng.random() < 0.3:
        yield from _open_end(rng)
    match rng.randrange(3):
        case 0:
            yield ev.StateChange(state=RunState.COMPLETE)
            yield ev.GenerationComplete(files=PATHS, phases=phases)
        case 1:
            yield ev.StateChange(state=RunState.ERROR)
            yield ev.ErrorRaised(message=rng.choice(TEXTS), code="model_error")
        case _:
            yield ev.StateChange(state=RunState.IDLE)
            yield ev.GenerationCancelled(reason="user")
