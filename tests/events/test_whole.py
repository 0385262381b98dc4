"""Orders and events of a whole system that is killed: none is lost, and what took effect is told once."""

import asyncio
import json
import signal
import sqlite3
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from activities.catalogue import SERVICES
from cli.documents import document
from tests.end_to_end.system import System
from tests.eventually import eventually_async
from tests.orders import line

from .jetstream import NatsServer

pytestmark = [pytest.mark.long, pytest.mark.processes, pytest.mark.slow]
_ORDERS = {"saga": 24, "batch": 100}


@pytest.fixture
def telling_system(tmp_path: Path, nats_server: NatsServer) -> Iterator[System]:
    system = System(tmp_path)
    system.worker_environment["EVENTS_URL"] = nats_server.url
    system.start()
    yield system
    system.stop()


@pytest.mark.timeout(300)  # a kill and a restart under load, on a busy machine
async def test_killing_server_and_workers_in_the_middle_loses_nothing_and_every_effect_is_told_once(
    telling_system: System, nats_server: NatsServer
) -> None:
    batch = ("--mode", "batch", "--batch-size", "25")
    placing = [
        telling_system.start_command("bulk", "--count", str(_ORDERS["saga"]), "--concurrency", "12", "--json"),
        telling_system.start_command("bulk", "--count", str(_ORDERS["batch"]), *batch, "--json"),
    ]
    log = telling_system.folder / "worker.log"

    async def begun() -> bool:
        return all(f'"{called}"' in log.read_text() for called in ("order.create", "order.create.batch"))

    # From the first call of a service on, `bulk` survives the loss of its server at any moment.
    await eventually_async(begun, "an order of each bulk has begun", timeout_s=60)
    await asyncio.to_thread(telling_system.stop, signal.SIGKILL)
    await nats_server.stop()
    await nats_server.start()
    await asyncio.to_thread(telling_system.start)
    for bulk, count in zip(placing, _ORDERS.values(), strict=True):
        placed = await asyncio.to_thread(bulk.answer)
        assert placed.code == 0, placed.err
        assert placed.err.count("Temporal does not answer") <= 1  # none, if it is back before the SDK says so
        assert len(placed.err.splitlines()) <= 3, placed.err  # that, and the progress bar
        assert placed.document["states"] == {"CONFIRMED": count}
    audit = await asyncio.to_thread(telling_system.run, "audit", "--json")
    assert (audit.code, audit.document["orders"]) == (0, sum(_ORDERS.values())), audit.out

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
    assert len(effects) > 5 * audit.document["orders"]
    assert sorted(told) == sorted(effects)
    for order in {event["subject"] for event in events if event["type"] == "order.confirm"}:
        of_order = [event["type"] for event in events if event["subject"] == order]
        assert of_order.index("order.create") < of_order.index("order.confirm")
        assert of_order.index("payment.authorize") < of_order.index("payment.capture")


_STUCK = '{transaction = "order/*-stuck", operation = "payment.cancel", kind = "refuse", code = "PAYMENT_DECLINED"}'
_STEP = {"step": "payment.cancel", "service": "payment", "error_code": "PAYMENT_DECLINED"}
_PARKED_AND_SKIPPED = [
    ("saga.parked", "PARKED", "OUT_OF_STOCK", [_STEP]),
    ("saga.recovered", "COMPENSATING", "OUT_OF_STOCK", []),
    ("saga.ended", "ROLLED_BACK_WITH_SKIPS", "OUT_OF_STOCK", []),
]
_CONFIRMED: list[Any] = [("saga.ended", "CONFIRMED", None, [])]


async def test_every_mode_tells_once_that_an_order_is_parked_goes_on_and_has_ended(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    """With encryption, so that a workflow has to decrypt whether it announces."""
    (tmp_path / "faults.toml").write_text(f"fault = [{_STUCK}]")
    events = {"EVENTS_URL": nats_server.url, "PAYLOAD_KEY": urlsafe_b64encode(bytes(32)).decode()}
    system = System(tmp_path, ["--faults", str(tmp_path / "faults.toml")], worker_environment=events)
    system.start()
    confirmed, stuck = {"lines": line("BOOK-1")}, {"lines": line("UNICORN-9")}
    system.run("stock", "set", "UNICORN-9", "0", **events)
    expected: dict[str, Any] = {}
    placing = []
    for mode in ("saga", "colocated", "choreography"):
        for suffix, changes in (("done", confirmed), ("stuck", stuck)):
            order = document(f"{mode}-{suffix}", "c-1", changes["lines"])
            command = ("place", "-", "--mode", mode, "--no-wait", "--json")
            placing.append(system.start_command(*command, stdin=json.dumps(order), **events))
        expected |= {f"order/{mode}-done": _CONFIRMED, f"order/{mode}-stuck": _PARKED_AND_SKIPPED}
    lines = [json.dumps(document(f"batch-{suffix}", "c-1", line("BOOK-1"))) for suffix in ("a", "b")]
    lines.append(json.dumps(document("batch-stuck", "c-1", line("UNICORN-9"))))
    placing.append(system.start_command("bulk", "-", "--mode", "batch", "--json", stdin="\n".join(lines), **events))
    expected |= {"order/batch-a": _CONFIRMED, "order/batch-b": _CONFIRMED, "order/batch-stuck": _PARKED_AND_SKIPPED}
    stock = {"name": "deliver", "commit": "inventory.set_stock", "input": {"sku": "BOOK-2", "on_hand": 5}}
    for name, options in (("laned", ()), ("alone", ("--concurrent",))):
        asked = json.dumps({"transaction_id": name, "steps": [stock]})
        placing.append(system.start_command("transaction", "-", *options, stdin=asked, **events))
        expected[name] = _CONFIRMED
    for each in placing:
        await asyncio.to_thread(each.answer)

    async def told() -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for event in await nats_server.events("order-saga.saga."):
            found.setdefault(event["subject"], []).append(event)
        return found

    await eventually_async(told, "all are told", until=lambda found: found.keys() == expected.keys())
    for mode in ("saga", "colocated", "choreography", "batch"):
        skip = ("desk", "skip", f"{mode}-stuck", "payment.cancel", "--reason", "by hand", "--actor", "ann")
        await asyncio.to_thread(system.run, *skip, **events)
    whole = sum(len(each) for each in expected.values())
    found = await eventually_async(told, "ends", until=lambda found: sum(map(len, found.values())) >= whole)
    assert system.stop() == 0
    states = {
        subject: [(e["type"], e["data"]["state"], e["data"]["error_code"], e["data"]["parked"]) for e in events]
        for subject, events in found.items()
    }
    assert states == expected
    ids = [event["id"] for events in found.values() for event in events]
    assert len(set(ids)) == len(ids)


def _rows(system: System, service: str, query: str) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(system.folder / f"{service}.db")) as connection:
        return connection.execute(query).fetchall()


def _count(system: System, service: str, table: str) -> int:
    [(count,)] = _rows(system, service, f"SELECT count(*) FROM {table}")  # noqa: S608 — the table's name is ours
    return int(count)
