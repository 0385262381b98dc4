"""Growth: what an order costs when there are many already, measured in slices on one system, never restarted."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from bench.contender import Contender
from bench.figures import Audit, Sample
from bench.machine import machine, versions
from bench.plan import FIFTY, FULL_BATCHES, Budget, Scenario
from bench.system import System


class Slice(BaseModel):
    orders_before: int
    sample: Sample


class Growth(BaseModel):
    machine: dict[str, str]
    versions: dict[str, str]
    contender: str
    slices: list[Slice]
    audit: Audit
    commands_s: dict[str, float]
    """Seconds that the commands take which look at all orders, their own start included."""

    @property
    def cost_ratio(self) -> float:
        """CPU of an order in the last slice to that in the first."""
        return self.slices[-1].sample.cpu_ms.total / self.slices[0].sample.cpu_ms.total


def measure_growth(
    contender: Contender, orders: int, budget: Budget, say: Callable[[str], None], slice_orders: int
) -> Growth:
    """Place `orders` orders, or as many slices as fit the budget. Raises `BenchFailed`."""
    busiest = FULL_BATCHES if FULL_BATCHES in contender.guesses else FIFTY
    scenario = Scenario("growth", busiest.concurrency)
    slices: list[Slice] = []
    with tempfile.TemporaryDirectory(prefix="order-saga-bench-") as folder, System(contender, Path(folder)) as system:
        for placed in range(0, orders, slice_orders):
            if slices and budget.left < 2 * slice_orders / slices[-1].sample.load.orders_per_second:
                say(f"the time is over after {placed} orders; give it more with --minutes")
                break
            sample = system.measure(scenario, slice_orders, run_number=1, with_footprint=False)
            slices.append(Slice(orders_before=placed, sample=sample))
            rate, cost, memory = sample.load.orders_per_second, sample.cpu_ms.total, sample.worker_rss_mb
            say(f"{placed + slice_orders:7,} orders: {rate:.1f}/s, {cost:.1f} ms CPU/order, worker {memory:.0f} MB")
        return Growth(
            machine=machine(),
            versions=versions(),
            contender=contender.name,
            slices=slices,
            audit=system.audit(1),
            commands_s={name: _seconds(system, name) for name in ("list", "audit", "sweep")},
        )


def _seconds(system: System, command: str) -> float:
    begun = time.monotonic()
    system.command(command)
    return time.monotonic() - begun
