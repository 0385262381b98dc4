"""The sweep: finishes orders and transactions that hold something and that no workflow is bringing to an end.

A workflow can be closed without an end: terminated by hand, timed out by an execution timeout, cut by the history
limit, or lost with its namespace. What it held is still in the services' records, so the sweep starts from these and
asks Temporal only whether a workflow runs. Each such order gets a new run of its own workflow, which undoes it or, past
the pivot, finishes it, through the fence; so a sweep may run at any time, twice, and beside running orders. The
participants of a choreographed order restart one another, but not the last one to be closed: its placing is published
anew. A transaction given as data is resumed.

An order that was closed while nothing was held for it is in no record. Temporal lists it, and the sweep gives it the
end that its owner has not been told.

Holds of a transaction that no order and no workflow accounts for are given back when their lease is over.

| module | holds |
|---|---|
| `orders`, `transactions`, `leases` | the three things that can be left behind |
| `skips`, `decisions` | what operators left undone, and all that they decided, copied to the order service |
| `tolerance` | how a round survives each of its items |
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from temporalio import activity
from temporalio.client import Client

from contracts.message import ListOpen
from contracts.recovery import HEARTBEAT_TIMEOUT, MAX_NAMED, SweepOrders, Swept, sweep
from recovery.decisions import keep_decisions
from recovery.leases import LeaseSweep
from recovery.orders import OrderSweep
from recovery.skips import keep_skips
from recovery.tolerance import Round
from recovery.transactions import TransactionSweep

T = TypeVar("T")
_FINDINGS_METRIC = "sweep_findings_total"
"""Counts what the sweep has found by `kind`: an order or a transaction that no workflow brought to its end, a hold
whose lease was over, and what it could not examine or finish (failure)."""


@asynccontextmanager
async def _heartbeats() -> AsyncIterator[None]:
    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(HEARTBEAT_TIMEOUT.total_seconds() / 4)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()


class Recovery:
    """The sweep as an activity of the workflows' own queue."""

    def __init__(self, client: Client, page: int = ListOpen().limit) -> None:
        self._client = client
        self._page = page

    @activity.defn(name=sweep.name)
    async def sweep(self, _: SweepOrders) -> Swept:
        async with _heartbeats():
            return await self._sweep()

    async def _sweep(self) -> Swept:
        round_ = Round()
        await keep_skips(self._client, round_)
        await keep_decisions(self._client, round_)
        orders = OrderSweep(self._client, round_, self._page)
        transactions = TransactionSweep(self._client, round_)
        left = await orders.left_behind()
        resumed = await transactions.left_behind()
        ends = await _finish_all(round_, left, lambda each: each.placed.order.transaction_id, orders.finish)
        ends |= await _finish_all(round_, resumed, lambda each: each.workflow_id, transactions.finish)
        leases_ended = await LeaseSweep(self._client, round_, self._page).end_all()
        failed = len(round_.failures)
        _count({"order": len(left), "transaction": len(resumed), "lease": leases_ended, "failure": failed})
        return Swept(
            found=len(left) + len(resumed),
            finished=sum(ends.values()),
            orders=tuple(each.placed.order.order_id for each in left),
            transactions=tuple(each.transaction.transaction_id for each in resumed),
            unfinished=tuple(name for name, ended in ends.items() if not ended),
            leases_ended=leases_ended,
            failed=failed,
            failures=round_.failures[:MAX_NAMED],
            attempt=activity.info().attempt,
        )


def _count(found: Mapping[str, int]) -> None:
    """Count what the sweep has found, also that it has found nothing."""
    counter = activity.metric_meter().create_counter(_FINDINGS_METRIC, "What the sweep has found.")
    for kind, count in found.items():
        counter.add(count, {"kind": kind})


async def _finish_all(
    round_: Round, left: Sequence[T], name: Callable[[T], str], finish: Callable[[T], Awaitable[bool]]
) -> dict[str, bool]:
    """Finish all of `left`: by name, whether each has an end now. What failed is in the round's failures."""

    async def finished(each: T) -> tuple[str, bool]:
        return name(each), await finish(each)

    return dict(await round_.each(left, name, finished))
