"""The errors that Temporal sees when a service's database or its caller is at fault."""

import asyncio
import dataclasses
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, make_url
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import postgresql
from activities.fence import Decision
from activities.records import UnitOfWork
from activities.schema import migrate
from activities.service import Service
from contracts import inventory
from contracts.catalogue import OPERATIONS
from contracts.errors import Code
from contracts.inventory import StockLevels, StockSet
from temporal_saga import STILL_WORKING, StillWorking

from .conftest import OpenHarness
from .databases import PostgresDatabases, SqliteFiles
from .requests import document, reservation, stock_level
from .samples import SAMPLES, refusal_of
from .service_harness import Call, Operations, ServiceHarness, assert_goods_add_up, each_as, handler_of, missing_handler

COUNT = document(stock_level("apple", 5))


async def _run(harness: ServiceHarness, operation: Operations, received: Any) -> Any:
    return await ActivityEnvironment().run(_activity(harness, operation), received)


def _activity(harness: ServiceHarness, operation: Operations) -> Callable[..., Any]:
    served = [handler.operation for handler in harness.definition.handlers]
    served += [query.operation for query in harness.definition.queries]
    assert operation in served, missing_handler(operation)
    return harness.service.activities()[served.index(operation)]


async def _failure(harness: ServiceHarness, operation: Operations, received: Any) -> ApplicationError:
    with pytest.raises(ApplicationError) as caught:
        await _run(harness, operation, received)
    return caught.value


async def _assert_unavailable(
    harness: ServiceHarness, reason: str, operation: Operations = inventory.set_stock
) -> None:
    """Assert a retriable failure whose one line names the service and the reason."""
    received = COUNT if operation is inventory.set_stock else {}
    failure = await _failure(harness, operation, received)
    assert (failure.type, failure.non_retryable) == (Code.SERVICE_UNAVAILABLE, False)
    assert failure.message.startswith("inventory database: ")
    assert reason in failure.message
    assert "\n" not in failure.message
    assert "INSERT INTO" not in failure.message  # a statement would carry customers' data


@each_as("operation", [inventory.set_stock, inventory.list_stock])
async def test_a_database_that_cannot_be_opened(tmp_path: Path, operation: Operations) -> None:
    harness = ServiceHarness("inventory", f"sqlite+aiosqlite:///{tmp_path}/nowhere/data.db")
    await _assert_unavailable(harness, "unable to open database file", operation)


async def test_a_file_that_is_not_a_database(tmp_path: Path) -> None:
    (tmp_path / "data.db").write_bytes(b"no database at all " * 500)
    harness = ServiceHarness("inventory", f"sqlite+aiosqlite:///{tmp_path}/data.db")
    await _assert_unavailable(harness, "file is not a database")


async def test_a_database_that_is_read_only(sqlite_files: SqliteFiles) -> None:
    url = await sqlite_files.migrated("inventory")
    harness = ServiceHarness("inventory", url.replace("///", "///file:") + "?mode=ro&uri=true")
    await _assert_unavailable(harness, "attempt to write a readonly database")


async def test_a_full_disk_leaves_the_books_as_they_were(sqlite_files: SqliteFiles) -> None:
    harness = ServiceHarness("inventory", await sqlite_files.migrated("inventory"))
    await harness.accept(Call(inventory.set_stock, stock_level("apple", 1000)))

    def full(connection: Any, _: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # SQLite reads it as: no more pages than there are

    await harness.database.dispose()
    event.listen(harness.database.sync_engine, "connect", full)
    failures = []
    for number in range(1, 40):  # until the last page has no room
        goods = reservation(f"order/{number}", apple=1)
        try:
            await _run(harness, inventory.reserve, document(goods))
        except ApplicationError as error:
            failures.append(error)
            break
    [failure] = failures
    assert (failure.type, failure.non_retryable) == (Code.SERVICE_UNAVAILABLE, False)
    assert failure.message == "inventory database: database or disk is full"
    await assert_goods_add_up(harness)
    event.remove(harness.database.sync_engine, "connect", full)
    await harness.database.dispose()
    await harness.accept(Call(inventory.reserve, goods))
    assert (await harness.row("stock"))["reserved"] == number


async def test_a_database_that_another_process_keeps_locked(
    sqlite_files: SqliteFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.sqlite.BUSY_TIMEOUT_S", 0.5)
    harness = ServiceHarness("inventory", await sqlite_files.migrated("inventory"))
    other = harness.sibling()
    with other.database.sync_engine.begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        await _assert_unavailable(harness, "database is locked")
    assert isinstance(await _run(harness, inventory.set_stock, COUNT), StockSet)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("/nowhere?host={socket}", 'database "nowhere" does not exist'),
        ("/postgres?host=/nowhere", "No such file or directory"),
        ("127.0.0.1:1/postgres", "Connect call failed"),
    ],
)
async def test_a_postgresql_that_is_not_there(
    postgres: Path, place: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "RESTART_S", 0)
    harness = ServiceHarness("inventory", "postgresql+asyncpg://postgres@" + place.format(socket=postgres))
    await _assert_unavailable(harness, reason)


async def test_connections_that_were_cut_are_replaced(postgresql_databases: PostgresDatabases) -> None:
    harness = ServiceHarness("inventory", await postgresql_databases.migrated("inventory"))
    await harness.accept(Call(inventory.set_stock, stock_level("apple", 9)))
    await _cut_connections(postgresql_databases, harness)
    assert isinstance(await _run(harness, inventory.set_stock, COUNT), StockSet)


async def test_a_postgresql_that_takes_no_writes_still_answers_questions(
    postgresql_databases: PostgresDatabases,
) -> None:
    harness = ServiceHarness("inventory", await postgresql_databases.empty())
    await migrate(harness.database, "inventory")
    await harness.database.dispose()  # the setting is one of new sessions
    name = make_url(harness.url).database
    await postgresql_databases.administer(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await _assert_unavailable(harness, "cannot execute INSERT in a read-only transaction")
    assert await _run(harness, inventory.list_stock, {}) == StockLevels(levels=())


async def _cut_connections(postgresql_databases: PostgresDatabases, harness: ServiceHarness) -> None:
    name = make_url(harness.url).database
    which = f"datname = '{name}'"
    await postgresql_databases.administer(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {which}")  # noqa: S608 — a name of ours


async def test_a_cancelled_delivery_keeps_nothing_locked(open_harness: OpenHarness) -> None:
    """A local transaction whose caller is cancelled at any moment still ends, and the next one succeeds."""
    harness = await open_harness("inventory")
    await harness.accept(Call(inventory.set_stock, stock_level("apple", 1000)))
    moments = random.Random(1)  # noqa: S311 — the same moments in each run
    for number in range(60):
        delivery = asyncio.ensure_future(harness.deliver(inventory.reserve, reservation(f"cut-{number}", apple=1)))
        await asyncio.sleep(moments.uniform(0, 0.012))
        delivery.cancel()
        await asyncio.wait([delivery])
        async with asyncio.timeout(3):  # less than SQLite waits for a lock
            await harness.deliver_until_answered(inventory.reserve, reservation(f"order/{number}", apple=1))
    # The outcome of a cancelled delivery is unknown; an undo is right either way.
    cut = [reservation(f"cut-{number}", apple=1) for number in range(60)]
    await asyncio.gather(*(harness.deliver_until_answered(inventory.release, goods) for goods in cut))
    assert (await harness.row("stock"))["reserved"] == 60
    await assert_goods_add_up(harness)


@each_as("operation", [*OPERATIONS.values()])
@pytest.mark.parametrize("received", [None, [], "text", 7])
async def test_a_request_that_does_not_fit_is_refused_for_good(
    tmp_path: Path, operation: Operations, received: Any
) -> None:
    # There is no database: the request is refused before.
    harness = ServiceHarness(operation.queue, f"sqlite+aiosqlite:///{tmp_path}/nowhere/data.db")
    failure = await _failure(harness, operation, received)
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
async def test_the_field_that_does_not_fit_is_named(
    sqlite_files: SqliteFiles, change: dict[str, Any], problem: str
) -> None:
    harness = ServiceHarness("inventory", await sqlite_files.migrated("inventory"))
    failure = await _failure(harness, inventory.reserve, document(reservation(apple=1)) | change)
    assert (failure.type, failure.non_retryable) == (Code.INVALID_REQUEST, True)
    assert problem in failure.message
    assert await harness.rows("operations") == []


@pytest.mark.parametrize("name", [name for name, sample in SAMPLES.items() if sample.refused is not None])
async def test_a_refusal_is_final_and_carries_its_code_and_attempt(sqlite_files: SqliteFiles, name: str) -> None:
    sample = SAMPLES[name]
    harness = ServiceHarness(sample.operation.queue, await sqlite_files.migrated(sample.operation.queue))
    refused = refusal_of(sample.operation)
    await harness.accept(*refused.before)
    failure = await _failure(harness, sample.operation, document(refused.request))
    assert (failure.type, failure.non_retryable) == (refused.code, True)
    assert list(failure.details) == [1]


@pytest.mark.parametrize("name", SAMPLES)
async def test_a_reply_tells_the_attempt_that_answered(sqlite_files: SqliteFiles, name: str) -> None:
    sample = SAMPLES[name]
    harness = ServiceHarness(sample.operation.queue, await sqlite_files.migrated(sample.operation.queue))
    await harness.accept(*sample.before)
    perform = _activity(harness, sample.operation)
    first = await ActivityEnvironment().run(perform, document(sample.request))
    later = ActivityEnvironment()
    later.info = dataclasses.replace(later.info, attempt=3)
    assert await later.run(perform, document(sample.request)) == first.model_copy(
        update={"attempt": 3, "repeated": sample.operation.undoes is None}
    )


async def test_work_that_goes_on_passes_and_leaves_nothing_behind_and_harms_no_other_call(
    sqlite_files: SqliteFiles,
) -> None:
    """The same call is made again after the pause, so the fence must not know it."""
    harness = ServiceHarness("inventory", await sqlite_files.migrated("inventory"))
    await harness.accept(Call(inventory.set_stock, stock_level("apple", 5)))

    def busy_with_pears(uow: UnitOfWork, request: inventory.ReserveStock) -> Decision[Any]:
        if request.lines[0].sku == "pear":
            raise StillWorking(timedelta(minutes=10))
        return handler_of(inventory.reserve).decide(uow, request)

    handlers = [dataclasses.replace(handler_of(inventory.reserve), decide=busy_with_pears)]
    service = Service(dataclasses.replace(harness.definition, handlers=handlers, queries=()), harness.database)
    [reserve, _] = service.activities()
    pears, apples = (document(reservation(f"order/{sku}", **{sku: 1})) for sku in ("pear", "apple"))
    calls: list[Any] = [ActivityEnvironment().run(reserve, each) for each in (pears, apples)]
    working, done = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(working, StillWorking)
    assert (working.type, working.next_retry_delay) == (STILL_WORKING, timedelta(minutes=10))
    assert isinstance(done, inventory.reserve.reply)
    assert {row["transaction_id"] for row in await harness.rows("operations")} == {"count-apple-5", "order/apple"}
