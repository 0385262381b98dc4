"""`bulk`: many orders at once, a progress bar on stderr, and a summary."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Annotated

import typer
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from temporalio.client import Client

from cli import documents, session, show
from cli.session import Json
from cli.tally import Summary, Tally
from client.bulk import place_many
from client.engines.batch import DEFAULT_SIZE
from client.orders import Mode, Orders
from contracts.batch import MAX_ORDERS
from contracts.errors import Code
from contracts.order import Order
from runtime.commandline import CommandFailed, Exit

MAX_CONCURRENCY = 1000
"""Orders under way at once from one process; more would wait in its own queues."""
_ORDERS_AT_ONCE = 20
_BATCHES_AT_ONCE = 2
"""While the services work for one batch, Temporal brings the other on; more of them only wait for each other."""


def bulk(
    file: Annotated[str | None, typer.Argument(help="Orders as JSON Lines, or - for stdin.")] = None,
    count: Annotated[int | None, typer.Option(min=1, max=documents.MAX_ORDERS, help="Make this many up.")] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, max=MAX_CONCURRENCY, help="Orders, or batches, under way at once: 20, or 2.")
    ] = None,
    mode: Annotated[
        Mode,
        typer.Option(
            help="saga, colocated: a workflow for each order. choreography: by events. batch: one for hundreds."
        ),
    ] = Mode.SAGA,
    batch_size: Annotated[
        int | None, typer.Option(min=1, max=MAX_ORDERS, help=f"Orders of a batch: {DEFAULT_SIZE}.")
    ] = None,
    outcomes: Annotated[bool, typer.Option("--outcomes", help="With --json: the outcome of each order too.")] = False,
    json: Json = False,
) -> int:
    """Place many orders and wait for all of them."""
    if (file is None) == (count is None):
        raise CommandFailed(Code.USAGE, "bulk takes orders (FILE.jsonl or -), or --count N", Exit.INVALID)
    if batch_size and mode is not Mode.BATCH:
        raise CommandFailed(Code.USAGE, "--batch-size is for batches: --mode batch", Exit.INVALID)
    read = documents.read_orders(file) if file is not None else []
    orders, total = read or documents.generated_orders(count or 0), len(read) or count or 0
    at_once = concurrency or (_BATCHES_AT_ONCE if mode is Mode.BATCH else _ORDERS_AT_ONCE)
    tally = Tally(outcomes)
    seconds = session.run(
        lambda client: _place(client, orders, total, mode, at_once, batch_size or DEFAULT_SIZE, tally)
    )
    summary = tally.summary(seconds)
    if json:
        show.document(summary.model_dump(mode="json", exclude_none=summary.outcomes is None))
    else:
        _show(summary)
    return Exit.OK if tally.all_ended else Exit.NOT_ENDED


async def _place(
    client: Client, orders: Iterable[Order], total: int, mode: Mode, at_once: int, batch_size: int, tally: Tally
) -> float:
    """The seconds that it took to bring all orders to their ends."""
    started = time.perf_counter()
    columns = [SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=show.stderr) as progress:
        bar = progress.add_task("orders", total=total)
        async for placed in place_many(Orders(client), orders, mode, at_once, batch_size):
            tally.add(placed)
            progress.advance(bar, placed.orders)
    return time.perf_counter() - started


def _show(summary: Summary) -> None:
    ends = ", ".join(f"{count} {state}" for state, count in sorted(summary.states.items()))
    show.line(f"{summary.orders} orders in {summary.seconds} s ({summary.orders_per_second}/s): {ends}")
    show.line(f"latency p50 {summary.latency_ms.p50:g} ms, p99 {summary.latency_ms.p99:g} ms")
    for code, count in sorted(summary.errors.items()):
        show.line(f"  {count} {code}")
