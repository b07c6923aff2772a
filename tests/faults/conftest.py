"""What is common to the tests of faults."""

import pytest


@pytest.fixture(autouse=True)
def without_coverage(unmeasured: None) -> None:
    """Killed processes have little to report, and measuring takes half of their time."""
