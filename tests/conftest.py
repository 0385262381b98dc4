"""The test workers of pytest-xdist: which tests have to run on the same one; the PostgreSQL server of each."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from .postgresql import postgresql_server
from .servers import server_without_pauses

if TYPE_CHECKING:
    from .rig import Rig

pytest_plugins = ["pytester"]
if not entry_points(group="pytest11", name="temporal_saga"):  # where the package is installed, pytest has its plugin
    pytest_plugins.append("temporal_saga.testing.plugin")

_ONCE = {
    "contenders": "databases",
    "postgres": "databases",
    "postgresql_databases": "databases",
    "embedded": "embedded",
    "shared_rig": "rig",
}
"""Session fixtures that start processes, and the group of their tests: on one test worker, or each starts its own."""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        groups = {_ONCE[fixture] for fixture in getattr(item, "fixturenames", ()) if fixture in _ONCE}
        for group in groups:
            item.add_marker(pytest.mark.xdist_group(group))
            item.add_marker(pytest.mark.processes)


os.environ.setdefault("GOGC", "off")
os.environ.setdefault("GOMEMLIMIT", "400MiB")
os.environ.setdefault("GOMAXPROCS", "1")
"""The servers that tests start collect garbage only for want of memory and run on one processor each: their threads
would wait for the other tests' servers. Both cost less CPU."""


def pytest_collection_finish() -> None:
    """Spare the collector of garbage the tests, which live to the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one real server, for tests that need no system of their own."""
    with asyncio.Runner() as runner:
        up = server_without_pauses(tmp_path_factory.mktemp("temporal"))
        yield runner.run(up.__aenter__()).address
        runner.run(up.__aexit__(None, None, None))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Path]:
    """The socket directory of a PostgreSQL server, which runs as long as this test process."""
    with postgresql_server() as server:
        yield server.socket


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    from .rig import running_rig  # noqa: PLC0415 — most tests have no use for the whole system

    async with running_rig(tmp_path_factory.mktemp("rig")) as made:
        yield made


@pytest.fixture
def rig(shared_rig: Rig) -> Iterator[Rig]:
    """One system in this process for all tests that look at nothing but their own; they share its event loop, too."""
    yield shared_rig
    shared_rig.repair()
