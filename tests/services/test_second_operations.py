"""An operation that acts on an earlier one must ask for the same in every field; otherwise it is refused and changes no
row. The tests take the operations from the catalogue, and vary each field of their requests."""

import asyncio
from typing import Any

import pytest

from activities.fence import RefusedDecision
from contracts import inventory, order, payment, shipping
from contracts.errors import Code
from contracts.message import Request
from contracts.shipping import ScheduleShipment, ShipmentRecorded
from temporal_saga import Operation

from .conftest import OpenHarness, on_sqlite
from .requests import balance, charge, confirmation, creation, stock_level
from .samples import refusal_of, sample_of
from .service_harness import HANDLED, UNDOS, Call, Operations, ServiceHarness, assert_invariants, each_as
from .variants import variants_of

_ACTING = [operation for operation in HANDLED if operation.acts_on is not None]
_ELSEWHERE = {
    "payment": (Call(payment.set_account, balance(500_000, "bob")),),
    "inventory": (Call(inventory.set_stock, stock_level("pear", 500)),),
}
"""Calls that prepare what a wrong request would change if it were accepted."""

every_acting, every_second = each_as("acting", _ACTING), each_as("second", [*_ACTING, *UNDOS])


async def _ready(open_harness: OpenHarness, second: Operations) -> tuple[ServiceHarness, Request]:
    """A harness on which the operation that `second` acts on, or undoes, is done."""
    harness, sample = await open_harness(second.queue), sample_of(second)
    await harness.accept(*_ELSEWHERE.get(second.queue, ()), *sample.before)
    if second.undoes is not None:
        await harness.accept(Call(second.undoes, sample.request))
    return harness, sample.request


async def _everything(harness: ServiceHarness) -> dict[str, list[dict[str, Any]]]:
    return {name: await harness.rows(name) for name in harness.definition.metadata.tables}


def test_the_operations_that_act_on_an_earlier_one_are_declared() -> None:
    declared = {operation.name: operation.acts_on.name for operation in _ACTING if operation.acts_on}
    assert declared == {
        "order.confirm": "order.create",
        "payment.capture": "payment.authorize",
        "inventory.commit": "inventory.reserve",
        "shipping.dispatch": "shipping.schedule",
    }


@every_acting
def test_a_request_of_another_type_holds_nothing_but_what_was_answered(acting: Operations) -> None:
    first = acting.acts_on
    assert first is not None
    assert acting.request is first.request or acting.request.model_fields.keys() - {"transaction_id"} <= (
        first.reply.model_fields.keys()
    )


def test_no_operation_acts_on_another_service_s() -> None:
    with pytest.raises(TypeError, match=r"payment\.ship cannot act on shipping\.schedule"):
        Operation("payment.ship", ScheduleShipment, ShipmentRecorded, queue="payment", acts_on=shipping.schedule)


@every_second
@on_sqlite
async def test_a_second_operation_with_any_field_changed_is_refused_and_changes_no_row(
    open_harness: OpenHarness, second: Operations
) -> None:
    harness, request = await _ready(open_harness, second)
    before = await _everything(harness)
    others = variants_of(request)
    assert [path for path, requests in others.items() if not requests] == []
    for path, requests in others.items():
        for other in requests:
            code, _ = await harness.refuse(second, other)
            assert code == Code.IDEMPOTENCY_CONFLICT, path
            assert await _everything(harness) == before, path
    await harness.accept(Call(second, request))
    assert await _everything(harness) != before
    await assert_invariants(harness)


@every_second
@on_sqlite
async def test_in_a_batch_the_changed_requests_are_refused_and_the_right_one_is_done(
    open_harness: OpenHarness, second: Operations
) -> None:
    harness, request = await _ready(open_harness, second)
    others = [other for requests in variants_of(request).values() for other in requests]
    *refused, done = await harness.deliver_all(second, [*others, request])
    assert {answer.code for answer in refused if isinstance(answer, RefusedDecision)} == {Code.IDEMPOTENCY_CONFLICT}
    assert isinstance(done, second.reply)
    assert (await harness.effects(request.transaction_id)).count(second.name) == 1
    await assert_invariants(harness)


@every_acting
async def test_what_is_done_in_one_transaction_is_nothing_to_another(
    open_harness: OpenHarness, acting: Operations
) -> None:
    harness, request = await _ready(open_harness, acting)
    before = await _everything(harness)
    other = request.model_copy(update={"transaction_id": "order/o-2"})
    assert (await harness.refuse(acting, other))[0] == Code.NOTHING_TO_ACT_ON
    assert await _everything(harness) == before


@every_acting
async def test_a_refusal_for_another_request_is_not_kept_against_the_right_one(
    open_harness: OpenHarness, acting: Operations
) -> None:
    """An operator can correct a wrong input at the desk."""
    harness, request = await _ready(open_harness, acting)
    [other, *_] = next(iter(variants_of(request).values()))
    await harness.refuse(acting, other)
    assert await harness.recorded_state(acting, request) is None
    await harness.accept(Call(acting, request))


def _undo_of(operation: Operations) -> Operations:
    [undo] = [each for each in UNDOS if each.undoes is operation]
    return undo


@every_acting
async def test_nothing_acts_on_what_was_undone(open_harness: OpenHarness, acting: Operations) -> None:
    assert acting.acts_on is not None
    harness, request = await _ready(open_harness, acting)
    first = next(call for call in sample_of(acting).before if call.operation is acting.acts_on)
    await harness.accept(Call(_undo_of(acting.acts_on), first.request))
    before = await _everything(harness)
    code, words = await harness.refuse(acting, request)
    assert (code, "was undone" in words) == (Code.NOTHING_TO_ACT_ON, True)
    assert await _everything(harness) == before


@every_acting
async def test_nothing_acts_on_what_was_refused(open_harness: OpenHarness, acting: Operations) -> None:
    assert acting.acts_on is not None
    if sample_of(acting.acts_on).refused is None:
        pytest.skip(f"{acting.acts_on.name} never refuses")
    harness, refused = await open_harness(acting.queue), refusal_of(acting.acts_on)
    await harness.accept(*refused.before)
    await harness.refuse(acting.acts_on, refused.request)
    await harness.accept(*refused.remedy)
    before = await _everything(harness)
    request = refused.request if acting.request is acting.acts_on.request else sample_of(acting).request
    code, words = await harness.refuse(acting, request)
    assert (code, "was refused" in words) == (Code.NOTHING_TO_ACT_ON, True)
    assert await _everything(harness) == before


async def test_a_capture_for_another_customer_leaves_both_their_accounts_alone(open_harness: OpenHarness) -> None:
    harness = await open_harness("payment")
    await harness.accept(
        Call(payment.set_account, balance(10_000, "rich")),
        Call(payment.set_account, balance(5_000, "poor")),
        Call(payment.authorize, charge(10_000, customer_id="rich")),
    )
    code, words = await harness.refuse(payment.capture, charge(10_000, customer_id="poor"))
    assert (code, words) == (
        Code.IDEMPOTENCY_CONFLICT,
        "payment.capture must ask for what payment.authorize did, which came with another request",
    )
    accounts = {row["customer_id"]: (row["balance_minor"], row["held_minor"]) for row in await harness.rows("accounts")}
    assert accounts == {"rich": (10_000, 10_000), "poor": (5_000, 0)}


async def test_an_order_is_confirmed_under_its_own_id_only(open_harness: OpenHarness) -> None:
    """The other order exists, but another transaction has created it."""
    harness = await open_harness("order")
    other = creation(transaction_id="order/o-2", order_id="o-2")
    await harness.accept(Call(order.create, creation()), Call(order.create, other))
    assert (await harness.refuse(order.confirm, confirmation(order_id="o-2")))[0] == Code.IDEMPOTENCY_CONFLICT
    assert {row["state"] for row in await harness.rows("orders")} == {"PENDING"}
    assert await harness.recorded_state(order.confirm, confirmation()) is None


async def test_what_is_done_in_the_same_local_transaction_can_be_acted_on(open_harness: OpenHarness) -> None:
    """The first call has its own local transaction; the two that arrive meanwhile share the next one."""
    harness = await open_harness("payment")
    answers = await asyncio.gather(
        harness.deliver(payment.set_account, balance(10_000)),
        harness.deliver(payment.authorize, charge(1_999)),
        harness.deliver(payment.capture, charge(1_999)),
    )
    assert not [answer for answer in answers if isinstance(answer, RefusedDecision)]
    assert (await harness.row("payments"))["state"] == "CAPTURED"
