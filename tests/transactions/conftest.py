from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from runtime.embedded import embedded_server, free_port
from tests.kernel.conftest import server

from .branch import Branch

__all__ = ["server"]


@pytest.fixture
async def branch(server: WorkflowEnvironment) -> AsyncIterator[Branch]:
    """A bank behind workers of its own, on a server that skips time."""
    of_its_own = Branch(server.client)
    async with of_its_own.open():
        yield of_its_own


@pytest.fixture
async def teller(tmp_path: Path) -> AsyncIterator[Branch]:
    """The same on the real server: the one that skips time tells no parent that its child was terminated."""
    async with embedded_server(port=free_port(), ui_port=free_port(), data=tmp_path) as running:
        client = await Client.connect(running.address, data_converter=pydantic_data_converter)
        of_its_own = Branch(client)
        async with of_its_own.open():
            yield of_its_own
