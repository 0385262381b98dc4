"""What Temporal sees when a service's database or its caller is at fault: the activities, run as a worker runs them."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, make_url
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from contracts import inventory
from contracts.catalogue import OPERATIONS
from contracts.errors import Code
from contracts.inventory import StockLevels, StockSet

from .bench import Bench, Call, Operations, assert_goods_add_up
from .conftest import OpenBench
from .databases import PostgresDatabases, SqliteFiles
from .requests import document, reservation, shelf
from .samples import SAMPLES

COUNT = document(shelf("apple", 5))


async def _run(bench: Bench, operation: Operations, received: Any) -> Any:
    return await ActivityEnvironment().run(_activity(bench, operation), received)


def _activity(bench: Bench, operation: Operations) -> Callable[..., Any]:
    served = [handler.operation for handler in bench.definition.handlers]
    served += [query.operation for query in bench.definition.queries]
    return bench.service.activities()[served.index(operation)]


async def _failure(bench: Bench, operation: Operations, received: Any) -> ApplicationError:
    with pytest.raises(ApplicationError) as caught:
        await _run(bench, operation, received)
    return caught.value


async def _assert_unavailable(bench: Bench, reason: str, operation: Operations = inventory.set_stock) -> None:
    """It fails with one line that names the service and says why, and Temporal will try again."""
    received = COUNT if operation is inventory.set_stock else {}
    failure = await _failure(bench, operation, received)
    assert (failure.type, failure.non_retryable) == (Code.SERVICE_UNAVAILABLE, False)
    assert failure.message.startswith("inventory database: ")
    assert reason in failure.message
    assert "\n" not in failure.message
    assert "INSERT INTO" not in failure.message  # a statement would carry customers' data


@pytest.mark.parametrize("operation", [inventory.set_stock, inventory.list_stock], ids=lambda each: each.name)
async def test_a_database_that_cannot_be_opened(tmp_path: Path, operation: Operations) -> None:
    bench = Bench("inventory", f"sqlite+aiosqlite:///{tmp_path}/nowhere/data.db")
    await _assert_unavailable(bench, "unable to open database file", operation)
    await _driver_threads_end()


async def _driver_threads_end() -> None:
    """aiosqlite leaves the thread of a connection that never opened to itself; the loop must not close before it."""
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            await asyncio.to_thread(thread.join, 5)


async def test_a_file_that_is_not_a_database(tmp_path: Path) -> None:
    (tmp_path / "data.db").write_bytes(b"no database at all " * 500)
    bench = Bench("inventory", f"sqlite+aiosqlite:///{tmp_path}/data.db")
    await _assert_unavailable(bench, "file is not a database")
    await bench.database.dispose()


async def test_a_database_that_is_read_only(sqlite: SqliteFiles) -> None:
    url = await sqlite.migrated("inventory")
    bench = Bench("inventory", url.replace("///", "///file:") + "?mode=ro&uri=true")
    await _assert_unavailable(bench, "attempt to write a readonly database")
    await bench.database.dispose()


async def test_a_full_disk_leaves_the_books_as_they_were(sqlite: SqliteFiles) -> None:
    bench = Bench("inventory", await sqlite.migrated("inventory"))
    await bench.accept(Call(inventory.set_stock, shelf("apple", 1000)))

    def full(connection: Any, _: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # which SQLite takes as: what there is, and no more

    await bench.database.dispose()
    event.listen(bench.database.sync_engine, "connect", full)
    failures = []
    for number in range(1, 40):  # until the last page has no room
        goods = reservation(f"order/{number}", apple=1)
        try:
            await _run(bench, inventory.reserve, document(goods))
        except ApplicationError as error:
            failures.append(error)
            break
    [failure] = failures
    assert (failure.type, failure.non_retryable) == (Code.SERVICE_UNAVAILABLE, False)
    assert failure.message == "inventory database: database or disk is full"
    await assert_goods_add_up(bench)
    event.remove(bench.database.sync_engine, "connect", full)
    await bench.database.dispose()
    await bench.accept(Call(inventory.reserve, goods))
    assert (await bench.row("stock"))["reserved"] == number
    await bench.database.dispose()


async def test_a_database_that_another_process_keeps_locked(sqlite: SqliteFiles) -> None:
    bench = Bench("inventory", await sqlite.migrated("inventory"))
    other = bench.beside()
    with other.database.sync_engine.begin():  # longer than the busy timeout, which is what this test waits for
        await _assert_unavailable(bench, "database is locked")
    assert isinstance(await _run(bench, inventory.set_stock, COUNT), StockSet)
    await other.database.dispose()
    await bench.database.dispose()


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("/nowhere?host={socket}", 'database "nowhere" does not exist'),
        ("/postgres?host=/nowhere", "No such file or directory"),
        ("127.0.0.1:1/postgres", "Connect call failed"),
    ],
)
async def test_a_postgresql_that_is_not_there(postgres: Path, place: str, reason: str) -> None:
    bench = Bench("inventory", "postgresql+asyncpg://postgres@" + place.format(socket=postgres))
    await _assert_unavailable(bench, reason)
    await bench.database.dispose()


async def test_connections_that_were_cut_are_replaced(postgresql: PostgresDatabases) -> None:
    bench = Bench("inventory", await postgresql.migrated("inventory"))
    await bench.accept(Call(inventory.set_stock, shelf("apple", 9)))
    await _cut_connections(postgresql, bench)
    assert isinstance(await _run(bench, inventory.set_stock, COUNT), StockSet)
    await bench.database.dispose()


async def test_a_postgresql_that_takes_no_writes_still_answers_questions(postgresql: PostgresDatabases) -> None:
    bench = Bench("inventory", await postgresql.migrated("inventory"))
    name = make_url(bench.url).database
    await postgresql.administer(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await _assert_unavailable(bench, "cannot execute INSERT in a read-only transaction")
    assert await _run(bench, inventory.list_stock, {}) == StockLevels(levels=())
    await bench.database.dispose()


async def _cut_connections(postgresql: PostgresDatabases, bench: Bench) -> None:
    name = make_url(bench.url).database
    which = f"datname = '{name}'"
    await postgresql.administer(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {which}")  # noqa: S608 — a name of ours


async def test_a_cancelled_delivery_keeps_nothing_locked(open_bench: OpenBench) -> None:
    """Cancelled at any moment, a local transaction still comes to an end of its own, and the next one gets through."""
    bench = await open_bench("inventory")
    await bench.accept(Call(inventory.set_stock, shelf("apple", 1000)))
    moments = random.Random(1)  # noqa: S311 — the same moments in each run
    for number in range(60):
        delivery = asyncio.ensure_future(bench.deliver(inventory.reserve, reservation(f"cut-{number}", apple=1)))
        await asyncio.sleep(moments.uniform(0, 0.012))
        delivery.cancel()
        await asyncio.wait([delivery])
        async with asyncio.timeout(3):  # less than SQLite waits for a lock
            await bench.until_answered(inventory.reserve, reservation(f"order/{number}", apple=1))
    # Who cancels does not know what became of it; to undo it is right either way.
    cut = [reservation(f"cut-{number}", apple=1) for number in range(60)]
    await asyncio.gather(*(bench.until_answered(inventory.release, goods) for goods in cut))
    assert (await bench.row("stock"))["reserved"] == 60
    await assert_goods_add_up(bench)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda each: each.name)
@pytest.mark.parametrize("received", [None, [], "text", 7])
async def test_a_request_that_does_not_fit_is_refused_for_good(
    tmp_path: Path, operation: Operations, received: Any
) -> None:
    # No database: the request does not get that far.
    bench = Bench(operation.queue, f"sqlite+aiosqlite:///{tmp_path}/nowhere/data.db")
    failure = await _failure(bench, operation, received)
    assert (failure.type, failure.non_retryable) == (Code.INVALID_REQUEST, True)
    assert failure.message.startswith(f"{operation.name}: ")
    assert "\n" not in failure.message


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"lines": []}, "lines: "),
        ({"lines": [{"sku": "apple", "quantity": 0}]}, "lines.0.quantity: "),
        ({"lines": [{"sku": "apple", "quantity": "2"}]}, "lines.0.quantity: "),
        ({"lines": [{"sku": "apple", "quantity": 1}] * 2}, "a sku is on two lines"),
        ({"lines": [{"sku": "a" * 65, "quantity": 1}]}, "lines.0.sku: "),
    ],
)
async def test_the_field_that_does_not_fit_is_named(sqlite: SqliteFiles, change: dict[str, Any], problem: str) -> None:
    bench = Bench("inventory", await sqlite.migrated("inventory"))
    failure = await _failure(bench, inventory.reserve, document(reservation(apple=1)) | change)
    assert (failure.type, failure.non_retryable) == (Code.INVALID_REQUEST, True)
    assert problem in failure.message
    assert await bench.rows("operations") == []
    await bench.database.dispose()


@pytest.mark.parametrize("name", SAMPLES)
async def test_a_refusal_is_final_and_carries_its_code_and_attempt(sqlite: SqliteFiles, name: str) -> None:
    sample = SAMPLES[name]
    bench = Bench(sample.operation.queue, await sqlite.migrated(sample.operation.queue))
    await bench.accept(*sample.refused.before)
    failure = await _failure(bench, sample.operation, document(sample.refused.request))
    assert (failure.type, failure.non_retryable) == (sample.refused.code, True)
    assert list(failure.details) == [1]
    await bench.database.dispose()


@pytest.mark.parametrize("name", SAMPLES)
async def test_a_reply_tells_the_attempt_that_answered(sqlite: SqliteFiles, name: str) -> None:
    sample = SAMPLES[name]
    bench = Bench(sample.operation.queue, await sqlite.migrated(sample.operation.queue))
    await bench.accept(*sample.before)
    perform = _activity(bench, sample.operation)
    first = await ActivityEnvironment().run(perform, document(sample.request))
    later = ActivityEnvironment()
    later.info = dataclasses.replace(later.info, attempt=3)
    assert await later.run(perform, document(sample.request)) == first.model_copy(update={"attempt": 3})
    await bench.database.dispose()
