"""Measures every contender side by side; `growth` and `report` are what else it can do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.console import Console

from bench.contender import CONTENDERS, Contender
from bench.figures import Results
from bench.growth import measure_growth
from bench.measure import Run
from bench.plan import LOAD_S, QUICK_ORDERS, Budget, Counts
from bench.processes import BenchFailed
from bench.report import write_report
from bench.table import show
from contracts.errors import Code
from runtime.commandline import CommandFailed, Exit, run

MINUTES = 10
"""What people wait for; everything is measured three times within it on two quiet cores."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
Minutes = Annotated[float, typer.Option(min=0.1, max=600, help="What does not fit is left out, and named.")]
_stdout = Console() if sys.stdout.isatty() else Console(width=200)
_stderr = Console(stderr=True)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    runs: Annotated[int, typer.Option(min=1, max=20, help="Of each contender; the table has medians.")] = 3,
    only: Annotated[list[str] | None, typer.Option(help="Contenders whose name contains this, repeatable.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="One short run: does it work? No figures to quote.")] = False,
    json: Annotated[Path | None, typer.Option(help="Where to write the figures.")] = None,
    minutes: Minutes = MINUTES,
) -> None:
    """Measure every contender in every scenario, in turn."""
    if context.invoked_subcommand is not None:
        return
    counts = Counts(load_s=LOAD_S, quick=quick)
    measuring = Run(_chosen(only), 1 if quick else runs, counts, Budget(minutes * 60), _stderr.print)
    results = measuring.all()
    show(results, _stdout)
    _write(results, json)
    if results.failed:
        raise CommandFailed(Code.SERVICE_UNAVAILABLE, f"{', '.join(results.failed)}: see above", Exit.NOT_ENDED)


@app.command()
def growth(
    orders: Annotated[int, typer.Option(min=2, max=200_000)] = 20_000,
    slices: Annotated[int, typer.Option(min=2, max=100, help="Measured one after the other.")] = 20,
    only: Annotated[str, typer.Option(help="The contender whose name contains this.")] = "ours, saga",
    json: Annotated[Path | None, typer.Option(help="Where to write the figures.")] = None,
    minutes: Minutes = MINUTES,
) -> None:
    """Place many orders on one system: the cost of an order must not grow with their number."""
    [contender, *_] = _chosen([only])
    if reason := contender.missing():
        raise CommandFailed(Code.USAGE, f"{contender.name}: {reason}", Exit.INVALID)
    if not contender.is_audited:
        raise CommandFailed(Code.USAGE, f"{contender.name}: growth ends with an audit, and it has none", Exit.INVALID)
    if orders // slices < QUICK_ORDERS:
        message = f"--orders {orders} in {slices} slices: at least {QUICK_ORDERS} to a slice"
        raise CommandFailed(Code.USAGE, message, Exit.INVALID)
    try:
        measured = measure_growth(contender, orders, Budget(minutes * 60), _stderr.print, orders // slices)
    except BenchFailed as error:
        raise CommandFailed(Code.SERVICE_UNAVAILABLE, str(error), Exit.NOT_ENDED) from error
    _stdout.print(
        f"{contender.name}: an order in the last slice costs {measured.cost_ratio:.2f} times one in the first; "
        f"audit of {measured.audit.orders} orders: clean; "
        + ", ".join(f"`{name}` takes {seconds:.1f} s" for name, seconds in measured.commands_s.items())
    )
    _write(measured, json)


@app.command()
def report(file: Annotated[Path, typer.Argument(help="What --json wrote.")]) -> None:
    """Write the figures of FILE into docs/performance.md, and the picture beside it."""
    write_report(Results.model_validate_json(file.read_text(encoding="utf-8")))


def _chosen(only: list[str] | None) -> list[Contender]:
    chosen = [one for one in CONTENDERS if not only or any(part in one.name for part in only)]
    if not chosen:
        names = ", ".join(one.name for one in CONTENDERS)
        raise CommandFailed(Code.USAGE, f"--only: there are only {names}", Exit.INVALID)
    return chosen


def _write(figures: BaseModel, file: Path | None) -> None:
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(figures.model_dump_json(indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(app)
