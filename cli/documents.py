"""The documents a command is given: from a file, from stdin or from options; checked before anything starts."""

from collections.abc import Iterator
from typing import Any, TypeVar
from uuid import uuid4

from pydantic import BaseModel, TypeAdapter, ValidationError

from contracts.documents import json_of
from contracts.errors import Code
from contracts.message import Remark, as_written
from contracts.order import Order
from contracts.problems import first_problem
from contracts.transaction import Transaction
from runtime.commandline import CommandFailed, Exit
from runtime.reading import Unreadable, name_of, read_text, without_mark
from runtime.seed import CUSTOMERS, PRICES_MINOR

M = TypeVar("M", bound=BaseModel)

MAX_ORDER_BYTES = 1_000_000
"""More than any valid order has, less than Temporal's payload limit; what is larger is not read."""
MAX_ORDERS = 200_000
"""One `bulk` run. More is a second run: the summary keeps a row for each order in memory."""
_REMARK: TypeAdapter[str] = TypeAdapter(Remark)
_OPTIONS = {"order_id": "--id", "customer_id": "--customer"}
"""Which option a field of an order comes from, where that is not --item."""
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


def read_document(source: str, model: type[M], code: Code, limit: int = MAX_ORDER_BYTES) -> M:
    """The document in the file `source`, or on stdin for `-`: the way in for every command.

    Raises `CommandFailed` with `code`, and a line that names the source, the field and the remedy.
    """
    return _checked(model, read_json(source, code, limit), name_of(source), code)


def read_json(source: str, code: Code, limit: int = MAX_ORDER_BYTES) -> Any:
    """The JSON value in the file `source`, or on stdin for `-`. Raises `CommandFailed` with `code`."""
    return _json_of(_read(source, limit, code), name_of(source), code)


def read_order(source: str) -> Order:
    return read_document(source, Order, Code.INVALID_ORDER)


def read_orders(source: str) -> list[Order]:
    """One order a line (JSON Lines); empty lines are passed over. Raises `CommandFailed`."""
    # Only a line feed ends a line: the other line ends that Unicode knows may stand within a text.
    lines = map(without_mark, _read(source, MAX_ORDERS * 2_000, Code.INVALID_ORDER).split("\n"))
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise invalid(f"{name_of(source)}: there is no order in it; write one a line")
    if len(numbered) > MAX_ORDERS:
        raise invalid(f"{name_of(source)}: {len(numbered)} orders; at most {MAX_ORDERS} at once")
    if numbered[0][1].strip() in ("{", "["):
        raise invalid(
            f"{name_of(source)}: write one order a line; `starter.py place FILE` places one over several lines"
        )
    return [_order_of(line, f"{name_of(source)}:{number}") for number, line in numbered]


def remark(text: str, option: str) -> str:
    """What a person gives as a reason or a name, without the space around it. Raises `CommandFailed`."""
    try:
        return _REMARK.validate_python(text.strip())
    except ValidationError as error:
        raise CommandFailed(Code.USAGE, f"{option}: {first_problem(error)}", Exit.INVALID) from error


def order_of_options(items: list[str], customer: str | None = None, order_id: str | None = None) -> Order:
    """An order made from `--item SKU:QTY …`, at the demo's prices, to the demo's address. Raises `CommandFailed`."""
    lines = []
    for item in items:
        sku, colon, quantity = item.rpartition(":")
        if not colon or not quantity.isdecimal() or len(quantity) > _MAX_DIGITS:
            raise invalid(f"--item {item}: write SKU:QUANTITY, such as BOOK-1:2")
        price = PRICES_MINOR.get(sku, _UNKNOWN_PRICE_MINOR)
        lines.append({"sku": sku, "quantity": int(quantity), "unit_price_minor": price})
    new_id = f"o-{uuid4().hex[:12]}"
    made = document(new_id if order_id is None else order_id, "c-1" if customer is None else customer, lines)
    try:
        return Order.model_validate(made)
    except ValidationError as error:
        field, _, problem = first_problem(error).partition(": ")
        raise invalid(f"{_option_of(field, items)}: {problem}" if problem else f"--item: {field}") from error


def _option_of(field: str, items: list[str]) -> str:
    """The option that a field of the order comes from; of a line, with what the option says."""
    match field.split("."):
        case ["lines", number, name]:
            return f"--item {items[int(number)]}: {name}"
    return _OPTIONS.get(field, f"--item: {field}")


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


def _order_of(line: str, where: str) -> Order:
    if len(line) > MAX_ORDER_BYTES:
        raise invalid(f"{where}: longer than {MAX_ORDER_BYTES} characters")
    return _checked(Order, _json_of(line, where, Code.INVALID_ORDER), where, Code.INVALID_ORDER)


def _json_of(text: str, where: str, code: Code) -> Any:
    try:
        return json_of(text)
    except ValueError as error:
        raise CommandFailed(code, f"{where}: {error}", Exit.INVALID) from error


def _checked(model: type[M], document: Any, where: str, code: Code = Code.INVALID_ORDER) -> M:
    try:
        return as_written(model, document)
    except ValidationError as error:
        problem = _of_another_command(model, document) or first_problem(error)
        raise CommandFailed(code, f"{where}: {problem}", Exit.INVALID) from error


def _of_another_command(model: type[BaseModel], document: Any) -> str | None:
    """What to do with a document that another command takes; `None` if it is of none."""
    match document:
        case {"steps": _} if model is Order:
            return "this is a transaction: `starter.py transaction FILE` runs it"
        case {"lines": _} if model is Transaction:
            return "this is an order: `starter.py place FILE` places it"
        case [{"lines": _}, *_] if model in (Order, Transaction):
            return "this is a list of orders: write one a line, and `starter.py bulk FILE` places them"
    return None


def _read(source: str, limit: int, code: Code) -> str:
    try:
        return read_text(source, limit)
    except Unreadable as error:
        raise CommandFailed(code, f"{name_of(source)}: {error}", Exit.INVALID) from error
