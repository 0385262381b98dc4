"""`bulk`: many orders at once, a progress bar on stderr, and a summary."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from temporalio.client import Client
from temporalio.service import RPCError

from cli import documents, placing, session, show
from cli.session import Json
from contracts.errors import Code
from contracts.order import Order
from runtime.commandline import CommandFailed, Exit
from saga import Failure, State, TransactionLog

MAX_CONCURRENCY = 1000
"""Orders under way at once from one process; more would wait in its own queues."""


class Lane(StrEnum):
    SINGLE = "single"


class Latency(BaseModel):
    p50: float
    p99: float


class Summary(BaseModel):
    orders: int
    seconds: float
    orders_per_second: float
    latency_ms: Latency
    states: dict[str, int]
    errors: dict[str, int]
    outcomes: list[show.Outcome] | None = None


def bulk(
    file: Annotated[str | None, typer.Argument(help="Orders as JSON Lines, or - for stdin.")] = None,
    count: Annotated[int | None, typer.Option(min=1, max=documents.MAX_ORDERS, help="Make this many up.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=MAX_CONCURRENCY, help="Orders under way at once.")] = 20,
    lane: Annotated[Lane, typer.Option(help="single: a workflow for each order.")] = Lane.SINGLE,  # noqa: ARG001 — one lane so far
    outcomes: Annotated[bool, typer.Option("--outcomes", help="With --json: the outcome of each order too.")] = False,
    json: Json = False,
) -> int:
    """Place many orders and wait for all of them."""
    if (file is None) == (count is None):
        raise CommandFailed(Code.USAGE, "bulk takes orders (FILE.jsonl or -), or --count N", Exit.INVALID)
    orders = documents.read_orders(file) if file is not None else list(documents.generated_orders(count or 0))
    return session.run(_bulk, orders, concurrency, outcomes=outcomes, json=json)


async def _bulk(orders: Sequence[Order], concurrency: int, *, outcomes: bool, json: bool) -> int:
    client = await session.connect()
    logs: list[TransactionLog] = []
    latencies: list[float] = []
    started = time.perf_counter()
    columns = [SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=show.stderr) as progress:
        bar = progress.add_task("orders", total=len(orders))
        async for log, seconds in _place_all(client, orders, concurrency):
            logs.append(log)
            latencies.append(seconds * 1000)
            progress.advance(bar)
    summary = _summary(logs, latencies, time.perf_counter() - started)
    if json:
        kept = summary.model_copy(update={"outcomes": [show.Outcome.of(log) for log in logs]}) if outcomes else summary
        show.document(kept.model_dump(mode="json", exclude_none=not outcomes))
    else:
        _show(summary)
    return Exit.OK if all(log.state.is_end for log in logs) else Exit.NOT_ENDED


async def _place_all(
    client: Client, orders: Sequence[Order], concurrency: int
) -> AsyncIterator[tuple[TransactionLog, float]]:
    """Each order's end and its latency in seconds, as they come; `concurrency` orders are under way at a time."""
    waiting, patience = iter(orders), placing.Patience()

    async def place_one(order: Order) -> tuple[TransactionLog, float]:
        begun = time.perf_counter()
        try:
            log = await placing.place(client, order, patience)
        except CommandFailed as refused:  # it was not begun: nothing is held for it
            log = TransactionLog(order.transaction_id, State.ROLLED_BACK, Failure(refused.code, refused.message))
        except RPCError as error:
            log = TransactionLog(order.transaction_id, State.RUNNING, Failure(Code.UNREACHABLE, error.message))
        return log, time.perf_counter() - begun

    under_way = {asyncio.ensure_future(place_one(order)) for _, order in zip(range(concurrency), waiting, strict=False)}
    while under_way:
        done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        for placed in done:
            yield placed.result()
        under_way |= {asyncio.ensure_future(place_one(order)) for _, order in zip(done, waiting, strict=False)}


def _summary(logs: Sequence[TransactionLog], latencies: Sequence[float], seconds: float) -> Summary:
    percentiles = (
        statistics.quantiles(latencies, n=100, method="inclusive") if len(latencies) > 1 else [latencies[0]] * 99
    )
    return Summary(
        orders=len(logs),
        seconds=round(seconds, 2),
        orders_per_second=round(len(logs) / seconds, 1),
        latency_ms=Latency(p50=round(percentiles[49]), p99=round(percentiles[98])),
        states=dict(Counter(str(log.state) for log in logs)),
        errors=dict(Counter(log.error.code for log in logs if log.error)),
    )


def _show(summary: Summary) -> None:
    ends = ", ".join(f"{count} {state}" for state, count in sorted(summary.states.items()))
    show.line(f"{summary.orders} orders in {summary.seconds} s ({summary.orders_per_second}/s): {ends}")
    show.line(f"latency p50 {summary.latency_ms.p50:g} ms, p99 {summary.latency_ms.p99:g} ms")
    for code, count in sorted(summary.errors.items()):
        show.line(f"  {count} {code}")
