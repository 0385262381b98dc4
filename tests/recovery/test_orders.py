"""Who coordinates an order is asked of the order service's record: a sweep begins no order that has its end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from client import listing
from client.decisions import decisions
from client.desk import OperatorsDesk
from client.errors import CancelRefused, ClosedFromOutside, DeskRefused, DuplicateOrder, UnreadableOrder
from client.handles import started_with
from client.orders import Mode, Orders
from client.standing import Closed, standing_of
from contracts import inventory, order, payment, shipping
from contracts.choreography import PARTICIPANTS
from contracts.ids import participant_id
from contracts.order import CreateOrder, Order, OrderOptions, RollbackCause
from runtime.execute import execute
from runtime.faults import Fault, FaultKind
from temporal_saga import Operation, Retry, Skip, State
from workflows.order import OrderWorkflow, Requests

from .rig import Rig, an_order, name

pytestmark = [pytest.mark.xdist_group("recovery"), pytest.mark.asyncio(loop_scope="package")]


async def _in_a_batch(system: Rig, placed: Order) -> str:
    """A batch that carries `placed`, and that no worker sees; it has made the order, and holds money for it."""
    batch = f"batch/{name('b')}"
    await system.waits("BatchWorkflow", batch, [placed.model_dump(mode="json")])
    asked = Requests.of(placed, batch)
    await execute(system.client, order.create, asked.create)
    await execute(system.client, payment.authorize, asked.payment)
    return batch


async def test_an_order_of_a_batch_that_is_confirmed_is_not_begun_because_a_second_placing_was_terminated(
    system: Rig,
) -> None:
    placed = an_order()
    await (await system.start("BatchWorkflow", f"batch/{name('b')}", [placed.model_dump(mode="json")])).result()
    assert system.state("order", placed.transaction_id) == "CONFIRMED"
    await system.never_runs("OrderWorkflow", placed.transaction_id, placed.model_dump(mode="json"))
    swept = await system.sweep()
    assert placed.order_id not in swept.orders
    assert await system.status(placed.transaction_id) is WorkflowExecutionStatus.TERMINATED


async def test_a_choreographed_order_that_is_confirmed_is_not_begun_because_a_second_placing_was_terminated(
    system: Rig,
) -> None:
    placed = an_order()
    await Orders(system.client).place(placed, Mode.CHOREOGRAPHY)
    await system.never_runs("OrderWorkflow", placed.transaction_id, placed.model_dump(mode="json"))
    assert placed.order_id not in (await system.sweep()).orders
    assert await system.status(placed.transaction_id) is WorkflowExecutionStatus.TERMINATED


async def test_an_order_that_is_confirmed_is_not_played_because_its_second_placing_by_events_was_terminated(
    system: Rig,
) -> None:
    placed = an_order()
    await (await system.start("OrderWorkflow", placed.transaction_id, placed.model_dump(mode="json"))).result()
    participant = participant_id(placed.order_id, "order")
    await system.client.start_workflow(
        "ParticipantWorkflow",
        placed.model_dump(mode="json"),
        id=participant,
        task_queue="order",
        start_delay=timedelta(hours=1),
    )
    await system.terminate(participant)
    assert placed.order_id not in (await system.sweep()).orders
    assert await system.status(participant) is WorkflowExecutionStatus.TERMINATED


async def test_what_an_operator_has_skipped_stays_skipped_when_the_batch_is_terminated_afterwards(system: Rig) -> None:
    placed = an_order()
    batch = await _in_a_batch(system, placed)
    system.faults.append(Fault(operation="payment.cancel", transaction=placed.transaction_id, kind=FaultKind.REFUSE))
    cause = RollbackCause(code="OUT_OF_STOCK", message="sold out", step="inventory.reserve")
    detached = await system.start(
        "OrderWorkflow",
        placed.transaction_id,
        placed.model_dump(mode="json"),
        OrderOptions(coordinator=batch, cause=cause),
    )
    await system.until(detached, lambda log: log["state"] == "PARKED")
    await detached.execute_update(
        OrderWorkflow.desk_skip, args=["payment.cancel", Skip(actor="ann", reason="paid back by hand")]
    )
    with pytest.raises(WorkflowFailureError):
        await detached.result()
    # A second placing comes to nothing, and says nothing about the order that is on record.
    again = await system.start("OrderWorkflow", placed.transaction_id, placed.model_dump(mode="json"))
    with pytest.raises(WorkflowFailureError):
        await again.result()
    system.faults.clear()
    await system.terminate(batch)

    assert placed.order_id not in (await system.sweep()).orders
    assert system.state("payment", placed.transaction_id) == "AUTHORIZED"


def _tried_again(log: Any) -> bool:
    return any(each["status"] == "PARKED" and each["attempts"] == 2 for each in log["steps"])


async def test_what_an_operator_has_decided_is_known_when_temporal_has_forgotten_the_order(system: Rig) -> None:
    placed = an_order(customer_id="c-1")
    for step, kind in (("shipping.schedule", FaultKind.REFUSE), ("payment.cancel", FaultKind.REFUSE)):
        system.faults.append(Fault(operation=step, transaction=placed.transaction_id, kind=kind))
    handle = await system.start("OrderWorkflow", placed.transaction_id, placed.model_dump(mode="json"))
    await system.until(handle, lambda log: log["state"] == "PARKED")
    await handle.execute_update(OrderWorkflow.desk_retry, args=["payment.cancel", Retry("bob", "the bank is back")])
    await system.until(handle, _tried_again)
    await handle.execute_update(
        OrderWorkflow.desk_skip, args=["payment.cancel", Skip(actor="ann", reason="paid back by hand")]
    )
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    system.faults.clear()
    await system.until_listed(f'WorkflowId = "{placed.transaction_id}" AND SagaState = "ROLLED_BACK_WITH_SKIPS"')
    logged = await decisions(system.client, placed.order_id, 10)
    await system.sweep()  # copies the skip and the decisions to the order service
    await system.forget(placed.transaction_id)

    assert placed.order_id not in (await system.sweep()).orders
    report = await system.audited()
    assert placed.order_id not in {violation.subject for violation in report.violations}
    [known] = [skip for skip in report.skips if skip.subject == placed.order_id]
    assert (known.step, known.actor, known.reason) == ("payment.cancel", "ann", "paid back by hand")
    assert system.state("payment", placed.transaction_id) == "AUTHORIZED"
    assert [(taken.decision, taken.actor, taken.reason) for taken in logged] == [
        ("skip", "ann", "paid back by hand"),
        ("retry", "bob", "the bank is back"),
    ]
    assert await decisions(system.client, placed.order_id, 10) == logged
    assert set(logged) <= set(await decisions(system.client, None, 1000))


async def test_an_order_of_a_terminated_batch_is_rolled_back_also_where_a_second_placing_was_refused(
    system: Rig,
) -> None:
    placed = an_order()
    batch = await _in_a_batch(system, placed)
    refused = await system.start("OrderWorkflow", placed.transaction_id, placed.model_dump(mode="json"))
    with pytest.raises(WorkflowFailureError):
        await refused.result()
    await system.terminate(batch)
    swept = await system.sweep()
    assert placed.order_id in swept.orders
    assert (system.state("order", placed.transaction_id), system.state("payment", placed.transaction_id)) == (
        "CANCELLED",
        "CANCELLED",
    )


async def test_a_lost_order_is_found_behind_a_refused_one_of_another_content(system: Rig) -> None:
    placed = an_order()
    await system.lost(placed)
    other = placed.model_copy(update={"customer_id": "c-2"})
    refused = await system.start("OrderWorkflow", placed.transaction_id, other.model_dump(mode="json"))
    with pytest.raises(WorkflowFailureError):
        await refused.result()
    swept = await system.sweep()
    assert placed.order_id in swept.orders
    assert system.state("payment", placed.transaction_id) == "CANCELLED"
    assert placed.order_id not in (await system.sweep()).orders


async def test_orders_are_found_beyond_the_first_page_of_a_service(system: Rig) -> None:
    placed = [an_order() for _ in range(5)]
    for each in placed:  # no workflow of theirs is known: they are in the records alone
        await execute(system.client, order.create, CreateOrder(transaction_id=each.transaction_id, order=each))
    swept = await system.sweep(page=2)
    assert {each.order_id for each in placed} <= set(swept.orders)
    assert {system.state("order", each.transaction_id) for each in placed} == {"CANCELLED"}


async def test_an_order_that_ends_while_the_sweep_looks_is_not_begun_again(system: Rig) -> None:
    placed = an_order()
    asked = Requests.of(placed, f"batch/{name('forgotten')}")
    await execute(system.client, order.create, asked.create)
    await execute(system.client, payment.authorize, asked.payment)

    async def end() -> None:
        await execute(system.client, order.cancel, asked.create)
        await execute(system.client, payment.cancel, asked.payment)

    system.afterwards.after["order.read_orders"] = end  # every service has been asked by then
    assert placed.order_id not in (await system.sweep()).orders


async def test_an_order_that_was_placed_before_has_only_the_rest_of_its_deadline(system: Rig) -> None:
    placed = an_order(deadline_s=60)
    system.faults.append(Fault(operation="*", transaction=placed.transaction_id, kind=FaultKind.DELAY, seconds=0.5))
    options = OrderOptions(placed_at=datetime.now(UTC) - timedelta(seconds=3600))
    handle = await system.start("OrderWorkflow", placed.transaction_id, placed.model_dump(mode="json"), options)
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    system.faults.clear()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "DEADLINE_EXCEEDED"


async def test_an_order_that_a_batch_hands_over_is_told_when_it_was_placed(system: Rig) -> None:
    placed = an_order()
    unknown = Fault(operation="inventory.reserve.batch", transaction=placed.transaction_id, kind=FaultKind.ERROR_BEFORE)
    system.faults.append(unknown)
    batch = await system.start("BatchWorkflow", f"batch/{name('b')}", [placed.model_dump(mode="json")])
    await batch.result()
    system.faults.clear()
    await system.client.get_workflow_handle(placed.transaction_id).result()
    _, options = await started_with(system.client, placed.transaction_id)
    assert options["placed_at"] is not None
    begun = datetime.fromisoformat(options["placed_at"])
    assert abs(begun - (await batch.describe()).start_time) < timedelta(seconds=2)


async def test_the_orders_of_a_terminated_batch_get_their_ends_though_nothing_is_held_for_them(system: Rig) -> None:
    """One was finished by calls that went on, one never begun: neither owner has been told."""
    finished, unbegun = an_order(), an_order()
    batch = f"batch/{name('b')}"
    await system.waits("BatchWorkflow", batch, [each.model_dump(mode="json") for each in (finished, unbegun)])
    asked = Requests.of(finished, batch)
    calls: tuple[tuple[Operation[Any, Any], Any], ...] = (
        (order.create, asked.create),
        (payment.authorize, asked.payment),
        (inventory.reserve, asked.stock),
        (shipping.schedule, asked.shipment),
        (order.confirm, asked.confirm),
        (payment.capture, asked.payment),
        (inventory.commit, asked.stock),
        (shipping.dispatch, asked.shipment),
    )
    for operation, request in calls:
        await execute(system.client, operation, request)
    await system.terminate(batch)

    assert {finished.order_id, unbegun.order_id} <= set((await system.sweep()).orders)
    assert await system.status(finished.transaction_id) is WorkflowExecutionStatus.COMPLETED
    assert await system.status(unbegun.transaction_id) is WorkflowExecutionStatus.FAILED  # rolled back
    assert not {finished.order_id, unbegun.order_id} & set((await system.sweep()).orders)


async def test_an_order_of_a_terminated_batch_is_not_told_as_rolled_back_when_it_is_placed_again(system: Rig) -> None:
    placed = an_order()
    batch = await _in_a_batch(system, placed)
    await system.terminate(batch)
    for _ in range(2):
        log = await Orders(system.client).place(placed, Mode.SAGA)
        assert standing_of(log) == "CLOSED_FROM_OUTSIDE"
    await system.sweep()
    log = await Orders(system.client).place(placed, Mode.SAGA)
    assert log.error is not None
    assert (log.state, log.error.code) == (State.ROLLED_BACK, "ABANDONED")


async def test_an_order_that_was_placed_again_in_another_way_is_listed_as_it_stands(system: Rig) -> None:
    first_single, first_in_batch = an_order(), an_order()
    both = [each.model_dump(mode="json") for each in (first_single, first_in_batch)]
    single = await system.start("OrderWorkflow", first_single.transaction_id, both[0])
    await single.result()
    await (await system.start("BatchWorkflow", f"batch/{name('b')}", both)).result()
    again = await system.start("OrderWorkflow", first_in_batch.transaction_id, both[1])
    with pytest.raises(WorkflowFailureError):
        await again.result()
    await system.until_listed(f'WorkflowId = "{first_in_batch.transaction_id}" AND ExecutionStatus = "Failed"')

    orders = Orders(system.client)
    ours = {first_single.order_id, first_in_batch.order_id}
    for state, expected in ((None, ours), (State.CONFIRMED, ours), (State.ROLLED_BACK, set())):
        rows = [row for row in await listing.listed(orders, state, 1000, print) if row.order_id in ours]
        assert {row.order_id for row in rows} == expected
        assert {row.state for row in rows} <= {State.CONFIRMED}


async def test_an_order_whose_batch_temporal_has_forgotten_is_told_from_the_record_and_as_that(system: Rig) -> None:
    confirmed, pending = an_order(), an_order()
    batch = await system.start("BatchWorkflow", f"batch/{name('b')}", [confirmed.model_dump(mode="json")])
    await batch.result()
    other = await _in_a_batch(system, pending)
    await system.terminate(other)
    for each in (batch.id, other):
        await system.forget(each)
    orders = Orders(system.client)

    told = await orders.status(confirmed.order_id)
    assert (told.log.state, told.closed, told.coordinator.workflow_id) == (State.CONFIRMED, True, batch.id)
    assert told.log.error is not None
    assert told.log.error.code == "FORGOTTEN"
    assert "no workflow that coordinates it is in Temporal any more" in told.log.error.message
    with pytest.raises(CancelRefused, match="is confirmed"):
        await orders.cancel(confirmed.order_id, "too late")
    assert standing_of((await orders.status(pending.order_id)).log) == "CLOSED_FROM_OUTSIDE"
    with pytest.raises(ClosedFromOutside, match=r"`starter\.py sweep` brings the order to its end"):
        await orders.cancel(pending.order_id, "too late")

    assert pending.order_id in (await system.sweep()).orders
    assert (await orders.status(pending.order_id)).log.state is State.ROLLED_BACK


async def test_a_choreographed_order_whose_participants_were_deleted_is_told_from_the_record(system: Rig) -> None:
    placed = an_order()
    orders = Orders(system.client)
    first = await orders.place(placed, Mode.CHOREOGRAPHY)
    assert (await orders.place(placed, Mode.SAGA)) == first  # its own workflow was refused, and stays
    for service in PARTICIPANTS:
        await system.forget(participant_id(placed.order_id, service))
    for mode in (Mode.CHOREOGRAPHY, Mode.SAGA):
        log = await orders.place(placed, mode)
        assert log.error is not None
        assert (log.state, log.error.code) == (State.CONFIRMED, "FORGOTTEN")
    assert placed.order_id not in (await system.sweep()).orders


async def test_an_order_that_is_placed_again_in_another_mode_has_its_first_outcome(system: Rig) -> None:
    placed = an_order()
    orders = Orders(system.client)
    first = await orders.place(placed, Mode.SAGA)
    assert await orders.place(placed, Mode.CHOREOGRAPHY) == first
    with pytest.raises(DuplicateOrder):
        await orders.place(placed.model_copy(update={"customer_id": "c-2"}), Mode.CHOREOGRAPHY)


async def test_an_order_on_record_that_cannot_be_read_is_neither_unknown_nor_a_duplicate(system: Rig) -> None:
    placed = an_order()
    batch = await system.start("BatchWorkflow", f"batch/{name('b')}", [placed.model_dump(mode="json")])
    await batch.result()
    change = "UPDATE orders SET document = replace(document, 'GB', 'XX') WHERE transaction_id = ?"
    system.rows("order", change, placed.transaction_id)
    orders = Orders(system.client)
    for ask in (orders.status(placed.order_id), orders.place(placed, Mode.SAGA), orders.redo(placed.order_id)):
        with pytest.raises(UnreadableOrder, match="is on record, but this build cannot read it"):
            await ask
    system.rows("order", change.replace("'GB', 'XX'", "'XX', 'GB'"), placed.transaction_id)
    assert (await orders.status(placed.order_id)).log.state is State.CONFIRMED


@pytest.mark.parametrize(
    ("failing", "hanging", "end"),
    [
        ("inventory.reserve.batch", "shipping.schedule", {"order": "CANCELLED", "payment": "CANCELLED"}),
        ("payment.capture*", "", {"order": "CONFIRMED", "payment": "CAPTURED"}),
    ],
)
async def test_an_order_that_its_batch_has_detached_is_found_when_its_own_workflow_was_deleted(
    system: Rig, failing: str, hanging: str, end: dict[str, str]
) -> None:
    """The batch has completed, but its outcome says that it has not ended the order."""
    placed, other = an_order(), an_order()
    system.faults += [
        Fault(operation=failing, transaction=placed.transaction_id, kind=FaultKind.ERROR_BEFORE),
        Fault(operation=hanging, transaction=placed.transaction_id, kind=FaultKind.HANG),
    ]
    documents = [each.model_dump(mode="json") for each in (placed, other)]
    await (await system.start("BatchWorkflow", f"batch/{name('b')}", documents)).result()
    own = system.client.get_workflow_handle(placed.transaction_id)
    await system.until_begun(own, hanging or "payment.capture")
    await system.terminate(placed.transaction_id)
    system.faults.clear()
    await system.forget(placed.transaction_id)

    orders = Orders(system.client)
    refused = await system.start("OrderWorkflow", placed.transaction_id, documents[0])
    with pytest.raises(WorkflowFailureError):
        await refused.result()
    told = (await orders.status(placed.order_id)).log
    assert told.error is not None
    assert "no workflow that coordinates it is in Temporal any more" in told.error.message
    assert told.state is (State.CONFIRMED if end["order"] == "CONFIRMED" else State.RUNNING)
    swept = (await system.sweep()).orders
    assert placed.order_id in swept
    assert other.order_id not in swept
    assert {service: system.state(service, placed.transaction_id) for service in end} == end
    assert (await orders.place(placed, Mode.SAGA)).state.is_end
    assert placed.order_id not in (await system.sweep()).orders


async def test_a_deleted_workflow_is_told_on_the_desk_as_closed_and_in_the_list_as_on_record(system: Rig) -> None:
    """When the newest run was deleted, Temporal lists the one before it, which is not how the order stands."""
    swept, pending = an_order(), an_order()
    for each in (swept, pending):
        await system.lost(each)
    orders, desk = Orders(system.client), OperatorsDesk(system.client)
    assert (await orders.redo(swept.order_id)).state is State.ROLLED_BACK
    await system.until_listed(f'WorkflowId = "{swept.transaction_id}" AND ExecutionStatus = "Failed"')
    for each in (swept, pending):
        await system.forget(each.transaction_id)

    for each, sweeps in ((swept, "completes what may be open"), (pending, "brings the order to its end")):
        with pytest.raises(DeskRefused, match=f"nothing is parked: .*`starter.py sweep` {sweeps}"):
            await desk.decide(each.order_id, "payment.cancel", Skip(actor="ann", reason="by hand"))
    for state, known in ((None, [State.ROLLED_BACK]), (Closed.CLOSED_FROM_OUTSIDE, [])):
        rows = [row for row in await listing.listed(orders, state, 1000, print) if row.order_id == swept.order_id]
        assert [row.state for row in rows] == known
    assert (await orders.status(swept.order_id)).log.state is State.ROLLED_BACK
    assert swept.order_id not in (await system.sweep()).orders
