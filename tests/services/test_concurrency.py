"""Concurrent requests, in one process and in several: one effect for each key, nothing oversold, no deadlock."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest
from sqlalchemy import make_url, text

from activities.database import reading
from activities.fence import RefusedDecision, digest
from activities.postgresql import PostgresqlDatabase
from activities.service import Service
from contracts import inventory, payment
from contracts.errors import Code
from temporal_saga.fence.rules import OperationState

from ..eventually import eventually_async
from .conftest import OpenHarness
from .databases import PostgresDatabases
from .processes import PROCESSES, Contenders, deliver_in_parallel
from .requests import balance, charge, reservation, stock_level
from .samples import sample_of
from .service_harness import Call, Operations, ServiceHarness, assert_invariants, every_forward, every_undo, handler_of

pytestmark = pytest.mark.slow

Record = Callable[[str, object], None]
MOST_STALE = {"sqlite": 0, "postgresql": 20}
"""Limit on the requests of a hundred that go back to Temporal's retries. SQLite takes its write lock before it reads,
so no transaction conflicts; on PostgreSQL ten connections contend, and 0 was measured."""


@every_forward
async def test_twenty_deliveries_of_one_forward_at_once_take_effect_once(
    open_harness: OpenHarness, forward: Operations
) -> None:
    harness, sample = await open_harness(forward.queue), sample_of(forward)
    await harness.accept(*sample.before)
    answers = await asyncio.gather(*(harness.deliver_until_answered(forward, sample.request) for _ in range(20)))
    assert isinstance(answers[0], forward.reply)
    assert all(answer == answers[0] for answer in answers)
    assert (await harness.effects(sample.request.transaction_id)).count(forward.name) == 1
    await assert_invariants(harness)


@every_undo
async def test_a_forward_racing_its_undo_never_leaves_an_effect(open_harness: OpenHarness, undo: Operations) -> None:
    sample = sample_of(undo)
    forward, request = sample.operation, sample.request
    harness = await open_harness(undo.queue)
    other = harness.sibling()  # another connection, as another worker has: on SQLite the two contend for the file
    await harness.accept(*sample.before)
    before = await harness.effects(request.transaction_id)
    await asyncio.gather(
        *(
            site.deliver_until_answered(operation, request)
            for _ in range(4)
            for site in (harness, other)
            for operation in (forward, undo)
        )
    )
    happened = (await harness.effects(request.transaction_id))[len(before) :]
    if await harness.recorded_state(undo, request) is OperationState.TOMBSTONE:
        assert forward.name not in happened
    else:
        assert await harness.recorded_state(undo, request) is OperationState.UNDONE
        assert happened == [forward.name, undo.name]
    await assert_invariants(harness)
    if undo is payment.cancel:
        account = await harness.row("accounts", customer_id="ada")
        assert (account["balance_minor"], account["held_minor"]) == (100_000, 0)
    if undo is inventory.release:
        stock = await harness.row("stock", sku="apple")
        assert (stock["on_hand"], stock["reserved"]) == (100, 0)


async def test_fifty_orders_for_the_last_unit_in_one_process(open_harness: OpenHarness) -> None:
    harness = await open_harness("inventory")
    await harness.accept(Call(inventory.set_stock, stock_level("apple", 1)))
    orders = [reservation(f"order/{number}", apple=1) for number in range(50)]
    answers = await asyncio.gather(*(harness.deliver_until_answered(inventory.reserve, order) for order in orders))
    ends = Counter(answer.code if isinstance(answer, RefusedDecision) else "DONE" for answer in answers)
    assert ends == {"DONE": 1, Code.OUT_OF_STOCK: 49}
    stock = await harness.row("stock", sku="apple")
    assert (stock["on_hand"], stock["reserved"]) == (1, 1)
    await assert_invariants(harness)


@pytest.mark.long  # load
async def test_fifty_orders_for_the_last_unit_from_four_processes(
    open_harness: OpenHarness, contenders: Contenders
) -> None:
    harness = await open_harness("inventory")
    await harness.accept(Call(inventory.set_stock, stock_level("apple", 1)))
    orders = [reservation(f"order/{number}", apple=1) for number in range(50)]
    shares = [orders[start::PROCESSES] for start in range(PROCESSES)]
    ends = sum(await contenders.each(deliver_in_parallel, harness.url, "inventory.reserve", shares), Counter[str]())
    del ends["STALE"]
    assert ends == {"DONE": 1, "OUT_OF_STOCK": 49}
    stock = await harness.row("stock", sku="apple")
    assert (stock["on_hand"], stock["reserved"]) == (1, 1)
    await assert_invariants(harness)


async def test_one_authorization_delivered_by_four_processes_takes_effect_once(
    open_harness: OpenHarness, contenders: Contenders
) -> None:
    harness = await open_harness("payment")
    await harness.accept(Call(payment.set_account, balance(10_000)))
    shares = [[charge(1999)] * 5] * PROCESSES
    ends = sum(await contenders.each(deliver_in_parallel, harness.url, "payment.authorize", shares), Counter[str]())
    assert ends["DONE"] == 5 * PROCESSES
    assert (await harness.row("accounts", customer_id="ada"))["held_minor"] == 1999
    await assert_invariants(harness)


async def test_orders_over_the_same_skus_in_opposite_order_all_end(
    open_harness: OpenHarness, contenders: Contenders
) -> None:
    harness = await open_harness("inventory")
    await harness.accept(
        Call(inventory.set_stock, stock_level("apple", 40)), Call(inventory.set_stock, stock_level("pear", 40))
    )
    lines: list[dict[str, int]] = [{"apple": 1, "pear": 1}, {"pear": 1, "apple": 1}]
    orders = [reservation(f"order/{number}", **lines[number % 2]) for number in range(40)]
    shares = [orders[start * 10 : start * 10 + 10] for start in range(PROCESSES)]
    ends = sum(await contenders.each(deliver_in_parallel, harness.url, "inventory.reserve", shares), Counter[str]())
    assert ends["DONE"] == 40
    assert [row["reserved"] for row in await harness.rows("stock")] == [40, 40]
    await assert_invariants(harness)


async def test_two_batches_over_the_same_skus_in_opposite_order_cannot_deadlock(
    postgresql_databases: PostgresDatabases,
) -> None:
    """Both batches wait for the first row, which a third transaction holds; one that held another row would deadlock.

    The lines of one order are sorted by sku, but the orders of a batch come in any order. SQLite locks no rows. Each
    batch has its own harness, because one service runs its transactions one after another.
    """
    harness = ServiceHarness("inventory", await postgresql_databases.migrated("inventory"))
    await harness.accept(
        Call(inventory.set_stock, stock_level("apple", 9)), Call(inventory.set_stock, stock_level("pear", 9))
    )
    lists = [
        [reservation("order/1", apple=1), reservation("order/2", pear=1)],
        [reservation("order/3", pear=1), reservation("order/4", apple=1)],
    ]
    async with reading(harness.url) as third, asyncio.timeout(60):
        await third.execute(text("SELECT * FROM stock WHERE sku = 'apple' FOR UPDATE"))
        both = []
        for number, (site, orders) in enumerate(zip((harness, harness.sibling()), lists, strict=True)):
            both.append(asyncio.create_task(site.deliver_all(inventory.reserve, orders)))
            await _until_waiting(harness, number + 1)
        await third.rollback()
        answers = await asyncio.gather(*both)
    assert not [answer for each in answers for answer in each if isinstance(answer, RefusedDecision)]
    assert [row["reserved"] for row in await harness.rows("stock")] == [2, 2]
    await assert_invariants(harness)


async def _until_waiting(harness: ServiceHarness, count: int) -> None:
    """Wait until `count` transactions of this database wait for a lock."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    async def waiters() -> int | None:
        return await harness.database.transaction(lambda tx: tx.scalar(waiting))

    await eventually_async(waiters, f"{count} transactions wait for a lock", until=count.__eq__, pause_s=0.01)


async def test_a_transaction_that_lost_a_race_is_decided_again_within_the_call(
    postgresql_databases: PostgresDatabases,
) -> None:
    """A third transaction changes the row that the call waits for; the service itself reads and decides again."""
    harness = ServiceHarness("inventory", await postgresql_databases.migrated("inventory"))
    await harness.accept(Call(inventory.set_stock, stock_level("apple", 1)))
    async with reading(harness.url) as third, asyncio.timeout(60):
        await third.execute(text("UPDATE stock SET version = version + 1 WHERE sku = 'apple'"))
        slower = asyncio.create_task(harness.deliver_until_answered(inventory.reserve, reservation("order/1", apple=1)))
        # A second harness looks, because the first one runs its transactions one after another.
        await _until_waiting(harness.sibling(), 1)
        await third.commit()
        assert not isinstance(await slower, RefusedDecision)
    assert harness.stale_escapes == 0
    assert (await harness.row("stock", sku="apple"))["reserved"] == 1
    await assert_invariants(harness)


class ReadCommitted(PostgresqlDatabase):
    """A database whose transactions see later commits of others, so that PostgreSQL reports no serialization failure.

    The version check alone then detects that two transactions write one row.
    """

    def __init__(self, url: str) -> None:
        super().__init__(make_url(url))
        self._engine = self._engine.execution_options(isolation_level="READ COMMITTED")


async def test_a_row_written_meanwhile_is_decided_again_where_the_database_reports_no_conflict(
    postgresql_databases: PostgresDatabases,
) -> None:
    """The stock is set while an order waits for the row: both changes are there in the end."""
    harness = ServiceHarness("inventory", await postgresql_databases.migrated("inventory"))
    await harness.accept(Call(inventory.set_stock, stock_level("apple", 9)))
    slower = Service(harness.definition, tolerant := ReadCommitted(harness.url))
    handler = handler_of(inventory.reserve)
    async with reading(harness.url) as third, asyncio.timeout(60):
        await third.execute(
            text("UPDATE stock SET on_hand = 5, received = 5, version = version + 1 WHERE sku = 'apple'")
        )
        delivery = asyncio.create_task(slower.perform(handler, [reservation("order/1", apple=1)]))
        await _until_waiting(harness, 1)
        await third.commit()
        [answer] = await delivery
    assert not isinstance(answer, RefusedDecision)
    stock = await harness.row("stock", sku="apple")
    assert (stock["on_hand"], stock["reserved"]) == (5, 1)
    await assert_invariants(harness)
    await tolerant.dispose()


async def test_of_two_requests_for_one_key_one_acts_where_the_database_reports_no_conflict(
    postgresql_databases: PostgresDatabases,
) -> None:
    """A late attempt is in its local transaction when the step is undone: it has no effect."""
    harness = ServiceHarness("inventory", await postgresql_databases.migrated("inventory"))
    await harness.accept(Call(inventory.set_stock, stock_level("apple", 9)))
    late = Service(harness.definition, tolerant := ReadCommitted(harness.url))
    request = reservation("order/1", apple=1)
    tombstone = text(
        "INSERT INTO operations (transaction_id, step, state, digest, answer, at, version)"
        " VALUES ('order/1', 'inventory.reserve', 'TOMBSTONE', :digest, '{}', now(), 1)"
    )
    async with reading(harness.url) as undoing, asyncio.timeout(60):
        await undoing.execute(tombstone, {"digest": digest(request)})
        delivery = asyncio.create_task(late.perform(handler_of(inventory.reserve), [request]))
        await _until_waiting(harness, 1)
        await undoing.commit()
        [answer] = await delivery
    assert isinstance(answer, RefusedDecision)
    assert answer.code == Code.STEP_UNDONE
    assert (await harness.row("stock", sku="apple"))["reserved"] == 0
    assert await harness.recorded_state(inventory.reserve, request) is OperationState.TOMBSTONE
    await tolerant.dispose()


async def test_a_hot_sku_serves_a_hundred_orders_at_once(open_harness: OpenHarness, record_property: Record) -> None:
    harness = await open_harness("inventory")
    await harness.accept(Call(inventory.set_stock, stock_level("apple", 100)))
    orders = [reservation(f"order/{number}", apple=1) for number in range(100)]
    answers = await asyncio.gather(*(harness.deliver_until_answered(inventory.reserve, order) for order in orders))
    assert not [answer for answer in answers if isinstance(answer, RefusedDecision)]
    stock = await harness.row("stock", sku="apple")
    assert (stock["on_hand"], stock["reserved"]) == (100, 100)
    await assert_invariants(harness)
    record_property("stale_escapes", harness.stale_escapes)
    assert harness.stale_escapes <= MOST_STALE[harness.database.sync_engine.dialect.name]
