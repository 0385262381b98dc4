"""`bulk`: many orders at once, a progress bar on stderr, and a summary."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from typing import Annotated

import typer
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from temporalio.client import Client
from temporalio.service import RPCError

from cli import carried, choreographed, documents, placing, session, show
from cli.bulk_batches import place_in_batches
from cli.session import Json, Mode
from cli.tally import Placed, Summary, Tally
from contracts.batch import MAX_ORDERS
from contracts.errors import Code
from contracts.order import Order
from lanes.batches import DEFAULT_SIZE
from runtime.commandline import CommandFailed, Exit
from runtime.execute import OperationFailed
from runtime.settings import SettingsError
from saga import Failure, State, TransactionLog

MAX_CONCURRENCY = 1000
"""Orders under way at once from one process; more would wait in its own queues."""

_BATCHES = 2
"""While the services work for one, Temporal brings the other on; more of them only wait for each other."""


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
    read = documents.read_orders(file) if file is not None else []
    orders = read or documents.generated_orders(count or 0)
    if batch_size and mode is not Mode.BATCH:
        raise CommandFailed(Code.USAGE, "--batch-size is for batches: --mode batch", Exit.INVALID)
    if mode is Mode.BATCH:
        place = partial(
            place_in_batches, orders=orders, size=batch_size or DEFAULT_SIZE, concurrency=concurrency or _BATCHES
        )
    else:
        way = placing.Way.own_workflow(colocated=mode is Mode.COLOCATED)
        if mode is Mode.CHOREOGRAPHY:
            way = placing.Way(choreographed.start, choreographed.wait)
        place = partial(_place_all, orders=orders, concurrency=concurrency or 20, way=way)
    return session.run(_bulk, len(read) or count or 0, place, Tally(outcomes), json=json)


async def _bulk(total: int, place: Callable[[Client], AsyncIterator[Placed]], tally: Tally, *, json: bool) -> int:
    client = await session.connect()
    started = time.perf_counter()
    columns = [SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=show.stderr) as progress:
        bar = progress.add_task("orders", total=total)
        async for placed in place(client):
            tally.add(placed)
            progress.advance(bar, placed.orders)
    summary = tally.summary(time.perf_counter() - started)
    if json:
        show.document(summary.model_dump(mode="json", exclude_none=summary.outcomes is None))
    else:
        _show(summary)
    return Exit.OK if tally.all_ended else Exit.NOT_ENDED


async def _place_all(
    client: Client, orders: Iterable[Order], concurrency: int, way: placing.Way
) -> AsyncIterator[Placed]:
    """Each order's end, as they come; `concurrency` orders are under way at a time."""
    waiting, patience = iter(orders), placing.Patience()

    async def place_one(order: Order) -> Placed:
        begun = time.perf_counter()
        try:
            log = await carried.place(client, order, patience, way)
        except CommandFailed as refused:  # it was not begun: nothing is held for it
            log = TransactionLog(order.transaction_id, State.ROLLED_BACK, Failure(refused.code, refused.message))
        except (OperationFailed, RPCError) as error:
            log = TransactionLog(order.transaction_id, State.RUNNING, Failure(Code.UNREACHABLE, error.message))
        except SettingsError as error:  # it was placed before under another key: the others go on
            log = TransactionLog(order.transaction_id, State.RUNNING, Failure(Code.UNREADABLE, str(error)))
        return Placed.of([log], time.perf_counter() - begun)

    under_way = {asyncio.ensure_future(place_one(order)) for _, order in zip(range(concurrency), waiting, strict=False)}
    while under_way:
        done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        for placed in done:
            yield placed.result()
        under_way |= {asyncio.ensure_future(place_one(order)) for _, order in zip(done, waiting, strict=False)}


def _show(summary: Summary) -> None:
    ends = ", ".join(f"{count} {state}" for state, count in sorted(summary.states.items()))
    show.line(f"{summary.orders} orders in {summary.seconds} s ({summary.orders_per_second}/s): {ends}")
    show.line(f"latency p50 {summary.latency_ms.p50:g} ms, p99 {summary.latency_ms.p99:g} ms")
    for code, count in sorted(summary.errors.items()):
        show.line(f"  {count} {code}")
