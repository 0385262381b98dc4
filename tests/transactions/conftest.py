from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from tests.kernel.conftest import server, stopped_server

from ..servers import server_without_pauses
from .harness import Harness

__all__ = ["server", "stopped_server"]


@pytest.fixture
async def harness(server: WorkflowEnvironment) -> AsyncIterator[Harness]:
    """The bank and its own workers, on a server that skips time."""
    made = Harness(server.client)
    async with made.serving():
        yield made


@pytest.fixture
async def idle_realtime(embedded: str) -> Harness:
    """A bank on a real server; the test starts and stops the workers."""
    return Harness(await Client.connect(embedded, data_converter=pydantic_data_converter))


@pytest.fixture
async def realtime_alone(tmp_path: Path) -> AsyncIterator[Harness]:
    """The bank on a real server of its own, for a test that changes which workers of a queue get its tasks."""
    async with server_without_pauses(tmp_path) as running:
        made = Harness(await Client.connect(running.address, data_converter=pydantic_data_converter))
        async with made.serving():
            yield made


@pytest.fixture
async def realtime(idle_realtime: Harness) -> AsyncIterator[Harness]:
    """The bank on a real server: the one that skips time reports no terminated child to its parent."""
    async with idle_realtime.serving():
        yield idle_realtime
