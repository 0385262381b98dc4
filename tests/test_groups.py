"""The suite's own setting: tests that share a system run one after the other, on the worker that started it."""

from __future__ import annotations

import os

import pytest


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process is one group")
@pytest.mark.xdist_group("grouped")
def test_xdist_knows_of_groups(request: pytest.FixtureRequest) -> None:
    """A pytest that it does not understand loses them in silence: every worker then starts every system."""
    assert request.node.nodeid.endswith("@grouped")
