"""A batch of one operation: each request has its own outcome; all share one transaction and a fixed number of reads."""

import pytest

from activities.fence import RefusedDecision
from contracts import inventory, payment
from contracts.errors import Code
from contracts.message import Reply
from temporal_saga.fence.rules import OperationState

from .conftest import OpenHarness
from .requests import balance, charge, reservation, stock_level
from .service_harness import Call, assert_invariants, watched


def _code(answer: Reply | RefusedDecision) -> str:
    return answer.code if isinstance(answer, RefusedDecision) else "DONE"


async def test_three_hundred_requests_of_a_batch_get_an_outcome_each(open_harness: OpenHarness) -> None:
    harness = await open_harness("inventory")
    await harness.accept(
        Call(inventory.set_stock, stock_level("apple", 150)), Call(inventory.set_stock, stock_level("pear", 1000))
    )
    requests = [
        reservation(f"order/{n}", plum=1) if n % 30 == 7 else reservation(f"order/{n}", apple=1, pear=2)
        for n in range(280)
    ]
    duplicates = [*requests[:10], reservation("order/0", apple=9), requests[7], *requests[-8:]]
    answers = await harness.deliver_all(inventory.reserve, [*requests, *duplicates])
    codes = [_code(answer) for answer in answers]
    assert len(codes) == 300
    assert codes.count(Code.UNKNOWN_SKU) == 10 + 3  # ten, and three of them once more
    served = [n for n in range(280) if n % 30 != 7][:150]
    assert [n for n in range(280) if codes[n] == "DONE"] == served
    assert all(codes[n] == Code.OUT_OF_STOCK for n in range(served[-1] + 1, 280) if n % 30 != 7)
    assert answers[280] == answers[0]
    assert codes[290] == Code.IDEMPOTENCY_CONFLICT
    assert codes[-8:] == codes[272:280]
    assert [(row["on_hand"], row["reserved"]) for row in await harness.rows("stock")] == [(150, 150), (1000, 300)]
    states = [row["state"] for row in await harness.rows("operations") if row["step"] == "inventory.reserve"]
    assert (states.count(OperationState.DONE), states.count(OperationState.REFUSED)) == (150, 130)
    assert await harness.effects("order/0") == ["inventory.reserve"]
    await assert_invariants(harness)


@pytest.mark.parametrize("length", [1, 300])
async def test_a_batch_of_any_length_is_read_in_three_queries_and_committed_once(
    open_harness: OpenHarness, length: int
) -> None:
    harness = await open_harness("inventory")
    await harness.accept(
        Call(inventory.set_stock, stock_level("apple", 1000)), Call(inventory.set_stock, stock_level("pear", 1000))
    )
    requests = [reservation(f"order/{n}", apple=1, pear=1) for n in range(length)]
    with watched(harness) as seen:
        await harness.deliver_all(inventory.reserve, requests)
    assert seen.count("SELECT") == 3  # one for each table: operations, stock, reservations
    assert seen.count("COMMIT") == 1
    assert seen.count("INSERT") <= 8  # one for each table, which SQLAlchemy cuts into pages


async def test_a_batch_of_duplicates_writes_nothing(open_harness: OpenHarness) -> None:
    harness = await open_harness("payment")
    await harness.accept(Call(payment.set_account, balance(10_000)))
    requests = [charge(10, f"order/{n}") for n in range(100)]
    first = await harness.deliver_all(payment.authorize, requests)
    with watched(harness) as seen:
        assert await harness.deliver_all(payment.authorize, requests) == first
    assert "INSERT" not in seen
    assert len(await harness.rows("effects")) == 101


async def test_a_batch_of_more_rows_than_a_query_has_parameters_is_read_at_once(open_harness: OpenHarness) -> None:
    harness = await open_harness("inventory")
    skus = [f"sku-{n}" for n in range(100)]
    await harness.deliver_all(inventory.set_stock, [stock_level(sku, 1000) for sku in skus])
    # The first line of each is refused, so that the test is about reading 33,000 keys.
    lines = dict.fromkeys(["plum", *skus[1:]], 1)
    requests = [reservation(f"order/{n}", **lines) for n in range(330)]
    with watched(harness) as seen:
        answers = await harness.deliver_all(inventory.reserve, requests)
    assert {_code(answer) for answer in answers} == {Code.UNKNOWN_SKU}
    assert seen.count("SELECT") == 3
