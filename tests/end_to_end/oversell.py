"""Twice as many orders as there are units, while the services fail: the set-up and the check of the oversell tests."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

from temporalio.testing import ActivityEnvironment

from cli.documents import document
from contracts.order import NotificationMode
from runtime.faults import random_faults
from temporal_saga import POLICIES, CallKind

from ..orders import line
from ..roles import calls_in
from .system import System

UNITS = 100
RATE = 0.1
_STEPS = calls_in(NotificationMode.BEST_EFFORT, CallKind.STEP)
"""The steps before the pivot: an order is rolled back when one of them fails four times."""


def rival_orders(count: int) -> list[dict[str, Any]]:
    """Orders of one unit each, with a deadline that none of them reaches."""
    return [document(f"rival-{number:03}", "c-1", line("RIVAL-1")) | {"deadline_s": 600} for number in range(count)]


def is_struck(transaction_id: str, operation: str, attempt: int, seed: int) -> bool:
    """Whether an injected fault hits this attempt."""
    info = dataclasses.replace(ActivityEnvironment.default_info(), activity_type=operation, attempt=attempt)
    return any(fault.strikes([transaction_id], info, seed) for fault in random_faults(RATE))


def _gets_through(transaction_id: str, operation: str, seed: int) -> bool:
    """Whether one of the attempts is not hit."""
    attempts = range(1, POLICIES.forward.attempts + 1)
    return not all(is_struck(transaction_id, operation, attempt, seed) for attempt in attempts)


def _seed_for(orders: Sequence[dict[str, Any]]) -> int:
    """The first seed with which no step fails four times in a row.

    Such an order would release its unit, perhaps after the last of the others was refused with OUT_OF_STOCK: then
    99 confirmed orders are right. With a tenth of all attempts failing that is one step in ten thousand, and there are
    eight hundred here. Faults are drawn by order, operation and attempt, so what happens to these orders is known.
    """
    calls = [(f"order/{placed['order_id']}", step.name) for placed in orders for step in _STEPS]
    seeds = itertools.islice(itertools.count(), 50)  # nine of ten will do: fifty in vain are a mistake in here
    return next(seed for seed in seeds if all(_gets_through(*call, seed) for call in calls))


def open_the_shop(system: System, orders: Sequence[dict[str, Any]], units: int) -> None:
    system.options = ["--fault-rate", str(RATE), "--fault-seed", str(_seed_for(orders))]
    system.start()
    system.run("stock", "set", "RIVAL-1", str(units))


def assert_sold_out(system: System, orders: int) -> None:
    stock = {level["sku"]: level for level in system.run("stock", "list", "--json").document}
    assert (stock["RIVAL-1"]["on_hand"], stock["RIVAL-1"]["reserved"]) == (0, 0)
    audit = system.run("audit", "--json")
    assert audit.code == 0, audit.out
    assert audit.document["orders"] == orders
