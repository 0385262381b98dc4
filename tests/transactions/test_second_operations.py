"""A transaction whose second step has another request than the first, on which it acts: the accounts stay right.

Any client can start such a workflow, and an operator can make the same mistake at the desk. The payment service is the
product's, on a database of its own.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHandle
from temporalio.worker import Worker

from activities.schema import migrate
from contracts import payment
from contracts.errors import Code
from temporal_saga import CallKind, Fix, State, Status
from tests.services.requests import balance
from tests.services.service_harness import Call, ServiceHarness, assert_money_adds_up

from .harness import Harness, step


@pytest.fixture
def harness(realtime: Harness) -> Harness:
    """On a real server: nothing here takes time, and the one that skips time may lose a task of an update."""
    return realtime


@pytest.fixture
async def payments(harness: Harness, tmp_path: Path) -> AsyncIterator[ServiceHarness]:
    """`rich` and `poor` have an account each."""
    bench = ServiceHarness("payment", f"sqlite+aiosqlite:///{tmp_path}/payment.db")
    await migrate(bench.database, "payment")
    await bench.accept(
        Call(payment.set_account, balance(10_000, "rich")), Call(payment.set_account, balance(5_000, "poor"))
    )
    async with Worker(harness.client, task_queue="payment", activities=bench.service.activities()):
        yield bench
    await bench.database.dispose()


async def _accounts(payments: ServiceHarness) -> dict[str, tuple[int, int]]:
    """Balance and held, by customer."""
    await assert_money_adds_up(payments)
    return {row["customer_id"]: (row["balance_minor"], row["held_minor"]) for row in await payments.rows("accounts")}


def _charge(name: str, **changes: Any) -> dict[str, Any]:
    return {"order_id": name, "customer_id": "rich", "amount_minor": 1_000, "currency": "EUR"} | changes


def _authorize(name: str) -> dict[str, Any]:
    return {"name": "hold", "commit": "payment.authorize", "rollback": "payment.cancel", "input": _charge(name)}


@pytest.mark.parametrize("slip", [{"customer_id": "poor"}, {"amount_minor": 1}, {"order_id": "another"}])
async def test_a_capture_that_differs_from_its_authorization_rolls_the_transaction_back(
    harness: Harness, payments: ServiceHarness, slip: dict[str, Any]
) -> None:
    take = {"name": "take", "commit": "payment.capture", "rollback": "payment.refund"}
    name = f"t-slip-{next(iter(slip)).replace('_', '-')}"
    document = {"transaction_id": name, "steps": [_authorize(name), take | {"input": _charge(name, **slip)}]}
    log = await harness.run(document)
    assert log.state is State.ROLLED_BACK
    assert log.error is not None
    assert (log.error.code, log.error.step) == (Code.IDEMPOTENCY_CONFLICT, "payment.capture")
    assert [entry.step for entry in log.steps if entry.kind is CallKind.UNDO] == ["payment.cancel"]
    assert await _accounts(payments) == {"rich": (10_000, 0), "poor": (5_000, 0)}


async def _fix(handle: WorkflowHandle[Any, Any], request: dict[str, Any]) -> None:
    await handle.execute_update("desk_fix", args=["payment.capture", Fix(actor="ann", request=request)])


async def test_a_mistake_at_the_desk_is_refused_and_the_right_input_is_still_accepted(
    harness: Harness, payments: ServiceHarness
) -> None:
    name = "t-desk-slip"
    take = {"name": "take", "commit": "payment.capture", "input": _charge(name, customer_id="poor")}
    document = {"transaction_id": name, "steps": [_authorize(name), step("decide", "print_receipt", None), take]}
    handle = await harness.start(document)
    await harness.until_parked(handle, "payment.capture")
    await _fix(handle, _charge(name, amount_minor=1) | {"transaction_id": name})
    [parked] = await harness.until_parked(handle, "payment.capture", attempts=2)
    assert parked.error.code == Code.IDEMPOTENCY_CONFLICT
    assert await _accounts(payments) == {"rich": (10_000, 1_000), "poor": (5_000, 0)}

    await _fix(handle, _charge(name) | {"transaction_id": name})
    log = await harness.end(handle)
    assert (log.state, log.steps[-1].status) == (State.CONFIRMED, Status.DONE)
    assert await _accounts(payments) == {"rich": (9_000, 0), "poor": (5_000, 0)}
