"""Many orders for few units, while the services fail: the shelf is sold to the last unit, and not one more."""

from __future__ import annotations

import json

import pytest

from contracts import payment

from .oversell import UNITS, assert_sold_out, crowd, is_struck, open_the_shop
from .system import System

pytestmark = pytest.mark.xdist_group("sold out")


@pytest.mark.chaos
def test_two_hundred_orders_for_a_hundred_units_confirm_exactly_a_hundred(fresh_system: System) -> None:
    orders = crowd(2 * UNITS)
    open_the_shop(fresh_system, orders, UNITS)
    lines = "\n".join(map(json.dumps, orders))
    answer = fresh_system.run("bulk", "-", "--concurrency", "50", "--json", "--outcomes", stdin=lines)
    assert answer.code == 0, answer.err
    assert answer.document["errors"] == {"OUT_OF_STOCK": UNITS}, "nobody gave a unit back for another reason"
    assert answer.document["states"] == {"CONFIRMED": UNITS, "ROLLED_BACK": UNITS}
    attempts = [entry["attempts"] for outcome in answer.document["outcomes"] for entry in outcome["steps"]]
    assert max(attempts) > 1, "the faults did strike"
    assert_sold_out(fresh_system, 2 * UNITS)


def test_each_order_of_a_crowd_has_a_draw_of_its_own() -> None:
    first_attempts = [f"order/{placed['order_id']}" for placed in crowd(2 * UNITS)]
    struck = [name for name in first_attempts if is_struck(name, payment.authorize.name, 1, seed=0)]
    assert 10 <= len(struck) <= 35  # a tenth of two hundred
