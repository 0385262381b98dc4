"""A transaction whose workflow was closed without an end is resumed: what it has decided is not given back."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from client.transactions import Transactions
from contracts import inventory
from contracts.ids import lane_id
from contracts.transaction import Transaction
from runtime import connection
from runtime.execute import execute
from runtime.faults import Fault, FaultKind
from runtime.settings import Settings

from .rig import Rig, an_order, goods_of, name

pytestmark = [pytest.mark.xdist_group("recovery"), pytest.mark.asyncio(loop_scope="package")]


def _deciding() -> Transaction:
    """Goods are put aside, a parcel is handed over, which cannot be taken back here, and then the goods are taken."""
    transaction_id = name("t")
    goods = goods_of(transaction_id).model_dump(mode="json", exclude={"transaction_id"})
    parcel = {"order_id": "x", "ship_to": an_order().ship_to.model_dump(mode="json")}
    steps = [
        {"name": "goods", "commit": "inventory.reserve", "rollback": "inventory.release", "input": goods},
        {"name": "courier", "commit": "shipping.schedule", "rollback": "shipping.cancel", "input": parcel},
        {"name": "parcel", "commit": "shipping.dispatch", "input": parcel},
        {"name": "taken", "commit": "inventory.commit", "input": goods},
    ]
    return Transaction.model_validate({"transaction_id": transaction_id, "steps": steps})


def _document(asked: Transaction) -> dict[str, Any]:
    return asked.model_dump(mode="json", exclude_defaults=True)


async def _terminated_past_its_pivot(system: Rig, asked: Transaction, lane: str | None) -> None:
    system.faults.append(
        Fault(operation="inventory.commit", transaction=asked.transaction_id, kind=FaultKind.ERROR_BEFORE)
    )
    if lane is None:
        await Transactions(system.client).start(asked)
    else:
        await Transactions(system.client).enter(asked, lane)
        await system.until_listed(f"WorkflowId = '{asked.workflow_id}'")
    await system.until_begun(system.client.get_workflow_handle(asked.workflow_id), "inventory.commit")
    await system.terminate(asked.workflow_id)
    system.faults.clear()
    system.let_leases_pass(asked.transaction_id)


@pytest.mark.parametrize("lane", [None, "a-lane"])
async def test_a_transaction_terminated_past_its_pivot_is_finished_and_its_goods_are_not_given_back(
    system: Rig, lane: str | None
) -> None:
    asked = _deciding()
    await _terminated_past_its_pivot(system, asked, lane)
    swept = await system.sweep()
    assert asked.transaction_id in swept.transactions
    assert asked.workflow_id not in swept.unfinished
    assert await system.status(asked.workflow_id) is WorkflowExecutionStatus.COMPLETED
    assert system.state("inventory", asked.transaction_id) == "COMMITTED"
    assert system.state("shipping", asked.transaction_id) == "DISPATCHED"
    resumed = await system.client.get_workflow_handle(asked.workflow_id).describe()
    assert resumed.parent_id == (None if lane is None else lane_id(lane))
    assert asked.transaction_id not in (await system.sweep()).transactions


async def test_what_a_transaction_holds_that_cannot_be_read_is_not_given_back(system: Rig) -> None:
    sealed, other = _deciding(), _deciding()
    key = base64.urlsafe_b64encode(b"k" * 32).decode()
    client = await connection.connect(Settings(payload_key=key), address=system.address)
    await system.never_runs("TransactionWorkflow", sealed.workflow_id, _document(sealed), client=client)
    await system.never_runs("TransactionWorkflow", other.workflow_id, {"no": "transaction"})
    for asked in (sealed, other):
        await execute(system.client, inventory.reserve, goods_of(asked.transaction_id))
        system.let_leases_pass(asked.transaction_id)
    swept = await system.sweep()
    codes = {failure.id: failure.code for failure in swept.failures}
    assert (codes[sealed.workflow_id], codes[other.workflow_id]) == ("UNREADABLE", "INVALID_TRANSACTION")
    assert system.state("inventory", sealed.transaction_id) == "HELD"
    assert system.state("inventory", other.transaction_id) == "HELD"


async def test_what_a_workflow_of_ones_own_holds_is_not_given_back_while_temporal_knows_it(system: Rig) -> None:
    """It may have decided; only its owner knows how to resume it."""
    transaction_id = name("own")
    await system.never_runs("SomebodysWorkflow", transaction_id)
    await execute(system.client, inventory.reserve, goods_of(transaction_id))
    system.let_leases_pass(transaction_id)
    await system.sweep()
    assert system.state("inventory", transaction_id) == "HELD"


async def test_a_transaction_that_was_cancelled_before_it_began_stays_cancelled(system: Rig) -> None:
    asked = _deciding()
    await system.waits("TransactionWorkflow", asked.workflow_id, _document(asked))
    handle = system.client.get_workflow_handle(asked.workflow_id)
    await handle.cancel()
    await system.until_listed(f"WorkflowId = '{asked.workflow_id}' AND ExecutionStatus != 'Running'")
    assert asked.transaction_id not in (await system.sweep()).transactions
