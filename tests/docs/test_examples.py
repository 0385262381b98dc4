"""The examples of the README are valid documents that use the goods and customers of a new system."""

import json
from pathlib import Path

from contracts.inventory import ReserveStock
from contracts.message import as_written
from contracts.order import Order
from contracts.payment import AuthorizePayment
from contracts.transaction import Transaction
from runtime.seed import CUSTOMERS, PRICES_MINOR

ROOT = Path(__file__).parents[2]


def _text(name: str) -> str:
    assert f" examples/{name}" in (ROOT / "README.md").read_text()
    return (ROOT / "examples" / name).read_text()


def test_the_example_of_an_order_is_one_of_seeded_goods_and_customers() -> None:
    order = as_written(Order, json.loads(_text("order.json")))
    assert order.customer_id in CUSTOMERS
    assert {line.sku: line.unit_price_minor for line in order.lines}.items() <= PRICES_MINOR.items()


def test_the_example_of_a_transaction_is_one_and_leaves_nothing_half_done() -> None:
    transaction = as_written(Transaction, json.loads(_text("transaction.json")))
    requests = [step.operation.request.model_validate(step.request("t-1")) for step in transaction.steps]
    assert {each.customer_id for each in requests if isinstance(each, AuthorizePayment)} <= set(CUSTOMERS)
    skus = {line.sku for each in requests if isinstance(each, ReserveStock) for line in each.lines}
    assert skus <= PRICES_MINOR.keys()
    assert {"payment.capture", "inventory.commit"} <= {step.commit for step in transaction.steps}
