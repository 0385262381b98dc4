"""What is measured, in the form of the JSON file: a sample for each load. `bench/table.py` makes medians of them."""

import statistics
from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel


class Latency(BaseModel):
    """Milliseconds from the client's request to the order's end, as the client saw them."""

    p50: float
    p99: float

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> Self:
        if len(milliseconds) == 1:
            return cls(p50=milliseconds[0], p99=milliseconds[0])
        percentiles = statistics.quantiles(milliseconds, n=100, method="inclusive")
        return cls(p50=percentiles[49], p99=percentiles[98])


class Load(BaseModel):
    """What a client reports of the orders it placed; `starter.py bulk --json` prints these fields and more."""

    orders: int
    seconds: float
    orders_per_second: float
    latency_ms: Latency
    states: dict[str, int]


class Footprint(BaseModel):
    """What an order leaves in Temporal: workflows, history events, and the actions Temporal Cloud would bill."""

    workflows: float
    events: float
    actions: float


class Sample(BaseModel):
    """One load of one contender. Processor time is milliseconds for each order, user and system."""

    contender: str
    scenario: str
    round: int
    load: Load
    server_ms: float
    worker_ms: float
    client_ms: float
    worker_mb: float
    footprint: Footprint | None = None

    @property
    def cpu_ms(self) -> float:
        return self.server_ms + self.worker_ms + self.client_ms


class Results(BaseModel):
    """A whole run, as it is written."""

    machine: dict[str, str]
    versions: dict[str, str]
    samples: list[Sample] = []
    audited: dict[str, int] = {}
    """Orders over whose services the audit was clean, by contender."""
    left_out: dict[str, str] = {}
    failed: dict[str, str] = {}
    """Contenders that did not do their work, and what they did instead: they have no more figures from there on."""
