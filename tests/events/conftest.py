"""A NATS server with JetStream as a child process, which a test can kill and start again."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.embedded import free_port

from .jetstream import NatsServer


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    server = NatsServer(free_port(), tmp_path / "jetstream")
    await server.start()
    yield server
    await server.stop()
