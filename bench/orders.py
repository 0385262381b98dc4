"""The orders that every contender gets: made by the product's own document maker, some of them to be refused."""

from collections.abc import Iterator
from pathlib import Path

from cli.documents import generated_orders
from contracts.order import Order

UNKNOWN_SKU = "NO-SUCH-SKU"
"""No shelf has it: inventory refuses, after the order was recorded and the money held, so both must be undone."""


def orders(count: int, refused_share: float) -> Iterator[Order]:
    """`count` orders; `refused(count, refused_share)` of them, evenly spread, ask for what there is not."""
    for number, order in enumerate(generated_orders(count)):
        to_be_refused = int((number + 1) * refused_share) > int(number * refused_share)
        yield _impossible(order) if to_be_refused else order


def refused(count: int, refused_share: float) -> int:
    return int(count * refused_share)


def write_orders(path: Path, count: int, refused_share: float) -> None:
    """As JSON Lines, which `starter.py bulk FILE` reads."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{order.model_dump_json()}\n" for order in orders(count, refused_share))


def _impossible(order: Order) -> Order:
    lines = tuple(line.model_copy(update={"sku": UNKNOWN_SKU}) for line in order.lines)
    return order.model_copy(update={"lines": lines})
