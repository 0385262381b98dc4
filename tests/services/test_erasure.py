"""Personal data of a customer is replaced in every table, and the fence still answers what it has answered before."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest
from sqlalchemy import Text, text

from activities.catalogue import SERVICES
from activities.database import reading
from activities.fence import RefusedDecision, UnreadableReply
from audit import invariants
from contracts import notification, order, payment, shipping
from contracts.erasure import (
    ERASE,
    FIND,
    CustomerErased,
    CustomerFound,
    EraseCustomer,
    FindCustomer,
    has_personal_data,
    without_personal_data,
)
from contracts.errors import Code
from contracts.message import Request
from contracts.order import CreateOrder, ReadOrders, RecordDecisions, RecordSkips, SkippedStep, TakenDecision

from .conftest import OpenHarness
from .requests import CUSTOMER, TX, address, balance, charge, confirmation, contact, creation, notice, shipment
from .service_harness import Call, Operations, ServiceHarness

_AT = datetime(2026, 11, 25, 12, tzinfo=UTC)
_PERSONAL = (
    *(address().name, address().street, address().city, str(address().postcode)),
    *(contact().email, contact().phone, "Countess"),
)
_CALLS: dict[str, tuple[Call, ...]] = {
    "order": (Call(order.create, creation()), Call(order.confirm, confirmation())),
    "payment": (
        Call(payment.set_account, balance(100_000)),
        Call(payment.authorize, charge(1999)),
        Call(payment.capture, charge(1999)),
    ),
    "shipping": (Call(shipping.schedule, shipment()), Call(shipping.dispatch, shipment())),
    "notification": (Call(notification.send_confirmation, notice()),),
}
every_service = pytest.mark.parametrize("service", _CALLS)
_NOT_PERSONAL = {
    *("transaction_id", "order_id", "customer_id", "sku", "step", "operation", "coordinator", "tracking_code"),
    *("currency", "country", "actor", "namespace_id", "namespace", "cluster_id", "answer", "reply"),
    *("workflow_id", "update_id", "decision"),
}
"""Columns of text without personal data: ids, names of operations, replies, and who has decided something."""
_ERASED_OTHERWISE = {
    *(("orders", "document"), ("skips", "reason"), ("decisions", "reason")),
    *(("operations", "digest"), ("erasures", "reason")),
}
"""Columns that `erase` of the order service or the digests' rule replaces, and the reason for an erasure itself."""


async def _erase(harness: ServiceHarness, *transactions: str) -> int:
    request = EraseCustomer(
        customer_id=CUSTOMER,
        transaction_ids=transactions or (TX,),
        total=len(transactions or (TX,)),
        actor="ann",
        reason="asked to",
        at=_AT,
    )
    answer = await harness.execute(ERASE[harness.definition.name], request)
    assert isinstance(answer, CustomerErased)
    return answer.rows


async def _content(harness: ServiceHarness) -> str:
    tables = {name: await harness.rows(name) for name in harness.definition.metadata.tables}
    return json.dumps(tables, default=str)


async def _erased(open_harness: OpenHarness, service: str) -> ServiceHarness:
    """A service with an order and a step of it that was skipped, the data of which was erased."""
    harness = await open_harness(service)
    await harness.accept(*_CALLS[service])
    if service == "order":
        skip = SkippedStep(step="payment.capture", actor="ann", reason="the Countess has paid in cash", at=_AT)
        await harness.execute(order.record_skips, RecordSkips(transaction_id=TX, skips=(skip,)))
        said = skip.model_dump() | {"workflow_id": TX, "update_id": "u-1", "transaction_id": TX, "decision": "skip"}
        await harness.execute(order.record_decisions, RecordDecisions(decisions=(TakenDecision(**said),)))
    if service in ("order", "notification"):
        content = await _content(harness)
        assert any(each in content for each in _PERSONAL)
    await _erase(harness)
    return harness


@every_service
async def test_no_personal_data_is_left(open_harness: OpenHarness, service: str) -> None:
    harness = await _erased(open_harness, service)
    content = await _content(harness)
    assert [each for each in _PERSONAL if each in content] == []


def test_every_text_that_a_service_keeps_is_known_to_be_personal_or_not() -> None:
    unknown = {
        (table.name, column.name)
        for service in SERVICES.values()
        for table in service.metadata.tables.values()
        for column in table.columns
        if type(column.type) is Text and column.name not in _NOT_PERSONAL
    }
    personal = {
        (kind.table.name, name)
        for service in SERVICES.values()
        for kind, columns in service.personal.items()
        for name in columns
    }
    assert unknown - _ERASED_OTHERWISE == personal


@every_service
async def test_to_erase_again_changes_nothing(open_harness: OpenHarness, service: str) -> None:
    harness = await _erased(open_harness, service)
    before = await _content(harness)
    assert await _erase(harness) == 0
    assert await _content(harness) == before


@every_service
async def test_a_repeated_request_gets_its_first_reply_after_the_erasure(
    open_harness: OpenHarness, service: str
) -> None:
    harness = await open_harness(service)
    first = [await harness.deliver(*call) for call in _CALLS[service]]
    await _erase(harness)
    effects = await harness.rows("effects")
    assert [await harness.deliver(*call) for call in _CALLS[service]] == first
    assert await harness.rows("effects") == effects


@pytest.mark.parametrize(
    ("first", "second", "request_"),
    [(order.create, order.cancel, creation()), (shipping.schedule, shipping.cancel, shipment())],
    ids=["order", "shipping"],
)
async def test_an_undo_or_a_second_operation_with_the_old_request_still_fits(
    open_harness: OpenHarness, first: Operations, second: Operations, request_: Request
) -> None:
    harness = await open_harness(first.queue)
    await harness.accept(Call(first, request_))
    await _erase(harness)
    if first is shipping.schedule:
        await harness.accept(Call(shipping.dispatch, request_))
    await harness.accept(Call(second, request_))


async def test_another_order_under_the_erased_ones_id_is_still_refused(open_harness: OpenHarness) -> None:
    harness = await _erased(open_harness, "order")
    assert (await harness.refuse(order.create, creation(7)))[0] == Code.IDEMPOTENCY_CONFLICT
    other = creation().order.model_copy(update={"ship_to": address("FR")})
    code, _ = await harness.refuse(order.create, CreateOrder(transaction_id=TX, order=other))
    assert code == Code.IDEMPOTENCY_CONFLICT


async def test_an_erased_digest_does_not_depend_on_personal_data(open_harness: OpenHarness) -> None:
    digests = []
    for name in ("Ada Lovelace", "Grace Hopper"):
        harness = await open_harness("order")
        ship_to = address().model_copy(update={"name": name})
        placed = creation().order.model_copy(update={"ship_to": ship_to})
        await harness.accept(Call(order.create, CreateOrder(transaction_id=TX, order=placed)))
        before = (await harness.row("operations", step=order.create.step))["digest"]
        await _erase(harness)
        digests.append((before, (await harness.row("operations", step=order.create.step))["digest"]))
    [(one, erased), (other, erased_too)] = digests
    assert one != other
    assert erased == erased_too


async def test_the_erased_order_can_be_read_and_keeps_its_amounts(open_harness: OpenHarness) -> None:
    harness = await _erased(open_harness, "order")
    answer = await harness.execute(order.read_orders, ReadOrders(transaction_ids=(TX,)))
    assert isinstance(answer, order.OrdersOnRecord)
    [read] = answer.orders
    assert (read.order.lines, read.order.customer_id) == (creation().order.lines, CUSTOMER)
    assert (read.order.ship_to.name, read.order.ship_to.country) == ("erased", "DE")


async def test_money_and_what_others_ordered_stay(open_harness: OpenHarness) -> None:
    money, orders = await open_harness("payment"), await open_harness("order")
    await money.accept(*_CALLS["payment"])
    before = await money.business()
    await _erase(money)
    assert await money.business() == before
    async with reading(money.url) as connection:
        assert await invariants.money(connection) == []
    await orders.accept(Call(order.create, creation()), Call(order.create, creation(1, "order/o-2", "o-2")))
    other = await orders.row("orders", order_id="o-2")
    await _erase(orders)
    assert await orders.row("orders", order_id="o-2") == other


async def test_a_part_of_a_transaction_is_erased_with_it(open_harness: OpenHarness) -> None:
    harness = await open_harness("notification")
    for tx in ("t-1", "t-1/note", "t-10"):
        request = notice().model_copy(update={"transaction_id": tx})
        await harness.accept(Call(notification.send_confirmation, request))
    await _erase(harness, "t-1")
    untouched = {row["transaction_id"] for row in await harness.rows("messages") if "@" in row["address"]}
    assert untouched == {"t-10"}


async def test_who_asked_for_the_erasure_why_and_when_is_recorded_once(open_harness: OpenHarness) -> None:
    harness = await _erased(open_harness, "order")
    await _erase(harness)
    [recorded] = await harness.rows("erasures")
    assert recorded == {"customer_id": CUSTOMER, "at": _AT, "actor": "ann", "reason": "asked to", "transactions": 1}


async def test_an_order_that_this_build_cannot_read_is_named_and_nothing_is_erased(open_harness: OpenHarness) -> None:
    harness = await open_harness("order")
    await harness.accept(Call(order.create, creation()), Call(order.create, creation(1, "order/o-2", "o-2")))
    unreadable = text("UPDATE orders SET document = '{}' WHERE order_id = 'o-2'")
    await harness.database.transaction(lambda tx: tx.execute(unreadable) and None)
    before = await _content(harness)
    with pytest.raises(UnreadableReply, match="order/o-2 is on record, but this build cannot read it"):
        await _erase(harness, TX, "order/o-2")
    assert await _content(harness) == before


async def test_a_customers_transactions_are_found_page_by_page(open_harness: OpenHarness) -> None:
    harness = await open_harness("order")
    names = [f"o-{number}" for number in range(5)]
    await harness.accept(*(Call(order.create, creation(1, f"order/{each}", each)) for each in names))
    assert await _found(harness, CUSTOMER) == [f"order/{each}" for each in names]
    assert await _found(harness, "nobody") == []


async def test_a_customer_with_an_account_is_known_and_none_without_any_row(open_harness: OpenHarness) -> None:
    harness = await open_harness("payment")
    await harness.accept(Call(payment.set_account, balance(100)))
    for customer, is_known in ((CUSTOMER, True), ("nobody", False)):
        answer = await harness.execute(FIND["payment"], FindCustomer(customer_id=customer))
        assert isinstance(answer, CustomerFound)
        assert (answer.is_known, answer.transaction_ids, answer.next) == (is_known, (), None)


async def _found(harness: ServiceHarness, customer: str) -> list[str]:
    """All pages, of two rows each."""
    found, after = list[str](), ""
    while True:
        question = FindCustomer(customer_id=customer, after=after, rows=2)
        page = await harness.execute(FIND[harness.definition.name], question)
        assert isinstance(page, CustomerFound)
        found += page.transaction_ids
        if page.next is None:
            return found
        after = page.next


def _requests() -> Iterable[type[Request]]:
    return (handler.operation.request for service in SERVICES.values() for handler in service.handlers)


def test_the_requests_with_personal_data_are_those_with_an_address_or_a_contact() -> None:
    assert {each.__name__ for each in _requests() if has_personal_data(each)} == {
        *("CreateOrder", "ScheduleShipment", "NotifyCustomer")
    }


@pytest.mark.parametrize("request_", [creation(), shipment(), notice()], ids=lambda each: type(each).__name__)
def test_a_message_without_personal_data_is_valid_and_the_same_when_erased_again(request_: Request) -> None:
    erased = without_personal_data(request_)
    assert type(request_).model_validate(erased.model_dump()) == erased
    assert without_personal_data(erased) == erased
    assert not isinstance(erased, RefusedDecision)
    assert [each for each in _PERSONAL if each in erased.model_dump_json()] == []
