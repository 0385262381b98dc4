"""The version check alone, without what databases do about two writers: a row is written only as it was read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from activities.inventory import Fence, Reservation, Stock
from activities.records import Record, Ref, Rows, Stale, select_by_key
from contracts import inventory

from .bench import Bench, Call
from .conftest import OpenBench
from .requests import shelf


@pytest.mark.parametrize("kind", [Fence, Stock, Reservation], ids=lambda kind: kind.__name__)
def test_rows_are_found_by_their_key_however_many_there_are(tmp_path: Path, kind: type[Record]) -> None:
    """SQLite says how it would look for them: a scan would make every operation slower with every order."""
    engine = create_engine(f"sqlite:///{tmp_path}/plan.db")
    kind.table.create(engine)
    query = select_by_key(kind.table, kind.key_columns).params({name: ["a", "b"] for name in kind.key_columns})
    statement = query.compile(engine, compile_kwargs={"literal_binds": True})
    with engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}").all()
    engine.dispose()
    assert [step[-1].partition(" ")[0] for step in plan] == ["SEARCH"], plan


async def _read(bench: Bench) -> Rows:
    """The apples, as a transaction saw them that is over."""
    rows = Rows(bench.definition.metadata, datetime.now(UTC))
    await bench.database.transaction(lambda tx: rows.load(tx, [Ref(Stock, ("apple",))]))
    return rows


async def test_a_row_that_another_has_written_meanwhile_is_not_written(open_bench: OpenBench) -> None:
    bench = await open_bench("inventory")
    await bench.accept(Call(inventory.set_stock, shelf("apple", 5)))
    rows = await _read(bench)
    apples = rows.get(Stock, "apple")
    assert apples is not None
    rows.put([replace(apples, reserved=1)])
    await bench.accept(Call(inventory.set_stock, shelf("apple", 7)))

    with pytest.raises(Stale):
        await bench.database.transaction(rows.save)
    stock = await bench.row("stock", sku="apple")
    assert (stock["on_hand"], stock["reserved"]) == (7, 0)


async def test_a_row_that_another_has_made_meanwhile_is_not_made_again(open_bench: OpenBench) -> None:
    bench = await open_bench("inventory")
    rows = await _read(bench)
    assert rows.get(Stock, "apple") is None
    rows.put([Stock("apple", received=1, on_hand=1, reserved=0)])
    await bench.accept(Call(inventory.set_stock, shelf("apple", 7)))

    with pytest.raises(Stale):
        await bench.database.transaction(rows.save)
    assert (await bench.row("stock", sku="apple"))["on_hand"] == 7
