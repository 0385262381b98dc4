"""The topology of docker-compose.yml, run natively: its jobs, its workers, its health checks, orders, the audit."""

import asyncio
import json
import urllib.request
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from activities.database import reading
from contracts import inventory, payment
from contracts.errors import Code
from contracts.inventory import SetStock
from contracts.order import WORKFLOWS_QUEUE
from contracts.payment import SetAccount
from runtime.connection import connect
from runtime.execute import execute
from runtime.settings import Settings

from ..eventually import eventually_async
from . import compose
from .topology import Topology, topology

pytestmark = pytest.mark.long

_ORDER = {
    "currency": "EUR",
    "ship_to": {"name": "Ada", "street": "Ring 1", "city": "Bonn", "postcode": "53111", "country": "DE"},
    "contact": {"email": "ada@example.com", "phone": "+4922812345"},
}


@pytest.mark.timeout(300)  # two servers and seven programs, on a busy machine
async def test_the_composed_topology_places_orders_audits_clean_and_drains(tmp_path: Path) -> None:
    async with topology(tmp_path) as system, AsyncExitStack() as stack:
        await _the_jobs_run_and_run_again(system)
        system.start_workers(stack)
        await _the_health_checks_pass(system)
        client = await connect(Settings(), address=system.servers.temporal_address)
        await _orders_end_as_they_should(client)
        assert await _rows(system) == _EXPECTED_ROWS
        await _the_audit_is_clean(system)
        await _every_worker_drains(system)


async def _the_jobs_run_and_run_again(system: Topology) -> None:
    """Run every one-shot job twice, but not `temporal-schema`: no wheel has its program, the dev server no schema."""
    for _ in range(2):
        await system.run("databases", system.command("databases"))
    await _until_it_passes(system, "temporal")
    await system.run("namespace", system.command("namespace"), TEMPORAL_NAMESPACE="made-by-the-job")
    for _ in range(2):
        await system.run("namespace", system.command("namespace"))


async def _the_health_checks_pass(system: Topology) -> None:
    await asyncio.gather(*(system.run(name, system.health_check(name)) for name in system.workers))
    await _until_it_passes(system, "temporal-ui")


async def _until_it_passes(system: Topology, server: str) -> None:
    """Request the address that the health check of a server requests with BusyBox's wget."""
    program, *_, url = system.health_check(server)
    assert program == "wget"
    await eventually_async(lambda: asyncio.to_thread(_answers, url), f"{url} answers")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:  # noqa: S310 — an address of the compose file
            return bool(answer.status == 200)
    except OSError:
        return False


async def _orders_end_as_they_should(client: Client) -> None:
    await execute(client, inventory.set_stock, SetStock(transaction_id="seed-1", sku="BOOK-1", on_hand=10))
    await execute(
        client, payment.set_account, SetAccount(transaction_id="seed-2", customer_id="rich", balance_minor=9000)
    )
    await execute(client, payment.set_account, SetAccount(transaction_id="seed-3", customer_id="poor", balance_minor=1))
    ends = await asyncio.gather(
        _place(client, "o-confirmed", "rich", quantity=2),
        _place(client, "o-too-many", "rich", quantity=11, unit_price_minor=1),
        _place(client, "o-too-dear", "poor", quantity=1),
        _place(client, "o-stranger", "nobody", quantity=1),
        _place(client, "o-distant", "nobody", quantity=1, colocated=True),  # in a worker without services
    )
    assert list(ends) == [
        "CONFIRMED",
        Code.OUT_OF_STOCK,
        Code.INSUFFICIENT_FUNDS,
        Code.PAYMENT_DECLINED,
        Code.PAYMENT_DECLINED,
    ]
    # Visibility is written after the workflow's end; the attributes are those that the job registered.
    await eventually_async(
        lambda: _without_funds(client), "the order is listed with its code", until=["order/o-too-dear"].__eq__
    )


async def _without_funds(client: Client) -> list[str]:
    query = 'SagaState = "ROLLED_BACK" AND SagaErrorCode = "INSUFFICIENT_FUNDS"'
    return [execution.id async for execution in client.list_workflows(query)]


async def _place(
    client: Client, order_id: str, customer: str, *, quantity: int, unit_price_minor: int = 1299, **options: Any
) -> str:
    """Place an order, and return its final state or the code of its refusal."""
    line = {"sku": "BOOK-1", "quantity": quantity, "unit_price_minor": unit_price_minor}
    document = {**_ORDER, "order_id": order_id, "customer_id": customer, "lines": [line]}
    try:
        log: Any = await client.execute_workflow(
            "OrderWorkflow", args=[document, options], id=f"order/{order_id}", task_queue=WORKFLOWS_QUEUE
        )
    except WorkflowFailureError as failure:
        assert isinstance(failure.cause, ApplicationError)
        return str(failure.cause.type)
    return str(log["state"])


_QUERIES = {
    "order": "SELECT order_id, state FROM orders",
    "payment": "SELECT customer_id, balance_minor, held_minor FROM accounts",
    "inventory": "SELECT sku, on_hand, reserved FROM stock",
    "shipping": "SELECT order_id, state FROM shipments WHERE state <> 'CANCELLED'",
    "notification": "SELECT DISTINCT transaction_id, subject FROM messages WHERE subject = 'CONFIRMED'",
}
_EXPECTED_ROWS = {
    "order": {
        ("o-confirmed", "CONFIRMED"),
        ("o-too-many", "CANCELLED"),
        ("o-too-dear", "CANCELLED"),
        ("o-stranger", "CANCELLED"),
        ("o-distant", "CANCELLED"),
    },
    "payment": {("rich", 9000 - 2 * 1299, 0), ("poor", 1, 0)},
    "inventory": {("BOOK-1", 8, 0)},
    "shipping": {("o-confirmed", "DISPATCHED")},
    "notification": {("order/o-confirmed", "CONFIRMED")},
}


async def _rows(system: Topology) -> dict[str, set[tuple[Any, ...]]]:
    """The rows that the orders must have left in PostgreSQL, read with the URL of each worker."""
    found = {}
    for service, query in _QUERIES.items():
        async with reading(Settings.read(system.environment(service)).database_of(service)) as connection:
            found[service] = {tuple(row) for row in await connection.execute(text(query))}
    return found


async def _the_audit_is_clean(system: Topology) -> None:
    audit = await asyncio.to_thread(system.starter, "audit", "--json")
    assert (audit.code, audit.document["orders"]) == (0, 5), audit


async def _every_worker_drains(system: Topology) -> None:
    grace = {name: compose.services()[name]["stop_grace_period"] for name in system.workers}
    ends = (asyncio.to_thread(system.stop_worker, name, float(time.removesuffix("s"))) for name, time in grace.items())
    assert await asyncio.gather(*ends) == [0] * len(grace)
    for name in system.workers:
        assert all(json.loads(line) for line in system.log(name).splitlines()), "LOG_FORMAT=json"
