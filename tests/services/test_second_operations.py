"""What acts on what an earlier operation made must ask for the same, in every field; else it is refused and no row is
changed. The operations are those of the catalogue, the changed requests are made from their own fields."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from activities.catalogue import SERVICES
from activities.fence import Refusal
from contracts import inventory, order, payment, shipping
from contracts.errors import Code
from contracts.message import Request
from contracts.shipping import ScheduleShipment, ShipmentRecorded
from saga import Operation

from .bench import Bench, Call, Operations, assert_invariants
from .changes import changed
from .conftest import OpenBench
from .requests import charge, confirmation, creation, purse, reservation, shelf
from .samples import SAMPLES, Sample

_HANDLED = [handler.operation for service in SERVICES.values() for handler in service.handlers]
_ACTING = [operation for operation in _HANDLED if operation.acts_on is not None]
_UNDOS = [operation for operation in _HANDLED if operation.undoes is not None]
_ELSEWHERE = {
    "payment": (Call(payment.set_account, purse(500_000, "bob")),),
    "inventory": (Call(inventory.set_stock, shelf("pear", 500)),),
}
"""What a wrong request would find if it were believed."""

every_acting = pytest.mark.parametrize("acting", _ACTING, ids=lambda operation: operation.name)
every_second = pytest.mark.parametrize("second", [*_ACTING, *_UNDOS], ids=lambda operation: operation.name)


async def _ready(open_bench: OpenBench, second: Operations) -> tuple[Bench, Request]:
    """A bench on which the operation that `second` acts on, or undoes, was done."""
    bench, sample = await open_bench(second.queue), SAMPLES[second.step]
    await bench.accept(*_ELSEWHERE.get(second.queue, ()), *sample.before)
    if second.undoes is not None:
        await bench.accept(Call(second.undoes, sample.request))
    return bench, sample.request


async def _everything(bench: Bench) -> dict[str, list[dict[str, Any]]]:
    return {name: await bench.rows(name) for name in bench.definition.metadata.tables}


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
async def test_a_second_operation_with_any_field_changed_is_refused_and_changes_no_row(
    open_bench: OpenBench, second: Operations
) -> None:
    bench, request = await _ready(open_bench, second)
    before = await _everything(bench)
    others = changed(request)
    assert [path for path, requests in others.items() if not requests] == []
    for path, requests in others.items():
        for other in requests:
            code, _ = await bench.refuse(second, other)
            assert code == Code.IDEMPOTENCY_CONFLICT, path
            assert await _everything(bench) == before, path
    await bench.accept(Call(second, request))
    assert await _everything(bench) != before
    await assert_invariants(bench)


@every_second
async def test_in_a_list_the_changed_requests_are_refused_and_the_right_one_is_done(
    open_bench: OpenBench, second: Operations
) -> None:
    bench, request = await _ready(open_bench, second)
    others = [other for requests in changed(request).values() for other in requests]
    *refused, done = await bench.deliver_all(second, [*others, request])
    assert {answer.code for answer in refused if isinstance(answer, Refusal)} == {Code.IDEMPOTENCY_CONFLICT}
    assert isinstance(done, second.reply)
    assert (await bench.effects(request.transaction_id)).count(second.name) == 1
    await assert_invariants(bench)


@every_acting
async def test_what_is_done_in_one_transaction_is_nothing_to_another(open_bench: OpenBench, acting: Operations) -> None:
    bench, request = await _ready(open_bench, acting)
    before = await _everything(bench)
    other = request.model_copy(update={"transaction_id": "order/o-2"})
    assert (await bench.refuse(acting, other))[0] == Code.NOTHING_TO_ACT_ON
    assert await _everything(bench) == before


@every_acting
async def test_a_refusal_for_another_request_is_not_kept_against_the_right_one(
    open_bench: OpenBench, acting: Operations
) -> None:
    """An operator who corrects a slip at the desk is heard."""
    bench, request = await _ready(open_bench, acting)
    [other, *_] = next(iter(changed(request).values()))
    await bench.refuse(acting, other)
    assert await bench.passage(acting, request) is None
    await bench.accept(Call(acting, request))


def _undo_of(operation: Operations) -> Operations:
    [undo] = [each for each in _UNDOS if each.undoes is operation]
    return undo


@every_acting
async def test_nothing_acts_on_what_was_undone(open_bench: OpenBench, acting: Operations) -> None:
    assert acting.acts_on is not None
    bench, request = await _ready(open_bench, acting)
    first = next(call for call in SAMPLES[acting.name].before if call.operation is acting.acts_on)
    await bench.accept(Call(_undo_of(acting.acts_on), first.request))
    before = await _everything(bench)
    code, words = await bench.refuse(acting, request)
    assert (code, "was undone" in words) == (Code.NOTHING_TO_ACT_ON, True)
    assert await _everything(bench) == before


@every_acting
async def test_nothing_acts_on_what_was_refused(open_bench: OpenBench, acting: Operations) -> None:
    assert acting.acts_on is not None
    bench, sample = await open_bench(acting.queue), _sample(acting.acts_on)
    refused = sample.refused
    await bench.accept(*refused.before)
    await bench.refuse(acting.acts_on, refused.request)
    await bench.accept(*refused.cure)
    before = await _everything(bench)
    request = refused.request if acting.request is acting.acts_on.request else SAMPLES[acting.name].request
    code, words = await bench.refuse(acting, request)
    assert (code, "was refused" in words) == (Code.NOTHING_TO_ACT_ON, True)
    assert await _everything(bench) == before


def _sample(operation: Operations) -> Sample:
    return SAMPLES[operation.step]


async def test_a_capture_for_another_customer_leaves_both_their_accounts_alone(open_bench: OpenBench) -> None:
    bench = await open_bench("payment")
    await bench.accept(
        Call(payment.set_account, purse(10_000, "rich")),
        Call(payment.set_account, purse(5_000, "poor")),
        Call(payment.authorize, charge(10_000, customer_id="rich")),
    )
    code, words = await bench.refuse(payment.capture, charge(10_000, customer_id="poor"))
    assert (code, words) == (
        Code.IDEMPOTENCY_CONFLICT,
        "payment.capture must ask for what payment.authorize did, which came with another request",
    )
    accounts = {row["customer_id"]: (row["balance_minor"], row["held_minor"]) for row in await bench.rows("accounts")}
    assert accounts == {"rich": (10_000, 10_000), "poor": (5_000, 0)}


async def test_a_commit_of_some_of_the_lines_leaves_none_reserved_for_ever(open_bench: OpenBench) -> None:
    bench = await open_bench("inventory")
    await bench.accept(
        Call(inventory.set_stock, shelf("apple", 10)),
        Call(inventory.set_stock, shelf("pear", 10)),
        Call(inventory.reserve, reservation(apple=5, pear=1)),
    )
    for wrong in (reservation(apple=5), reservation(apple=500), reservation(apple=5, pear=2)):
        assert (await bench.refuse(inventory.commit, wrong))[0] == Code.IDEMPOTENCY_CONFLICT
    # The same goods are the same request, in whatever order the lines come.
    await bench.accept(Call(inventory.commit, reservation(pear=1, apple=5)))
    assert [(row["on_hand"], row["reserved"]) for row in await bench.rows("stock")] == [(5, 0), (9, 0)]


async def test_an_order_is_confirmed_under_its_own_id_only(open_bench: OpenBench) -> None:
    """The order of another transaction exists, and is not what this transaction has created."""
    bench = await open_bench("order")
    other = creation(transaction_id="order/o-2", order_id="o-2")
    await bench.accept(Call(order.create, creation()), Call(order.create, other))
    assert (await bench.refuse(order.confirm, confirmation(order_id="o-2")))[0] == Code.IDEMPOTENCY_CONFLICT
    assert {row["state"] for row in await bench.rows("orders")} == {"PENDING"}
    assert await bench.passage(order.confirm, confirmation()) is None


async def test_what_is_done_in_the_same_local_transaction_can_be_acted_on(open_bench: OpenBench) -> None:
    """The first has the database to itself; the two that arrive meanwhile share a local transaction."""
    bench = await open_bench("payment")
    answers = await asyncio.gather(
        bench.deliver(payment.set_account, purse(10_000)),
        bench.deliver(payment.authorize, charge(1_999)),
        bench.deliver(payment.capture, charge(1_999)),
    )
    assert not [answer for answer in answers if isinstance(answer, Refusal)]
    assert (await bench.row("payments"))["state"] == "CAPTURED"
