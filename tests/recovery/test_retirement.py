"""`retire` and `erase` against a whole system: killed anywhere, run again, and audited.

The dev server keeps closed workflows for a day. A test deletes them through Temporal's API instead, which leaves
Temporal as its retention does, and gives the rows of its orders an older time.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from activities.catalogue import SERVICES
from activities.fence import RETIRED
from client import handles
from client.engines.batch import BatchEngine
from client.orders import Mode, Orders
from contracts.choreography import PARTICIPANTS
from contracts.ids import new_batch_id, participant_id
from contracts.order import Order
from runtime.faults import Fault, FaultKind
from temporal_saga import State
from tests.end_to_end.command import Answer, Program

from .rig import Rig, an_order, name, rig

pytestmark = [pytest.mark.xdist_group("retirement"), pytest.mark.asyncio(loop_scope="module")]

_ADDRESS = {"name": "Ada Byron", "street": "Ockham Park 1", "city": "Ockham", "postcode": "GU23", "country": "GB"}
_CONTACT = {"email": "byron@example.com", "phone": "+441483000111"}
_PERSONAL = (*(_ADDRESS[each] for each in ("name", "street", "city", "postcode")), *_CONTACT.values())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """A system of its own, because other tests leave orders behind that an audit reports."""
    async with rig(tmp_path_factory.mktemp("retirement")) as made:
        yield made


def _start(system: Rig, *words: str, stdin: str = "") -> Program:
    environment = os.environ | {"DATABASE_URL": system.settings.database_url, "TEMPORAL_ADDRESS": system.address}
    return Program(["starter.py", *words], system.folder, environment, stdin)


async def _run(system: Rig, *words: str, stdin: str = "") -> Answer:
    return await asyncio.to_thread(_start(system, *words, stdin=stdin).answer)


async def _retired(system: Rig, *options: str) -> dict[str, Any]:
    """The document of a `retire` that has ended well, with a clean audit."""
    answer = await _run(system, "retire", "--older-than", "90d", "--json", *options)
    assert answer.code == 0, answer.err
    assert answer.document["audit"]["clean"]
    return dict(answer.document)


async def _placed(system: Rig, mode: Mode, **changes: Any) -> Order:
    """An order that has ended."""
    order = an_order(**changes)
    if mode is not Mode.BATCH:
        await Orders(system.client).place(order, mode)
        return order
    batch = new_batch_id()
    await (await system.start("BatchWorkflow", batch, [order.model_dump(mode="json")])).result()
    return order


async def _forget(system: Rig, *orders: Order) -> None:
    """Delete in Temporal what it knows of the orders."""
    for order in orders:
        [(coordinator,)] = system.rows(
            "order", "SELECT coordinator FROM orders WHERE transaction_id = ?", order.transaction_id
        )
        participants = (participant_id(order.order_id, service) for service in PARTICIPANTS)
        for workflow_id in {order.transaction_id, coordinator or order.transaction_id, *participants}:
            if await _is_known(system, workflow_id):
                await system.forget(workflow_id)


async def _is_known(system: Rig, workflow_id: str) -> bool:
    return await handles.status_of(system.client, workflow_id) is not None


def _age(system: Rig, *transactions: str) -> None:
    """As if the transactions had ended years ago."""
    for service in SERVICES:
        for table in ("operations", "effects"):
            for transaction in transactions:
                update = f"UPDATE {table} SET at = '2020-01-01 00:00:00.000000' WHERE transaction_id = ?"  # noqa: S608 — ours
                system.rows(service, update, transaction)


def _left(system: Rig, *transactions: str) -> dict[str, set[str]]:
    """The tables with rows of the transactions, and the steps that the fences remember, by service."""
    found: dict[str, set[str]] = {}
    for service, definition in SERVICES.items():
        found[service] = set()
        for table in definition.metadata.tables.values():
            if "transaction_id" in table.c:
                what = "step" if table.name == "operations" else f"'{table.name}'"
                for transaction in transactions:
                    query = f"SELECT {what} FROM {table.name} WHERE transaction_id = ?"  # noqa: S608 — ours
                    found[service] |= {row for (row,) in system.rows(service, query, transaction)}
    return found


_NOTHING = {service: {RETIRED} for service in SERVICES}


def _sums(system: Rig) -> list[Any]:
    stock = system.rows("inventory", "SELECT sku, received, on_hand, reserved FROM stock ORDER BY sku")
    return stock + system.rows(
        "payment", "SELECT customer_id, deposited_minor, balance_minor, held_minor FROM accounts"
    )


@pytest.mark.parametrize("mode", Mode)
async def test_of_a_retired_order_only_the_refusal_of_its_id_is_left(system: Rig, mode: Mode) -> None:
    confirmed, refused = await _placed(system, mode), await _placed(system, mode, customer_id="nobody")
    sums = _sums(system)
    await _forget(system, confirmed, refused)
    _age(system, confirmed.transaction_id, refused.transaction_id)
    assert (await _retired(system))["retired"] == 2
    assert _left(system, confirmed.transaction_id, refused.transaction_id) == _NOTHING
    assert _sums(system) == sums

    again = ["--mode", mode] if mode is not Mode.BATCH else []
    for order in (confirmed, refused):
        status = await _run(system, "status", order.order_id, "--json")
        assert (status.code, status.document["error"]["code"]) == (2, "RETIRED")
        answer = await _run(system, "place", "-", "--json", *again, stdin=order.model_dump_json())
        assert (answer.code, answer.document["error"]["code"]) == (2, "RETIRED")
        assert f"{order.transaction_id} has ended and was retired on 20" in answer.err
        assert answer.err.count("\n") == 1
    assert _left(system, confirmed.transaction_id, refused.transaction_id) == _NOTHING
    assert _sums(system) == sums
    assert (await system.audited()).violations == []


async def test_a_batch_tells_of_each_retired_order(system: Rig) -> None:
    order = await _placed(system, Mode.SAGA)
    await _forget(system, order)
    _age(system, order.transaction_id)
    await _retired(system)
    batch = new_batch_id()
    await system.start("BatchWorkflow", batch, [order.model_dump(mode="json")])
    log = (await BatchEngine(system.client, batch).outcome()).logs()[order.order_id]
    assert (log.state, log.error and log.error.code) == (State.ROLLED_BACK, "RETIRED")


async def test_what_temporal_still_knows_stays_and_goes_after_its_retention(system: Rig) -> None:
    orders = [await _placed(system, mode) for mode in Mode]
    _age(system, *(order.transaction_id for order in orders))
    before = [_left(system, order.transaction_id) for order in orders]
    result = await _retired(system)
    assert (result["retired"], result["known_to_temporal"]) == (0, len(orders))
    assert [_left(system, order.transaction_id) for order in orders] == before
    await _forget(system, *orders)
    assert (await _retired(system))["retired"] == len(orders)


async def test_a_transaction_given_as_data_goes_with_all_of_its_parts(system: Rig) -> None:
    tx = name("t")
    parts = [f"{tx}/one", f"{tx}/more"]
    lines = [{"sku": "BOOK-1", "quantity": 1}]
    steps = [
        {
            "name": f"step-{number}",
            "commit": "inventory.reserve",
            "rollback": "inventory.release",
            "input": {"transaction_id": part, "order_id": "x", "lines": lines},
        }
        for number, part in enumerate(parts)
    ]
    refused = {"name": "none", "commit": "inventory.reserve", "rollback": "inventory.release"}
    refused["input"] = {"transaction_id": f"{tx}/none", "order_id": "x", "lines": [{"sku": "NONE", "quantity": 1}]}  # type: ignore[assignment]  # JSON
    document = json.dumps({"transaction_id": tx, "steps": [*steps, refused]})
    assert (await _run(system, "transaction", "-", "--concurrent", stdin=document)).code == 1
    await system.forget(f"transaction/{tx}")
    retry = "INSERT INTO decisions VALUES ('x', 'u', ?, 'x', 'retry', 'ann', NULL, '2020-01-01 00:00:00.000000')"
    system.rows("order", retry, tx)
    everything = [*parts, f"{tx}/none"]
    _age(system, *everything[:2])
    assert (await _retired(system))["retired"] == 0, "one part is young"
    _age(system, *everything)
    assert (await _retired(system))["retired"] == 1
    assert _left(system, tx, *everything) == {service: set() for service in SERVICES} | {"inventory": {RETIRED}}
    again = await _run(system, "transaction", "-", "--concurrent", "--json", stdin=document)
    assert (again.code, again.document["error"]["code"]) == (1, "RETIRED")


async def test_an_order_that_holds_something_stays_and_the_others_go(system: Rig) -> None:
    held, other = await _placed(system, Mode.SAGA), await _placed(system, Mode.SAGA)
    await _forget(system, held, other)
    _age(system, held.transaction_id, other.transaction_id)
    before = _left(system, held.transaction_id)
    system.rows("shipping", "UPDATE shipments SET state = 'SCHEDULED' WHERE transaction_id = ?", held.transaction_id)
    answer = await _run(system, "retire", "--older-than", "90d")
    assert (answer.code, held.order_id in answer.err) == (5, True), "the audit names it"
    assert _left(system, other.transaction_id) != _NOTHING
    skip = "INSERT INTO skips VALUES (?, 'shipping.dispatch', 'ann', 'sent by hand', '2020-01-01 00:00:00.000000')"
    system.rows("order", skip, held.transaction_id)
    result = await _retired(system)
    assert (result["retired"], result["holding"]) == (1, 1)
    assert _left(system, other.transaction_id) == _NOTHING
    assert _left(system, held.transaction_id) == before | {"order": before["order"] | {"skips"}}
    system.rows("shipping", "UPDATE shipments SET state = 'DISPATCHED' WHERE transaction_id = ?", held.transaction_id)
    await _retired(system)


async def test_nothing_is_removed_while_stock_does_not_add_up(system: Rig) -> None:
    order = await _placed(system, Mode.SAGA)
    await _forget(system, order)
    _age(system, order.transaction_id)
    before = _left(system, order.transaction_id)
    system.rows("inventory", "UPDATE stock SET received = received + 1 WHERE sku = 'BOOK-1'")
    answer = await _run(system, "retire", "--older-than", "90d", "--json")
    assert (answer.code, answer.document["error"]["code"]) == (5, "NOT_CLEAN")
    assert "stock BOOK-1" in answer.err
    assert _left(system, order.transaction_id) == before
    system.rows("inventory", "UPDATE stock SET received = received - 1 WHERE sku = 'BOOK-1'")
    await _retired(system)


async def test_killed_anywhere_and_run_again_it_comes_to_the_same_end(system: Rig) -> None:
    """Each run is killed after another answer: of a batch, five services examine it, then refuse it, then remove it."""
    orders = [await _placed(system, mode, **odd) for mode in Mode for odd in ({}, {"customer_id": "nobody"})]
    transactions = [order.transaction_id for order in orders]
    sums = _sums(system)
    await _forget(system, *orders)
    _age(system, *transactions)
    for answers in (6, 10, 11, 14, 15, 27):
        await _kill_after(system, answers, "retire", "--older-than", "90d", "--batch", "2")
        assert (await system.audited()).violations == [], f"after {answers} answers"
        for order in orders:
            left = _left(system, order.transaction_id)
            is_ended_there = "orders" in left["order"] or left == _NOTHING
            assert is_ended_there, f"the order service forgot an order that others know: {left}"
    assert (await _retired(system))["retired"] > 0
    assert _left(system, *transactions) == _NOTHING
    assert _sums(system) == sums
    assert (await _retired(system))["retired"] == 0


async def _kill_after(system: Rig, answers: int, *words: str) -> None:
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
            system.afterwards.after[each] = answered

    for each in names:
        system.afterwards.after[each] = answered
    running.append(_start(system, *words))
    code = await asyncio.to_thread(running[0].wait)
    system.afterwards.after.clear()
    assert code == -signal.SIGKILL, f"it had ended after {counted} answers"


async def test_a_placing_during_a_retirement_is_refused_before_it_does_anything(system: Rig) -> None:
    order = await _placed(system, Mode.SAGA)
    await _forget(system, order)
    _age(system, order.transaction_id)
    before = _left(system, order.transaction_id)
    await _kill_after(system, 10, "retire", "--older-than", "90d")
    left = _left(system, order.transaction_id)
    assert left == {service: rows | {RETIRED} for service, rows in before.items()}, "refused, with all its rows"
    answer = await _run(system, "place", "-", "--json", stdin=order.model_dump_json())
    assert (answer.code, answer.document["error"]["code"]) == (2, "RETIRED")
    assert _left(system, order.transaction_id) == left
    assert (await _retired(system))["retired"] == 1, "the refused placing does not keep it"
    assert _left(system, order.transaction_id) == _NOTHING


async def test_a_second_placing_of_a_retired_order_that_was_terminated_needs_no_end(system: Rig) -> None:
    order = await _placed(system, Mode.SAGA)
    await _forget(system, order)
    _age(system, order.transaction_id)
    await _retired(system)
    await system.never_runs("OrderWorkflow", order.transaction_id, order.model_dump(mode="json"))
    swept = await system.sweep()
    assert order.order_id not in swept.orders
    assert _left(system, order.transaction_id) == _NOTHING
    assert (await system.audited()).violations == []


def _personal_rows(system: Rig) -> list[str]:
    """The personal data that any table of any service has, in whichever column."""
    text = "".join(
        str(row)
        for service, definition in SERVICES.items()
        for table in definition.metadata.tables
        for row in system.rows(service, f"SELECT * FROM {table}")  # noqa: S608 — ours
    )
    return [each for each in _PERSONAL if each in text]


async def _of_ada(system: Rig, mode: Mode, **changes: Any) -> Order:
    return await _placed(system, mode, customer_id="c-1", ship_to=_ADDRESS, contact=_CONTACT, **changes)


async def test_the_personal_data_of_a_customer_is_erased_everywhere_and_once(system: Rig) -> None:
    orders = [await _of_ada(system, mode) for mode in Mode]
    assert _personal_rows(system)
    sums = _sums(system)
    words = ("erase", "c-1", "--reason", "asked to", "--actor", "ann", "--json")
    first = await _run(system, *words)
    assert first.code == 0, first.err
    assert first.document["rows"] > 0
    assert _personal_rows(system) == []
    assert _sums(system) == sums
    assert (await system.audited()).violations == []
    again = await _run(system, *words)
    assert (again.code, again.document["rows"]) == (0, 0)
    [(actor, reason), *_] = system.rows("order", "SELECT actor, reason FROM erasures WHERE customer_id = 'c-1'")
    assert (actor, reason) == ("ann", "asked to")

    await _forget(system, *orders)
    effects = {service: system.rows(service, "SELECT count(*) FROM effects") for service in SERVICES}
    answer = await _run(system, "place", "-", "--json", stdin=orders[0].model_dump_json())
    assert (answer.code, answer.document["state"]) == (0, "CONFIRMED"), "the fence answers the old request"
    assert {service: system.rows(service, "SELECT count(*) FROM effects") for service in SERVICES} == effects
    other = orders[0].model_copy(update={"deadline_s": 5.0})
    await _forget(system, orders[0])
    refused = await _run(system, "place", "-", "--json", stdin=other.model_dump_json())
    assert (refused.code, refused.document["error"]["code"]) == (2, "DUPLICATE_ORDER")


async def test_an_open_order_keeps_its_customers_data_and_is_named(system: Rig) -> None:
    order = an_order(ship_to=_ADDRESS, contact=_CONTACT)
    fault = Fault(operation="shipping.dispatch", transaction=order.transaction_id, kind=FaultKind.REFUSE)
    system.faults.append(fault)
    handle = await system.start("OrderWorkflow", order.transaction_id, order.model_dump(mode="json"))
    await system.until(handle, lambda log: log["state"] == "PARKED")
    answer = await _run(system, "erase", "c-1", "--reason", "asked to", "--actor", "ann")
    assert answer.code == 2
    assert answer.err == (
        f"error: customer c-1 has open orders: {order.order_id}; wait for their end, or cancel them\n"
    )
    assert _personal_rows(system)
    system.faults.remove(fault)
    retry = await _run(system, "desk", "retry", order.order_id, "shipping.dispatch")
    assert retry.code == 0, retry.err
    await handle.result()
    assert (await _run(system, "erase", "c-1", "--reason", "asked to", "--actor", "ann")).code == 0
    assert _personal_rows(system) == []


async def test_the_histories_of_a_customers_orders_are_deleted_but_not_those_of_a_batch(system: Rig) -> None:
    orders = [await _of_ada(system, mode) for mode in (Mode.SAGA, Mode.CHOREOGRAPHY, Mode.BATCH)]
    [(batch,)] = system.rows(
        "order", "SELECT coordinator FROM orders WHERE transaction_id = ?", orders[2].transaction_id
    )
    answer = await _run(system, "erase", "c-1", "--reason", "asked to", "--actor", "ann", "--histories", "--json")
    assert answer.code == 0, answer.err
    assert batch in answer.document["batches"]
    assert answer.document["histories"] >= 1 + len(PARTICIPANTS)
    for workflow_id in (orders[0].transaction_id, *(participant_id(orders[1].order_id, each) for each in PARTICIPANTS)):
        await system.until_forgotten(workflow_id)
    assert await _is_known(system, batch)
    assert (await system.audited()).violations == []


async def test_a_customer_whom_nobody_knows_is_no_customer(system: Rig) -> None:
    answer = await _run(system, "erase", "c-404", "--reason", "asked to", "--actor", "ann", "--json")
    assert (answer.code, answer.document["error"]["code"]) == (2, "UNKNOWN_CUSTOMER")
