"""Fixtures of all tests live in `tests/support`, one module per real thing."""

import os

os.environ["THESPIAN_BASE_IPADDR"] = "127.0.0.1"

pytest_plugins = [
    "tests.support.postgres",
    "tests.support.docker",
    "tests.support.openrouter",
    "tests.support.service",
    "tests.support.agent",
]
