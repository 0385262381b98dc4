"""The order documents a command is given: from a file, from stdin or from options; checked before any starts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pydantic_core
from pydantic import ValidationError

from contracts.errors import Code
from contracts.message import as_written
from contracts.order import Order
from contracts.problems import first_problem
from runtime.commandline import CommandFailed, Exit
from runtime.seed import CUSTOMERS, PRICES_MINOR

MAX_ORDER_BYTES = 1_000_000
"""More than any valid order has, less than Temporal's payload limit; what is larger is not read."""
MAX_ORDERS = 200_000
"""One `bulk` run. More is a second run: the summary keeps a row for each order in memory."""
_UNKNOWN_PRICE_MINOR = 1000
_MAX_DIGITS = 9
_SHIP_TO = {
    "name": "Ada Lovelace",
    "street": "12 St James's Square",
    "city": "London",
    "postcode": "SW1Y 4JH",
    "country": "GB",
}
_CONTACT = {"email": "ada@example.com", "phone": "+442071234567"}


def read_order(source: str) -> Order:
    """The order in the file `source`, or on stdin for `-`. Raises `CommandFailed`."""
    return parse_order(read(source), where=name_of(source))


def read_orders(source: str) -> list[Order]:
    """One order a line (JSON Lines); empty lines are passed over."""
    lines = read(source, limit=MAX_ORDERS * 2_000).splitlines()
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise invalid(f"{name_of(source)}: there is no order in it; write one a line")
    if len(numbered) > MAX_ORDERS:
        raise invalid(f"{name_of(source)}: {len(numbered)} orders; at most {MAX_ORDERS} at once")
    return [parse_order(line, where=f"{name_of(source)}:{number}") for number, line in numbered]


def parse_order(text: str, *, where: str) -> Order:
    if len(text) > MAX_ORDER_BYTES:
        raise invalid(f"{where}: longer than {MAX_ORDER_BYTES} characters")
    try:
        document = json_of(text)
    except ValueError as error:
        raise invalid(f"{where}: not JSON: {error}") from error
    return _checked(document, where)


def json_of(text: str) -> Any:
    """The value of a JSON text from outside. Raises `ValueError` also for what Python's own reader takes and nobody
    can send on (NaN, half a surrogate pair), and for what it falls over (ten thousand brackets, or digits)."""
    return pydantic_core.from_json(text, allow_inf_nan=False)


def order_of_options(items: list[str], customer: str, order_id: str | None) -> Order:
    """An order made from `--item SKU:QTY …`, at the demo's prices, to the demo's address."""
    lines = []
    for item in items:
        sku, colon, quantity = item.rpartition(":")
        if not colon or not quantity.isdecimal() or len(quantity) > _MAX_DIGITS:
            raise invalid(f"--item {item}: write SKU:QUANTITY, such as BOOK-1:2")
        price = PRICES_MINOR.get(sku, _UNKNOWN_PRICE_MINOR)
        lines.append({"sku": sku, "quantity": int(quantity), "unit_price_minor": price})
    return _checked(document(order_id or f"o-{uuid4().hex[:12]}", customer, lines), "--item")


def generated_orders(count: int) -> Iterator[Order]:
    """`count` orders over the seeded goods and customers, under ids of this run."""
    run, skus = uuid4().hex[:8], list(PRICES_MINOR)
    for number in range(count):
        sku = skus[number % len(skus)]
        line = {"sku": sku, "quantity": 1 + number % 3, "unit_price_minor": PRICES_MINOR[sku]}
        customer = CUSTOMERS[number % len(CUSTOMERS)]
        yield Order.model_validate(document(f"o-{run}-{number:06}", customer, [line]))


def invalid(message: str) -> CommandFailed:
    return CommandFailed(Code.INVALID_ORDER, message, Exit.INVALID)


def document(order_id: str, customer: str, lines: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "order_id": order_id,
        "customer_id": customer,
        "currency": "EUR",
        "lines": lines,
        "ship_to": _SHIP_TO,
        "contact": _CONTACT,
    }


def _checked(document: Any, where: str) -> Order:
    try:
        return as_written(Order, document)
    except ValidationError as error:
        raise invalid(f"{where}: {first_problem(error)}") from error


def read(source: str, limit: int = MAX_ORDER_BYTES, code: Code = Code.INVALID_ORDER) -> str:
    """The text of the file `source`, or of stdin for `-`; at most one character more than `limit`.

    Raises `CommandFailed` with `code`.
    """
    try:
        if source == "-":
            return sys.stdin.read(limit + 1)
        with Path(source).open(encoding="utf-8") as file:
            return file.read(limit + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise CommandFailed(code, f"{name_of(source)}: {reason}", Exit.INVALID) from error


def name_of(source: str) -> str:
    return "stdin" if source == "-" else source
