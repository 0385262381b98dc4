"""Many orders at a time: a sliding window over orders, or over batches of them, each order seen to its end."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Self, TypeVar

from temporalio.client import WorkflowFailureError
from temporalio.service import RPCError

from client.engines.batch import DEFAULT_SIZE, Batch, BatchEngine, batches
from client.engines.engine import is_duplicate_of_other
from client.errors import ClientError, DuplicateOrder, OrderRetired
from client.orders import Mode, Orders
from contracts.batch import BatchOutcome, OutcomeGroup
from contracts.errors import Code
from contracts.order import Order
from runtime.execute import OperationFailed
from runtime.settings import SettingsError
from temporal_saga import Failure, State, TransactionLog

_SETTLED_AT_ONCE = 50
"""Limit on the orders that are awaited one by one at a time, after their batch has left them to their own workflows."""
_NO_ANSWER = (OperationFailed, RPCError, SettingsError)
"""Why nobody answered for an order: it may not have been started."""
_NO_END_KNOWN = (ClientError, *_NO_ANSWER)
"""Why the end of an order cannot be told; the other orders go on."""
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Placed:
    """Orders that have ended, or that the client no longer waits for, `seconds` after they were started together."""

    groups: Sequence[OutcomeGroup]
    seconds: float
    is_told: bool = True
    """Whether the state in `groups` was told; if not, it is unknown."""

    @classmethod
    def of(cls, logs: Iterable[TransactionLog], begun: float, error: Exception | None = None) -> Self:
        groups, is_told = [OutcomeGroup.of(log) for log in logs], not isinstance(error, _NO_ANSWER)
        return cls(groups, time.perf_counter() - begun, is_told)

    @property
    def orders(self) -> int:
        return sum(len(group.order_ids) for group in self.groups)


async def place_many(
    orders: Orders, placed: Iterable[Order], mode: Mode, concurrency: int, batch_size: int = DEFAULT_SIZE
) -> AsyncIterator[Placed]:
    """The orders as they end; `concurrency` orders, or batches, are under way at a time."""
    if mode is not Mode.BATCH:
        async for each in _window(placed, partial(_place_one, orders, mode), concurrency):
            yield each
        return
    sender = _BatchSender(orders)
    async for each in _window(batches(placed, batch_size), sender.send, concurrency):
        yield each
    for settling in asyncio.as_completed(sender.settling):
        yield await settling


async def _window(items: Iterable[T], work: Callable[[T], Awaitable[R]], size: int) -> AsyncIterator[R]:
    """The results of `work` as they come; `size` items are worked on at a time."""
    waiting = iter(items)
    under_way = {asyncio.ensure_future(work(item)) for item in islice(waiting, size)}
    while under_way:
        done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            yield each.result()
        under_way |= {asyncio.ensure_future(work(item)) for item in islice(waiting, len(done))}


async def _place_one(orders: Orders, mode: Mode, order: Order) -> Placed:
    begun = time.perf_counter()
    try:
        log = await orders.place(order, mode)
    except (DuplicateOrder, OrderRetired) as refused:  # it was not started: nothing is held for it
        log = TransactionLog(order.transaction_id, State.ROLLED_BACK, Failure(refused.code, refused.message))
    except _NO_END_KNOWN as error:
        return Placed.of([_not_told(order, error)], begun, error)
    return Placed.of([log], begun)


class _BatchSender:
    """Sends batches. `settling` are orders that a batch does not bring to their end: they hold up no other batch."""

    def __init__(self, orders: Orders) -> None:
        self.settling: list[asyncio.Task[Placed]] = []
        self._orders = orders
        self._slots = asyncio.Semaphore(_SETTLED_AT_ONCE)

    async def send(self, batch: Batch) -> Placed:
        """The orders of `batch` that have ended with it."""
        begun, ended = time.perf_counter(), list[OutcomeGroup]()
        try:
            outcome = await self._orders.budget.retried(partial(self._outcome, batch))
        except WorkflowFailureError:  # closed from outside
            self._settle(batch, batch.documents, begun)
            return Placed([], 0)
        except _NO_END_KNOWN as error:
            return Placed.of([_not_told(batch.order(each), error) for each in batch.documents], begun, error)
        for group in outcome.groups:
            if is_duplicate_of_other(group.code, group.step):
                task = self._told(list(map(batch.order, group.order_ids)), self._orders.first_outcomes, begun)
                self.settling.append(asyncio.create_task(task))
            elif not group.state.is_end:
                self._settle(batch, group.order_ids, begun)
            else:
                ended.append(group)
        return Placed(ended, time.perf_counter() - begun)

    async def _outcome(self, batch: Batch) -> BatchOutcome:
        engine = BatchEngine(self._orders.client, batch.id)
        await engine.start(batch)
        self._orders.budget.answered()
        return await engine.outcome()

    def _settle(self, batch: Batch, order_ids: Iterable[str], begun: float) -> None:
        for order_id in order_ids:
            task = self._told([batch.order(order_id)], self._end_of, begun)
            self.settling.append(asyncio.create_task(task))

    async def _end_of(self, detached: Sequence[Order]) -> list[TransactionLog]:
        return [await self._orders.end_of(each) for each in detached]

    async def _told(
        self, orders: Sequence[Order], look: Callable[[Sequence[Order]], Awaitable[list[TransactionLog]]], begun: float
    ) -> Placed:
        async with self._slots:
            try:
                logs = await look(orders)
            except _NO_END_KNOWN as error:
                return Placed.of([_not_told(each, error) for each in orders], begun, error)
        return Placed.of(logs, begun)


def _not_told(order: Order, error: Exception) -> TransactionLog:
    """The log of an order of which it is not known how it stands: the state is a guess, the error says why."""
    code = Code.UNREACHABLE
    if isinstance(error, SettingsError):  # it was placed before under another key
        code = Code.UNREADABLE
    return TransactionLog(
        order.transaction_id,
        State.RUNNING,
        Failure(error.code if isinstance(error, ClientError) else code, getattr(error, "message", str(error))),
    )
