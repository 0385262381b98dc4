"""`bulk --mode batch`: some batches under way at a time, and each order seen to its end, whoever brings it there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable

from temporalio.client import Client, WorkflowFailureError
from temporalio.service import RPCError

from cli import carried
from cli.carried import came_before
from cli.placing import OUTAGE_PAUSE_S, Patience
from cli.tally import Placed
from contracts.batch import BatchOutcome, OutcomeGroup
from contracts.errors import Code
from contracts.order import Order
from lanes import batches
from lanes.batches import Batch
from lanes.outcome import result_of
from runtime.commandline import CommandFailed
from runtime.execute import OperationFailed
from runtime.settings import SettingsError
from saga import Failure, State, TransactionLog

_SETTLED_AT_ONCE = 50
"""Orders that are looked up one by one, because their batch has let them go: no more than the single lane would."""


async def place_in_batches(
    client: Client, orders: Iterable[Order], size: int, concurrency: int
) -> AsyncIterator[Placed]:
    """Orders as they end; `concurrency` batches are under way at a time."""
    waiting = batches.batches(orders, size)
    lane = _BatchLane(client)
    under_way = {asyncio.ensure_future(lane.carry(each)) for _, each in zip(range(concurrency), waiting, strict=False)}
    while under_way:
        done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        for carried_batch in done:
            yield carried_batch.result()
        under_way |= {asyncio.ensure_future(lane.carry(each)) for _, each in zip(done, waiting, strict=False)}
    for settling in asyncio.as_completed(lane.settling):
        yield await settling


class _BatchLane:
    """`settling` are the orders that a batch has let go: they hold up no other batch."""

    def __init__(self, client: Client) -> None:
        self.settling: list[asyncio.Task[Placed]] = []
        self._client = client
        self._patience = Patience()
        self._slots = asyncio.Semaphore(_SETTLED_AT_ONCE)

    async def carry(self, batch: Batch) -> Placed:
        """The orders of `batch` that have ended with it."""
        begun, ways = time.perf_counter(), list[OutcomeGroup]()
        try:
            outcome = await self._outcome(batch)
        except WorkflowFailureError:  # closed from outside
            self._settle(batch, batch.documents, begun)
            return Placed([], 0)
        except (RPCError, SettingsError) as error:
            return _unreachable(batch, batch.documents, str(error), begun)
        for way in outcome.groups:
            if came_before(way.code, way.step):
                task = self._first_outcomes(batch, way.order_ids, begun)
                self.settling.append(asyncio.create_task(task))
            elif not way.state.is_end:
                self._settle(batch, way.order_ids, begun)
            else:
                ways.append(way)
        return Placed(ways, time.perf_counter() - begun)

    async def _outcome(self, batch: Batch) -> BatchOutcome:
        while True:
            try:
                handle = await batches.start(self._client, batch)
                self._patience.answered()
                return await result_of(handle)
            except RPCError as error:
                if not self._patience.outlasts(error):
                    raise
            await asyncio.sleep(OUTAGE_PAUSE_S)

    def _settle(self, batch: Batch, order_ids: Iterable[str], begun: float) -> None:
        self.settling += [asyncio.create_task(self._see_to_its_end(batch, each, begun)) for each in order_ids]

    async def _see_to_its_end(self, batch: Batch, order_id: str, begun: float) -> Placed:
        async with self._slots:
            try:
                log = await carried.settled(self._client, batch.order(order_id))
            except (OperationFailed, CommandFailed, RPCError, SettingsError) as error:
                return _unreachable(batch, [order_id], str(error), begun)
        return Placed.of([log], time.perf_counter() - begun)

    async def _first_outcomes(self, batch: Batch, order_ids: Iterable[str], begun: float) -> Placed:
        async with self._slots:
            try:
                logs = await carried.first_outcomes(self._client, map(batch.order, order_ids))
            except (OperationFailed, CommandFailed, RPCError, SettingsError) as error:
                return _unreachable(batch, order_ids, str(error), begun)
        return Placed.of(logs, time.perf_counter() - begun)


def _unreachable(batch: Batch, order_ids: Iterable[str], message: str, begun: float) -> Placed:
    """Nobody says how they stand."""
    failure = Failure(Code.UNREACHABLE, message)
    logs = [TransactionLog(batch.order(each).transaction_id, State.RUNNING, failure) for each in order_ids]
    return Placed.of(logs, time.perf_counter() - begun)
