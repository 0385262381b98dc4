"""The sweep: what a service still holds something for, and no workflow is bringing to an end.

A workflow can be closed without an end: terminated by hand, timed out by an execution timeout that somebody set, cut by
the history limit, lost with its namespace. What it held is still in the services' records, and that is where the sweep
looks; Temporal is only asked whether the workflow runs. Each such order gets a new run of its own workflow, which
undoes it or, past the pivot, finishes it, through the fence. So a sweep may run at any time, twice, and beside running
orders. A choreographed order has no such workflow: its participants bring one another back, but not the one that was
the last to go, so its placing is said once more. A transaction given as data is resumed.

An order that was closed while nothing was held for it is in no record: Temporal lists it, and it gets the end that its
owner has not been told.

What is held for a transaction that no order and no workflow knows, it gives back when its lease is over.

| module | holds |
|---|---|
| `orders`, `transactions`, `leases` | the three things that can be left behind |
| `tolerance` | how a round survives each of its items |
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from temporalio import activity
from temporalio.client import Client

from contracts.message import ListOpen
from contracts.recovery import MAX_NAMED, SweepOrders, Swept, sweep
from recovery.leases import LeaseSweep
from recovery.orders import OrderSweep
from recovery.skips import keep_skips
from recovery.tolerance import Round
from recovery.transactions import TransactionSweep

T = TypeVar("T")


class Recovery:
    """The sweep as an activity of the workflows' own queue."""

    def __init__(self, client: Client, page: int = ListOpen().limit) -> None:
        self._client = client
        self._page = page

    @activity.defn(name=sweep.name)
    async def sweep(self, _: SweepOrders) -> Swept:
        round_ = Round()
        await keep_skips(self._client, round_)
        orders = OrderSweep(self._client, round_, self._page)
        transactions = TransactionSweep(self._client, round_)
        left = await orders.left_behind()
        resumed = await transactions.left_behind()
        ends = await _finish_all(round_, left, lambda each: each.placed.order.transaction_id, orders.finish)
        ends |= await _finish_all(round_, resumed, lambda each: each.workflow_id, transactions.finish)
        leases_ended = await LeaseSweep(self._client, round_, self._page).end_all()
        return Swept(
            found=len(left) + len(resumed),
            finished=sum(ends.values()),
            orders=tuple(each.placed.order.order_id for each in left),
            transactions=tuple(each.transaction.transaction_id for each in resumed),
            unfinished=tuple(name for name, ended in ends.items() if not ended),
            leases_ended=leases_ended,
            failed=len(round_.failures),
            failures=round_.failures[:MAX_NAMED],
            attempt=activity.info().attempt,
        )


async def _finish_all(
    round_: Round, left: Sequence[T], name: Callable[[T], str], finish: Callable[[T], Awaitable[bool]]
) -> dict[str, bool]:
    """Finish all of `left`, and tell of each whether it has an end now; what failed is in the round's failures."""

    async def finished(each: T) -> tuple[str, bool]:
        return name(each), await finish(each)

    return dict(await round_.each(left, name, finished))
