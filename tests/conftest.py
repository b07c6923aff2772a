"""Fixtures of all tests live in `tests/support`, one module per real thing."""

import os

import hypothesis  # noqa: F401  # imported late, by its plugin, it can hit a bug of CPython 3.11.7

os.environ["THESPIAN_BASE_IPADDR"] = "127.0.0.1"

pytest_plugins = [
    "tests.support.postgres",
    "tests.support.docker",
    "tests.support.openrouter",
    "tests.support.service",
    "tests.support.agent",
]
