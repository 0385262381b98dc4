"""A contender made up for the tests: a program that answers every load at once, truthfully or not."""

from __future__ import annotations

import sys

from bench.contender import Contender, Site
from bench.plan import ALL_REFUSED, FIFTY, ONE

_PROGRAM = """
import json, sys
print("ready", flush=True)
for line in sys.stdin:
    task = json.loads(line)
    orders = [json.loads(order) for order in open(task["orders"])]
    refused = sum(line["sku"] == "NO-SUCH-SKU" for order in orders for line in order["lines"])
    states = {"CONFIRMED": len(orders) - refused, "ROLLED_BACK": refused}
    load = {"orders": len(orders), "seconds": 2, "orders_per_second": len(orders) / 2}
    print(json.dumps(load | {"latency_ms": {"p50": 10, "p99": 20}, "states": STATES}), flush=True)
"""
HONEST = "{state: count for state, count in states.items() if count}"
CONFIRMS_EVERYTHING = '{"CONFIRMED": len(orders)}'


def contender(name: str, states: str = HONEST, program: str = _PROGRAM) -> Contender:
    def serve(_: Site) -> list[str]:
        return [sys.executable, "-c", program.replace("STATES", states)]

    rates = {ONE: 10.0, FIFTY: 10.0, ALL_REFUSED: 10.0}
    return Contender(name, serve, None, rates, once=(ALL_REFUSED,), on_temporal=False)
