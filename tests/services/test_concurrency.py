"""Many at once, in one process and in several: one effect for a key, nothing oversold, nothing left, no deadlock."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest
from sqlalchemy import make_url, text

from activities.catalogue import SERVICES
from activities.database import reading
from activities.fence import PassageState, Refusal, digest
from activities.postgresql import PostgresqlDatabase
from activities.service import Service
from contracts import inventory, payment
from contracts.errors import Code

from ..eventually import eventually_async
from .bench import Bench, Call, Operations, assert_invariants, handler_of
from .conftest import OpenBench
from .databases import PostgresDatabases
from .processes import PROCESSES, Contenders, deliver_in_parallel
from .requests import charge, purse, reservation, shelf
from .samples import SAMPLES

_HANDLED = [handler.operation for service in SERVICES.values() for handler in service.handlers]
Record = Callable[[str, object], None]
MOST_STALE = {"sqlite": 0, "postgresql": 20}
"""How many of a hundred contenders may go back to Temporal's retries. SQLite takes its write lock before it reads, so
nobody overtakes there; on PostgreSQL ten connections contend, and 0 was measured."""
every_forward = pytest.mark.parametrize(
    "forward", [each for each in _HANDLED if each.undoes is None], ids=lambda operation: operation.name
)
every_undo = pytest.mark.parametrize(
    "undo", [each for each in _HANDLED if each.undoes is not None], ids=lambda operation: operation.name
)


@every_forward
async def test_twenty_deliveries_of_one_forward_at_once_take_effect_once(
    open_bench: OpenBench, forward: Operations
) -> None:
    bench, sample = await open_bench(forward.queue), SAMPLES[forward.name]
    await bench.accept(*sample.before)
    answers = await asyncio.gather(*(bench.until_answered(forward, sample.request) for _ in range(20)))
    assert isinstance(answers[0], forward.reply)
    assert all(answer == answers[0] for answer in answers)
    assert (await bench.effects(sample.request.transaction_id)).count(forward.name) == 1
    await assert_invariants(bench)


@every_undo
async def test_a_forward_racing_its_undo_never_leaves_an_effect(open_bench: OpenBench, undo: Operations) -> None:
    sample = SAMPLES[undo.step]
    forward, request = sample.operation, sample.request
    bench = await open_bench(undo.queue)
    other = bench.beside()  # another connection, as another worker has: on SQLite the two contend for the file
    await bench.accept(*sample.before)
    before = await bench.effects(request.transaction_id)
    await asyncio.gather(
        *(
            site.until_answered(operation, request)
            for _ in range(4)
            for site in (bench, other)
            for operation in (forward, undo)
        )
    )
    await other.database.dispose()
    happened = (await bench.effects(request.transaction_id))[len(before) :]
    if await bench.passage(undo, request) is PassageState.TOMBSTONE:
        assert forward.name not in happened
    else:
        assert await bench.passage(undo, request) is PassageState.UNDONE
        assert happened == [forward.name, undo.name]
    await assert_invariants(bench)
    if undo is payment.cancel:
        account = await bench.row("accounts", customer_id="ada")
        assert (account["balance_minor"], account["held_minor"]) == (100_000, 0)
    if undo is inventory.release:
        stock = await bench.row("stock", sku="apple")
        assert (stock["on_hand"], stock["reserved"]) == (100, 0)


async def test_fifty_orders_for_the_last_unit_in_one_process(open_bench: OpenBench) -> None:
    bench = await open_bench("inventory")
    await bench.accept(Call(inventory.set_stock, shelf("apple", 1)))
    orders = [reservation(f"order/{number}", apple=1) for number in range(50)]
    answers = await asyncio.gather(*(bench.until_answered(inventory.reserve, order) for order in orders))
    ends = Counter(answer.code if isinstance(answer, Refusal) else "DONE" for answer in answers)
    assert ends == {"DONE": 1, Code.OUT_OF_STOCK: 49}
    stock = await bench.row("stock", sku="apple")
    assert (stock["on_hand"], stock["reserved"]) == (1, 1)
    await assert_invariants(bench)


async def test_fifty_orders_for_the_last_unit_from_four_processes(
    open_bench: OpenBench, contenders: Contenders
) -> None:
    bench = await open_bench("inventory")
    await bench.accept(Call(inventory.set_stock, shelf("apple", 1)))
    orders = [reservation(f"order/{number}", apple=1) for number in range(50)]
    shares = [orders[start::PROCESSES] for start in range(PROCESSES)]
    ends = sum(await contenders.each(deliver_in_parallel, bench.url, "inventory.reserve", shares), Counter[str]())
    del ends["STALE"]
    assert ends == {"DONE": 1, "OUT_OF_STOCK": 49}
    stock = await bench.row("stock", sku="apple")
    assert (stock["on_hand"], stock["reserved"]) == (1, 1)
    await assert_invariants(bench)


async def test_one_authorization_delivered_by_four_processes_takes_effect_once(
    open_bench: OpenBench, contenders: Contenders
) -> None:
    bench = await open_bench("payment")
    await bench.accept(Call(payment.set_account, purse(10_000)))
    shares = [[charge(1999)] * 5] * PROCESSES
    ends = sum(await contenders.each(deliver_in_parallel, bench.url, "payment.authorize", shares), Counter[str]())
    assert ends["DONE"] == 5 * PROCESSES
    assert (await bench.row("accounts", customer_id="ada"))["held_minor"] == 1999
    await assert_invariants(bench)


async def test_orders_over_the_same_skus_in_opposite_order_all_end(
    open_bench: OpenBench, contenders: Contenders
) -> None:
    bench = await open_bench("inventory")
    await bench.accept(Call(inventory.set_stock, shelf("apple", 40)), Call(inventory.set_stock, shelf("pear", 40)))
    lines: list[dict[str, int]] = [{"apple": 1, "pear": 1}, {"pear": 1, "apple": 1}]
    orders = [reservation(f"order/{number}", **lines[number % 2]) for number in range(40)]
    # Each process gets both kinds.
    shares = [orders[start * 10 : start * 10 + 10] for start in range(PROCESSES)]
    ends = sum(await contenders.each(deliver_in_parallel, bench.url, "inventory.reserve", shares), Counter[str]())
    assert ends["DONE"] == 40
    assert [row["reserved"] for row in await bench.rows("stock")] == [40, 40]
    await assert_invariants(bench)


async def test_two_lists_over_the_same_skus_in_opposite_order_cannot_deadlock(postgresql: PostgresDatabases) -> None:
    """A third holds the row that comes first, so that both wait: a list that held another row meanwhile would wait for
    ever. One order's own lines are in the order of the skus; a list of orders may come in any. SQLite locks no rows.
    Each in a process of its own: one process makes its transactions one after the other.
    """
    bench = Bench("inventory", await postgresql.migrated("inventory"))
    await bench.accept(Call(inventory.set_stock, shelf("apple", 9)), Call(inventory.set_stock, shelf("pear", 9)))
    lists = [
        [reservation("order/1", apple=1), reservation("order/2", pear=1)],
        [reservation("order/3", pear=1), reservation("order/4", apple=1)],
    ]
    async with reading(bench.url) as third, asyncio.timeout(60):
        await third.execute(text("SELECT * FROM stock WHERE sku = 'apple' FOR UPDATE"))
        both = []
        for number, (site, orders) in enumerate(zip((bench, other := bench.beside()), lists, strict=True)):
            both.append(asyncio.create_task(site.deliver_all(inventory.reserve, orders)))
            await _until_waiting(bench, number + 1)
        await third.rollback()
        answers = await asyncio.gather(*both)
    assert not [answer for each in answers for answer in each if isinstance(answer, Refusal)]
    assert [row["reserved"] for row in await bench.rows("stock")] == [2, 2]
    await assert_invariants(bench)
    await bench.database.dispose()
    await other.database.dispose()


async def _until_waiting(bench: Bench, count: int) -> None:
    """Until so many transactions of this database wait for a lock."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    async def waiters() -> int | None:
        return await bench.database.transaction(lambda tx: tx.scalar(waiting))

    await eventually_async(waiters, f"{count} transactions wait for a lock", until=count.__eq__, pause_s=0.01)


async def test_whoever_was_slower_decides_anew_within_the_call(postgresql: PostgresDatabases) -> None:
    """Another writes the row that the call waits for: what it read is old, and Temporal's retries are not asked."""
    bench = Bench("inventory", await postgresql.migrated("inventory"))
    await bench.accept(Call(inventory.set_stock, shelf("apple", 1)))
    async with reading(bench.url) as third, asyncio.timeout(60):
        await third.execute(text("UPDATE stock SET version = version + 1 WHERE sku = 'apple'"))
        slower = asyncio.create_task(bench.until_answered(inventory.reserve, reservation("order/1", apple=1)))
        # This site makes its transactions one after another, and is busy with that one.
        await _until_waiting(other := bench.beside(), 1)
        await third.commit()
        assert not isinstance(await slower, Refusal)
    assert bench.stale_escapes == 0
    assert (await bench.row("stock", sku="apple"))["reserved"] == 1
    await assert_invariants(bench)
    await bench.database.dispose()
    await other.database.dispose()


class ReadCommitted(PostgresqlDatabase):
    """Lets a transaction see, from one statement to the next, what others have committed: PostgreSQL then reports no
    serialization failure, and the version check alone keeps two writers apart."""

    def __init__(self, url: str) -> None:
        super().__init__(make_url(url))
        self._engine = self._engine.execution_options(isolation_level="READ COMMITTED")


async def test_a_row_written_by_another_is_decided_anew_where_the_database_tells_of_no_conflict(
    postgresql: PostgresDatabases,
) -> None:
    """Another counts the shelf while an order waits for its row: both are in the books in the end."""
    bench = Bench("inventory", await postgresql.migrated("inventory"))
    await bench.accept(Call(inventory.set_stock, shelf("apple", 9)))
    slower = Service(bench.definition, tolerant := ReadCommitted(bench.url))
    handler = handler_of(inventory.reserve)
    async with reading(bench.url) as third, asyncio.timeout(60):
        await third.execute(
            text("UPDATE stock SET on_hand = 5, received = 5, version = version + 1 WHERE sku = 'apple'")
        )
        asked = asyncio.create_task(slower.perform(handler, [reservation("order/1", apple=1)]))
        await _until_waiting(bench, 1)
        await third.commit()
        [answer] = await asked
    assert not isinstance(answer, Refusal)
    stock = await bench.row("stock", sku="apple")
    assert (stock["on_hand"], stock["reserved"]) == (5, 1)
    await assert_invariants(bench)
    await bench.database.dispose()
    await tolerant.dispose()


async def test_of_two_who_act_on_one_key_one_acts_where_the_database_tells_of_no_conflict(
    postgresql: PostgresDatabases,
) -> None:
    """An attempt that was late is in its local transaction when the step is undone: it has not acted."""
    bench = Bench("inventory", await postgresql.migrated("inventory"))
    await bench.accept(Call(inventory.set_stock, shelf("apple", 9)))
    late = Service(bench.definition, tolerant := ReadCommitted(bench.url))
    request = reservation("order/1", apple=1)
    tombstone = text(
        "INSERT INTO operations (transaction_id, step, state, digest, answer, version)"
        " VALUES ('order/1', 'inventory.reserve', 'TOMBSTONE', :digest, '{}', 1)"
    )
    async with reading(bench.url) as undoing, asyncio.timeout(60):
        await undoing.execute(tombstone, {"digest": digest(request)})
        asked = asyncio.create_task(late.perform(handler_of(inventory.reserve), [request]))
        await _until_waiting(bench, 1)
        await undoing.commit()
        [answer] = await asked
    assert isinstance(answer, Refusal)
    assert answer.code == Code.STEP_UNDONE
    assert (await bench.row("stock", sku="apple"))["reserved"] == 0
    assert await bench.passage(inventory.reserve, request) is PassageState.TOMBSTONE
    await bench.database.dispose()
    await tolerant.dispose()


async def test_a_hot_sku_serves_a_hundred_orders_at_once(open_bench: OpenBench, record_property: Record) -> None:
    bench = await open_bench("inventory")
    await bench.accept(Call(inventory.set_stock, shelf("apple", 100)))
    orders = [reservation(f"order/{number}", apple=1) for number in range(100)]
    answers = await asyncio.gather(*(bench.until_answered(inventory.reserve, order) for order in orders))
    assert not [answer for answer in answers if isinstance(answer, Refusal)]
    stock = await bench.row("stock", sku="apple")
    assert (stock["on_hand"], stock["reserved"]) == (100, 100)
    await assert_invariants(bench)
    record_property("stale_escapes", bench.stale_escapes)
    assert bench.stale_escapes <= MOST_STALE[bench.database.sync_engine.dialect.name]


async def test_a_hot_account_serves_a_hundred_charges_at_once(open_bench: OpenBench, record_property: Record) -> None:
    bench = await open_bench("payment")
    await bench.accept(Call(payment.set_account, purse(100)))
    charges = [charge(1, f"order/{number}") for number in range(100)]
    answers = await asyncio.gather(*(bench.until_answered(payment.authorize, each) for each in charges))
    assert not [answer for answer in answers if isinstance(answer, Refusal)]
    assert (await bench.row("accounts", customer_id="ada"))["held_minor"] == 100
    await assert_invariants(bench)
    record_property("stale_escapes", bench.stale_escapes)
    assert bench.stale_escapes <= MOST_STALE[bench.database.sync_engine.dialect.name]
