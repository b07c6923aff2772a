"""The settings as flags: `codegen serve` has one for every field of `actors.settings.Settings`."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable
from typing import Any

from actors.settings import Settings

#: Only read from the environment: every user of a machine can see the arguments of a process.
SECRETS = ("openrouter_api_key", "database_url")


def add_setting_flags(parser: argparse.ArgumentParser, names: Iterable[str] | None = None) -> None:
    """Add the flags of all settings, or of `names`; a flag that is not given stays None.

    Values stay text: `Settings.read` is the one place that converts and checks them.
    """
    for spec in dataclasses.fields(Settings):
        if spec.name in SECRETS or (names is not None and spec.name not in names):
            continue
        parser.add_argument(
            f"--{spec.name.replace('_', '-')}",
            dest=spec.name,
            metavar=_metavar(spec),
            help=_escaped(_help(spec)),
        )


def secrets_text() -> str:
    """Return the help text of the settings that are not flags."""
    lines = ["settings that are read from the environment only, since arguments can be seen:"]
    for spec in dataclasses.fields(Settings):
        if spec.name in SECRETS:
            lines.append(f"  {spec.metadata['variable']:<20}  {spec.metadata['help']} [no default]")
    return "\n".join(lines)


def given_flags(namespace: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that were given as flags, for `Settings.read`."""
    names = {spec.name for spec in dataclasses.fields(Settings)}
    return {
        name: value
        for name, value in vars(namespace).items()
        if name in names and value is not None
    }


def _help(spec: dataclasses.Field[Any]) -> str:
    default = "~/.local/state/codegen" if spec.name == "state_dir" else spec.default
    return f"{spec.metadata['help']} [{spec.metadata['variable']}, default {default}]"


def _escaped(text: str) -> str:
    return text.replace("%", "%%")  # argparse formats help texts


def _metavar(spec: dataclasses.Field[Any]) -> str:
    choices = spec.metadata["limits"].get("choices")
    if choices:
        return "|".join(choices)
    kinds = {int: "N", float: "X"}
    return kinds.get(type(spec.default), spec.name.rsplit("_", 1)[-1].upper())
