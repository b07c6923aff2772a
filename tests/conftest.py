"""Fixtures of all tests live in `tests/support`, one module per real thing."""

import os

import hypothesis  # imported late, by its plugin, it can hit a bug of CPython 3.11.7

os.environ["THESPIAN_BASE_IPADDR"] = "127.0.0.1"

hypothesis.settings.register_profile("no timed tests", deadline=None)
hypothesis.settings.load_profile("no timed tests")

pytest_plugins = [
    "tests.support.postgres",
    "tests.support.docker",
    "tests.support.bubblewrap",
    "tests.support.fetch",
    "tests.support.openrouter",
    "tests.support.model_client",
    "tests.support.service",
    "tests.support.agent",
    "tests.support.proxied",
]
