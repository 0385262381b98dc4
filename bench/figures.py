"""What is measured, in the form of the JSON file: a sample for each load, and a row of medians over the runs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
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


class Cpu(BaseModel):
    """Milliseconds of processor time for each order, user and system, by process."""

    server: float
    worker: float
    client: float

    @property
    def total(self) -> float:
        return self.server + self.worker + self.client


class Footprint(BaseModel):
    """What an order leaves in Temporal: history events, and the actions Temporal Cloud would bill."""

    events: float
    actions: float


class Sample(BaseModel):
    contender: str
    scenario: str
    run: int
    load: Load
    cpu_ms: Cpu
    worker_rss_mb: float
    footprint: Footprint | None = None


class Spread(BaseModel):
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        known = list(values)
        return cls(median=statistics.median(known), low=min(known), high=max(known))


class Row(BaseModel):
    """One contender in one scenario, over its runs."""

    contender: str
    scenario: str
    runs: int
    orders: int
    orders_per_second: Spread
    p50_ms: Spread
    p99_ms: Spread
    cpu_ms: Spread
    cpu_by_process_ms: Cpu
    worker_rss_mb: Spread
    footprint: Footprint | None

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Self:
        def median(values: Iterable[float]) -> float:
            return Spread.of(values).median

        return cls(
            contender=samples[0].contender,
            scenario=samples[0].scenario,
            runs=len(samples),
            orders=sum(sample.load.orders for sample in samples),
            orders_per_second=Spread.of(sample.load.orders_per_second for sample in samples),
            p50_ms=Spread.of(sample.load.latency_ms.p50 for sample in samples),
            p99_ms=Spread.of(sample.load.latency_ms.p99 for sample in samples),
            cpu_ms=Spread.of(sample.cpu_ms.total for sample in samples),
            cpu_by_process_ms=Cpu(
                server=median(sample.cpu_ms.server for sample in samples),
                worker=median(sample.cpu_ms.worker for sample in samples),
                client=median(sample.cpu_ms.client for sample in samples),
            ),
            worker_rss_mb=Spread.of(sample.worker_rss_mb for sample in samples),
            footprint=next((sample.footprint for sample in samples if sample.footprint), None),
        )


class Audit(BaseModel):
    """The invariants over all five databases after a contender's run."""

    contender: str
    run: int
    clean: bool
    orders: int


class Results(BaseModel):
    """A whole run, as it is written."""

    machine: dict[str, str]
    versions: dict[str, str]
    settings: dict[str, str]
    rows: list[Row]
    audits: list[Audit]
    left_out: dict[str, str]
    failed: dict[str, str]
    """Contenders that did not do their work, and what they did instead: they have no more figures from there on."""
    samples: list[Sample]


def rows_of(samples: Sequence[Sample]) -> list[Row]:
    """A row for each contender and scenario, in the order they were first measured."""
    grouped: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        grouped.setdefault((sample.scenario, sample.contender), []).append(sample)
    return [Row.of(group) for group in grouped.values()]
