"""A client that waits for the decision: it is told CONFIRMED when the pivot is done, while the finishes go on."""

import asyncio
from itertools import product

import pytest
from temporalio.client import Client

from client.bulk import place_many
from client.desk import OperatorsDesk
from client.engines.batch import Batch, BatchEngine
from client.engines.engine import Until
from client.errors import AlreadyEnded, DeskRefused, DuplicateOrder, UnknownOrder
from client.handles import status_of
from client.orders import Mode, Orders
from contracts.errors import Code
from contracts.order import Order
from runtime.faults import Fault, FaultKind
from temporal_saga import Retry, State, Status, TransactionLog
from tests.eventually import eventually_async
from tests.rig import UNREACHABLE, Rig, an_order, name

pytestmark = pytest.mark.asyncio(loop_scope="session")


def _slow_capture(placed: Order) -> Fault:
    return Fault(operation="payment.capture", transaction=placed.transaction_id, kind=FaultKind.DELAY, seconds=1.5)


@pytest.mark.parametrize("mode", [Mode.SAGA, Mode.COLOCATED, pytest.param(Mode.CHOREOGRAPHY, marks=pytest.mark.long)])
async def test_a_client_is_told_the_decision_while_a_finish_is_open(rig: Rig, mode: Mode) -> None:
    placed, orders = an_order(), Orders(rig.client)
    rig.down("shipping.dispatch", placed.transaction_id)
    told = await orders.place(placed, mode, Until.CONFIRMED)
    again = await orders.place(placed, mode, Until.CONFIRMED)
    now = await orders.status(placed.order_id)
    rig.repair()
    for log in (told, again):
        assert (log.state, log.error) == (State.CONFIRMED, None)
        statuses = {entry.step: entry.status for entry in log.steps}
        assert statuses["order.confirm"] is Status.DONE
        assert statuses.get("shipping.dispatch") is not Status.DONE
    assert not now.closed
    assert now.log.state is not State.CONFIRMED, "only the client's answer says so before the end"
    assert (await orders.place(placed, mode)).state is State.CONFIRMED
    assert (await orders.place(placed, mode, Until.CONFIRMED)).state is State.CONFIRMED


async def _place(client: Client, placed: Order, mode: Mode) -> TransactionLog:
    orders = Orders(client)
    if mode is not Mode.BATCH:
        return await orders.place(placed, mode)
    [ended] = [each async for each in place_many(orders, [placed], mode, 1)]
    [(_, log)] = ended.groups[0].logs()
    return log


_ALWAYS = {
    (Mode.SAGA, Mode.COLOCATED),
    (Mode.COLOCATED, Mode.CHOREOGRAPHY),
    (Mode.CHOREOGRAPHY, Mode.SAGA),
    (Mode.BATCH, Mode.COLOCATED),
}
"""Each mode once as the first and once as the second; the other pairs are among the long tests."""
_PAIRS = [
    pytest.param(*pair, marks=() if pair in _ALWAYS else pytest.mark.long)
    for pair in product(Mode, [Mode.SAGA, Mode.COLOCATED, Mode.CHOREOGRAPHY])
]


@pytest.mark.parametrize(("first", "again"), _PAIRS)
async def test_an_order_started_again_in_any_mode_stands_as_its_first_placing_does(
    rig: Rig, first: Mode, again: Mode
) -> None:
    placed, other = an_order(), an_order()
    outcome = await _place(rig.client, placed, first)
    assert await Orders(rig.client).start(placed, again) == outcome
    await _place(rig.client, other, first)
    with pytest.raises(DuplicateOrder, match="was placed before with another content; choose another id"):
        await Orders(rig.client).start(other.model_copy(update={"deadline_s": 59}), again)
    with pytest.raises(DuplicateOrder, match="was placed before with another content; choose another id"):
        await Orders(rig.client).place(other.model_copy(update={"deadline_s": 59}), again)


async def test_an_order_that_was_cancelled_before_it_was_created_has_that_outcome_in_any_mode(rig: Rig) -> None:
    placed, orders = an_order(), Orders(rig.client)
    rig.down("order.create", placed.transaction_id)
    await orders.start(placed, Mode.SAGA)
    await orders.cancel(placed.order_id, "changed my mind")
    rig.repair()
    first = await orders.place(placed, Mode.SAGA)
    assert first.error is not None
    assert first.error.code == Code.CANCELLED
    assert await orders.place(placed, Mode.CHOREOGRAPHY) == first
    assert await orders.start(placed, Mode.CHOREOGRAPHY) == first


async def test_a_single_order_is_not_placed_as_a_batch(rig: Rig) -> None:
    placed, orders = an_order(), Orders(rig.client)
    for attempt in (orders.start(placed, Mode.BATCH), orders.place(placed, Mode.BATCH)):
        with pytest.raises(ValueError, match=r"`client\.bulk\.place_many`"):
            await attempt
    assert await status_of(rig.client, placed.transaction_id) is None


async def test_the_decision_of_a_colocated_order_is_told_while_its_finishes_run(rig: Rig) -> None:
    placed, orders = an_order(), Orders(rig.client)
    rig.faults.append(_slow_capture(placed))
    await orders.place(placed, Mode.COLOCATED, Until.CONFIRMED)
    now = await orders.status(placed.order_id)
    rig.repair()
    assert not now.closed
    assert (await orders.place(placed, Mode.COLOCATED)).state is State.CONFIRMED


@pytest.mark.parametrize("mode", [Mode.SAGA, Mode.CHOREOGRAPHY])
async def test_a_client_that_waits_for_the_decision_is_told_of_a_rollback_at_its_end(rig: Rig, mode: Mode) -> None:
    placed = an_order(ship_to=UNREACHABLE)
    log = await Orders(rig.client).place(placed, mode, Until.CONFIRMED)
    assert (log.state, log.error and log.error.code) == (State.ROLLED_BACK, Code.SHIPPING_UNAVAILABLE)
    assert await rig.held(placed.transaction_id) == set()


async def test_an_order_whose_pivot_is_refused_is_not_told_as_confirmed(rig: Rig) -> None:
    placed = an_order()
    rig.refuse("order.confirm", placed.transaction_id)
    rig.refuse("payment.cancel", placed.transaction_id)
    log = await Orders(rig.client).place(placed, Mode.SAGA, Until.CONFIRMED)
    rig.repair()
    assert log.state is State.PARKED, "its rollback is told at its end, or when that does not come"
    own = rig.client.get_workflow_handle(placed.transaction_id)
    assert (await rig.end(own)).state is State.ROLLED_BACK


async def test_callers_who_ask_at_once_get_one_answer_and_another_content_is_refused(rig: Rig) -> None:
    placed, orders = an_order(), Orders(rig.client)
    told = await asyncio.gather(*(orders.place(placed, Mode.SAGA, Until.CONFIRMED) for _ in range(5)))
    assert {log.state for log in told} == {State.CONFIRMED}
    assert (await orders.place(placed, Mode.SAGA)).state is State.CONFIRMED
    other = an_order(order_id=placed.order_id, deadline_s=599)
    with pytest.raises(DuplicateOrder):
        await orders.place(other, Mode.SAGA, Until.CONFIRMED)


async def test_the_orders_of_a_batch_are_decided_before_it_ends(rig: Rig) -> None:
    batch, confirmed, refused = Batch(), an_order(), an_order(ship_to=UNREACHABLE)
    for placed in (confirmed, refused):
        batch.add(placed.order_id, placed.model_dump_json().encode())
    rig.down("shipping.dispatch.batch", batch.id)
    engine = BatchEngine(rig.client, batch.id)
    told, again = [(await engine.decision(batch)).logs() for _ in range(2)]
    status = await engine.status(confirmed.order_id)
    rig.repair()
    for logs in (told, again):
        assert logs[confirmed.order_id].state is State.CONFIRMED
        assert logs[refused.order_id].state is State.ROLLED_BACK
    assert status is not None
    assert status.log.state is State.RUNNING
    assert (await engine.outcome()).logs()[confirmed.order_id].state is State.CONFIRMED


async def test_an_order_that_has_ended_in_a_batch_that_goes_on_is_not_told_as_under_way(rig: Rig) -> None:
    waits, refused = an_order(), an_order(ship_to=UNREACHABLE)
    rig.down("shipping.dispatch.batch", "*")
    batch = await rig.start("BatchWorkflow", f"batch/{name('b')}", [waits, refused])
    orders = Orders(rig.client)

    async def ended() -> bool:
        try:
            return (await orders.status(refused.order_id)).log.state.is_end
        except UnknownOrder:  # the batch has not begun
            return False

    await eventually_async(ended, "it is rolled back")
    with pytest.raises(AlreadyEnded, match="has ended before: ROLLED_BACK, SHIPPING_UNAVAILABLE"):
        await orders.cancel(refused.order_id, "changed my mind")
    with pytest.raises(DeskRefused, match="nothing is parked: it has ended ROLLED_BACK"):
        await OperatorsDesk(rig.client).decide(refused.order_id, "payment.cancel", Retry())
    rig.repair()
    await batch.result()


async def test_an_order_that_is_terminated_before_its_decision_is_told_as_closed(rig: Rig) -> None:
    placed = an_order()
    rig.down("inventory.reserve", placed.transaction_id)
    asking = asyncio.create_task(Orders(rig.client).place(placed, Mode.SAGA, Until.CONFIRMED))
    handle = rig.client.get_workflow_handle(placed.transaction_id)
    await eventually_async(lambda: status_of(rig.client, handle.id), "the order is started")
    await handle.terminate("terminated by a test")
    log = await asking
    rig.repair()
    assert (log.state, log.error and log.error.code) == (State.RUNNING, Code.CLOSED_FROM_OUTSIDE)
