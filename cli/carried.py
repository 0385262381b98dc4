"""Orders of the batch lane, as `cli.placing` knows those of the single one: who carries an order is on its record.

An order's own workflow is asked first: where one was handed over or swept, it knows best. Only one that ended because
the order had come before knows nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from pydantic import ValidationError
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.service import RPCError, RPCStatusCode

from cli import choreographed, placing
from cli.placing import Ended, Patience, Way
from client import handles
from client.handles import Run
from client.standing import look, told_as_closed
from contracts import order
from contracts.batch import BatchOutcome
from contracts.choreography import participant_id
from contracts.errors import Code
from contracts.message import same
from contracts.order import Order, OrderOnRecord, OrderState, ReadOrders, transaction_id
from lanes import batches
from lanes.outcome import result_of
from runtime.commandline import CommandFailed
from runtime.execute import execute
from saga import Failure, State, TransactionLog

_READ_AT_ONCE = 100
"""What `order.read_orders` takes."""
_ENDS = {
    OrderState.PENDING: State.RUNNING,
    OrderState.CONFIRMED: State.CONFIRMED,
    OrderState.CANCELLED: State.ROLLED_BACK,
}
_BATCH_TIMEOUT_S = 240
"""For a batch of somebody else: an attempt's worth of each of its steps, all of them at their slowest."""


async def status(client: Client, known_as: str) -> Ended:
    """How an order or a transaction stands, whoever carries it. Raises `CommandFailed` with UNKNOWN_ORDER."""
    order_id = known_as.removeprefix(transaction_id(""))
    try:
        own = await placing.status(client, known_as)
    except CommandFailed as unknown:
        elsewhere = await _elsewhere(client, order_id)
        if elsewhere is None:
            raise unknown from None
        return elsewhere
    if not _came_before(own.log):
        return own
    return await _elsewhere(client, order_id) or own


async def _elsewhere(client: Client, order_id: str) -> Ended | None:
    """By its participants, or in a batch; `None` if nobody knows it."""
    choreography = None
    with suppress(CommandFailed):
        choreography = await choreographed.status(client, order_id)
        if not _came_before(choreography.log):
            return choreography
    batched = await _batched(client, order_id)
    return choreography if batched is None else await _by_carrier(client, batched)


async def place(client: Client, placed: Order, patience: Patience, way: Way) -> TransactionLog:
    """`placing.place`, also for an order that came before in a batch: then its first outcome."""
    try:
        log = await placing.place(client, placed, patience, way)
    except CommandFailed:
        known = (await on_record(client, [placed.order_id])).get(placed.order_id)
        if known is None or known.coordinator is None or not same(known.order, placed):
            raise
        [log] = await first_outcomes(client, [placed])
    if _came_before(log):
        [log] = await first_outcomes(client, [placed])
        if log.error is not None and log.error.code == Code.DUPLICATE_ORDER:
            raise placing.duplicate(placed.order_id)
    return log


def came_before(code: str | None, step: str | None) -> bool:
    """Whether this error says that the order had been begun before, by another coordinator or with another content."""
    return step == order.create.name and code == Code.IDEMPOTENCY_CONFLICT


def _came_before(log: TransactionLog) -> bool:
    return log.error is not None and came_before(log.error.code, log.error.step)


async def on_record(client: Client, order_ids: Sequence[str]) -> dict[str, OrderOnRecord]:
    """What the order service knows of them, by order id. Raises `OperationFailed`."""
    found: dict[str, OrderOnRecord] = {}
    for start in range(0, len(order_ids), _READ_AT_ONCE):
        wanted = tuple(transaction_id(order_id) for order_id in order_ids[start : start + _READ_AT_ONCE])
        answer = await execute(client, order.read_orders, ReadOrders(transaction_ids=wanted))
        found |= {known.order.order_id: known for known in answer.orders}
    return found


async def first_outcomes(client: Client, again: Iterable[Order]) -> list[TransactionLog]:
    """The outcomes of orders that were placed before; DUPLICATE_ORDER for those that were of another content."""
    orders = {each.order_id: each for each in again}
    known = await on_record(client, list(orders))
    outcomes: dict[str, dict[str, TransactionLog]] = {}
    logs = []
    for order_id, each in orders.items():
        first = known.get(order_id)
        if first is None or not same(first.order, each):
            refused = placing.duplicate(order_id)
            logs.append(TransactionLog(each.transaction_id, State.ROLLED_BACK, Failure(refused.code, refused.message)))
            continue
        if first.coordinator == participant_id(order_id, "order"):
            logs.append(await choreographed.wait(client, each))
            continue
        if first.coordinator is not None and first.coordinator not in outcomes:
            outcomes[first.coordinator] = await _outcomes(client, first.coordinator)
        log = outcomes[first.coordinator].get(order_id) if first.coordinator is not None else None
        logs.append(log if log is not None and log.state.is_end else await settled(client, each))
    return logs


async def settled(client: Client, placed: Order) -> TransactionLog:
    """The end of an order that a batch has handed over to a workflow of its own; how it stands, if there is none."""
    try:
        own = await placing.status(client, placed.order_id)
    except CommandFailed:
        own = None
    if own is None or _came_before(own.log):  # its batch was closed from outside, and no sweep has come by yet
        return (await status(client, placed.order_id)).log
    return await placing.wait(client, placed)


async def _outcomes(client: Client, coordinator: str) -> dict[str, TransactionLog]:
    """Those of a batch by order id, when it has ended; none of one that was closed from outside, or that takes long."""
    try:
        outcome: BatchOutcome = await asyncio.wait_for(
            result_of(batches.handle_of(client, coordinator)), _BATCH_TIMEOUT_S
        )
    except (WorkflowFailureError, TimeoutError):
        return {}
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:  # past its retention
            raise
        return {}
    return outcome.logs()


async def _batched(client: Client, order_id: str) -> OrderOnRecord | None:
    try:
        known = (await on_record(client, [order_id])).get(order_id)
    except ValidationError:  # no order can have this id
        return None
    return known if known is not None and batches.is_batch(known.coordinator or "") else None


async def _by_carrier(client: Client, known: OrderOnRecord) -> Ended:
    order_id, coordinator = known.order.order_id, known.coordinator or ""
    status = await handles.status_of(client, coordinator)
    if status is None:  # past its retention: the record is what is left
        return Ended(
            TransactionLog(known.order.transaction_id, _ENDS[known.state]), closed=True, coordinator=coordinator
        )
    if status is WorkflowExecutionStatus.RUNNING:
        return Ended(await look(client, coordinator, order_id), closed=False, coordinator=coordinator)
    if status is WorkflowExecutionStatus.COMPLETED:
        outcome = await batches.handle_of(client, coordinator).result()
        return Ended(outcome.logs()[order_id], closed=True, coordinator=coordinator)
    log = TransactionLog(transaction_id(order_id), State.RUNNING)
    return Ended(told_as_closed(log, coordinator), closed=True, coordinator=coordinator)


async def listed(client: Client, batch: Run) -> Iterator[TransactionLog]:
    """The orders of a batch as they stand, but for those that have workflows of their own.

    Raises `RPCError`, `WorkflowQueryFailedError` and `WorkflowPaused`.
    """
    handle = batches.handle_of(client, batch.id)
    if batch.status is WorkflowExecutionStatus.COMPLETED:
        outcome = await handle.result()
    elif batch.status is WorkflowExecutionStatus.RUNNING:
        outcome = await handles.query(client, handle, "outcome", result_type=BatchOutcome)
    else:
        return iter(())
    running = batch.status is WorkflowExecutionStatus.RUNNING
    return (log for log in outcome.logs().values() if running or log.state.is_end)
