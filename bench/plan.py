"""What is measured, and how much of it: scenarios, and a count of orders for each load that fits the time there is."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Scenario:
    name: str
    concurrency: int
    refused_share: float = 0


ONE = Scenario("one at a time", 1)
FIFTY = Scenario("50 at once", 50)
TWO_HUNDRED = Scenario("200 at once", 200)
SOME_REFUSED = Scenario("50 at once, 5 % refused", 50, 0.05)
ALL_REFUSED = Scenario("50 at once, all refused", 50, 1)
FULL_BATCHES = Scenario("1,000 at once, 5 % refused", 1000, 0.05)
"""For what carries many orders together: fewer would leave its batches half empty."""

LOAD_S = 3
"""Of load in each run of a scenario: nine seconds over three runs, and everything fits ten minutes."""
QUICK_ORDERS = 20
"""Enough to see that everything works, and nothing more."""
MAX_ORDERS = 20_000
"""In one load: its client keeps a row for each."""


def fewest_orders(scenario: Scenario) -> int:
    """Below this a load says nothing: every client gets an order and, up to 100 at once, a second one."""
    return max(20, min(2 * scenario.concurrency, 200))


@dataclass
class Counts:
    """How many orders a load takes: what its contender did in `load_s` when it was last measured here."""

    load_s: float = LOAD_S
    quick: bool = False
    _rates: dict[tuple[str, Scenario], float] = field(default_factory=dict)

    def of(self, contender: str, scenario: Scenario, guess: float) -> tuple[int, float]:
        """The orders, and the seconds they will take; `guess` is the rate in orders a second for the first time."""
        rate = self._rates.get((contender, scenario), guess)
        count = min(MAX_ORDERS, max(fewest_orders(scenario), 20 * round(rate * self.load_s / 20)))
        count = QUICK_ORDERS if self.quick else count
        return count, count / rate

    def learn(self, contender: str, scenario: Scenario, rate: float) -> None:
        self._rates[contender, scenario] = rate


@dataclass(frozen=True)
class Budget:
    """The time a run may take. What does not fit is left out and named."""

    seconds: float
    _begun: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        return self.seconds - (time.monotonic() - self._begun)
