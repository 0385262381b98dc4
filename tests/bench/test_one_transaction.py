"""The lower bound of the benchmark does the whole order: the checks, the rows, and each of them once."""

import sqlite3
from pathlib import Path

import pytest

from bench.contenders.one_transaction import Shop
from bench.orders import orders
from contracts.order import Order

_ROWS_OF_AN_ORDER = {"orders": 1, "payments": 1, "withdrawals": 1, "shipments": 1, "messages": 2}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


def rows_of(file: Path) -> dict[str, int]:
    with sqlite3.connect(file) as tx:
        found = {name: tx.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in _ROWS_OF_AN_ORDER}  # noqa: S608 — our own names
    return {name: count for name, count in found.items() if count}


def left(file: Path, order: Order) -> tuple[int, int]:
    """The money of the order's customer and the stock of its first line."""
    with sqlite3.connect(file) as tx:
        [money] = tx.execute("SELECT balance_minor FROM accounts WHERE customer_id = ?", [order.customer_id]).fetchone()
        [units] = tx.execute("SELECT on_hand FROM stock WHERE sku = ?", [order.lines[0].sku]).fetchone()
    return money, units


def an_order(**other: object) -> Order:
    [order] = orders(1, 0)
    return order.model_copy(update=other)


def test_a_confirmed_order_moves_money_and_stock_and_leaves_a_row_in_every_table(file: Path) -> None:
    shop, order = Shop(file), an_order()
    money, units = left(file, order)
    assert shop.place(order) == "CONFIRMED"
    assert left(file, order) == (money - order.total_minor, units - order.lines[0].quantity)
    assert rows_of(file) == _ROWS_OF_AN_ORDER


def test_an_order_placed_again_ends_as_before_and_acts_once(file: Path) -> None:
    shop, order = Shop(file), an_order()
    assert [shop.place(order), shop.place(order)] == ["CONFIRMED", "CONFIRMED"]
    assert rows_of(file) == _ROWS_OF_AN_ORDER


def test_the_same_id_with_other_content_is_an_error_and_changes_nothing(file: Path) -> None:
    shop, order = Shop(file), an_order()
    shop.place(order)
    money_and_units = left(file, order)
    with pytest.raises(ValueError, match="DUPLICATE_ORDER"):
        shop.place(order.model_copy(update={"customer_id": "c-2"}))
    assert left(file, order) == money_and_units
    assert rows_of(file) == _ROWS_OF_AN_ORDER


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"customer_id": "nobody"}, "PAYMENT_DECLINED"),
        ({"currency": "USD"}, "PAYMENT_DECLINED"),
        ({"lines": (an_order().lines[0].model_copy(update={"unit_price_minor": 10**12}),)}, "INSUFFICIENT_FUNDS"),
        ({"lines": (an_order().lines[0].model_copy(update={"sku": "NO-SUCH-SKU"}),)}, "UNKNOWN_SKU"),
        ({"lines": (an_order().lines[0].model_copy(update={"quantity": 10**6 + 1}),)}, "OUT_OF_STOCK"),
        ({"ship_to": an_order().ship_to.model_copy(update={"country": "AQ"})}, "SHIPPING_UNAVAILABLE"),
    ],
)
def test_a_refused_order_is_on_record_and_its_customer_told_but_nothing_is_taken(
    file: Path, change: dict[str, object], code: str
) -> None:
    shop, order = Shop(file), an_order()
    money_and_units = left(file, order)
    assert shop.place(order.model_copy(update=change)) == "ROLLED_BACK"
    assert left(file, order) == money_and_units
    assert rows_of(file) == {"orders": 1, "messages": 2}
    with sqlite3.connect(file) as tx:
        assert tx.execute("SELECT code FROM orders").fetchone() == (code,)
