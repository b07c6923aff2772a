"""The cases by name, in the order in which they are run."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Protocol

from tests.benchmarks import (
    connect,
    first_chunk,
    journal,
    memory,
    parser,
    recovery,
    revive,
    sandbox,
    storm,
    stream,
)
from tests.benchmarks.figures import Figure
from tests.benchmarks.link import Job, Link
from tests.benchmarks.options import Options


class Measure(Protocol):
    """The conductor's side: starts a stage, has the load client work, returns the figures."""

    def __call__(self, options: Options) -> Awaitable[list[Figure]]: ...


class Load(Protocol):
    """The load client's side; its result is plain data, what `Stage.load` returns."""

    def __call__(self, job: Job, link: Link) -> Awaitable[Any]: ...


@dataclass(frozen=True, slots=True)
class Case:
    """Both sides of a case; one that needs no service has no load."""

    measure: Measure
    load: Load | None = None


CASES = {
    "connect": Case(connect.measure, connect.load),
    "first_chunk": Case(first_chunk.measure, first_chunk.load),
    "stream": Case(stream.measure, stream.load),
    "memory": Case(memory.measure, memory.load),
    "journal": Case(journal.measure, journal.load),
    "revive": Case(revive.measure, revive.load),
    "recovery": Case(recovery.measure, recovery.load),
    "storm": Case(storm.measure, storm.load),
    "parser": Case(parser.measure),
    "sandbox": Case(sandbox.measure),
}
