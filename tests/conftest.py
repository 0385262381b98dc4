"""The test workers of pytest-xdist: which tests have to run on the same one; the PostgreSQL server of each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.embedded import embedded_server, free_port

from .postgresql import postgresql_server

pytest_plugins = ["pytester", "temporal_saga.testing.plugin"]  # a user gets the second by its entry point

_ONCE = {
    "contenders": "databases",
    "postgres": "databases",
    "postgresql_databases": "databases",
    "embedded": "embedded",
}
"""Session fixtures that start processes, and the group of their tests: on one test worker, or each starts its own."""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        groups = {_ONCE[fixture] for fixture in getattr(item, "fixturenames", ()) if fixture in _ONCE}
        for group in groups:
            item.add_marker(pytest.mark.xdist_group(group))
            item.add_marker(pytest.mark.processes)


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one real server, for tests that need no system of their own."""
    with asyncio.Runner() as runner:
        up = embedded_server(port=free_port(), ui_port=free_port(), data=tmp_path_factory.mktemp("temporal"))
        yield runner.run(up.__aenter__()).address
        runner.run(up.__aexit__(None, None, None))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Path]:
    """The socket directory of a PostgreSQL server, which runs as long as this test process."""
    with postgresql_server() as server:
        yield server.socket
