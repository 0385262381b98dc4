"""A transaction whose workflow was closed without an end is resumed: what it has decided is not given back. One whose
effects a restored service has forgotten, or holds again, is named by the audit and redone."""

from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowExecutionStatus
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from client.desk import OperatorsDesk
from client.errors import NothingToRedo
from client.orders import Orders
from client.transactions import Transactions
from contracts import inventory
from contracts.ids import lane_id
from contracts.transaction import Transaction
from runtime.execute import execute
from runtime.faults import Fault, FaultKind
from temporal_saga import Retry, Skip, State
from workflows.transaction import TransactionWorkflow

from ..rig import Rig, an_order, charge_of, goods_of, name

pytestmark = pytest.mark.asyncio(loop_scope="session")


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


async def test_a_transaction_terminated_past_its_pivot_is_finished_and_its_goods_are_not_given_back(rig: Rig) -> None:
    asked, lane = _deciding(), "a-lane"
    rig.down("inventory.commit", asked.transaction_id)
    await Transactions(rig.client).enter(asked, lane)
    await rig.until_listed(f"WorkflowId = '{asked.workflow_id}'")
    await rig.until_begun(rig.client.get_workflow_handle(asked.workflow_id), "inventory.commit")
    await rig.terminate(asked.workflow_id)
    rig.repair()
    rig.let_leases_pass(asked.transaction_id)
    swept = await rig.sweep()
    assert asked.transaction_id in swept.transactions
    assert asked.workflow_id not in swept.unfinished
    assert await rig.status(asked.workflow_id) is WorkflowExecutionStatus.COMPLETED
    assert rig.state("inventory", asked.transaction_id) == "COMMITTED"
    assert rig.state("shipping", asked.transaction_id) == "DISPATCHED"
    resumed = await rig.client.get_workflow_handle(asked.workflow_id).describe()
    assert resumed.parent_id == lane_id(lane)
    assert asked.transaction_id not in (await rig.sweep()).transactions


async def test_a_transaction_under_way_whose_step_a_restored_service_has_forgotten_is_finished_when_it_is_resumed(
    rig: Rig,
) -> None:
    asked = _deciding()
    rig.refuse("inventory.commit", asked.transaction_id)
    await Transactions(rig.client).start(asked)
    handle = rig.client.get_workflow_handle(asked.workflow_id)
    await rig.until(handle, lambda log: log.state is State.PARKED)
    _restore(rig, asked.transaction_id, None)
    rig.repair()
    await OperatorsDesk(rig.client).decide(asked.transaction_id, "inventory.commit", Retry())
    await rig.until(handle, lambda log: log.steps[-1].error_code == "NOTHING_TO_ACT_ON")
    await rig.terminate(asked.workflow_id)
    assert asked.transaction_id in (await rig.sweep()).transactions
    assert await rig.status(asked.workflow_id) is WorkflowExecutionStatus.COMPLETED
    assert rig.state("inventory", asked.transaction_id) == "COMMITTED"
    assert await _found(rig, asked) is None


def _holding(customer: str = "c-1") -> Transaction:
    transaction_id = name("t")
    charge = charge_of(transaction_id).model_dump(mode="json", exclude={"transaction_id"}) | {"customer_id": customer}
    goods = goods_of(transaction_id).model_dump(mode="json", exclude={"transaction_id"})
    steps = [
        {"name": "goods", "commit": "inventory.reserve", "rollback": "inventory.release", "input": goods},
        {"name": "money", "commit": "payment.authorize", "rollback": "payment.cancel", "input": charge},
    ]
    return Transaction.model_validate({"transaction_id": transaction_id, "steps": steps})


def _restore(rig: Rig, transaction_id: str, reservation: str | None) -> None:
    """As if the inventory service's database were that of an earlier time, when it had this `reservation` or none."""
    units = "reserved + 2" if reservation == "HELD" else "reserved - 2"
    rig.rows("inventory", f"UPDATE stock SET reserved = {units} WHERE sku = 'BOOK-1'")  # noqa: S608 — ours
    if reservation is None:
        for table in ("reservations", "operations", "effects"):
            rig.rows("inventory", f"DELETE FROM {table} WHERE transaction_id = ?", transaction_id)  # noqa: S608 — ours
        return
    record = "DONE" if reservation == "HELD" else "UNDONE"
    rig.rows("inventory", "UPDATE reservations SET state = ? WHERE transaction_id = ?", reservation, transaction_id)
    rig.rows("inventory", "UPDATE operations SET state = ? WHERE transaction_id = ?", record, transaction_id)


async def _found(rig: Rig, asked: Transaction) -> dict[str, Any] | None:
    """What the audit says of the transaction."""
    await rig.until_listed(f"WorkflowId = '{asked.workflow_id}' AND CloseTime IS NOT NULL")
    found = [each for each in (await rig.audited()).violations if each.subject == asked.workflow_id]
    return found[0].figures if found else None


@pytest.mark.parametrize(
    ("restored", "end", "held", "lane"),
    [
        pytest.param(None, State.CONFIRMED, "HELD", "another-lane", id="forgotten"),
        pytest.param("RELEASED", State.ROLLED_BACK, "RELEASED", None, id="undone", marks=pytest.mark.long),
    ],
)
async def test_a_confirmed_transaction_that_a_service_has_forgotten_or_undone_is_named_and_redone(
    rig: Rig, restored: str | None, end: State, held: str, lane: str | None
) -> None:
    asked = _holding()
    assert (await Transactions(rig.client).run(asked, lane)).state is State.CONFIRMED
    assert await _found(rig, asked) is None
    _restore(rig, asked.transaction_id, restored)
    assert await _found(rig, asked) == {"inventory": "inventory.reserve"}
    assert (await Orders(rig.client).redo(asked.transaction_id)).state is end
    assert rig.state("inventory", asked.transaction_id) == held
    assert await _found(rig, asked) is None
    redone = await rig.client.get_workflow_handle(asked.workflow_id).describe()
    assert redone.parent_id == (None if lane is None else lane_id(lane))


async def test_a_transaction_that_was_rolled_back_and_holds_something_again_is_named_and_redone(rig: Rig) -> None:
    asked = _holding("nobody")
    assert (await Transactions(rig.client).run(asked, None)).state is State.ROLLED_BACK
    _restore(rig, asked.transaction_id, "HELD")
    assert await _found(rig, asked) == {"inventory": "HELD"}
    assert (await Orders(rig.client).redo(asked.workflow_id)).state is State.ROLLED_BACK
    assert rig.state("inventory", asked.transaction_id) == "RELEASED"
    assert await _found(rig, asked) is None


async def test_a_skipped_step_of_a_confirmed_transaction_is_not_missed_and_its_other_steps_are(rig: Rig) -> None:
    asked = _deciding()
    refused = Fault(operation="inventory.commit", transaction=asked.transaction_id, kind=FaultKind.REFUSE)
    rig.faults.append(refused)
    await Transactions(rig.client).start(asked)
    handle = rig.client.get_workflow_handle(asked.workflow_id)
    await rig.until(handle, lambda log: log.state is State.PARKED)
    with pytest.raises(NothingToRedo, match="is under way"):
        await Orders(rig.client).redo(asked.transaction_id)
    skip = Skip(actor="ann", reason="sent by hand")
    await handle.execute_update(TransactionWorkflow.desk_skip, args=["inventory.commit", skip])
    await handle.result()
    rig.repair()
    assert await _found(rig, asked) is None
    rig.rows("shipping", "DELETE FROM operations WHERE transaction_id = ?", asked.transaction_id)
    assert await _found(rig, asked) == {"shipping": "shipping.dispatch, shipping.schedule"}


@workflow.defn(name="TransactionWorkflow")
class _Confirmed:
    @workflow.run
    async def run(self, document: Any) -> None:
        """Do nothing, and end as a transaction does that is confirmed."""


async def test_a_confirmed_transaction_whose_document_cannot_be_read_is_named_and_the_others_are_looked_at(
    rig: Rig,
) -> None:
    sealed, other = _holding(), _holding()
    client = await rig.with_another_key()
    async with Worker(client, task_queue="sealed", workflows=[_Confirmed], workflow_runner=UnsandboxedWorkflowRunner()):
        await client.execute_workflow(
            "TransactionWorkflow", _document(sealed), id=sealed.workflow_id, task_queue="sealed"
        )
    await Transactions(rig.client).run(other, None)
    _restore(rig, other.transaction_id, None)
    assert await _found(rig, sealed) == {}
    assert await _found(rig, other) == {"inventory": "inventory.reserve"}
    await rig.forget(sealed.workflow_id)


async def test_what_a_transaction_holds_that_cannot_be_read_is_not_given_back(rig: Rig) -> None:
    sealed, other = _deciding(), _deciding()
    client = await rig.with_another_key()
    await rig.never_runs("TransactionWorkflow", sealed.workflow_id, _document(sealed), client=client)
    await rig.never_runs("TransactionWorkflow", other.workflow_id, {"no": "transaction"})
    for asked in (sealed, other):
        await execute(rig.client, inventory.reserve, goods_of(asked.transaction_id))
        rig.let_leases_pass(asked.transaction_id)
    swept = await rig.sweep()
    codes = {failure.id: failure.code for failure in swept.failures}
    assert (codes[sealed.workflow_id], codes[other.workflow_id]) == ("UNREADABLE", "INVALID_TRANSACTION")
    assert rig.state("inventory", sealed.transaction_id) == "HELD"
    assert rig.state("inventory", other.transaction_id) == "HELD"


async def test_what_a_workflow_of_ones_own_holds_is_not_given_back_while_temporal_knows_it(rig: Rig) -> None:
    """It may have decided; only its owner knows how to resume it."""
    transaction_id = name("own")
    await rig.never_runs("SomebodysWorkflow", transaction_id)
    await execute(rig.client, inventory.reserve, goods_of(transaction_id))
    rig.let_leases_pass(transaction_id)
    await rig.sweep()
    assert rig.state("inventory", transaction_id) == "HELD"


async def test_a_transaction_that_was_cancelled_before_it_began_stays_cancelled(rig: Rig) -> None:
    asked = _deciding()
    await rig.waits("TransactionWorkflow", asked.workflow_id, _document(asked))
    handle = rig.client.get_workflow_handle(asked.workflow_id)
    await handle.cancel()
    await rig.until_listed(f"WorkflowId = '{asked.workflow_id}' AND ExecutionStatus != 'Running'")
    assert asked.transaction_id not in (await rig.sweep()).transactions
