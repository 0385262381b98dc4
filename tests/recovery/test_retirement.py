"""`retire` and `erase` against a whole system: killed anywhere, run again, and audited.

The dev server keeps closed workflows for a day. A test deletes them through Temporal's API instead, which leaves
Temporal as its retention does, and gives the rows of its orders an older time.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from activities.catalogue import SERVICES
from activities.fence import RETIRED
from client.desk import OperatorsDesk
from client.engines.batch import BatchEngine
from client.erasure import Eraser
from client.errors import DuplicateOrder, OpenOrders, OrderRetired, UnknownCustomer
from client.orders import Mode, Orders
from client.retirement import Retirement, Retirer
from client.transactions import Transactions
from contracts.choreography import PARTICIPANTS
from contracts.ids import new_batch_id, participant_id
from contracts.order import Order
from contracts.transaction import Transaction
from temporal_saga import Retry, State
from tests.end_to_end.command import Answer, Program

from ..rig import Rig, an_order, name, running_rig

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("retirement"), pytest.mark.asyncio(loop_scope="module")]

_ADDRESS = {"name": "Ada Byron", "street": "Ockham Park 1", "city": "Ockham", "postcode": "GU23", "country": "GB"}
_CONTACT = {"email": "byron@example.com", "phone": "+441483000111"}
_PERSONAL = (*(_ADDRESS[each] for each in ("name", "street", "city", "postcode")), *_CONTACT.values())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """A system of its own, because other tests leave orders behind that an audit reports."""
    async with running_rig(tmp_path_factory.mktemp("retirement")) as made:
        yield made


def _start(rig: Rig, *words: str, stdin: str = "") -> Program:
    environment = os.environ | {"DATABASE_URL": rig.settings.database_url, "TEMPORAL_ADDRESS": rig.address}
    return Program(["starter.py", *words], rig.folder, environment, stdin)


async def _run(rig: Rig, *words: str, stdin: str = "") -> Answer:
    return await asyncio.to_thread(_start(rig, *words, stdin=stdin).answer)


async def _retire(rig: Rig) -> Retirement:
    retirer = Retirer(rig.client)
    return await retirer.carry_out(await retirer.plan(datetime.now(UTC) - timedelta(days=90)))


async def _retired(rig: Rig) -> Retirement:
    """What a retirement has done, after which the audit is clean."""
    done = await _retire(rig)
    assert (await rig.audited()).violations == []
    return done


async def _placed(rig: Rig, mode: Mode, **changes: Any) -> Order:
    """An order that has ended."""
    order = an_order(**changes)
    if mode is not Mode.BATCH:
        await Orders(rig.client).place(order, mode)
        return order
    await rig.batch(order)
    return order


async def _workflows_of(rig: Rig, *orders: Order) -> set[str]:
    """The workflows that coordinate the orders, as far as Temporal knows them."""
    found = {order.transaction_id for order in orders}
    for order in orders:
        query = "SELECT coordinator FROM orders WHERE transaction_id = ? AND coordinator IS NOT NULL"
        found |= {coordinator for (coordinator,) in rig.rows("order", query, order.transaction_id)}
        found |= {participant_id(order.order_id, service) for service in PARTICIPANTS}
    return {each for each in found if await rig.is_known(each)}


async def _forget(rig: Rig, *orders: Order) -> None:
    """Delete in Temporal what it knows of the orders."""
    await rig.forget(*await _workflows_of(rig, *orders))


def _age(rig: Rig, *transactions: str) -> None:
    """As if the transactions had ended years ago."""
    for service in SERVICES:
        for transaction in transactions:
            update = "UPDATE operations SET at = '2020-01-01 00:00:00.000000' WHERE transaction_id = ?"
            rig.rows(service, update, transaction)


def _left(rig: Rig, *transactions: str) -> dict[str, set[str]]:
    """The tables with rows of the transactions, and the steps that the fences remember, by service."""
    found: dict[str, set[str]] = {}
    for service, definition in SERVICES.items():
        found[service] = set()
        for table in definition.metadata.tables.values():
            if "transaction_id" in table.c:
                what = "step" if table.name == "operations" else f"'{table.name}'"
                for transaction in transactions:
                    query = f"SELECT {what} FROM {table.name} WHERE transaction_id = ?"  # noqa: S608 — ours
                    found[service] |= {row for (row,) in rig.rows(service, query, transaction)}
    return found


_RETIRE = ("retire", "--older-than", "90d")
_NOTHING = {service: {RETIRED} for service in SERVICES}


def _sums(rig: Rig) -> list[Any]:
    stock = rig.rows("inventory", "SELECT sku, received, on_hand, reserved FROM stock ORDER BY sku")
    return stock + rig.rows("payment", "SELECT customer_id, deposited_minor, balance_minor, held_minor FROM accounts")


@dataclass(frozen=True)
class _Gone:
    """Retired orders, and what was left of them before and after."""

    confirmed: dict[Mode, Order]
    refused: Order
    while_known: Retirement
    """The result of the retirement while Temporal had their workflows."""
    rows: tuple[Any, Any]
    """Their rows before and after that."""
    retirement: Retirement
    sums: list[Any]
    """What stock and money were before anything was retired."""

    @property
    def transactions(self) -> list[str]:
        return [order.transaction_id for order in (*self.confirmed.values(), self.refused)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gone(rig: Rig) -> _Gone:
    confirmed = {mode: await _placed(rig, mode) for mode in Mode}
    refused = await _placed(rig, Mode.SAGA, customer_id="nobody")
    orders = (*confirmed.values(), refused)
    transactions = [order.transaction_id for order in orders]
    workflows, sums = await _workflows_of(rig, *orders), _sums(rig)
    _age(rig, *transactions)
    before = _left(rig, *transactions)
    while_known = await _retire(rig)
    rows = before, _left(rig, *transactions)
    await rig.forget(*workflows)
    return _Gone(confirmed, refused, while_known, rows, await _retire(rig), sums)


async def test_what_temporal_still_knows_stays_and_goes_after_its_retention(gone: _Gone) -> None:
    known, before, after = gone.while_known, *gone.rows
    assert (known.retired, known.known_to_temporal) == (0, len(gone.transactions))
    assert after == before
    assert gone.retirement.retired == len(gone.transactions)


async def test_of_a_retired_order_only_the_refusal_of_its_id_is_left(rig: Rig, gone: _Gone) -> None:
    assert _left(rig, *gone.transactions) == _NOTHING
    assert _sums(rig) == gone.sums
    orders = Orders(rig.client)
    again = [(gone.confirmed[mode], mode) for mode in Mode if mode is not Mode.BATCH]
    for order, mode in (*again, (gone.refused, Mode.SAGA)):
        with pytest.raises(OrderRetired, match=f"{order.transaction_id} has ended and was retired on 20"):
            await orders.place(order, mode)
    batch, order = new_batch_id(), gone.confirmed[Mode.BATCH]
    await rig.start("BatchWorkflow", batch, [order])
    log = (await BatchEngine(rig.client, batch).outcome()).logs()[order.order_id]
    assert (log.state, log.error and log.error.code) == (State.ROLLED_BACK, "RETIRED")
    for words in (("status", order.order_id), ("place", "-")):
        answer = await _run(rig, *words, "--json", stdin=order.model_dump_json())
        assert (answer.code, answer.document["error"]["code"], answer.err.count("\n")) == (2, "RETIRED", 1)
    assert _left(rig, *gone.transactions) == _NOTHING
    assert _sums(rig) == gone.sums
    assert (await rig.audited()).violations == []


async def test_a_second_placing_of_a_retired_order_that_was_terminated_needs_no_end(rig: Rig, gone: _Gone) -> None:
    order = gone.confirmed[Mode.SAGA]
    await rig.never_runs("OrderWorkflow", order.transaction_id, order)
    assert order.order_id not in (await rig.sweep()).orders
    assert _left(rig, *gone.transactions) == _NOTHING
    assert (await rig.audited()).violations == []


async def test_a_transaction_given_as_data_goes_with_all_of_its_parts(rig: Rig) -> None:
    tx = name("t")
    parts = {f"{tx}/one": "BOOK-1", f"{tx}/more": "BOOK-1", f"{tx}/none": "NONE"}
    steps = [
        {
            "name": f"step-{number}",
            "commit": "inventory.reserve",
            "rollback": "inventory.release",
            "input": {"transaction_id": part, "order_id": "x", "lines": [{"sku": sku, "quantity": 1}]},
        }
        for number, (part, sku) in enumerate(parts.items())
    ]
    asked = Transaction.model_validate({"transaction_id": tx, "steps": steps})
    assert (await Transactions(rig.client).run(asked, None)).state is State.ROLLED_BACK
    await rig.forget(asked.workflow_id)
    retry = "INSERT INTO decisions VALUES ('x', 'u', ?, 'x', 'retry', 'ann', NULL, '2020-01-01 00:00:00.000000')"
    rig.rows("order", retry, tx)
    _age(rig, *list(parts)[:2])
    assert (await _retired(rig)).retired == 0, "one part is young"
    _age(rig, *parts)
    assert (await _retired(rig)).retired == 1
    assert _left(rig, tx, *parts) == {service: set() for service in SERVICES} | {"inventory": {RETIRED}}
    again = await Transactions(rig.client).run(asked, None)
    assert (again.state, again.error and again.error.code) == (State.ROLLED_BACK, "RETIRED")


async def test_an_order_that_holds_something_stays_and_the_others_go(rig: Rig) -> None:
    held, other = await _placed(rig, Mode.COLOCATED), await _placed(rig, Mode.COLOCATED)
    await _forget(rig, held, other)
    _age(rig, held.transaction_id, other.transaction_id)
    before = _left(rig, held.transaction_id)
    rig.rows("shipping", "UPDATE shipments SET state = 'SCHEDULED' WHERE transaction_id = ?", held.transaction_id)
    answer = await _run(rig, *_RETIRE)
    assert (answer.code, held.order_id in answer.err) == (5, True), "the audit names it"
    assert _left(rig, other.transaction_id) != _NOTHING
    skip = "INSERT INTO skips VALUES (?, 'shipping.dispatch', 'ann', 'sent by hand', '2020-01-01 00:00:00.000000')"
    rig.rows("order", skip, held.transaction_id)
    result = await _retired(rig)
    assert (result.retired, result.holding) == (1, 1)
    assert _left(rig, other.transaction_id) == _NOTHING
    assert _left(rig, held.transaction_id) == before | {"order": before["order"] | {"skips"}}
    rig.rows("shipping", "UPDATE shipments SET state = 'DISPATCHED' WHERE transaction_id = ?", held.transaction_id)
    await _retired(rig)


async def test_killed_anywhere_and_run_again_it_comes_to_the_same_end(rig: Rig) -> None:
    """Each run is killed after another answer: of a batch, all services examine it, then refuse it, then remove it."""
    orders = [await _placed(rig, Mode.COLOCATED, **odd) for odd in ({}, {"customer_id": "nobody"})]
    transactions = [order.transaction_id for order in orders]
    sums = _sums(rig)
    await _forget(rig, *orders)
    _age(rig, *transactions)
    for answers in (len(SERVICES) + 1, 2 * len(SERVICES) + 1, 3 * len(SERVICES) - 1):
        await _kill_after(rig, answers, *_RETIRE)
        assert (await rig.audited()).violations == [], f"after {answers} answers"
        for order in orders:
            left = _left(rig, order.transaction_id)
            is_ended_there = "orders" in left["order"] or left == _NOTHING
            assert is_ended_there, f"the order service forgot an order that others know: {left}"
    for retired in (2, 0):
        answer = await _run(rig, *_RETIRE, "--json")
        assert (answer.code, answer.document["retired"], answer.document["audit"]["clean"]) == (0, retired, True)
        assert _left(rig, *transactions) == _NOTHING
        assert _sums(rig) == sums


async def _kill_after(rig: Rig, answers: int, *words: str) -> None:
    """Run a command and kill it with SIGKILL when the services have answered `retire` so many times."""
    running: list[Program] = []
    counted = 0
    names = [f"{service}.retire" for service in SERVICES]

    async def answered() -> None:
        nonlocal counted
        counted += 1
        if counted == answers:
            os.kill(running[0].pid, signal.SIGKILL)
        for each in names:
            rig.afterwards.after[each] = answered

    for each in names:
        rig.afterwards.after[each] = answered
    running.append(_start(rig, *words))
    code = await asyncio.to_thread(running[0].wait)
    rig.afterwards.after.clear()
    assert code == -signal.SIGKILL, f"it had ended after {counted} answers"


async def test_a_placing_during_a_retirement_is_refused_before_it_does_anything(rig: Rig) -> None:
    order = await _placed(rig, Mode.COLOCATED)
    await _forget(rig, order)
    _age(rig, order.transaction_id)
    before = _left(rig, order.transaction_id)
    await _kill_after(rig, 2 * len(SERVICES), *_RETIRE)
    left = _left(rig, order.transaction_id)
    assert left == {service: rows | {RETIRED} for service, rows in before.items()}, "refused, with all its rows"
    with pytest.raises(OrderRetired):
        await Orders(rig.client).place(order, Mode.SAGA)
    assert _left(rig, order.transaction_id) == left
    assert (await _retired(rig)).retired == 1, "the refused placing does not keep it"
    assert _left(rig, order.transaction_id) == _NOTHING


def _personal_rows(rig: Rig) -> list[str]:
    """The personal data that any table of any service has, in whichever column."""
    text = "".join(
        str(row)
        for service, definition in SERVICES.items()
        for table in definition.metadata.tables
        for row in rig.rows(service, f"SELECT * FROM {table}")  # noqa: S608 — ours
    )
    return [each for each in _PERSONAL if each in text]


async def _erased(rig: Rig, **options: bool) -> Any:
    erased = await Eraser(rig.client).erase("c-1", "ann", "asked to", **options)
    assert _personal_rows(rig) == []
    assert (await rig.audited()).violations == []
    return erased


async def test_the_personal_data_of_a_customer_is_erased_everywhere_and_once(rig: Rig) -> None:
    alone, by_events, in_a_batch = [
        await _placed(rig, mode, ship_to=_ADDRESS, contact=_CONTACT)
        for mode in (Mode.SAGA, Mode.CHOREOGRAPHY, Mode.BATCH)
    ]
    assert _personal_rows(rig)
    sums = _sums(rig)
    assert (await _erased(rig)).rows > 0
    assert _sums(rig) == sums
    query = "SELECT coordinator FROM orders WHERE transaction_id = ?"
    [(batch,)] = rig.rows("order", query, in_a_batch.transaction_id)
    again = await _erased(rig, histories=True)
    assert again.rows == 0
    assert rig.rows("order", "SELECT DISTINCT actor, reason FROM erasures WHERE customer_id = 'c-1'") == [
        ("ann", "asked to")
    ]

    assert batch in again.batches
    assert again.histories >= 1 + len(PARTICIPANTS)
    for workflow_id in (alone.transaction_id, *(participant_id(by_events.order_id, each) for each in PARTICIPANTS)):
        await rig.until_forgotten(workflow_id)
    assert await rig.is_known(batch), "it has orders of others"

    effects = {service: rig.rows(service, "SELECT count(*) FROM effects") for service in SERVICES}
    orders = Orders(rig.client)
    assert (await orders.place(alone, Mode.SAGA)).state is State.CONFIRMED, "the fence answers the old request"
    assert {service: rig.rows(service, "SELECT count(*) FROM effects") for service in SERVICES} == effects
    await _forget(rig, alone)
    with pytest.raises(DuplicateOrder):
        await orders.place(alone.model_copy(update={"deadline_s": 5.0}), Mode.SAGA)


async def test_an_open_order_keeps_its_customers_data_and_is_named(rig: Rig) -> None:
    order = an_order(ship_to=_ADDRESS, contact=_CONTACT)
    rig.refuse("shipping.dispatch", order.transaction_id)
    handle = await rig.place(order)
    await rig.until_parked(handle, "shipping.dispatch")
    with pytest.raises(OpenOrders) as refused:
        await _erased(rig)
    assert str(refused.value) == f"customer c-1 has open orders: {order.order_id}; wait for their end, or cancel them"
    assert _personal_rows(rig)
    rig.repair()
    await OperatorsDesk(rig.client).decide(order.order_id, "shipping.dispatch", Retry())
    await handle.result()
    await _erased(rig)


async def test_a_customer_whom_nobody_knows_is_no_customer(rig: Rig) -> None:
    with pytest.raises(UnknownCustomer):
        await Eraser(rig.client).erase("c-404", "ann", "asked to")
