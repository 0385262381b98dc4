"""The rules of the inventory service."""

import pytest
from sqlalchemy import text

from activities.database import reading
from audit import invariants
from contracts import inventory
from contracts.errors import Code
from contracts.inventory import ReservationState, StockLevels, StockSet

from .conftest import OpenHarness
from .requests import reservation, stock_level
from .service_harness import Call, ServiceHarness, assert_goods_add_up


@pytest.fixture
async def shop(open_harness: OpenHarness) -> ServiceHarness:
    """A service with ten apples and five pears."""
    harness = await open_harness("inventory")
    await harness.accept(
        Call(inventory.set_stock, stock_level("apple", 10)), Call(inventory.set_stock, stock_level("pear", 5))
    )
    return harness


async def _stock(shop: ServiceHarness) -> dict[str, tuple[int, int]]:
    """The units on hand and reserved, by sku."""
    await assert_goods_add_up(shop)
    return {row["sku"]: (row["on_hand"], row["reserved"]) for row in await shop.rows("stock")}


async def _states(shop: ServiceHarness) -> set[str]:
    return {row["state"] for row in await shop.rows("reservations")}


async def test_reserved_units_stay_on_hand(shop: ServiceHarness) -> None:
    await shop.accept(Call(inventory.reserve, reservation(pear=2, apple=3)))
    assert await _stock(shop) == {"apple": (10, 3), "pear": (5, 2)}
    assert await _states(shop) == {ReservationState.HELD}


@pytest.mark.parametrize("lines", [{"apple": 3, "pear": 6}, {"pear": 6, "apple": 3}])
async def test_lines_are_reserved_all_or_none(shop: ServiceHarness, lines: dict[str, int]) -> None:
    code, words = await shop.refuse(inventory.reserve, reservation(**lines))
    assert (code, words) == (Code.OUT_OF_STOCK, "pear: 6 wanted, 5 available")
    assert await _stock(shop) == {"apple": (10, 0), "pear": (5, 0)}
    assert await shop.rows("reservations") == []


async def test_an_unknown_sku_refuses_the_whole_order(shop: ServiceHarness) -> None:
    code, words = await shop.refuse(inventory.reserve, reservation(apple=1, plum=1))
    assert (code, words) == (Code.UNKNOWN_SKU, "there is no sku plum")
    assert await _stock(shop) == {"apple": (10, 0), "pear": (5, 0)}


async def test_what_is_reserved_is_not_available_to_others(shop: ServiceHarness) -> None:
    await shop.accept(Call(inventory.reserve, reservation("order/1", apple=7)))
    assert (await shop.refuse(inventory.reserve, reservation("order/2", apple=4)))[0] == Code.OUT_OF_STOCK
    await shop.accept(Call(inventory.reserve, reservation("order/3", apple=3)))
    assert (await _stock(shop))["apple"] == (10, 10)


async def test_release_makes_held_units_available_again(shop: ServiceHarness) -> None:
    goods = reservation(apple=10, pear=5)
    await shop.accept(Call(inventory.reserve, goods), Call(inventory.release, goods))
    assert await _stock(shop) == {"apple": (10, 0), "pear": (5, 0)}
    assert await _states(shop) == {ReservationState.RELEASED}
    await shop.accept(Call(inventory.reserve, reservation("order/2", apple=10)))


async def test_commit_takes_the_units_from_the_shelf(shop: ServiceHarness) -> None:
    reserved, in_another_order = reservation(apple=4, pear=5), reservation(pear=5, apple=4)
    await shop.accept(Call(inventory.reserve, reserved), Call(inventory.commit, in_another_order))
    assert await _stock(shop) == {"apple": (6, 0), "pear": (0, 0)}
    assert await _states(shop) == {ReservationState.COMMITTED}


async def test_release_after_commit_brings_the_units_back_to_the_shelf(shop: ServiceHarness) -> None:
    goods = reservation(apple=4, pear=5)
    await shop.accept(*(Call(step, goods) for step in (inventory.reserve, inventory.commit, inventory.release)))
    assert await _stock(shop) == {"apple": (10, 0), "pear": (5, 0)}
    assert await _states(shop) == {ReservationState.RETURNED}


async def test_release_of_one_order_leaves_the_others_alone(shop: ServiceHarness) -> None:
    mine, theirs = reservation("order/1", apple=4), reservation("order/2", apple=5)
    await shop.accept(Call(inventory.reserve, mine), Call(inventory.reserve, theirs), Call(inventory.release, mine))
    assert (await _stock(shop))["apple"] == (10, 5)
    assert (await shop.row("reservations", transaction_id="order/2"))["state"] == ReservationState.HELD


async def test_counting_fewer_units_than_are_reserved_is_refused(shop: ServiceHarness) -> None:
    await shop.accept(Call(inventory.reserve, reservation(apple=4)))
    code, words = await shop.refuse(inventory.set_stock, stock_level("apple", 3))
    assert (code, words) == (Code.INVALID_REQUEST, "4 units of apple are reserved: there cannot be fewer")
    await shop.accept(Call(inventory.set_stock, stock_level("apple", 4)))
    assert (await _stock(shop))["apple"] == (4, 4)


async def test_counting_after_sales_keeps_the_books_right(shop: ServiceHarness) -> None:
    goods = reservation(apple=4)
    await shop.accept(Call(inventory.reserve, goods), Call(inventory.commit, goods))
    [reply] = await shop.accept(Call(inventory.set_stock, stock_level("apple", 20)))
    assert isinstance(reply, StockSet)
    row = await shop.row("stock", sku="apple")
    assert (row["received"], row["on_hand"]) == (24, 20)
    assert reply.level.version == row["version"]
    await assert_goods_add_up(shop)


async def test_one_sku_that_cannot_be_right_is_listed_as_it_is_among_the_others(shop: ServiceHarness) -> None:
    spoil = text("UPDATE stock SET sku = 'not a sku', on_hand = -5, reserved = -7 WHERE sku = 'pear'")
    await shop.database.transaction(lambda tx: tx.execute(spoil))
    levels = await shop.execute(inventory.list_stock, inventory.ListStock())
    as_read = StockLevels.model_validate_json(levels.model_dump_json())
    assert [(level.sku, level.on_hand, level.reserved) for level in as_read.levels] == [
        ("apple", 10, 0),
        ("not a sku", -5, -7),
    ]


async def test_the_audit_misses_a_sku_of_which_units_are_held_or_gone(shop: ServiceHarness) -> None:
    await shop.accept(
        Call(inventory.reserve, reservation(pear=2, apple=3)), Call(inventory.commit, reservation(pear=2, apple=3))
    )
    await shop.database.transaction(lambda tx: tx.execute(text("DELETE FROM stock WHERE sku = 'pear'")))
    async with reading(shop.url) as connection:
        [violation] = await invariants.stock(connection)
    assert violation.subject == "pear"
    assert violation.figures == {"received": None, "on_hand": None, "reserved": None, "held": 0, "committed": 2}
