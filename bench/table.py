"""The figures for a person at a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from bench.figures import Results, Row, Spread

COLUMNS = (
    "contender",
    "runs",
    "orders/s",
    "p50 ms",
    "p99 ms",
    "CPU ms/order",
    "server + worker + client",
    "worker MB",
    "events",
    "actions",
)


def show(results: Results, console: Console) -> None:
    """A table for each scenario; a figure is a median, with the lowest and highest run where there are several."""
    for scenario in dict.fromkeys(row.scenario for row in results.rows):
        table = Table(*COLUMNS, title=scenario, title_justify="left")
        for row in results.rows:
            if row.scenario == scenario:
                table.add_row(*cells(row))
        console.print(table)
    for name, reason in results.left_out.items():
        console.print(f"left out: {name}: {reason}")
    for name, reason in results.failed.items():
        console.print(f"failed: {name}: {reason}", style="red", markup=False)
    audits = ", ".join(f"{audit.contender} ({audit.orders} orders)" for audit in results.audits)
    console.print(f"audits, all clean: {audits or 'none'}")


def cells(row: Row) -> list[str]:
    by_process = row.cpu_by_process_ms
    return [
        row.contender,
        str(row.runs),
        _spread(row.orders_per_second),
        _spread(row.p50_ms),
        _spread(row.p99_ms),
        _spread(row.cpu_ms),
        " + ".join(number(part) for part in (by_process.server, by_process.worker, by_process.client)),
        number(row.worker_rss_mb.median),
        number(row.footprint.events) if row.footprint else "",
        number(row.footprint.actions) if row.footprint else "",
    ]


def _spread(spread: Spread) -> str:
    middle = number(spread.median)
    return middle if spread.low == spread.high else f"{middle} ({number(spread.low)}-{number(spread.high)})"


def number(value: float) -> str:
    """Three figures: the runs differ in the second."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2g}"
