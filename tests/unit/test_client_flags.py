"""Every setting is a flag of `codegen serve`, except the secrets."""

from __future__ import annotations

import dataclasses

import pytest

from actors.settings import Settings
from gateway.cli import build_parser
from gateway.client.flags import SECRETS, given_flags

FIELDS = {field.name: field for field in dataclasses.fields(Settings)}


def test_the_help_names_every_variable_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["serve", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for field in FIELDS.values():
        assert field.metadata["variable"] in text
        assert field.metadata["help"] in text
        if field.default != "":
            assert f"{field.metadata['variable']}, default {field.default}" in text


def test_every_setting_but_the_secrets_can_be_given_as_a_flag() -> None:
    for name in FIELDS:
        arguments = ["serve", f"--{name.replace('_', '-')}", "7"]
        if name in SECRETS:
            with pytest.raises(SystemExit):
                build_parser().parse_args(arguments)
        else:
            assert given_flags(build_parser().parse_args(arguments)) == {name: "7"}


def test_flags_that_were_not_given_leave_the_environment_alone() -> None:
    flags = given_flags(build_parser().parse_args(["serve"]))
    assert Settings.read({"CODEGEN_PORT": "81"}, **flags).port == 81
