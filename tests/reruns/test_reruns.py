"""A second execution brings to the same end what a first execution holds, has undone or has decided.

Workflows and services are the product's; the tests read the end from the services.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import WorkflowUpdateFailedError

from client.engines.engine import is_duplicate_of_other
from client.orders import Mode, Orders
from contracts import notification, order, payment
from contracts.errors import Code
from contracts.order import OrderOptions
from runtime.execute import execute
from runtime.faults import Fault, FaultKind
from temporal_saga import State, Status
from workflows.order import Requests

from ..rig import UNREACHABLE, Handle, Rig, an_order, name

pytestmark = pytest.mark.asyncio(loop_scope="session")

Document = dict[str, Any]
Again = Callable[[Rig, Handle, str, list[Any]], Awaitable[Handle]]
CUSTOMER = "c-2"
"""Other tests hold money of the other customer."""
PRICE_MINOR = 1000
CHARGE = {"customer_id": CUSTOMER, "amount_minor": PRICE_MINOR, "currency": "EUR"}
LINES = {"lines": [{"sku": "BOOK-1", "quantity": 1}]}
RESUMED = (True,)
"""The second argument of `TransactionWorkflow`."""
HOME = {"ship_to": UNREACHABLE | {"country": "DE"}}


def a_transaction(*steps: Document) -> Document:
    return {"transaction_id": name("t"), "steps": list(steps)}


def a_step(commit: str, rollback: str | None, **inputs: Any) -> Document:
    undo = {} if rollback is None else {"rollback": rollback}
    return {"name": commit.replace(".", "-"), "commit": commit, "input": {"order_id": "o"} | inputs} | undo


async def by_reset(rig: Rig, handle: Handle, _workflow: str, _args: list[Any]) -> Handle:
    return await rig.reset(handle)


async def by_second_start(rig: Rig, handle: Handle, workflow: str, args: list[Any]) -> Handle:
    await handle.terminate("terminated by a test")
    return await rig.start(workflow, handle.id, *args)


every_rerun = pytest.mark.parametrize("again", [by_reset, by_second_start])


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def _nothing_left(rig: Rig) -> Any:
    """Every test removes its faults, and leaves no money held."""
    yield
    assert rig.faults == []
    assert rig.balance(CUSTOMER)[1] == 0


@every_rerun
async def test_an_order_that_another_execution_unwinds_ends_when_every_undo_is_done(rig: Rig, again: Again) -> None:
    placed = an_order(customer_id=CUSTOMER, ship_to=UNREACHABLE)
    tx = placed.transaction_id
    rig.refuse("payment.cancel", tx)
    first = await rig.start("OrderWorkflow", tx, placed)
    await rig.until_parked(first, "payment.cancel")
    assert await rig.held(tx) == {"payment"}

    second = await again(rig, first, "OrderWorkflow", [placed])
    log = await rig.until_parked(second, "payment.cancel")
    assert (log.state, log.error and log.error.code) == (State.PARKED, Code.STEP_UNDONE)
    rig.repair()
    log = await rig.end(second)
    assert log.state is State.ROLLED_BACK
    assert await rig.held(tx) == set()
    assert log.steps[-1].step == "notification.send_cancellation", "the customer is notified in any case"


async def test_a_transaction_that_another_execution_unwinds_ends_when_every_undo_is_done(rig: Rig) -> None:
    document = a_transaction(
        a_step("inventory.reserve", "inventory.release", **LINES),
        a_step("payment.authorize", "payment.cancel", **CHARGE),
        a_step("shipping.schedule", "shipping.cancel", ship_to=UNREACHABLE),
    )
    tx = document["transaction_id"]
    rig.refuse("payment.cancel", tx)
    first = await rig.start("TransactionWorkflow", f"transaction/{tx}", document)
    await rig.until_parked(first, "payment.cancel")
    assert await rig.held(tx) == {"payment"}

    second = await by_second_start(rig, first, "TransactionWorkflow", [document])
    log = await rig.until_parked(second, "payment.cancel")
    assert (log.state, log.error and log.error.code) == (State.PARKED, Code.STEP_UNDONE)
    rig.repair()
    assert (await rig.end(second)).state is State.ROLLED_BACK
    assert await rig.held(tx) == set()


async def test_a_batch_detaches_an_order_that_another_execution_unwinds(rig: Rig) -> None:
    placed = an_order(customer_id=CUSTOMER, ship_to=UNREACHABLE)
    tx = placed.transaction_id
    rig.refuse("payment.cancel", tx)
    rig.refuse("payment.cancel.batch", tx)
    batch = await rig.batch(placed)
    detached = rig.client.get_workflow_handle(tx)
    await rig.until_parked(detached, "payment.cancel")
    await detached.terminate("terminated by a test")

    outcome = await (await rig.reset(batch)).result()
    assert [group["state"] for group in outcome["groups"]] == [State.COMPENSATING], "detached, not at its end"
    await rig.until_parked(detached, "payment.cancel")
    rig.repair()
    assert (await rig.end(detached)).state is State.ROLLED_BACK
    assert await rig.held(tx) == set()


async def test_a_confirmed_order_that_is_reset_while_a_service_is_down_stays_confirmed(rig: Rig) -> None:
    placed = an_order(customer_id=CUSTOMER)
    tx = placed.transaction_id
    before = rig.balance(CUSTOMER)[0]
    first = await rig.start("OrderWorkflow", tx, placed)
    assert (await rig.end(first)).state is State.CONFIRMED
    rig.down("payment.authorize", tx)
    log = await rig.end(await rig.reset(first))
    rig.repair()
    assert log.state is State.CONFIRMED
    assert next(entry for entry in log.steps if entry.step == "payment.authorize").status is Status.UNKNOWN
    assert rig.balance(CUSTOMER)[0] == before - PRICE_MINOR
    assert await rig.held(tx) == set()
    assert [each for each in (await rig.audited()).violations if each.subject in (tx, placed.order_id)] == []


async def test_an_order_that_is_reset_undoes_what_its_first_run_did_later(rig: Rig) -> None:
    placed = an_order(customer_id=CUSTOMER)
    tx = placed.transaction_id
    rig.down("order.confirm", tx)
    first = await rig.start("OrderWorkflow", tx, placed)
    await rig.until_parked(first, "order.confirm")
    rig.repair()
    rig.down("order.create", tx)
    second = await rig.reset(first)
    log = await rig.end(second)
    rig.repair()
    assert (await rig.log(second)).state is State.ROLLED_BACK
    assert (log.state, log.error and log.error.code) == (State.ROLLED_BACK, Code.SERVICE_UNAVAILABLE)
    assert "shipping.schedule" not in {entry.step for entry in log.steps}
    assert await rig.held(tx) == set()


@pytest.mark.parametrize("step", ["order.create", "payment.authorize"])
@pytest.mark.parametrize("colocated", [False, True], ids=["saga", "colocated"])
@pytest.mark.long
async def test_a_confirmed_order_that_temporal_has_forgotten_and_is_placed_again_stays_confirmed(
    rig: Rig,
    step: str,
    colocated: bool,  # noqa: FBT001 — a case
) -> None:
    """Its first run tells nothing any more; the services do."""
    placed, options = an_order(customer_id=CUSTOMER), OrderOptions(colocated=colocated)
    tx = placed.transaction_id
    before = rig.balance(CUSTOMER)[0]
    assert (await rig.end(await rig.place(placed, options))).state is State.CONFIRMED
    await rig.forget(tx)
    hangs = Fault(operation=step, transaction=tx, kind=FaultKind.HANG)
    rig.faults.append(hangs)
    again = await rig.place(placed, options)
    await rig.until_begun(again, step)
    await again.execute_update("cancel_order", "it was placed twice")
    rig.repair()
    assert (await rig.end(again)).state is State.CONFIRMED
    assert rig.balance(CUSTOMER)[0] == before - PRICE_MINOR, "it is captured, and not refunded"
    assert (await rig.log(again)).state is State.CONFIRMED
    assert [each for each in (await rig.audited()).violations if each.subject in (tx, placed.order_id)] == []


@pytest.mark.parametrize("colocated", [False, True], ids=["saga", "colocated"])
@pytest.mark.long
async def test_an_order_whose_workflow_was_deleted_undoes_what_that_did_when_it_is_placed_again(
    rig: Rig,
    colocated: bool,  # noqa: FBT001 — a case
) -> None:
    placed, options = an_order(customer_id=CUSTOMER), OrderOptions(colocated=colocated)
    tx = placed.transaction_id
    rig.down("order.confirm", tx)
    await rig.until_parked(await rig.place(placed, options), "order.confirm")
    await rig.forget(tx)
    rig.repair()
    rig.down("order.create", tx)
    again = await rig.place(placed, options)
    await rig.until_begun(again, "order.cancel")
    rig.repair()
    log = await rig.end(again)
    assert (log.state, log.error and log.error.code) == (State.ROLLED_BACK, Code.SERVICE_UNAVAILABLE)
    assert await rig.held(tx) == set()


@pytest.mark.parametrize("colocated", [False, True], ids=["saga", "colocated"])
async def test_a_second_placing_that_gets_no_answer_leaves_the_order_of_a_batch_alone(
    rig: Rig,
    colocated: bool,  # noqa: FBT001 — a case
) -> None:
    placed = an_order(customer_id=CUSTOMER)
    tx, batch = placed.transaction_id, f"batch/{name('b')}"
    requests = Requests.of(placed, batch)
    await execute(rig.client, order.create, requests.create)
    await execute(rig.client, payment.authorize, requests.payment)
    await execute(rig.client, notification.send_confirmation, requests.notification)
    rig.faults.append(Fault(operation="order.create", transaction=tx, kind=FaultKind.HANG))
    second = await rig.place(placed, OrderOptions(colocated=colocated))
    await rig.until_begun(second, "order.create")
    await second.execute_update("cancel_order", "it was placed twice")
    rig.repair()
    log = await rig.end(second)
    assert log.error is not None
    assert is_duplicate_of_other(log.error.code, log.error.step), "clients look at the batch instead"
    assert (rig.state("order", tx), rig.state("payment", tx)) == ("PENDING", "AUTHORIZED")
    assert rig.rows("notification", "SELECT operation FROM effects WHERE transaction_id = ?", tx) == [
        (notification.send_confirmation.name,)
    ]
    await (await rig.place(placed, OrderOptions(coordinator=batch))).result()


@pytest.mark.long
async def test_an_order_that_is_placed_again_as_a_choreography_without_an_answer_has_its_first_outcome(
    rig: Rig,
) -> None:
    placed = an_order(customer_id=CUSTOMER)
    assert (await rig.end(await rig.place(placed))).state is State.CONFIRMED
    await rig.forget(placed.transaction_id)
    rig.down("order.create", placed.transaction_id)
    assert (await Orders(rig.client).place(placed, Mode.CHOREOGRAPHY)).state is State.CONFIRMED
    rig.repair()


@pytest.mark.parametrize(
    ("to_task", "silent"),
    [
        (0, "inventory.reserve"),
        (1, "shipping.schedule"),
        pytest.param(None, "inventory.reserve", marks=pytest.mark.long),
        ("forgotten", "shipping.schedule"),
    ],
    ids=["reset", "reset to a later task", "terminated and resumed", "forgotten and placed again"],
)
async def test_a_decided_transaction_that_is_run_again_while_a_service_is_down_is_not_rolled_back(
    rig: Rig, to_task: int | str | None, silent: str
) -> None:
    document, tx = _decided()
    rig.refuse("inventory.commit", tx)
    first = await rig.start("TransactionWorkflow", f"transaction/{tx}", document)
    await rig.until_parked(first, "inventory.commit")
    assert await rig.held(tx) == {"inventory"}
    rig.down(silent, tx)
    if to_task is None:
        await first.terminate("terminated by a test")
        second = await rig.start("TransactionWorkflow", first.id, document, *RESUMED)
    elif isinstance(to_task, str):
        await rig.forget(first.id)
        second = await rig.start("TransactionWorkflow", first.id, document)
    else:
        second = await rig.reset(first, to_task=to_task)

    log = await rig.until_parked(second, silent)
    assert log.state is State.PARKED
    await second.cancel()
    skip = {"actor": "ann", "reason": "enough of it"}
    with pytest.raises(WorkflowUpdateFailedError):
        await second.execute_update("desk_skip", args=[silent, skip])
    assert await rig.held(tx) == {"inventory"}, "neither the stock nor the shipment is given back"
    rig.repair()
    assert (await rig.end(second)).state is State.CONFIRMED
    assert await rig.held(tx) == set()
    assert (await rig.log(second)).state is State.CONFIRMED


async def test_a_reply_that_was_lost_tells_of_no_other_execution(rig: Rig) -> None:
    """A second attempt has the reply of the first. The transaction can still be given up."""
    document, tx = _decided()
    for step in document["steps"]:
        step["timeout_s"] = 2
    lost = Fault(operation="inventory.reserve", transaction=tx, kind=FaultKind.ERROR_AFTER, attempts=1)
    rig.faults.append(lost)
    rig.down("shipping.schedule", tx)
    handle = await rig.start("TransactionWorkflow", f"transaction/{tx}", document)
    log = await rig.until(handle, lambda log: log.state in (State.ROLLED_BACK, State.PARKED))
    rig.repair()
    assert (await rig.end(handle)).state is log.state is State.ROLLED_BACK
    assert log.steps[0].attempts == 2


def _decided() -> tuple[Document, str]:
    document = a_transaction(
        a_step("inventory.reserve", "inventory.release", **LINES),
        a_step("shipping.schedule", "shipping.cancel", **HOME),
        a_step("shipping.dispatch", None, **HOME),
        a_step("inventory.commit", None, **LINES),
    )
    return document, document["transaction_id"]
