"""Orders whose workflow was terminated: the sweep finds them in the services' records and finishes them."""

import json
import sqlite3
from collections.abc import Collection
from typing import Any
from uuid import uuid4

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from client.standing import log_by_query
from contracts import inventory, payment
from contracts.inventory import ReserveStock, StockLine
from contracts.message import ListOpen
from contracts.order import WORKFLOWS_QUEUE
from contracts.payment import AuthorizePayment
from runtime import connection
from runtime.execute import OperationFailed, execute
from runtime.settings import Settings

from ..eventually import eventually_async
from .conftest import Make
from .system import System

pytestmark = pytest.mark.xdist_group("another system")


_HOLD = {
    "name": "goods",
    "commit": "inventory.reserve",
    "rollback": "inventory.release",
    "queue": "inventory",
    "timeout_s": 9,
}


async def _until_it_runs(client: Client, placed: dict[str, Any], step: str) -> None:
    """Query the workflow until `step` runs. A command for each query would be too slow on a busy machine."""

    async def steps() -> list[str]:
        return [entry.step for entry in (await log_by_query(client, f"order/{placed['order_id']}")).steps]

    await eventually_async(steps, f"{step} is asked for", until=lambda names: step in names, pause_s=0.02)


@pytest.mark.long
async def test_an_order_terminated_past_the_pivot_is_finished_by_the_sweep(system: System, order: Make) -> None:
    placed = order("capture")
    system.place(placed, "--no-wait")
    client = await connection.connect(Settings(), address=f"127.0.0.1:{system.port}")
    await _until_it_runs(client, placed, "payment.capture")
    await client.get_workflow_handle(f"order/{placed['order_id']}").terminate("a slip of the hand")
    assert system.run("audit").code == 5
    nothing = {"transactions": [], "unfinished": [], "leases_ended": 0, "failed": 0, "failures": []}
    swept = {"found": 1, "finished": 1, "orders": [placed["order_id"]], **nothing}
    assert system.run("sweep", "--json").document == swept
    assert system.run("status", placed["order_id"], "--json").document["state"] == "CONFIRMED"
    assert system.run("audit").code == 0


def test_a_sweep_leaves_running_orders_alone(system: System, order: Make) -> None:
    placed = order("slow")
    system.place(placed, "--no-wait")
    assert system.run("sweep", "--json").document["found"] == 0
    assert system.place(placed).document["state"] == "CONFIRMED"


def _let_leases_pass(system: System, service: str, table: str, *transactions: str) -> None:
    """Set the leases of these transactions to a time in the past."""
    with sqlite3.connect(system.folder / f"{service}.db", timeout=30) as database:
        for transaction in transactions:
            moved = database.execute(
                f"UPDATE {table} SET lease_until = '2020-01-01 00:00:00.000000' WHERE transaction_id = ?",  # noqa: S608 — names of ours
                [transaction],
            )
            assert moved.rowcount > 0
    database.close()


def _bought(system: System, lines: tuple[StockLine, ...]) -> str:
    """Run a transaction that is confirmed and whose goods stay reserved; its name."""
    transaction = f"kept-{uuid4().hex[:8]}"
    goods = {"order_id": "x", "lines": [line.model_dump() for line in lines]}
    document = {"transaction_id": transaction, "steps": [_HOLD | {"input": goods}]}
    assert system.run("transaction", "-", "--concurrent", stdin=json.dumps(document)).code == 0
    return transaction


async def _run_in_parts(client: Client, lines: tuple[StockLine, ...]) -> tuple[WorkflowHandle[Any, Any], str]:
    """Start a transaction that holds goods under the name of a part of it and then waits; its handle and that name."""
    transaction = f"parts-{uuid4().hex[:8]}"
    part = f"{transaction}/goods"
    goods = {"transaction_id": part, "order_id": "x", "lines": [line.model_dump() for line in lines]}
    steps = [_HOLD | {"input": goods}, {"name": "slow", "commit": "nobody.answers", "queue": "nobody", "timeout_s": 99}]
    handle = await client.start_workflow(
        "TransactionWorkflow",
        {"transaction_id": transaction, "steps": steps},
        id=f"transaction/{transaction}",
        task_queue=WORKFLOWS_QUEUE,
    )

    async def open_holds() -> Collection[str]:
        return (await execute(client, inventory.list_open, ListOpen(limit=10_000))).transaction_ids

    await eventually_async(open_holds, "the goods are held", until=lambda holds: part in holds)
    return handle, part


@activity.defn(name="nobody.answers")
async def _say_no(_: Any) -> None:
    raise ApplicationError("no", type="NO", non_retryable=True)


@pytest.mark.long
async def test_a_hold_without_an_open_workflow_is_released_when_its_lease_has_expired(
    system: System, order: Make
) -> None:
    client = await connection.connect(Settings(), address=f"127.0.0.1:{system.port}")
    lost, young = f"lost-{uuid4().hex[:8]}", f"young-{uuid4().hex[:8]}"
    lines = (StockLine(sku="PEN-1", quantity=2), StockLine(sku="BOOK-1", quantity=1))
    for transaction in (lost, young):
        goods = ReserveStock(transaction_id=transaction, order_id=transaction, lines=lines)
        charge = AuthorizePayment(
            transaction_id=transaction, order_id=transaction, customer_id="c-1", amount_minor=700, currency="EUR"
        )
        await execute(client, inventory.reserve, goods)
        await execute(client, payment.authorize, charge)
    living = order("slow")
    system.place(living, "--no-wait")
    await _until_it_runs(client, living, "shipping.schedule")
    owner = f"order/{living['order_id']}"
    parts, goods_of_a_part = await _run_in_parts(client, lines)
    kept = _bought(system, lines)
    _let_leases_pass(system, "inventory", "reservations", lost, owner, goods_of_a_part, kept)
    _let_leases_pass(system, "payment", "payments", lost, owner)

    assert system.run("sweep", "--json").document["leases_ended"] == 2
    held = {r.transaction_id for r in (await execute(client, inventory.list_expired, ListOpen())).requests}
    assert lost not in held
    assert {goods_of_a_part, kept} <= held
    async with Worker(client, task_queue="nobody", activities=[_say_no]):
        with pytest.raises(WorkflowFailureError):
            await parts.result()
    assert young in (await execute(client, inventory.list_open, ListOpen(limit=10_000))).transaction_ids
    assert young in (await execute(client, payment.list_open, ListOpen(limit=10_000))).transaction_ids
    assert system.place(living).document["state"] == "CONFIRMED"  # its own holds were not touched
    with pytest.raises(OperationFailed, match="was undone"):  # nor can a late attempt take them again
        await execute(client, inventory.reserve, ReserveStock(transaction_id=lost, order_id=lost, lines=lines))
    assert system.run("audit").code == 0
