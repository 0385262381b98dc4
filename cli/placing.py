"""Placing orders and learning how they end: what `place`, `bulk`, `status` and the demo share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from contracts.errors import Code
from contracts.order import WORKFLOWS_QUEUE, Order, transaction_id
from runtime.commandline import CommandFailed, Exit
from saga import Failure, State, TransactionLog
from workflows.order import OrderWorkflow

LOOK_EVERY_S = 5
"""Between looks at an order that has not ended: whether it is parked and so will not end soon."""
WAIT_BEYOND_DEADLINE_S = 60
"""Past its deadline an order is unwinding: two rounds of undos and a minute are over, and then somebody is told."""
_QUERY_TIMEOUT = timedelta(seconds=5)
_OUTAGE_S = 120
"""How long a Temporal that does not answer is waited for: it may be restarting, and an order is under way."""
_OUTAGE_PAUSE_S = 1
"""Between two tries; the SDK has tried each call for ten seconds already."""
_OUTAGE = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.CANCELLED,  # also the SDK's own word for a call that timed out
    RPCStatusCode.INTERNAL,
    RPCStatusCode.UNKNOWN,  # a connection that was cut
    RPCStatusCode.RESOURCE_EXHAUSTED,
)
_LOG = TypeAdapter(TransactionLog)

Handle = WorkflowHandle[OrderWorkflow, TransactionLog]


@dataclass(frozen=True)
class Ended:
    """What is known of an order: its log, and whether its workflow is closed."""

    log: TransactionLog
    closed: bool


@dataclass(frozen=True)
class Way:
    """How an order is begun, and how its end is waited for; by default, with a workflow of its own."""

    start: Callable[[Client, Order], Awaitable[object]]
    wait: Callable[[Client, Order], Awaitable[TransactionLog]]


class Patience:
    """How long a command waits for a Temporal that does not answer, over all its orders."""

    def __init__(self, seconds: float = _OUTAGE_S) -> None:
        self._seconds = seconds
        self._silent_since: float | None = None

    def answered(self) -> None:
        self._silent_since = None

    def outlasts(self, error: RPCError) -> bool:
        """Whether to try again after `error`."""
        if self._silent_since is None:
            self._silent_since = time.monotonic()
        return error.status in _OUTAGE and time.monotonic() - self._silent_since < self._seconds


async def place(client: Client, order: Order, patience: Patience, way: Way | None = None) -> TransactionLog:
    """Start the order and wait for its end, through outages of Temporal: a second start does no harm.

    Raises as `start` does, and `RPCError` when the patience is over.
    """
    way = way or Way(start, wait)
    while True:
        try:
            await way.start(client, order)
            patience.answered()
            return await way.wait(client, order)
        except RPCError as error:
            if not patience.outlasts(error):
                raise
        await asyncio.sleep(_OUTAGE_PAUSE_S)


async def start(client: Client, order: Order) -> Handle:
    """Start the order's workflow, or find the one that is there if it is of the same content.

    Raises `CommandFailed` with DUPLICATE_ORDER if another order has this id.
    """
    try:
        return await client.start_workflow(
            OrderWorkflow.run,
            order.model_dump(mode="json"),
            id=order.transaction_id,
            task_queue=WORKFLOWS_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        )
    except WorkflowAlreadyStartedError as error:
        handle = handle_of(client, order.order_id)
        if await placed_before(client, handle) != order:
            message = f"{order.order_id} was placed before with another content; choose another id"
            raise CommandFailed(Code.DUPLICATE_ORDER, message, Exit.INVALID) from error
        return handle


def handle_of(client: Client, order_id: str) -> Handle:
    return client.get_workflow_handle_for(OrderWorkflow.run, transaction_id(order_id))


async def placed_before(client: Client, handle: WorkflowHandle[Any, Any]) -> Order | None:
    """The order that the workflow behind `handle` was started with, from the first event of its history."""
    first = await anext(handle.fetch_history_events(page_size=1))
    started = first.workflow_execution_started_event_attributes
    arguments = await client.data_converter.decode(started.input.payloads)
    try:
        return Order.model_validate(arguments[0] if arguments else None)
    except ValidationError:
        return None


async def wait(client: Client, order: Order) -> TransactionLog:
    """The order's end, or how it stands when it is parked or overdue."""
    handle = handle_of(client, order.order_id)
    result = asyncio.ensure_future(_result(handle))
    loop = asyncio.get_running_loop()
    overdue = loop.time() + order.deadline_s + WAIT_BEYOND_DEADLINE_S
    while loop.time() < overdue:
        done, _ = await asyncio.wait([result], timeout=min(LOOK_EVERY_S, overdue - loop.time()))
        if done:
            return result.result()
        log = await look(handle)
        if log.state is State.PARKED:
            result.cancel()
            return log
    result.cancel()
    return await look(handle)


async def status(client: Client, order_id: str) -> Ended:
    """How an order stands. Raises `CommandFailed` with UNKNOWN_ORDER."""
    handle = handle_of(client, order_id)
    try:
        described = await handle.describe()
    except RPCError as error:
        if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
            raise CommandFailed(Code.UNKNOWN_ORDER, f"there is no order {order_id[:80]}", Exit.INVALID) from error
        raise
    if described.status in (WorkflowExecutionStatus.COMPLETED, WorkflowExecutionStatus.FAILED):
        return Ended(await _result(handle), closed=True)
    return Ended(await look(handle), closed=described.status is not WorkflowExecutionStatus.RUNNING)


async def look(handle: WorkflowHandle[Any, Any]) -> TransactionLog:
    """The log of a workflow that has not ended, by query; without a worker to answer, only that it is running."""
    try:
        return await handle.query(OrderWorkflow.transaction_log, rpc_timeout=_QUERY_TIMEOUT)
    except WorkflowQueryFailedError as error:
        failure = Failure(Code.SERVICE_UNAVAILABLE, f"the workflow cannot answer: {error.message}")
    except RPCError as error:
        if error.status not in (
            RPCStatusCode.DEADLINE_EXCEEDED,
            RPCStatusCode.FAILED_PRECONDITION,
            RPCStatusCode.CANCELLED,
        ):
            raise
        failure = Failure(Code.SERVICE_UNAVAILABLE, "no worker of its queue answers; start `python worker.py`")
    return TransactionLog(handle.id, State.RUNNING, failure)


async def _result(handle: Handle) -> TransactionLog:
    try:
        return await handle.result()
    except WorkflowFailureError as error:
        return _log_in(error, handle)


def _log_in(error: WorkflowFailureError, handle: Handle) -> TransactionLog:
    """A rolled-back saga fails its workflow with its log as detail."""
    cause = error.cause
    if not isinstance(cause, ApplicationError):
        failure = Failure(
            Code.SERVICE_UNAVAILABLE, f"the workflow was closed from outside: {cause}; see docs/runbook.md"
        )
        return TransactionLog(handle.id, State.RUNNING, failure)
    if not cause.details:  # it did not get as far as a step
        failure = Failure(cause.type or Code.SERVICE_UNAVAILABLE, cause.message)
        return TransactionLog(handle.id, State.ROLLED_BACK, failure)
    return _LOG.validate_python(cause.details[0])


def exit_code(log: TransactionLog) -> Exit:
    if log.state is State.CONFIRMED:
        return Exit.OK
    return Exit.ROLLED_BACK if log.state.is_end else Exit.NOT_ENDED
