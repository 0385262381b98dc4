"""Events of a whole system: what took effect is told once, though workers are killed."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from activities.catalogue import SERVICES
from tests.end_to_end.system import System
from tests.eventually import eventually_async

from .jetstream import NatsServer

pytestmark = [pytest.mark.processes, pytest.mark.slow]
_ORDERS = 40


@pytest.fixture
def telling_system(tmp_path: Path, nats_server: NatsServer) -> Iterator[System]:
    system = System(tmp_path)
    system.worker_environment["EVENTS_URL"] = nats_server.url
    system.start()
    yield system
    system.stop()


async def test_every_effect_of_every_service_is_told_once_though_worker_and_server_are_killed(
    telling_system: System, nats_server: NatsServer
) -> None:
    options = ("--count", str(_ORDERS), "--concurrency", "10", "--json")
    placing = telling_system.start_command("bulk", *options)
    await nats_server.until(30)
    await asyncio.to_thread(telling_system.stop, signal.SIGKILL)
    await nats_server.stop()
    await nats_server.start()
    await asyncio.to_thread(telling_system.start)
    assert (await asyncio.to_thread(placing.answer)).document["orders"] == _ORDERS

    async def waiting() -> list[int]:
        return [_count(telling_system, service, "outbox") for service in SERVICES]

    await eventually_async(waiting, "every outbox is empty", until=lambda counts: not any(counts))
    events = await nats_server.events()
    told = [(event["source"].rpartition("/")[2], event["id"]) for event in events]
    effects = {
        (service, f"{transaction}/{operation}")
        for service in SERVICES
        for transaction, operation in _rows(telling_system, service, "SELECT transaction_id, operation FROM effects")
    }
    assert len(effects) > 5 * _ORDERS
    assert sorted(told) == sorted(effects)
    for order in {event["subject"] for event in events if event["type"] == "order.confirm"}:
        of_order = [event["type"] for event in events if event["subject"] == order]
        assert of_order.index("order.create") < of_order.index("order.confirm")
        assert of_order.index("payment.authorize") < of_order.index("payment.capture")


def _rows(system: System, service: str, query: str) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(system.folder / f"{service}.db")) as connection:
        return connection.execute(query).fetchall()


def _count(system: System, service: str, table: str) -> int:
    [(count,)] = _rows(system, service, f"SELECT count(*) FROM {table}")  # noqa: S608 — the table's name is ours
    return int(count)
