"""Gathers orders that arrive one by one into batches: for a service whose callers each wait for their own order.

async with Coalescer(client) as orders:
    log = await orders.place(order)     # from many callers at a time
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Self

from temporalio.client import Client

from client.engines.batch import DEFAULT_SIZE, Batch, BatchEngine
from client.engines.engine import Until
from client.standing import outcome_of
from contracts.batch import MAX_ORDERS
from contracts.order import Order
from temporal_saga import TransactionLog

MAX_WAIT = timedelta(milliseconds=20)
"""How long an order may wait for others: short against the quarter of a second that a batch takes, long against the
time between two of many orders."""
MAX_UNDER_WAY = 8
"""Batches under way from one process. Meanwhile the next batch gathers more orders."""


@dataclass
class _Gathering:
    batch: Batch = field(default_factory=Batch)
    callers: dict[str, asyncio.Future[TransactionLog]] = field(default_factory=dict)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when no order joins it any more."""


class Coalescer:
    """Sends a batch when it is full, or when its first order has waited for `MAX_WAIT`."""

    def __init__(self, client: Client, *, max_size: int = DEFAULT_SIZE, until: Until = Until.ENDED) -> None:
        self._client = client
        self._until = until
        self._max_size = min(max_size, MAX_ORDERS)
        self._gathering: _Gathering | None = None
        self._under_way: dict[str, tuple[bytes, asyncio.Future[TransactionLog]]] = {}
        self._sent: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(MAX_UNDER_WAY)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send every order that was placed, and wait for its end."""
        self._close()
        if self._sent:
            await asyncio.wait(self._sent)

    async def place(self, order: Order) -> TransactionLog:
        """The end of this order, or its decision. One that was placed before elsewhere ends with IDEMPOTENCY_CONFLICT:
        `Orders.status` tells how it stands.

        Raises `RPCError` if Temporal does not answer, and `WorkflowFailureError` if the batch was closed from outside.
        The order goes on when its caller no longer waits.
        """
        document = order.model_dump_json().encode()
        known, caller = self._under_way.get(order.order_id, (None, None))
        if caller is None or known != document:
            caller = self._join(order.order_id, document)
        return await asyncio.shield(caller)

    def _join(self, order_id: str, document: bytes) -> asyncio.Future[TransactionLog]:
        if self._gathering is not None and not self._gathering.batch.takes(order_id, document, self._max_size):
            self._close()
        if self._gathering is None:
            self._gathering = _Gathering()
            task = asyncio.create_task(self._send(self._gathering))
            self._sent.add(task)
            task.add_done_callback(self._sent.discard)
        caller: asyncio.Future[TransactionLog] = asyncio.get_running_loop().create_future()
        self._under_way[order_id] = document, caller
        caller.add_done_callback(partial(self._forget, order_id))
        self._gathering.batch.add(order_id, document)
        self._gathering.callers[order_id] = caller
        if len(self._gathering.callers) == self._max_size:
            self._close()
        return caller

    def _forget(self, order_id: str, caller: asyncio.Future[TransactionLog]) -> None:
        if self._under_way.get(order_id, (None, None))[1] is caller:
            del self._under_way[order_id]

    def _close(self) -> None:
        if self._gathering is not None:
            self._gathering.closed.set()
            self._gathering = None

    async def _send(self, gathering: _Gathering) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(gathering.closed.wait(), MAX_WAIT.total_seconds())
        async with self._slots:  # until there is one, orders may join the batch
            if self._gathering is gathering:
                self._close()
            try:
                batch = BatchEngine(self._client, gathering.batch.id)
                if self._until is Until.CONFIRMED:
                    outcome = await batch.decision(gathering.batch)
                else:
                    await batch.start(gathering.batch)
                    outcome = await batch.outcome()
            except Exception as error:  # noqa: BLE001 — each caller raises it, whatever it is
                for caller in gathering.callers.values():
                    caller.set_exception(error)
                return
        logs = outcome.logs()
        await asyncio.gather(*(self._answer(caller, logs[each]) for each, caller in gathering.callers.items()))

    async def _answer(self, caller: asyncio.Future[TransactionLog], log: TransactionLog) -> None:
        """Give a caller the end of its order, also where the batch has detached it to a workflow of its own."""
        try:
            if not log.state.is_end:
                log = await outcome_of(self._client.get_workflow_handle(log.transaction_id, result_type=TransactionLog))
        except Exception as error:  # noqa: BLE001 — as above
            caller.set_exception(error)
        else:
            caller.set_result(log)
