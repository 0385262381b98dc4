"""What a first execution holds, undid or decided, the second one brings to the same end.

Real workflows over real services; the end is read from the services.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio.client import WorkflowUpdateFailedError

from contracts.errors import Code
from saga import State, Status

from .place import CUSTOMER, NOWHERE, PRICE_MINOR, SKU, Document, Handle, Place, a_step, a_transaction, an_order

pytestmark = [pytest.mark.xdist_group("reruns"), pytest.mark.asyncio(loop_scope="module")]

Again = Callable[[Place, Handle, str, list[Any]], Awaitable[Handle]]
CHARGE = {"customer_id": CUSTOMER, "amount_minor": PRICE_MINOR, "currency": "EUR"}
LINES = {"lines": [{"sku": SKU, "quantity": 1}]}
RESUMED = (True,)
"""Of a transaction's arguments, the second."""
HOME = {"ship_to": NOWHERE | {"country": "DE"}}


async def by_reset(place: Place, handle: Handle, _workflow: str, _args: list[Any]) -> Handle:
    return await place.reset(handle)


async def by_second_start(place: Place, handle: Handle, workflow: str, args: list[Any]) -> Handle:
    await handle.terminate("a slip of the hand")
    return await place.start(workflow, handle.id, *args)


both_ways = pytest.mark.parametrize("again", [by_reset, by_second_start])


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _nothing_left(place: Place) -> Any:
    """No test leaves a fault, or money on hold."""
    yield
    assert place.faults == []
    assert (await place.balance())[1] == 0


@both_ways
async def test_an_order_that_another_execution_unwinds_ends_when_every_undo_is_done(place: Place, again: Again) -> None:
    placed = an_order(ship_to=NOWHERE)
    tx = f"order/{placed['order_id']}"
    place.refuse("payment.cancel", tx)
    first = await place.start("OrderWorkflow", tx, placed)
    await place.until_parked(first, "payment.cancel")
    assert await place.held(tx) == {"payment"}

    second = await again(place, first, "OrderWorkflow", [placed])
    log = await place.until_parked(second, "payment.cancel")
    assert (log.state, log.error and log.error.code) == (State.PARKED, Code.STEP_UNDONE)
    place.repair()
    log = await place.end(second)
    assert log.state is State.ROLLED_BACK
    assert await place.held(tx) == set()
    assert log.steps[-1].step == "notification.send_cancellation", "the customer is told in any case"


@both_ways
async def test_a_transaction_that_another_execution_unwinds_ends_when_every_undo_is_done(
    place: Place, again: Again
) -> None:
    document = a_transaction(
        a_step("inventory.reserve", "inventory.release", **LINES),
        a_step("payment.authorize", "payment.cancel", **CHARGE),
        a_step("shipping.schedule", "shipping.cancel", ship_to=NOWHERE),
    )
    tx = document["transaction_id"]
    place.refuse("payment.cancel", tx)
    first = await place.start("TransactionWorkflow", f"transaction/{tx}", document)
    await place.until_parked(first, "payment.cancel")
    assert await place.held(tx) == {"payment"}

    second = await again(place, first, "TransactionWorkflow", [document])
    log = await place.until_parked(second, "payment.cancel")
    assert (log.state, log.error and log.error.code) == (State.PARKED, Code.STEP_UNDONE)
    place.repair()
    assert (await place.end(second)).state is State.ROLLED_BACK
    assert await place.held(tx) == set()


@both_ways
async def test_a_batch_hands_over_what_another_execution_unwinds(place: Place, again: Again) -> None:
    placed = an_order(ship_to=NOWHERE)
    tx = f"order/{placed['order_id']}"
    place.refuse("payment.cancel", tx)
    place.refuse("payment.cancel.batch", tx)
    batch = await place.start("BatchWorkflow", f"batch/{uuid4()}", [placed])
    await batch.result()
    detached = place.client.get_workflow_handle(tx)
    await place.until_parked(detached, "payment.cancel")
    await detached.terminate("a slip of the hand")

    if again is by_reset:
        batch = await place.reset(batch)
    else:
        batch = await place.start("BatchWorkflow", batch.id, [placed])
    outcome = await batch.result()
    assert [way["state"] for way in outcome["groups"]] == [State.COMPENSATING], "handed over, not at its end"
    await place.until_parked(detached, "payment.cancel")
    place.repair()
    assert (await place.end(detached)).state is State.ROLLED_BACK
    assert await place.held(tx) == set()


async def test_a_confirmed_order_that_is_reset_while_a_service_is_down_stays_confirmed(place: Place) -> None:
    placed = an_order()
    tx = f"order/{placed['order_id']}"
    before = (await place.balance())[0]
    first = await place.start("OrderWorkflow", tx, placed)
    assert (await place.end(first)).state is State.CONFIRMED
    place.down("payment.authorize", tx)
    log = await place.end(await place.reset(first))
    place.repair()
    assert next(entry for entry in log.steps if entry.step == "payment.authorize").status is Status.UNKNOWN
    assert log.state is State.CONFIRMED
    assert (await place.balance())[0] == before - PRICE_MINOR
    assert await place.held(tx) == set()


async def test_an_order_that_is_reset_undoes_what_its_first_run_did_beyond_it(place: Place) -> None:
    placed = an_order()
    tx = f"order/{placed['order_id']}"
    place.down("order.confirm", tx)
    first = await place.start("OrderWorkflow", tx, placed)
    await place.until_parked(first, "order.confirm")
    place.repair()
    place.down("payment.authorize", tx)
    second = await place.reset(first)
    log = await place.end(second)
    place.repair()
    assert (await place.replayed(second)).state is State.ROLLED_BACK
    assert (log.state, log.error and log.error.code) == (State.ROLLED_BACK, Code.SERVICE_UNAVAILABLE)
    assert "shipping.schedule" not in {entry.step for entry in log.steps}
    assert await place.held(tx) == set()


@pytest.mark.parametrize("to_task", [0, 1, None], ids=["reset", "reset to a later task", "terminated and resumed"])
async def test_a_decided_transaction_that_is_run_again_while_a_service_is_down_is_not_rolled_back(
    place: Place, to_task: int | None
) -> None:
    document, tx = _decided()
    place.refuse("inventory.commit", tx)
    first = await place.start("TransactionWorkflow", f"transaction/{tx}", document)
    await place.until_parked(first, "inventory.commit")
    assert await place.held(tx) == {"inventory"}
    place.down("shipping.schedule", tx)
    if to_task is None:
        await first.terminate("a slip of the hand")
        second = await place.start("TransactionWorkflow", first.id, document, *RESUMED)
    else:
        second = await place.reset(first, to_task=to_task)

    log = await place.until_parked(second, "shipping.schedule")
    assert log.state is State.PARKED
    await second.cancel()
    skip = {"actor": "ann", "reason": "enough of it"}
    with pytest.raises(WorkflowUpdateFailedError):
        await second.execute_update("desk_skip", args=["shipping.schedule", skip])
    assert await place.held(tx) == {"inventory"}, "nothing is released, and no parcel recalled"
    place.repair()
    assert (await place.end(second)).state is State.CONFIRMED
    assert await place.held(tx) == set()
    assert (await place.replayed(second)).state is State.CONFIRMED


def _decided() -> tuple[Document, str]:
    document = a_transaction(
        a_step("inventory.reserve", "inventory.release", **LINES),
        a_step("shipping.schedule", "shipping.cancel", **HOME),
        a_step("shipping.dispatch", None, **HOME),
        a_step("inventory.commit", None, **LINES),
    )
    return document, document["transaction_id"]
