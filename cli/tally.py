"""The summary of a `bulk` run, counted as orders end: two numbers are kept for each order, or its whole outcome."""

import statistics
from collections import Counter
from dataclasses import dataclass, field

from pydantic import BaseModel

from cli import show
from client.bulk import Placed
from client.standing import Standing, Untold, standing_of
from temporal_saga import State


class Latency(BaseModel):
    p50: int
    p99: int


class Summary(BaseModel):
    orders: int
    seconds: float
    orders_per_second: float
    latency_ms: Latency
    states: dict[str, int]
    errors: dict[str, int]
    outcomes: list[show.Outcome] | None = None


@dataclass
class Tally:
    keeps_outcomes: bool
    _states: Counter[Standing | Untold] = field(default_factory=Counter)
    _errors: Counter[str] = field(default_factory=Counter)
    _latencies_ms: list[float] = field(default_factory=list)
    _outcomes: list[show.Outcome] = field(default_factory=list)
    parked: list[str] = field(default_factory=list)
    """The orders that were left parked."""

    def add(self, placed: Placed) -> None:
        for group in placed.groups:
            standing = standing_of(next(log for _, log in group.logs())) if placed.is_told else Untold.UNKNOWN
            self._states[standing] += len(group.order_ids)
            if group.code is not None:
                self._errors[group.code] += len(group.order_ids)
            if group.state is State.PARKED:
                self.parked += group.order_ids
            if self.keeps_outcomes:
                outcomes = [show.Outcome.of(log) for _, log in group.logs()]
                self._outcomes += [each.model_copy(update={"state": standing}) for each in outcomes]
        self._latencies_ms += [placed.seconds * 1000] * placed.orders

    @property
    def told(self) -> int:
        return len(self._latencies_ms)

    @property
    def all_ended(self) -> bool:
        return all(isinstance(state, State) and state.is_end for state in self._states)

    @property
    def all_told(self) -> bool:
        return Untold.UNKNOWN not in self._states

    def summary(self, seconds: float) -> Summary:
        ordered = self._latencies_ms
        cuts = statistics.quantiles(ordered, n=100, method="inclusive") if len(ordered) > 1 else ordered * 99
        return Summary(
            orders=len(ordered),
            seconds=round(seconds, 2),
            orders_per_second=round(len(ordered) / seconds, 1),
            latency_ms=Latency(p50=round(cuts[49]), p99=round(cuts[98])),
            states={str(state): orders for state, orders in self._states.items()},
            errors=dict(self._errors),
            outcomes=self._outcomes if self.keeps_outcomes else None,
        )
