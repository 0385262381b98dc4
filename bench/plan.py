"""What is measured: the scenarios, and how many orders a load of each has."""

from dataclasses import dataclass

LOAD_S = 3
"""Seconds of load in each round of a scenario, for a contender that is as fast as its guess."""
QUICK_ORDERS = 20
"""Enough to see that everything works, and nothing more."""


@dataclass(frozen=True)
class Scenario:
    name: str
    concurrency: int
    refused_share: float = 0

    def orders_at(self, rate: float) -> int:
        """The orders of one load. Each client gets one and, up to 100 at once, a second one; fewer say nothing."""
        return max(30, min(2 * self.concurrency, 200), round(rate * LOAD_S))


ONE = Scenario("one at a time", 1)
FIFTY = Scenario("50 at once", 50)
TWO_HUNDRED = Scenario("200 at once", 200)
SOME_REFUSED = Scenario("50 at once, 5 % refused", 50, 0.05)
ALL_REFUSED = Scenario("50 at once, all refused", 50, 1)
ONE_REFUSED = Scenario("one at a time, all refused", 1, 1)
FULL_BATCHES = Scenario("1,000 at once, 5 % refused", 1000, 0.05)
"""For what carries many orders together: fewer would leave its batches half empty."""
