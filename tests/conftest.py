"""The test workers of pytest-xdist: which tests have to run on the same one."""

from __future__ import annotations

import pytest

_ONCE = {"contenders", "embedded"}
"""Session fixtures that start processes: tests with one of them run on one test worker, or each would start its own."""
_PROCESSES = {*_ONCE, "postgres"}


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        for fixture in fixtures & _ONCE:
            item.add_marker(pytest.mark.xdist_group(fixture))
        if fixtures & _PROCESSES:
            item.add_marker(pytest.mark.processes)
