"""The orders of a run, and the stock and money that the confirmed ones among them take."""

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from cli.documents import document
from runtime.seed import CUSTOMERS, PRICES_MINOR
from tests.orders import BOUNCES, REQUIRED

RARE_SKU, RARE_UNITS = "RARE-1", 20
"""Fewer units than the orders ask for, so that some orders are refused under load."""
_PRICES_MINOR = PRICES_MINOR | {RARE_SKU: 9900}


MIXED = {"good": 60, "required": 20, "bounces": 8, "stranger": 4, "unknown sku": 4, "rare": 4}
"""Kinds of orders with their weights: most can be confirmed, about a fifth is refused by one of the services."""
CONFIRMABLE = {"good": 60, "required": 20}
"""The kinds that no service refuses."""


def random_orders(seed: int, count: int, kinds: Mapping[str, int] = MIXED) -> list[dict[str, Any]]:
    rng = random.Random(f"{seed}/orders")  # noqa: S311 — repeatable on purpose
    return [_order(f"chaos-{seed}-{number:05}", rng, kinds) for number in range(count)]


def _order(order_id: str, rng: random.Random, kinds: Mapping[str, int]) -> dict[str, Any]:
    skus = rng.sample(list(PRICES_MINOR), rng.randint(1, 3))
    customer = rng.choice(CUSTOMERS)
    changes: dict[str, Any] = {}
    match rng.choices(list(kinds), list(kinds.values()))[0]:
        case "required":
            changes = REQUIRED
        case "bounces":
            changes = BOUNCES
        case "stranger":
            customer = "nobody"
        case "unknown sku":
            skus.append("NONE-1")
        case "rare":
            skus.append(RARE_SKU)
    lines = [
        {"sku": sku, "quantity": rng.randint(1, 3), "unit_price_minor": _PRICES_MINOR.get(sku, 1000)} for sku in skus
    ]
    return document(order_id, customer, lines) | changes


def sold(orders: Iterable[Mapping[str, Any]]) -> tuple[Counter[str], Counter[str]]:
    """Units by sku, and minor units of money by customer, that serving `orders` takes."""
    units: Counter[str] = Counter()
    money: Counter[str] = Counter()
    for order in orders:
        for line in order["lines"]:
            units[line["sku"]] += line["quantity"]
            money[order["customer_id"]] += line["quantity"] * line["unit_price_minor"]
    return units, money
