"""Who may import whom: one way, top to bottom, and the parsers and the state do no I/O."""

from __future__ import annotations

import ast
import gc
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_MODULE_LINES = 400

#: The layers of `actors`, lowest first: a module imports its own layer and those above it here.
#: A package's row holds what no other row names.
LAYERS = (
    ("errors",),
    ("registries", "setting_formats", "settings"),
    (
        "addresses",
        "paths",
        "messages",
        "events",
        "codec",
        "state",
        "effects",
        "crashes",
        "watchdog",
        "watchers",
    ),
    (
        "records",
        "snapshot",
        "statement",
        "command_rows",
        "usage_rows",
        "projections",
        "rehearsal",
    ),
    ("service_log", "run_directory", "wire", "bridge", "lineage", "actor"),
    ("outage", "database", "store", "reader", "postgres_user", "postgres_processes", "postgres"),
    ("feed",),
    ("journal",),
    ("generation.model", "generation.transport", "sandbox.base"),  # the ports
    ("generation",),
    ("sandbox",),
    ("vigil",),
    ("runner", "preview", "turns"),
    ("commands",),
    ("office",),
    ("agent",),
    ("project", "seats", "spares", "roster", "nursery", "supervisor"),
    ("system",),
)

#: What decides and what translates: everything comes in as arguments.
PURE = {
    "actors.addresses",
    "actors.codec",
    "actors.command_rows",
    "actors.crashes",
    "actors.effects",
    "actors.errors",
    "actors.events",
    "actors.generation.brief",
    "actors.generation.codebase",
    "actors.generation.budget",
    "actors.generation.cassette",
    "actors.generation.completion",
    "actors.generation.dialect",
    "actors.generation.explainer",
    "actors.generation.faults",
    "actors.generation.install_command",
    "actors.generation.inventory",
    "actors.generation.instructions",
    "actors.generation.model",
    "actors.generation.outline",
    "actors.generation.package_json",
    "actors.generation.patch",
    "actors.generation.placeholder",
    "actors.generation.plan",
    "actors.generation.prompts",
    "actors.generation.scof",
    "actors.generation.scof_blocks",
    "actors.generation.scof_events",
    "actors.generation.scof_grammar",
    "actors.generation.seam",
    "actors.generation.sse",
    "actors.generation.tokens",
    "actors.generation.transport",
    "actors.generation.writer",
    "actors.messages",
    "actors.paths",
    "actors.projections",
    "actors.records",
    "actors.registries",
    "actors.rehearsal",
    "actors.sandbox.system_calls",
    "actors.seats",
    "actors.spares",
    "actors.roster",
    "actors.sandbox.base",
    "actors.sandbox.packages",
    "actors.sandbox.recipe",
    "actors.snapshot",
    "actors.state",
    "actors.usage_rows",
    "actors.statement",
    "actors.watchdog",
    "actors.watchers",
    "gateway.client.progress",
    "gateway.frames",
    "gateway.ring",
}
DOES_IO = {
    *("aiodocker", "aiohttp", "asyncio", "asyncpg", "http", "io", "logging", "multiprocessing"),
    *("os", "pathlib", "select", "shutil", "signal", "socket", "subprocess", "tempfile"),
    *("threading", "thespian", "time", "urllib.request"),
}

SPEAKS_THESPIAN = {"actors.wire", "actors.actor", "actors.system", "gateway.mailbox"}


@cache
def modules() -> dict[str, Path]:
    """Every module of the service by its dotted name."""
    paths = [path for package in ("actors", "gateway") for path in (ROOT / package).rglob("*.py")]
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


@cache
def parsed(module: str) -> ast.Module:
    """The syntax tree of a module."""
    text = modules()[module].read_text(encoding="utf-8")
    gc.disable()  # a finalizer that runs in the middle upsets the parser of CPython 3.11.7
    try:
        return ast.parse(text)
    finally:
        gc.enable()


@cache
def imports(module: str) -> frozenset[str]:
    """The modules that a module imports, wherever in its text; ours by their full name."""
    found: set[str] = set()
    for node in ast.walk(parsed(module)):
        match node:
            case ast.Import():
                found |= {alias.name for alias in node.names}
            case ast.ImportFrom(module=str(source), level=0):
                for alias in node.names:
                    whole = f"{source}.{alias.name}"
                    found.add(whole if whole in modules() else source)
            case ast.ImportFrom():
                raise AssertionError(f"{module} has a relative import")
            case _:
                pass
    return frozenset(found)


def ours(module: str) -> set[str]:
    return {name for name in imports(module) if name in modules()}


def layer(module: str) -> int:
    """The row of a module of `actors`: the longest name that it has or is in."""
    name = module.removeprefix("actors.")
    rows = {listed: row for row, names in enumerate(LAYERS) for listed in names}
    while name not in rows:
        name, dot, _ = name.rpartition(".")
        assert dot, f"{module} has no layer: add it to LAYERS"
    return rows[name]


def of_package(package: str) -> list[str]:
    return sorted(name for name in modules() if name.startswith(f"{package}."))


@pytest.mark.parametrize("module", of_package("actors"))
def test_a_module_of_the_actors_imports_its_own_layer_and_lower_ones(module: str) -> None:
    upwards = {name for name in ours(module) if layer(name) > layer(module)}
    assert not upwards


def test_every_layer_names_modules_that_exist() -> None:
    missing = {name for row in LAYERS for name in row if f"actors.{name}" not in modules()}
    assert not missing


def test_the_pipeline_and_the_sandboxes_know_each_other_by_the_port_alone() -> None:
    generation = {name for m in of_package("actors.generation") for name in ours(m)}
    sandbox = {name for m in of_package("actors.sandbox") for name in ours(m)}
    assert {n for n in generation if n.startswith("actors.sandbox")} <= {"actors.sandbox.base"}
    assert not {n for n in sandbox if n.startswith("actors.generation")}


def test_the_gateway_imports_the_actors_and_never_the_reverse() -> None:
    assert {n for m in of_package("gateway") for n in ours(m) if n.startswith("actors.")}
    assert not {m for m in modules() if m.startswith("actors") and touches(m, "gateway")}


def test_the_gateway_reaches_actors_by_messages_and_never_by_their_classes() -> None:
    inside = {"agent", "journal", "store", "feed", "bridge", "actor", "roster", "project"}
    inside |= {"nursery", "supervisor", "system", "generation", "preview", "runner"}
    for module in of_package("gateway"):
        assert not {n for n in ours(module) if n.split(".")[:2][-1] in inside and "actors" in n}


def test_no_modules_import_each_other_in_a_circle() -> None:
    TopologicalSorter({module: ours(module) for module in modules()}).prepare()


def test_only_those_who_speak_to_the_transport_import_thespian() -> None:
    assert {module for module in modules() if touches(module, "thespian")} == SPEAKS_THESPIAN


@pytest.mark.parametrize("module", sorted(PURE))
def test_a_pure_module_does_no_io_and_imports_only_pure_ones(module: str) -> None:
    assert not {name for name in DOES_IO if touches(module, name)}
    assert ours(module) <= PURE
    calls = [node.func for node in ast.walk(parsed(module)) if isinstance(node, ast.Call)]
    assert not {f.id for f in calls if isinstance(f, ast.Name)} & {"open", "print", "input"}


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_module_fits_in_400_lines(module: str) -> None:
    lines = modules()[module].read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_MODULE_LINES


@pytest.mark.parametrize("module", sorted(modules()))
def test_the_service_stands_alone(module: str) -> None:
    assert not touches(module, "tests")
    source = modules()[module].read_text(encoding="utf-8")
    assert not [place for place in ("/work/", "../shared") if place in source]


def touches(module: str, package: str) -> bool:
    """Whether a module imports a package or something in it."""
    return any(name == package or name.startswith(f"{package}.") for name in imports(module))
