"""`bulk`: many orders at once, a progress bar on stderr, and a summary."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, NoReturn

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from temporalio.client import Client

from cli import documents, session, show
from cli.log import span
from cli.session import Json
from cli.tally import Summary, Tally
from client.bulk import place_many
from client.engines.batch import DEFAULT_SIZE
from client.orders import Mode, Orders
from client.standing import Untold
from contracts.batch import MAX_ORDERS
from contracts.errors import Code
from contracts.order import Order
from runtime.commandline import CommandFailed, Exit

MAX_CONCURRENCY = 1000
"""Orders under way at once from one process; more would wait in its own queues."""
_LINE_EVERY_S = 10
"""Often enough to see that it lives, seldom enough for a log."""
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
    size, quiet = batch_size or DEFAULT_SIZE, show.is_quiet(json=json)
    try:
        seconds = session.run(lambda client: _place(client, orders, total, mode, at_once, size, tally, quiet=quiet))
    except KeyboardInterrupt:
        message = f"interrupted; {tally.told} of {total} orders have an answer, and those that were started go on: "
        message += "`starter.py list --state RUNNING` shows them"
        raise CommandFailed(Code.INTERRUPTED, message, Exit.NOT_ENDED) from None
    summary = tally.summary(seconds)
    if json:
        show.document(summary.model_dump(mode="json", exclude_none=summary.outcomes is None))
    else:
        _show(summary, tally.parked)
    if not tally.all_told:
        return Exit.UNREACHABLE
    return Exit.OK if tally.all_ended else Exit.NOT_ENDED


async def _place(
    client: Client,
    orders: Iterable[Order],
    total: int,
    mode: Mode,
    at_once: int,
    batch_size: int,
    tally: Tally,
    *,
    quiet: bool,
) -> float:
    """The seconds that it took to bring all orders to their ends."""
    started = time.perf_counter()
    with _progress(total, quiet=quiet) as tell:
        async for placed in place_many(Orders(client), orders, mode, at_once, batch_size):
            tally.add(placed)
            tell(placed.orders)
    return time.perf_counter() - started


@contextmanager
def _progress(total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show on stderr how many orders are told, how fast, and how long the others take; the block says how many more."""
    columns = [
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        _Rate(),
    ]
    moving = show.stderr.is_interactive
    with Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=show.stderr, disable=not moving
    ) as progress:
        bar = progress.add_task("orders", total=total)
        lines = None if moving or quiet else asyncio.ensure_future(_lines(progress.tasks[0]))
        try:
            yield lambda orders: progress.advance(bar, orders)
        finally:
            if lines is not None:
                lines.cancel()


async def _lines(task: Task) -> NoReturn:
    """A line now and then, where no bar can move."""
    while True:
        await asyncio.sleep(_LINE_EVERY_S)
        elapsed, told = task.elapsed or 0.0, int(task.completed)
        rest = f", about {span((task.total or 0) / (told / elapsed) - elapsed)} left" if told else ""
        show.remark(f"{told} of {task.total:.0f} orders after {timedelta(seconds=int(elapsed))}{rest}")


class _Rate(ProgressColumn):
    """Orders a second, over all that has passed: a batch tells hundreds at once."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.completed / task.elapsed:.3g}/s" if task.elapsed else "", "progress.data.speed")


def _show(summary: Summary, parked: Sequence[str]) -> None:
    ends = ", ".join(f"{count} {state}" for state, count in sorted(summary.states.items()))
    show.line(f"{summary.orders} orders in {summary.seconds} s ({summary.orders_per_second}/s): {ends}")
    show.line(f"latency p50 {summary.latency_ms.p50} ms, p99 {summary.latency_ms.p99} ms")
    for code, count in sorted(summary.errors.items()):
        show.line(f"  {count} {code}")
    if Untold.UNKNOWN in summary.states:
        show.line("UNKNOWN: no answer came, and they may not have been started; `starter.py list` has those that were,")
        show.line("and the same FILE again starts none of them twice")
    for order_id in parked[: show.MAX_SHOWN]:
        show.line(f"  parked: {order_id}")
    if len(parked) > show.MAX_SHOWN:
        show.line(f"  … and {len(parked) - show.MAX_SHOWN} more")
    if parked:
        show.line("`starter.py desk list` says why, and what to do")
