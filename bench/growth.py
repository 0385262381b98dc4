"""Growth: what an order costs when there are many already, measured in slices on one system, never restarted."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.contender import Contender
from bench.plan import FIFTY, FULL_BATCHES
from bench.system import System

SLICES = 20


def measure_growth(contender: Contender, orders: int, say: Callable[[str], None]) -> None:
    """Place `orders` orders. Raises `BenchFailed`, also if the audit of all of them is not clean."""
    scenario = FULL_BATCHES if FULL_BATCHES in contender.rates else FIFTY
    count = orders // SLICES
    costs: list[float] = []
    with tempfile.TemporaryDirectory(prefix="order-saga-bench-") as folder, System(contender, Path(folder)) as system:
        for number in range(1, SLICES + 1):
            sample = system.measure(scenario, count, round_number=number)
            costs.append(sample.cpu_ms)
            rate, memory = sample.load.orders_per_second, sample.worker_mb
            say(f"{number * count:7,} orders: {rate:.1f}/s, {sample.cpu_ms:.1f} ms CPU/order, worker {memory:.0f} MB")
        audited = system.audit()
        say(f"{contender.name}: an order of the last slice costs {costs[-1] / costs[0]:.2f} times one of the first")
        say(f"audit of {audited} orders: clean")
        for name in ("list", "audit", "sweep"):
            begun = time.monotonic()
            system.command(name)
            say(f"`{name}` takes {time.monotonic() - begun:.1f} s, its start included")
