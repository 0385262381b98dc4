"""Ended transactions leave the databases: by age, whole, and so that a late delivery is refused and the sums hold."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import insert, text

from activities.catalogue import SERVICES
from activities.database import reading
from activities.fence import RETIRED, RecordState
from audit import invariants
from contracts import inventory, notification, order, payment, shipping
from contracts.catalogue import HOLDING
from contracts.errors import Code
from contracts.payment import AuthorizePayment
from contracts.retention import LIST_OLD, RETIRE, ListOld, OldTransactions, Retire, Retired, RetireStage, Stays

from .conftest import OpenHarness, on_sqlite
from .requests import TX, balance, charge, confirmation, creation, notice, reservation, shipment, stock_level
from .samples import sample_of
from .service_harness import Call, Operations, ServiceHarness, every_operation, handler_of

_DAY = timedelta(days=1)
_LONG_AGO = datetime.now(UTC) - 100 * _DAY
_FILLED = {
    "payment": (Call(payment.set_account, balance(100_000)),),
    "inventory": (Call(inventory.set_stock, stock_level("apple", 100)),),
}
_ENDED = {
    "order": (Call(order.create, creation()), Call(order.confirm, confirmation())),
    "payment": (Call(payment.authorize, charge(1999)), Call(payment.capture, charge(1999))),
    "inventory": (Call(inventory.reserve, reservation(apple=3)), Call(inventory.commit, reservation(apple=3))),
    "shipping": (Call(shipping.schedule, shipment()), Call(shipping.dispatch, shipment())),
    "notification": (Call(notification.send_confirmation, notice()),),
}
every_service = pytest.mark.parametrize("service", SERVICES)
_BUSINESS = {"order": "orders", "notification": "messages"}
"""The tables of the services that leave nothing for the audit to compare with the order."""


def _calls_of(service: str) -> tuple[Call, ...]:
    """The calls of an ended order; of a service that is not named above, those of the sample of its first operation."""
    if service in _ENDED:
        return _ENDED[service]
    sample = sample_of(SERVICES[service].handlers[0].operation)
    return (*sample.before, Call(sample.operation, sample.request))


def _business_table(service: str) -> str:
    leaves = SERVICES[service].leaves
    return _BUSINESS[service] if leaves is None else leaves.kind.table.name


async def _age(harness: ServiceHarness, *transactions: str, at: datetime = _LONG_AGO) -> None:
    """As if the transactions had last changed at that time."""
    change = text("UPDATE operations SET at = :at WHERE transaction_id = :tx")
    for transaction in transactions:
        values = {"at": at.replace(tzinfo=None) if "sqlite" in harness.url else at, "tx": transaction}
        await harness.database.transaction(partial(_run, change, values))


def _run(statement: Any, values: Any, connection: Any) -> None:
    connection.execute(statement, values)


async def _retire(
    harness: ServiceHarness, *transactions: str, stage: RetireStage = RetireStage.REMOVE, before: datetime | None = None
) -> Retired:
    bound = before or datetime.now(UTC) - 90 * _DAY
    request = Retire(transaction_ids=transactions, before=bound, stage=stage)
    answer = await harness.execute(RETIRE[harness.definition.name], request)
    assert isinstance(answer, Retired)
    return answer


async def _listed(harness: ServiceHarness, **question: Any) -> tuple[list[str], list[str]]:
    """All pages: the old transactions, and the young parts."""
    old, young, after = list[str](), list[str](), ""
    while True:
        bound = datetime.now(UTC) - 90 * _DAY
        page = await harness.execute(LIST_OLD[harness.definition.name], ListOld(before=bound, after=after, **question))
        assert isinstance(page, OldTransactions)
        old += page.transaction_ids
        young += page.young_parts
        if page.next is None:
            return old, young
        after = page.next


def _charge(transaction_id: str) -> AuthorizePayment:
    return charge(1).model_copy(update={"transaction_id": transaction_id})


async def _ended(open_harness: OpenHarness, service: str) -> ServiceHarness:
    """A service at which an order ended long ago."""
    harness = await open_harness(service)
    await harness.accept(*_FILLED.get(service, ()), *_calls_of(service))
    await _age(harness, TX)
    return harness


async def _violations(harness: ServiceHarness) -> Sequence[object]:
    async with reading(harness.url) as connection:
        found = await invariants.single_effect(connection, harness.definition.name)
        if harness.definition.name == "inventory":
            found += await invariants.stock(connection)
        if harness.definition.name == "payment":
            found += await invariants.money(connection)
    return found


@every_service
async def test_of_a_retired_order_each_service_keeps_one_record_and_its_sums(
    open_harness: OpenHarness, service: str
) -> None:
    harness = await _ended(open_harness, service)
    assert await _listed(harness) == ([TX], [])
    assert (await _retire(harness, TX)).rows > 0
    [left] = [row for row in await harness.rows("operations") if row["transaction_id"] == TX]
    assert (left["step"], left["state"], left["digest"], left["answer"]) == (RETIRED, RecordState.RETIRED, "", "")
    assert await harness.effects(TX) == []
    assert await harness.rows(_business_table(service)) == []
    assert await _violations(harness) == []
    assert (await _listed(harness))[0] == []


@every_service
async def test_a_transaction_with_an_event_that_is_not_told_stays(open_harness: OpenHarness, service: str) -> None:
    harness = await _ended(open_harness, service)
    outbox = SERVICES[service].metadata.tables["outbox"]
    row = {"transaction_id": TX, "operation": f"{service}.any", "reply": "{}"}
    await harness.database.transaction(partial(_run, insert(outbox), row))
    answer = await _retire(harness, TX)
    assert answer.staying == {TX: Stays.HOLDS}
    assert answer.rows == 0
    await harness.service.remove_events([each.id for each in await harness.service.waiting_events(10)])
    assert (await _retire(harness, TX)).rows > 0


@every_service
async def test_to_retire_again_changes_nothing(open_harness: OpenHarness, service: str) -> None:
    harness = await _ended(open_harness, service)
    await _retire(harness, TX)
    left = {table: await harness.rows(table) for table in harness.definition.metadata.tables}
    again = await _retire(harness, TX)
    assert (again.rows, again.staying, again.refused) == (0, {}, (TX,))
    assert {table: await harness.rows(table) for table in harness.definition.metadata.tables} == left


async def test_the_sums_of_several_batches_are_added_up(open_harness: OpenHarness) -> None:
    goods, money = await open_harness("inventory"), await open_harness("payment")
    await goods.accept(*_FILLED["inventory"])
    await money.accept(*_FILLED["payment"])
    for tx in ("order/o-1", "order/o-2"):
        await goods.accept(*(Call(each, reservation(tx, apple=3)) for each in (inventory.reserve, inventory.commit)))
        await money.accept(*(Call(each, charge(500, tx)) for each in (payment.authorize, payment.capture)))
        for harness in (goods, money):
            await _age(harness, tx)
            await _retire(harness, tx)
            assert await _violations(harness) == []
    assert await goods.rows("carried_forward") == [{"sku": "apple", "committed": 6}]
    assert await money.rows("carried_forward") == [{"customer_id": "ada", "captured_minor": 1000}]
    assert (await goods.row("stock", sku="apple"))["received"] == 100


@every_operation
@on_sqlite
async def test_a_late_delivery_of_a_retired_transaction_is_refused_by_every_operation(
    open_harness: OpenHarness, operation: Operations
) -> None:
    harness, sample = await open_harness(operation.queue), sample_of(operation)
    await harness.accept(*(call for call in sample.before if call.request.transaction_id != TX))
    await _retire(harness, TX, stage=RetireStage.REFUSE)
    before = await harness.business()
    code, message = await harness.refuse(operation, sample.request)
    assert code == Code.RETIRED
    assert message.startswith(f"{TX} has ended and was retired on 20")
    assert await harness.business() == before
    assert handler_of(operation).operation is operation


async def test_a_part_of_a_retired_transaction_is_refused_too(open_harness: OpenHarness) -> None:
    harness = await open_harness("payment")
    await harness.accept(*_FILLED["payment"])
    await harness.accept(*(Call(each, _charge("t-1")) for each in (payment.authorize, payment.capture)))
    await _age(harness, "t-1")
    await _retire(harness, "t-1")
    for tx in ("t-1", "t-1/goods"):
        assert (await harness.refuse(payment.authorize, _charge(tx)))[0] == Code.RETIRED
    await harness.accept(Call(payment.authorize, charge(1, "t-10")))


async def test_a_transaction_given_as_data_is_refused_only_where_it_was_known(open_harness: OpenHarness) -> None:
    harness = await open_harness("payment")
    assert (await _retire(harness, "t-1", "order/o-1")).refused == ("order/o-1",)


@pytest.mark.parametrize("service", HOLDING)
async def test_what_holds_something_stays(open_harness: OpenHarness, service: str) -> None:
    harness = await open_harness(service)
    await harness.accept(*_FILLED.get(service, ()), _calls_of(service)[0])
    await _age(harness, TX)
    before = {table: await harness.rows(table) for table in harness.definition.metadata.tables}
    assert (await _retire(harness, TX)).staying == {TX: Stays.HOLDS}
    assert {table: await harness.rows(table) for table in harness.definition.metadata.tables} == before


@every_service
async def test_what_changed_after_the_bound_stays(open_harness: OpenHarness, service: str) -> None:
    harness = await _ended(open_harness, service)
    before = {table: await harness.rows(table) for table in harness.definition.metadata.tables}
    younger = await _retire(harness, TX, before=_LONG_AGO - _DAY)
    assert (younger.staying, younger.rows) == ({TX: Stays.YOUNG}, 0)
    assert {table: await harness.rows(table) for table in harness.definition.metadata.tables} == before


async def test_an_undo_that_changes_nothing_makes_a_transaction_young_again(open_harness: OpenHarness) -> None:
    harness = await open_harness("payment")
    assert (await harness.refuse(payment.authorize, charge(1999)))[0] == Code.PAYMENT_DECLINED
    await _age(harness, TX)
    assert (await _listed(harness))[0] == [TX]
    await harness.accept(Call(payment.cancel, charge(1999)))
    assert await harness.effects(TX) == []
    assert (await _retire(harness, TX)).staying == {TX: Stays.YOUNG}


async def test_to_refuse_keeps_every_row_and_to_examine_changes_nothing(open_harness: OpenHarness) -> None:
    harness = await _ended(open_harness, "order")
    before = await harness.business()
    assert (await _retire(harness, TX, stage=RetireStage.EXAMINE)).refused == ()
    assert (await _retire(harness, TX, stage=RetireStage.REFUSE)).refused == (TX,)
    assert await harness.business() == before
    assert (await _listed(harness))[0] == [TX], "a run that was killed here is continued"


async def test_every_old_transaction_is_on_one_page_and_no_young_one_is_on_any(open_harness: OpenHarness) -> None:
    harness = await open_harness("payment")
    await harness.accept(Call(payment.set_account, balance(100_000)))
    names = [f"order/o-{number:03}" for number in range(90)]
    calls = [(each, tx) for tx in names for each in (payment.authorize, payment.capture)]
    await harness.accept(*(Call(each, charge(1, tx)) for each, tx in calls))
    await _age(harness, *names[::2])
    old, young = await _listed(harness, rows=100)
    assert sorted(old) == names[::2]
    assert young == []


async def test_a_young_part_is_named_so_that_its_transaction_stays(open_harness: OpenHarness) -> None:
    harness = await open_harness("payment")
    await harness.accept(*_FILLED["payment"])
    parts = ["t-1", "t-1/more", "t-2/one", "t-2/two"]
    await harness.accept(*(Call(payment.authorize, _charge(each)) for each in parts))
    await harness.accept(*(Call(payment.cancel, _charge(each)) for each in parts))
    await _age(harness, "t-1", "t-2/one")
    old, young = await _listed(harness)
    assert (sorted(old), sorted(young)) == (["t-1", "t-2/one"], ["t-1/more", "t-2/two"])


def test_every_service_that_holds_something_says_in_which_states() -> None:
    assert {name for name, service in SERVICES.items() if service.holds} == HOLDING.keys()
