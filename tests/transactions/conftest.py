from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from runtime.embedded import embedded_server, free_port
from tests.kernel.conftest import server, stopped_server

from .harness import Harness

__all__ = ["server", "stopped_server"]


@pytest.fixture
async def harness(server: WorkflowEnvironment) -> AsyncIterator[Harness]:
    """The bank and its own workers, on a server that skips time."""
    made = Harness(server.client)
    async with made.serving():
        yield made


@pytest.fixture
async def realtime(embedded: str) -> AsyncIterator[Harness]:
    """The same on a real server: the one that skips time reports no terminated child to its parent."""
    async with _serving_on(embedded) as made:
        yield made


@pytest.fixture
async def realtime_alone(tmp_path: Path) -> AsyncIterator[Harness]:
    """The same on a real server of its own, for a test that changes which workers of a queue get its tasks."""
    server = embedded_server(port=free_port(), ui_port=free_port(), data=tmp_path)
    async with server as running, _serving_on(running.address) as made:
        yield made


@asynccontextmanager
async def _serving_on(address: str) -> AsyncIterator[Harness]:
    made = Harness(await Client.connect(address, data_converter=pydantic_data_converter))
    async with made.serving():
        yield made
