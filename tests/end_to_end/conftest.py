import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client

from cli.documents import document
from contracts.ids import SCHEDULE_ID
from runtime.embedded import free_port

from .system import System

Make = Callable[..., dict[str, Any]]
FAULTS = """
fault = [
  {transaction = "order/*-hang", operation = "shipping.schedule", kind = "hang"},
  {transaction = "order/*-lost", operation = "*", kind = "error_after", attempts = 1},
  {transaction = "order/*-down", operation = "inventory.reserve", kind = "error_before"},
  {transaction = "order/*-detached", operation = "inventory.reserve.batch", kind = "error_before"},
  {transaction = "order/*-late", operation = "payment.authorize", kind = "delay", seconds = 2.5},
  {transaction = "order/*-slow", operation = "shipping.schedule", kind = "delay", seconds = 4},
  {transaction = "order/*-stuck", operation = "order.confirm", kind = "delay", seconds = 4},
  {transaction = "order/*-capture", operation = "payment.capture", kind = "hang", attempts = 1},
  {transaction = "order/*-jammed", operation = "payment.cancel", kind = "refuse"},
  {transaction = "x-*-stuck", operation = "inventory.release", kind = "refuse"},
  {transaction = "x-*-slow", operation = "payment.authorize", kind = "delay", seconds = 6},
  {transaction = "order/*-later", operation = "payment.capture", kind = "delay", seconds = 4},
]
"""


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system that the modules of one xdist group share; 5 % of all attempts fail on top of the faults above."""
    folder = tmp_path_factory.mktemp("system")
    faults = folder / "faults.toml"
    faults.write_text(FAULTS)
    running = System(folder, ["--faults", str(faults), "--fault-rate", "0.05", "--fault-seed", "7"])
    running.worker_environment["METRICS_PORT"] = str(free_port())
    running.start()
    asyncio.run(pause_the_sweep(running))
    yield running
    assert running.stop() == 0


async def pause_the_sweep(running: System) -> None:
    """Pause the schedule: the tests sweep themselves, and another sweep meanwhile would change their results."""
    client = await Client.connect(f"127.0.0.1:{running.port}")
    await client.get_schedule_handle(SCHEDULE_ID).pause()


@pytest.fixture
def fresh_system(tmp_path: Path) -> Iterator[System]:
    """A system for one test, which may kill it; the test starts it."""
    running = System(tmp_path)
    yield running
    if running.worker is not None and running.worker.is_running:
        running.stop()


@pytest.fixture
def order() -> Make:
    """A function that makes an order document: `suffix` ends its id, `changes` replace fields."""

    def make(suffix: str = "o", **changes: Any) -> dict[str, Any]:
        lines = [{"sku": "BOOK-1", "quantity": 2, "unit_price_minor": 1299}]
        return document(f"t-{uuid4().hex[:8]}-{suffix}", "c-1", lines) | changes

    return make
