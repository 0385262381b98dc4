"""Measures every contender side by side; `growth` and `report` are what else it can do."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.contender import CONTENDERS, Contender
from bench.figures import Results
from bench.growth import SLICES, measure_growth
from bench.measure import measure
from bench.plan import QUICK_ORDERS
from bench.processes import BenchFailed
from bench.report import write_report
from bench.table import show
from contracts.errors import Code
from runtime.commandline import CommandFailed, Exit, run

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
_stdout = Console() if sys.stdout.isatty() else Console(width=220)
_stderr = Console(stderr=True)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    rounds: Annotated[int, typer.Option(min=1, max=20, help="Each measures all contenders; figures are medians.")] = 3,
    only: Annotated[list[str] | None, typer.Option(help="Contenders whose name contains this, repeatable.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="One short round: does it work? No figures to quote.")] = False,
    json: Annotated[Path | None, typer.Option(help="Where to write every sample.")] = None,
) -> None:
    """Measure every contender in every scenario, in turn."""
    if context.invoked_subcommand is not None:
        return
    results = measure(_chosen(only), 1 if quick else rounds, quick=quick, say=_stderr.print)
    show(results, _stdout)
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
        json.write_text(results.model_dump_json(indent=1) + "\n", encoding="utf-8")
    if results.failed:
        raise CommandFailed(Code.SERVICE_UNAVAILABLE, f"{', '.join(results.failed)}: see above", Exit.NOT_ENDED)


@app.command()
def growth(
    orders: Annotated[int, typer.Option(min=QUICK_ORDERS * SLICES, max=200_000)] = 20_000,
    only: Annotated[str, typer.Option(help="The contender whose name contains this.")] = "ours, saga",
) -> None:
    """Place many orders on one system: the cost of an order must not grow with their number."""
    [contender, *_] = _chosen([only])
    if not contender.is_audited:
        raise CommandFailed(Code.USAGE, f"{contender.name}: growth ends with an audit, and it has none", Exit.INVALID)
    try:
        measure_growth(contender, orders, _stdout.print)
    except BenchFailed as error:
        raise CommandFailed(Code.SERVICE_UNAVAILABLE, str(error), Exit.NOT_ENDED) from error


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


if __name__ == "__main__":
    run(app)
