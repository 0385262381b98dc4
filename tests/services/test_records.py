"""The version check by itself, without the databases' own conflict detection."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from activities.inventory import Fence, Reservation, Stock
from activities.records import Record, Ref, Stale, UnitOfWork, select_by_key
from contracts import inventory

from .conftest import OpenHarness
from .requests import stock_level
from .service_harness import Call, ServiceHarness


@pytest.mark.parametrize("kind", [Fence, Stock, Reservation], ids=lambda kind: kind.__name__)
def test_rows_are_found_by_their_key_however_many_there_are(tmp_path: Path, kind: type[Record]) -> None:
    """SQLite's query plan uses the key; a scan would make every operation slower with every order."""
    engine = create_engine(f"sqlite:///{tmp_path}/plan.db")
    kind.table.create(engine)
    query = select_by_key(kind.table, kind.key_columns, "sqlite").compile(engine)
    with engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", ('["a", "b"]',) * len(kind.key_columns)).all()
    engine.dispose()
    assert [step[-1].partition(" ")[0] for step in plan if f" {kind.table.name} " in step[-1]] == ["SEARCH"], plan


async def _read(harness: ServiceHarness) -> UnitOfWork:
    """A unit of work with the apples, whose transaction is over."""
    rows = UnitOfWork(harness.definition.metadata, datetime.now(UTC))
    await harness.database.transaction(lambda tx: rows.load(tx, [Ref(Stock, ("apple",))]))
    return rows


async def test_a_row_that_another_has_written_meanwhile_is_not_written(open_harness: OpenHarness) -> None:
    harness = await open_harness("inventory")
    await harness.accept(Call(inventory.set_stock, stock_level("apple", 5)))
    rows = await _read(harness)
    apples = rows.get(Stock, "apple")
    assert apples is not None
    rows.put([replace(apples, reserved=1)])
    await harness.accept(Call(inventory.set_stock, stock_level("apple", 7)))

    with pytest.raises(Stale):
        await harness.database.transaction(rows.save)
    stock = await harness.row("stock", sku="apple")
    assert (stock["on_hand"], stock["reserved"]) == (7, 0)


async def test_a_row_that_another_has_made_meanwhile_is_not_made_again(open_harness: OpenHarness) -> None:
    harness = await open_harness("inventory")
    rows = await _read(harness)
    assert rows.get(Stock, "apple") is None
    rows.put([Stock("apple", received=1, on_hand=1, reserved=0)])
    await harness.accept(Call(inventory.set_stock, stock_level("apple", 7)))

    with pytest.raises(Stale):
        await harness.database.transaction(rows.save)
    assert (await harness.row("stock", sku="apple"))["on_hand"] == 7
