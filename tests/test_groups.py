"""The setting of pytest-xdist: tests of one group run on one test worker, which starts their system."""

import os

import pytest


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process is one group")
@pytest.mark.xdist_group("grouped")
def test_xdist_knows_of_groups(request: pytest.FixtureRequest) -> None:
    """pytest-xdist ignores groups under a pytest it does not know: every test worker would start every system."""
    assert request.node.nodeid.endswith("@grouped")
