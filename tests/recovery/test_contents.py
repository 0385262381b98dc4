"""The audit compares what a confirmed order is about with what was captured and committed for it."""

from collections.abc import Mapping, Sequence

import pytest

from audit.report import Invariant
from client.orders import Mode, Orders

from ..rig import Rig, an_order

pytestmark = pytest.mark.asyncio(loop_scope="session")

_LESS_MONEY = [
    "UPDATE payments SET amount_minor = amount_minor {minus} 100 WHERE transaction_id = ?",
    "UPDATE accounts SET balance_minor = balance_minor {plus} 100 WHERE customer_id ="
    " (SELECT customer_id FROM payments WHERE transaction_id = ?)",
]
_FEWER_GOODS = [
    "UPDATE reservations SET quantity = quantity {minus} 1 WHERE transaction_id = ?",
    "UPDATE stock SET on_hand = on_hand {plus} 1 WHERE sku = (SELECT sku FROM reservations WHERE transaction_id = ?)",
]


@pytest.mark.parametrize(
    ("service", "changes", "figures"),
    [
        ("payment", _LESS_MONEY, {"order": "1000 EUR", "payment": "900 EUR"}),
        ("inventory", _FEWER_GOODS, {"order": "2 BOOK-1", "inventory": "1 BOOK-1"}),
    ],
    ids=["money", "goods"],
)
async def test_a_confirmed_order_of_which_too_little_was_taken_is_named_though_the_sums_are_right(
    rig: Rig, service: str, changes: Sequence[str], figures: Mapping[str, str]
) -> None:
    placed = an_order()
    await Orders(rig.client).place(placed, Mode.SAGA)
    for change in changes:
        rig.rows(service, change.format(minus="-", plus="+"), placed.transaction_id)
    found = (await rig.audited()).violations
    for change in changes:
        rig.rows(service, change.format(minus="+", plus="-"), placed.transaction_id)
    assert [(each.invariant, each.figures) for each in found if each.subject == placed.order_id] == [
        (Invariant.ALL_OR_NOTHING, figures)
    ]
    assert not {"BOOK-1", placed.customer_id} & {each.subject for each in found}
    assert placed.order_id not in {each.subject for each in (await rig.audited()).violations}
