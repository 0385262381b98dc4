"""More orders than units, while the services fail: every unit is sold, and none twice."""

import json

import pytest

from contracts import payment

from .oversell import UNITS, assert_sold_out, is_struck, open_the_shop, rival_orders
from .system import System

pytestmark = pytest.mark.xdist_group("sold out")


@pytest.mark.chaos
def test_two_hundred_orders_for_a_hundred_units_confirm_exactly_a_hundred(fresh_system: System) -> None:
    orders = rival_orders(2 * UNITS)
    open_the_shop(fresh_system, orders, UNITS)
    lines = "\n".join(map(json.dumps, orders))
    answer = fresh_system.run("bulk", "-", "--concurrency", "50", "--json", "--outcomes", stdin=lines)
    assert answer.code == 0, answer.err
    assert answer.document["errors"] == {"OUT_OF_STOCK": UNITS}, "no order released a unit for another reason"
    assert answer.document["states"] == {"CONFIRMED": UNITS, "ROLLED_BACK": UNITS}
    attempts = [entry["attempts"] for outcome in answer.document["outcomes"] for entry in outcome["steps"]]
    assert max(attempts) > 1, "the faults did strike"
    assert_sold_out(fresh_system, 2 * UNITS)


def test_injected_faults_are_drawn_for_each_order_separately() -> None:
    first_attempts = [f"order/{placed['order_id']}" for placed in rival_orders(2 * UNITS)]
    struck = [name for name in first_attempts if is_struck(name, payment.authorize.name, 1, seed=0)]
    assert 10 <= len(struck) <= 35  # a tenth of two hundred
