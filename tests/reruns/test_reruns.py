"""A second execution brings to the same end what a first execution holds, has undone or has decided.

Workflows and services are the product's; the tests read the end from the services.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio.client import WorkflowUpdateFailedError

from contracts.errors import Code
from temporal_saga import State, Status

from .harness import CUSTOMER, PRICE_MINOR, SKU, UNREACHABLE, Document, Handle, Harness, a_step, a_transaction, an_order

pytestmark = [pytest.mark.xdist_group("reruns"), pytest.mark.asyncio(loop_scope="module")]

Again = Callable[[Harness, Handle, str, list[Any]], Awaitable[Handle]]
CHARGE = {"customer_id": CUSTOMER, "amount_minor": PRICE_MINOR, "currency": "EUR"}
LINES = {"lines": [{"sku": SKU, "quantity": 1}]}
RESUMED = (True,)
"""The second argument of `TransactionWorkflow`."""
HOME = {"ship_to": UNREACHABLE | {"country": "DE"}}


async def by_reset(harness: Harness, handle: Handle, _workflow: str, _args: list[Any]) -> Handle:
    return await harness.reset(handle)


async def by_second_start(harness: Harness, handle: Handle, workflow: str, args: list[Any]) -> Handle:
    await handle.terminate("terminated by a test")
    return await harness.start(workflow, handle.id, *args)


every_rerun = pytest.mark.parametrize("again", [by_reset, by_second_start])


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _nothing_left(harness: Harness) -> Any:
    """Every test removes its faults, and leaves no money held."""
    yield
    assert harness.faults == []
    assert (await harness.balance())[1] == 0


@every_rerun
async def test_an_order_that_another_execution_unwinds_ends_when_every_undo_is_done(
    harness: Harness, again: Again
) -> None:
    placed = an_order(ship_to=UNREACHABLE)
    tx = f"order/{placed['order_id']}"
    harness.refuse("payment.cancel", tx)
    first = await harness.start("OrderWorkflow", tx, placed)
    await harness.until_parked(first, "payment.cancel")
    assert await harness.held(tx) == {"payment"}

    second = await again(harness, first, "OrderWorkflow", [placed])
    log = await harness.until_parked(second, "payment.cancel")
    assert (log.state, log.error and log.error.code) == (State.PARKED, Code.STEP_UNDONE)
    harness.repair()
    log = await harness.end(second)
    assert log.state is State.ROLLED_BACK
    assert await harness.held(tx) == set()
    assert log.steps[-1].step == "notification.send_cancellation", "the customer is notified in any case"


@every_rerun
async def test_a_transaction_that_another_execution_unwinds_ends_when_every_undo_is_done(
    harness: Harness, again: Again
) -> None:
    document = a_transaction(
        a_step("inventory.reserve", "inventory.release", **LINES),
        a_step("payment.authorize", "payment.cancel", **CHARGE),
        a_step("shipping.schedule", "shipping.cancel", ship_to=UNREACHABLE),
    )
    tx = document["transaction_id"]
    harness.refuse("payment.cancel", tx)
    first = await harness.start("TransactionWorkflow", f"transaction/{tx}", document)
    await harness.until_parked(first, "payment.cancel")
    assert await harness.held(tx) == {"payment"}

    second = await again(harness, first, "TransactionWorkflow", [document])
    log = await harness.until_parked(second, "payment.cancel")
    assert (log.state, log.error and log.error.code) == (State.PARKED, Code.STEP_UNDONE)
    harness.repair()
    assert (await harness.end(second)).state is State.ROLLED_BACK
    assert await harness.held(tx) == set()


@every_rerun
async def test_a_batch_detaches_an_order_that_another_execution_unwinds(harness: Harness, again: Again) -> None:
    placed = an_order(ship_to=UNREACHABLE)
    tx = f"order/{placed['order_id']}"
    harness.refuse("payment.cancel", tx)
    harness.refuse("payment.cancel.batch", tx)
    batch = await harness.start("BatchWorkflow", f"batch/{uuid4()}", [placed])
    await batch.result()
    detached = harness.client.get_workflow_handle(tx)
    await harness.until_parked(detached, "payment.cancel")
    await detached.terminate("terminated by a test")

    if again is by_reset:
        batch = await harness.reset(batch)
    else:
        batch = await harness.start("BatchWorkflow", batch.id, [placed])
    outcome = await batch.result()
    assert [group["state"] for group in outcome["groups"]] == [State.COMPENSATING], "detached, not at its end"
    await harness.until_parked(detached, "payment.cancel")
    harness.repair()
    assert (await harness.end(detached)).state is State.ROLLED_BACK
    assert await harness.held(tx) == set()


async def test_a_confirmed_order_that_is_reset_while_a_service_is_down_stays_confirmed(harness: Harness) -> None:
    placed = an_order()
    tx = f"order/{placed['order_id']}"
    before = (await harness.balance())[0]
    first = await harness.start("OrderWorkflow", tx, placed)
    assert (await harness.end(first)).state is State.CONFIRMED
    harness.down("payment.authorize", tx)
    log = await harness.end(await harness.reset(first))
    harness.repair()
    assert next(entry for entry in log.steps if entry.step == "payment.authorize").status is Status.UNKNOWN
    assert log.state is State.CONFIRMED
    assert (await harness.balance())[0] == before - PRICE_MINOR
    assert await harness.held(tx) == set()


async def test_an_order_that_is_reset_undoes_what_its_first_run_did_later(harness: Harness) -> None:
    placed = an_order()
    tx = f"order/{placed['order_id']}"
    harness.down("order.confirm", tx)
    first = await harness.start("OrderWorkflow", tx, placed)
    await harness.until_parked(first, "order.confirm")
    harness.repair()
    harness.down("order.create", tx)
    second = await harness.reset(first)
    log = await harness.end(second)
    harness.repair()
    assert (await harness.replayed(second)).state is State.ROLLED_BACK
    assert (log.state, log.error and log.error.code) == (State.ROLLED_BACK, Code.SERVICE_UNAVAILABLE)
    assert "shipping.schedule" not in {entry.step for entry in log.steps}
    assert await harness.held(tx) == set()


@pytest.mark.parametrize("to_task", [0, 1, None], ids=["reset", "reset to a later task", "terminated and resumed"])
async def test_a_decided_transaction_that_is_run_again_while_a_service_is_down_is_not_rolled_back(
    harness: Harness, to_task: int | None
) -> None:
    document, tx = _decided()
    harness.refuse("inventory.commit", tx)
    first = await harness.start("TransactionWorkflow", f"transaction/{tx}", document)
    await harness.until_parked(first, "inventory.commit")
    assert await harness.held(tx) == {"inventory"}
    harness.down("shipping.schedule", tx)
    if to_task is None:
        await first.terminate("terminated by a test")
        second = await harness.start("TransactionWorkflow", first.id, document, *RESUMED)
    else:
        second = await harness.reset(first, to_task=to_task)

    log = await harness.until_parked(second, "shipping.schedule")
    assert log.state is State.PARKED
    await second.cancel()
    skip = {"actor": "ann", "reason": "enough of it"}
    with pytest.raises(WorkflowUpdateFailedError):
        await second.execute_update("desk_skip", args=["shipping.schedule", skip])
    assert await harness.held(tx) == {"inventory"}, "neither the stock nor the shipment is given back"
    harness.repair()
    assert (await harness.end(second)).state is State.CONFIRMED
    assert await harness.held(tx) == set()
    assert (await harness.replayed(second)).state is State.CONFIRMED


def _decided() -> tuple[Document, str]:
    document = a_transaction(
        a_step("inventory.reserve", "inventory.release", **LINES),
        a_step("shipping.schedule", "shipping.cancel", **HOME),
        a_step("shipping.dispatch", None, **HOME),
        a_step("inventory.commit", None, **LINES),
    )
    return document, document["transaction_id"]
