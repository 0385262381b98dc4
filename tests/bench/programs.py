"""Contenders made up for the tests: `python -m tests.bench.programs KIND` answers every load at once."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from bench.contender import Contender
from bench.plan import ALL_REFUSED, FIFTY, ONE

KINDS: dict[str, Callable[[int, int], dict[str, int]]] = {
    "honest": lambda orders, refused: {"CONFIRMED": orders - refused, "ROLLED_BACK": refused},
    "confirms-everything": lambda orders, _: {"CONFIRMED": orders},
}


def contender(name: str, kind: str = "honest", missing: str | None = None) -> Contender:
    rates = {ONE: 10.0, FIFTY: 10.0, ALL_REFUSED: 10.0}
    return Contender(name, f"-m tests.bench.programs {kind}", None, rates, lambda: missing)


def main(kind: str) -> None:
    if kind not in KINDS:
        sys.exit("cannot find my database")
    print("ready", flush=True)
    for line in sys.stdin:
        orders = [json.loads(order) for order in Path(json.loads(line)["orders"]).read_text().splitlines()]
        refused = sum(line["sku"] == "NO-SUCH-SKU" for order in orders for line in order["lines"])
        states = {state: count for state, count in KINDS[kind](len(orders), refused).items() if count}
        load = {"orders": len(orders), "seconds": 2, "orders_per_second": len(orders) / 2, "states": states}
        print(json.dumps(load | {"latency_ms": {"p50": 10, "p99": 20}}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
