"""The figures as tables, for the terminal and for docs/performance.md: ratios first, then absolute figures."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from rich import table as rich_table
from rich.console import Console

from bench.figures import Results, Sample
from bench.plan import FIFTY, ONE, Scenario

Figure = Callable[[Sample], float | None]
FIGURES: dict[str, Figure] = {
    "orders/s": lambda sample: sample.load.orders_per_second,
    "p50 ms": lambda sample: sample.load.latency_ms.p50,
    "p99 ms": lambda sample: sample.load.latency_ms.p99,
    "CPU ms": lambda sample: sample.cpu_ms,
    "server CPU": lambda sample: sample.server_ms,
    "worker CPU": lambda sample: sample.worker_ms,
    "client CPU": lambda sample: sample.client_ms,
    "worker MB": lambda sample: sample.worker_mb,
    "workflows": lambda sample: sample.footprint.workflows if sample.footprint else None,
    "events": lambda sample: sample.footprint.events if sample.footprint else None,
    "actions": lambda sample: sample.footprint.actions if sample.footprint else None,
}
"""The columns. CPU is milliseconds for each order; the last three are for each order too."""
RATIOS: Sequence[tuple[Scenario, str]] = (
    (ONE, "p50 ms"),
    (ONE, "CPU ms"),
    (FIFTY, "orders/s"),
    (FIFTY, "CPU ms"),
    (FIFTY, "server CPU"),
    (FIFTY, "worker CPU"),
)
_COMPARED = ("ours, saga", "ours, colocated", "ours, batch")


class Table(NamedTuple):
    title: str
    columns: Sequence[str]
    rows: list[list[str]]


def tables(samples: Sequence[Sample]) -> list[Table]:
    """A table of ratios for each mode of ours, then a table of absolute figures for each scenario.

    A figure is a median over the rounds, with the lowest and highest in brackets. A ratio is made within each round,
    in which the two were measured minutes apart.
    """
    return [table for table in (*_ratios(samples), *_absolute(samples)) if table.rows]


def _ratios(samples: Sequence[Sample]) -> Iterable[Table]:
    others = dict.fromkeys(each.contender for each in samples if not each.contender.startswith("ours"))
    columns = [f"{name.removesuffix(' ms')}, {scenario.name}" for scenario, name in RATIOS]
    for ours in _COMPARED:
        rows = [[other, *(_ratio(samples, ours, other, *column) for column in RATIOS)] for other in others]
        yield Table(f"{ours}: ratio to each contender", ["divided by", *columns], [row for row in rows if any(row[1:])])


def _ratio(samples: Sequence[Sample], ours: str, other: str, scenario: Scenario, name: str) -> str:
    mine, theirs = (_by_round(samples, contender, scenario.name, FIGURES[name]) for contender in (ours, other))
    return _spread([value / theirs[number] for number, value in mine.items() if theirs.get(number)])


def _absolute(samples: Sequence[Sample]) -> Iterable[Table]:
    for scenario in dict.fromkeys(each.scenario for each in samples):
        names = dict.fromkeys(each.contender for each in samples if each.scenario == scenario)
        rows = [
            [name, *(_spread(_by_round(samples, name, scenario, figure).values()) for figure in FIGURES.values())]
            for name in names
        ]
        yield Table(scenario, ["contender", *FIGURES], rows)


def _by_round(samples: Sequence[Sample], contender: str, scenario: str, figure: Figure) -> dict[int, float]:
    own = [sample for sample in samples if (sample.contender, sample.scenario) == (contender, scenario)]
    return {sample.round: value for sample in own if (value := figure(sample)) is not None}


def _spread(values: Iterable[float]) -> str:
    if not (known := list(values)):
        return ""
    low, middle, high = (number(value) for value in (min(known), statistics.median(known), max(known)))
    return middle if low == high else f"{middle} ({low}-{high})"


def number(value: float) -> str:
    """Three figures: the runs differ in the second."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2g}"


def show(results: Results, console: Console) -> None:
    for title, columns, rows in tables(results.samples):
        shown = rich_table.Table(*columns, title=title, title_justify="left")
        for row in rows:
            shown.add_row(*row)
        console.print(shown)
    for name, reason in results.left_out.items():
        console.print(f"left out: {name}: {reason}")
    for name, reason in results.failed.items():
        console.print(f"failed: {name}: {reason}", style="red", markup=False)
    audits = ", ".join(f"{contender} ({orders} orders)" for contender, orders in results.audited.items())
    console.print(f"audits, all clean: {audits or 'none'}")
