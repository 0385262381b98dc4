"""Who coordinates an order is asked of the order service's record: a sweep begins no order that has its end."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

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
from contracts.recovery import SweepOrders
from recovery.sweep import Recovery
from runtime.execute import execute
from runtime.faults import Fault, FaultKind
from temporal_saga import Operation, Retry, Skip, State, Status, TransactionLog
from workflows.order import OrderWorkflow, Requests

from ..eventually import eventually_async
from ..rig import Rig, an_order, name

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def _in_a_batch(rig: Rig, placed: Order) -> str:
    """A batch that carries `placed`, and that no worker sees; it has made the order, and holds money for it."""
    batch = f"batch/{name('b')}"
    await rig.waits("BatchWorkflow", batch, [placed])
    asked = Requests.of(placed, batch)
    await execute(rig.client, order.create, asked.create)
    await execute(rig.client, payment.authorize, asked.payment)
    return batch


async def test_a_confirmed_order_is_not_begun_because_a_second_placing_was_terminated(rig: Rig) -> None:
    in_a_batch, choreographed, alone = an_order(), an_order(), an_order()
    await rig.batch(in_a_batch)
    await Orders(rig.client).place(choreographed, Mode.CHOREOGRAPHY)
    await (await rig.place(alone)).result()
    for each in (in_a_batch, choreographed):
        await rig.never_runs("OrderWorkflow", each.transaction_id, each)
    participant = participant_id(alone.order_id, "order")
    await rig.client.start_workflow(
        "ParticipantWorkflow", alone, id=participant, task_queue="order", start_delay=timedelta(hours=1)
    )
    await rig.terminate(participant)
    assert not {each.order_id for each in (in_a_batch, choreographed, alone)} & set((await rig.sweep()).orders)
    for workflow_id in (in_a_batch.transaction_id, choreographed.transaction_id, participant):
        assert await rig.status(workflow_id) is WorkflowExecutionStatus.TERMINATED


async def test_what_an_operator_has_skipped_stays_skipped_when_the_batch_is_terminated_afterwards(rig: Rig) -> None:
    placed = an_order()
    batch = await _in_a_batch(rig, placed)
    rig.refuse("payment.cancel", placed.transaction_id)
    cause = RollbackCause(code="OUT_OF_STOCK", message="sold out", step="inventory.reserve")
    detached = await rig.place(placed, OrderOptions(coordinator=batch, cause=cause))
    await rig.until(detached, lambda log: log.state is State.PARKED)
    await detached.execute_update(
        OrderWorkflow.desk_skip, args=["payment.cancel", Skip(actor="ann", reason="paid back by hand")]
    )
    with pytest.raises(WorkflowFailureError):
        await detached.result()
    # A second placing comes to nothing, and says nothing about the order that is on record.
    await rig.refused(placed)
    rig.repair()
    await rig.terminate(batch)

    assert placed.order_id not in (await rig.sweep()).orders
    assert rig.state("payment", placed.transaction_id) == "AUTHORIZED"


def _tried_again(log: TransactionLog) -> bool:
    return any(each.status is Status.PARKED and each.attempts == 2 for each in log.steps)


async def test_what_an_operator_has_decided_is_known_when_temporal_has_forgotten_the_order(rig: Rig) -> None:
    placed = an_order(customer_id="c-1")
    for step in ("shipping.schedule", "payment.cancel"):
        rig.refuse(step, placed.transaction_id)
    handle = await rig.place(placed)
    await rig.until(handle, lambda log: log.state is State.PARKED)
    await handle.execute_update(OrderWorkflow.desk_retry, args=["payment.cancel", Retry("bob", "the bank is back")])
    await rig.until(handle, _tried_again)
    await handle.execute_update(
        OrderWorkflow.desk_skip, args=["payment.cancel", Skip(actor="ann", reason="paid back by hand")]
    )
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    rig.repair()
    await rig.until_listed(f'WorkflowId = "{placed.transaction_id}" AND SagaState = "ROLLED_BACK_WITH_SKIPS"')
    logged = await decisions(rig.client, placed.order_id, 10)
    await rig.sweep()  # copies the skip and the decisions to the order service
    await rig.forget(placed.transaction_id)

    assert placed.order_id not in (await rig.sweep()).orders
    report = await rig.audited()
    assert placed.order_id not in {violation.subject for violation in report.violations}
    [known] = [skip for skip in report.skips if skip.subject == placed.order_id]
    assert (known.step, known.actor, known.reason) == ("payment.cancel", "ann", "paid back by hand")
    assert rig.state("payment", placed.transaction_id) == "AUTHORIZED"
    assert [(taken.decision, taken.actor, taken.reason) for taken in logged] == [
        ("skip", "ann", "paid back by hand"),
        ("retry", "bob", "the bank is back"),
    ]
    assert await decisions(rig.client, placed.order_id, 10) == logged
    assert set(logged) <= set(await decisions(rig.client, None, 1000))


@pytest.mark.long
async def test_an_order_placed_as_a_choreography_beside_its_own_workflow_has_the_outcome_of_that(rig: Rig) -> None:
    """The order service has no record yet that the second placing could be compared with."""
    placed = an_order()
    hangs = Fault(operation="order.create", transaction=placed.transaction_id, kind=FaultKind.HANG)
    rig.faults.append(hangs)
    first = await rig.place(placed)
    await rig.until_begun(first, "order.create")
    second = asyncio.create_task(Orders(rig.client).place(placed, Mode.CHOREOGRAPHY))
    other = placed.model_copy(update={"customer_id": "c-2"})
    with pytest.raises(DuplicateOrder):
        await Orders(rig.client).place(other, Mode.CHOREOGRAPHY)
    rig.faults.remove(hangs)
    assert (await second).state is State.CONFIRMED
    await first.result()


@pytest.mark.parametrize("cancelled", [False, True], ids=["", "and is cancelled there"])
async def test_a_confirmed_order_that_a_batch_carries_again_without_an_answer_stays_confirmed(
    rig: Rig,
    cancelled: bool,  # noqa: FBT001 — a case
) -> None:
    placed = an_order()
    await (await rig.place(placed)).result()
    rig.down("order.create.batch", placed.transaction_id)
    batch = await rig.start("BatchWorkflow", f"batch/{name('b')}", [placed])
    if cancelled:
        await eventually_async(lambda: batch.query("transaction_log", placed.order_id), "it is begun", until=_has_steps)
        await batch.execute_update("cancel_order", args=[placed.order_id, "it was placed twice"])
    await batch.result()
    rig.repair()
    with pytest.raises(WorkflowFailureError):
        await asyncio.wait_for(rig.client.get_workflow_handle(placed.transaction_id).result(), 20)
    assert (await Orders(rig.client).status(placed.order_id)).log.state is State.CONFIRMED
    assert (await Orders(rig.client).place(placed, Mode.SAGA)).state is State.CONFIRMED
    assert rig.state("order", placed.transaction_id) == "CONFIRMED"


def _has_steps(log: dict[str, Any]) -> bool:
    return bool(log["steps"])


async def test_a_lost_order_is_found_behind_a_refused_one_of_another_content(rig: Rig) -> None:
    placed = an_order()
    await rig.lost(placed)
    other = placed.model_copy(update={"customer_id": "c-2"})
    await rig.refused(other)
    swept = await rig.sweep()
    assert placed.order_id in swept.orders
    assert rig.state("payment", placed.transaction_id) == "CANCELLED"
    assert placed.order_id not in (await rig.sweep()).orders


async def test_orders_are_found_beyond_the_first_page_of_a_service(rig: Rig) -> None:
    placed = [an_order() for _ in range(3)]
    for each in placed:  # no workflow of theirs is known: they are in the records alone
        await execute(rig.client, order.create, CreateOrder(transaction_id=each.transaction_id, order=each))
    swept = await rig.sweep(page=2)
    assert {each.order_id for each in placed} <= set(swept.orders)
    assert {rig.state("order", each.transaction_id) for each in placed} == {"CANCELLED"}


async def test_an_order_that_ends_while_the_sweep_looks_is_not_begun_again(rig: Rig) -> None:
    placed = an_order()
    asked = Requests.of(placed, f"batch/{name('forgotten')}")
    await execute(rig.client, order.create, asked.create)
    await execute(rig.client, payment.authorize, asked.payment)

    async def end() -> None:
        await execute(rig.client, order.cancel, asked.create)
        await execute(rig.client, payment.cancel, asked.payment)

    rig.afterwards.after["order.read_orders"] = end  # every service has been asked by then
    assert placed.order_id not in (await rig.sweep()).orders


async def test_an_order_that_was_placed_before_has_only_the_rest_of_its_deadline(rig: Rig) -> None:
    placed = an_order(deadline_s=60)
    rig.faults.append(Fault(operation="*", transaction=placed.transaction_id, kind=FaultKind.DELAY, seconds=0.5))
    options = OrderOptions(placed_at=datetime.now(UTC) - timedelta(seconds=3600))
    failed = await rig.refused(placed, options)
    rig.repair()
    assert isinstance(failed, ApplicationError)
    assert failed.type == "DEADLINE_EXCEEDED"


async def test_the_orders_of_a_terminated_batch_get_their_ends_though_nothing_is_held_for_them(rig: Rig) -> None:
    """One was finished by calls that went on, one never begun: neither owner has been told."""
    finished, unbegun = an_order(), an_order()
    batch = f"batch/{name('b')}"
    await rig.waits("BatchWorkflow", batch, [finished, unbegun])
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
        await execute(rig.client, operation, request)
    await rig.terminate(batch)

    assert {finished.order_id, unbegun.order_id} <= set((await rig.sweep()).orders)
    assert await rig.status(finished.transaction_id) is WorkflowExecutionStatus.COMPLETED
    assert await rig.status(unbegun.transaction_id) is WorkflowExecutionStatus.FAILED  # rolled back
    assert not {finished.order_id, unbegun.order_id} & set((await rig.sweep()).orders)


async def test_an_order_of_a_terminated_batch_is_not_told_as_rolled_back_when_it_is_placed_again(rig: Rig) -> None:
    placed = an_order()
    batch = await _in_a_batch(rig, placed)
    await rig.refused(placed)
    await rig.terminate(batch)
    log = await Orders(rig.client).place(placed, Mode.SAGA)
    assert standing_of(log) == "CLOSED_FROM_OUTSIDE"
    assert placed.order_id in (await rig.sweep()).orders
    assert {rig.state(service, placed.transaction_id) for service in ("order", "payment")} == {"CANCELLED"}
    log = await Orders(rig.client).place(placed, Mode.SAGA)
    assert log.error is not None
    assert (log.state, log.error.code) == (State.ROLLED_BACK, "ABANDONED")


async def test_an_order_that_was_placed_again_in_another_way_is_listed_as_it_stands(rig: Rig) -> None:
    first_single, first_in_batch = an_order(), an_order()
    await (await rig.place(first_single)).result()
    await rig.batch(first_single, first_in_batch)
    await rig.refused(first_in_batch)
    await rig.until_listed(f'WorkflowId = "{first_in_batch.transaction_id}" AND ExecutionStatus = "Failed"')

    orders = Orders(rig.client)
    ours = {first_single.order_id, first_in_batch.order_id}
    for state, expected in ((None, ours), (State.CONFIRMED, ours), (State.ROLLED_BACK, set())):
        rows = [row for row in await listing.listed(orders, state, 1000, print) if row.order_id in ours]
        assert {row.order_id for row in rows} == expected
        assert {row.state for row in rows} <= {State.CONFIRMED}


async def test_an_order_whose_batch_temporal_has_forgotten_is_told_from_the_record_and_as_that(rig: Rig) -> None:
    confirmed, pending = an_order(), an_order()
    batch = await rig.batch(confirmed)
    other = await _in_a_batch(rig, pending)
    await rig.terminate(other)
    await rig.forget(batch.id, other)
    orders = Orders(rig.client)

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

    assert pending.order_id in (await rig.sweep()).orders
    assert (await orders.status(pending.order_id)).log.state is State.ROLLED_BACK


@pytest.mark.long
async def test_a_choreographed_order_whose_participants_were_deleted_is_told_from_the_record(rig: Rig) -> None:
    placed = an_order()
    orders = Orders(rig.client)
    first = await orders.place(placed, Mode.CHOREOGRAPHY)
    assert (await orders.place(placed, Mode.SAGA)) == first  # its own workflow was refused, and stays
    await rig.forget(*(participant_id(placed.order_id, service) for service in PARTICIPANTS))
    for mode in (Mode.CHOREOGRAPHY, Mode.SAGA):
        log = await orders.place(placed, mode)
        assert log.error is not None
        assert (log.state, log.error.code) == (State.CONFIRMED, "FORGOTTEN")
    assert placed.order_id not in (await rig.sweep()).orders


async def test_what_a_choreographed_order_holds_is_not_given_back_while_its_participants_run(rig: Rig) -> None:
    """The order service was restored to a time before the order, so no record names the participants."""
    placed = an_order()
    rig.refuse("payment.capture", placed.transaction_id)
    await Orders(rig.client).start(placed, Mode.CHOREOGRAPHY)
    participant = rig.client.get_workflow_handle(participant_id(placed.order_id, "payment"))
    await rig.until_listed(f"WorkflowId = '{participant.id}'")
    await rig.until_parked(participant, "payment.capture")
    for table in ("orders", "operations"):
        rig.rows("order", f"DELETE FROM {table} WHERE transaction_id = ?", placed.transaction_id)  # noqa: S608 — ours
    rig.let_leases_pass(placed.transaction_id)

    await rig.sweep()
    assert rig.state("payment", placed.transaction_id) == "AUTHORIZED"
    rig.repair()
    await participant.execute_update("desk_retry", "payment.capture")
    await rig.until(participant, lambda log: log.state is State.CONFIRMED)
    assert rig.state("payment", placed.transaction_id) == "CAPTURED"


async def test_an_order_that_is_placed_again_in_another_mode_has_its_first_outcome(rig: Rig) -> None:
    placed = an_order()
    orders = Orders(rig.client)
    first = await orders.place(placed, Mode.COLOCATED)
    assert await orders.place(placed, Mode.CHOREOGRAPHY) == first
    with pytest.raises(DuplicateOrder):
        await orders.place(placed.model_copy(update={"customer_id": "c-2"}), Mode.CHOREOGRAPHY)


async def test_an_order_on_record_that_cannot_be_read_is_neither_unknown_nor_a_duplicate(rig: Rig) -> None:
    placed = an_order()
    await rig.batch(placed)
    change = "UPDATE orders SET document = replace(document, 'GB', 'XX') WHERE transaction_id = ?"
    rig.rows("order", change, placed.transaction_id)
    orders = Orders(rig.client)
    for ask in (orders.status(placed.order_id), orders.place(placed, Mode.SAGA), orders.redo(placed.order_id)):
        with pytest.raises(UnreadableOrder, match="is on record, but this build cannot read it"):
            await ask
    rig.rows("order", change.replace("'GB', 'XX'", "'XX', 'GB'"), placed.transaction_id)
    assert (await orders.status(placed.order_id)).log.state is State.CONFIRMED


@pytest.mark.long
@pytest.mark.parametrize(
    ("failing", "hanging", "end"),
    [
        ("inventory.reserve.batch", "order.confirm", {"order": "CANCELLED", "payment": "CANCELLED"}),
        ("payment.capture*", "", {"order": "CONFIRMED", "payment": "CAPTURED"}),
    ],
)
async def test_an_order_that_its_batch_has_detached_is_found_when_its_own_workflow_was_deleted(
    rig: Rig, failing: str, hanging: str, end: dict[str, str]
) -> None:
    """The batch has completed, but its outcome says that it has not ended the order."""
    placed, other = an_order(), an_order()
    rig.down(failing, placed.transaction_id)
    rig.faults.append(Fault(operation=hanging, transaction=placed.transaction_id, kind=FaultKind.HANG))
    batch = await rig.batch(placed, other)
    own = rig.client.get_workflow_handle(placed.transaction_id)
    await rig.until_begun(own, hanging or "payment.capture")
    await rig.client.get_workflow_handle(other.transaction_id).result() if hanging else None
    _, options = await started_with(rig.client, own.id)
    if hanging:  # it is handed over before its pivot, with the rest of its deadline
        begun = datetime.fromisoformat(options["placed_at"])
        assert abs(begun - (await batch.describe()).start_time) < timedelta(seconds=2)
    await rig.terminate(own.id)
    rig.repair()
    await rig.forget(own.id)

    orders = Orders(rig.client)
    await rig.refused(placed)
    told = (await orders.status(placed.order_id)).log
    assert told.error is not None
    assert "no workflow that coordinates it is in Temporal any more" in told.error.message
    assert told.state is (State.CONFIRMED if end["order"] == "CONFIRMED" else State.RUNNING)
    swept = (await rig.sweep()).orders
    assert placed.order_id in swept
    assert other.order_id not in swept
    assert {service: rig.state(service, placed.transaction_id) for service in end} == end
    assert (await orders.place(placed, Mode.SAGA)).state.is_end


async def test_a_deleted_workflow_is_told_on_the_desk_as_closed_and_in_the_list_as_on_record(rig: Rig) -> None:
    """When the newest run was deleted, Temporal lists the one before it, which is not how the order stands."""
    swept, pending = an_order(), an_order()
    for each in (swept, pending):
        await rig.lost(each)
    orders, desk = Orders(rig.client), OperatorsDesk(rig.client)
    assert (await orders.redo(swept.order_id)).state is State.ROLLED_BACK
    await rig.until_listed(f'WorkflowId = "{swept.transaction_id}" AND ExecutionStatus = "Failed"')
    await rig.forget(swept.transaction_id, pending.transaction_id)

    for each, sweeps in ((swept, "completes what may be open"), (pending, "brings the order to its end")):
        with pytest.raises(DeskRefused, match=f"nothing is parked: .*`starter.py sweep` {sweeps}"):
            await desk.decide(each.order_id, "payment.cancel", Skip(actor="ann", reason="by hand"))
    for state, known in ((None, [State.ROLLED_BACK]), (Closed.CLOSED_FROM_OUTSIDE, [])):
        rows = [row for row in await listing.listed(orders, state, 1000, print) if row.order_id == swept.order_id]
        assert [row.state for row in rows] == known
    assert (await orders.status(swept.order_id)).log.state is State.ROLLED_BACK
    assert swept.order_id not in (await rig.sweep()).orders


async def test_an_order_that_is_not_on_record_is_swept_once_though_its_batch_was_terminated_too(rig: Rig) -> None:
    placed, batch = an_order(), f"batch/{name('b')}"
    await rig.never_runs("BatchWorkflow", batch, [placed])
    await rig.never_runs("OrderWorkflow", placed.transaction_id, placed, OrderOptions(coordinator=batch))
    swept = await rig.sweep()
    assert swept.orders.count(placed.order_id) == 1
    assert placed.transaction_id not in swept.unfinished


async def test_a_sweep_whose_worker_dies_is_begun_anew_within_a_minute(rig: Rig) -> None:
    beats: list[Any] = []
    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda *details: beats.append(details)
    await environment.run(Recovery(rig.client).sweep, SweepOrders())
    assert beats
    sweep = await rig.start("SweepWorkflow", name("sweep"))
    await sweep.result()
    [scheduled] = [
        event.activity_task_scheduled_event_attributes
        for event in (await sweep.fetch_history()).events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    assert scheduled.heartbeat_timeout.ToTimedelta() <= timedelta(minutes=1)
    assert scheduled.heartbeat_timeout.ToTimedelta() > timedelta(0)
