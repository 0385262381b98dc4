"""Placing orders and learning how they end: what `place`, `bulk`, `status` and the demo share."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import ValidationError
from temporalio.client import (
    Client,
    WorkflowHandle,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from client import handles, silence
from client.handles import Described
from client.standing import log_of, look
from contracts.errors import Code
from contracts.message import same
from contracts.order import WORKFLOWS_QUEUE, Order, OrderOptions, transaction_id
from contracts.transaction import workflow_id as transaction_workflow_id
from lanes.outcome import outcome_of
from runtime import logs
from runtime.commandline import CommandFailed, Exit
from saga import State, TransactionLog
from workflows.order import OrderWorkflow

LOOK_EVERY_S = 5
"""Between looks at an order that has not ended: whether it is parked and so will not end soon."""
WAIT_BEYOND_DEADLINE_S = 60
"""Past its deadline an order is unwinding: two rounds of undos and a minute are over, and then somebody is told."""
_UPDATE_TIMEOUT_S = 15
"""A worker that is there takes an update up within a second, one that restarts within ten."""
_OUTAGE_S = 120
"""How long a Temporal that does not answer is waited for: it may be restarting, and an order is under way."""
OUTAGE_PAUSE_S = 1
"""Between two tries; the SDK has tried each call for ten seconds already."""
_OUTAGE = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.CANCELLED,  # also the SDK's own word for a call that timed out
    RPCStatusCode.INTERNAL,
    RPCStatusCode.UNKNOWN,  # a connection that was cut
    RPCStatusCode.RESOURCE_EXHAUSTED,
)

_COLOCATED = OrderOptions(colocated=True).model_dump(mode="json", exclude_defaults=True)

Handle = WorkflowHandle[OrderWorkflow, TransactionLog]


@dataclass(frozen=True)
class Ended:
    """What is known of an order: its log, whether its workflow is closed, and which that is if not the order's own."""

    log: TransactionLog
    closed: bool
    coordinator: str | None = None


@dataclass(frozen=True)
class Way:
    """How an order is begun, and how its end is waited for."""

    start: Callable[[Client, Order], Awaitable[object]]
    wait: Callable[[Client, Order], Awaitable[TransactionLog]]

    @classmethod
    def own_workflow(cls, *, colocated: bool) -> Way:
        return cls(partial(start, colocated=colocated), wait)


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
            logs.CORE.warning("%s", error.message)
        return error.status in _OUTAGE and time.monotonic() - self._silent_since < self._seconds


async def place(client: Client, order: Order, patience: Patience, way: Way) -> TransactionLog:
    """Start the order and wait for its end, through outages of Temporal: a second start does no harm.

    Raises as `start` does, and `RPCError` when the patience is over.
    """
    while True:
        try:
            await way.start(client, order)
            patience.answered()
            return await way.wait(client, order)
        except RPCError as error:
            if not patience.outlasts(error):
                raise
        await asyncio.sleep(OUTAGE_PAUSE_S)


async def start(client: Client, order: Order, *, colocated: bool = False) -> Handle:
    """Start the order's workflow, or find the one that is there if it is of the same content, however it was started.

    Raises `CommandFailed` with DUPLICATE_ORDER if another order has this id.
    """
    try:
        return await client.start_workflow(
            OrderWorkflow.run,
            args=[order.model_dump(mode="json"), *([_COLOCATED] if colocated else [])],
            id=order.transaction_id,
            task_queue=WORKFLOWS_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        )
    except WorkflowAlreadyStartedError as error:
        handle = handle_of(client, order.order_id)
        if not same(await placed_before(client, handle.id), order):
            raise duplicate(order.order_id) from error
        return handle


def duplicate(order_id: str) -> CommandFailed:
    message = f"{order_id} was placed before with another content; choose another id"
    return CommandFailed(Code.DUPLICATE_ORDER, message, Exit.INVALID)


def handle_of(client: Client, order_id: str) -> Handle:
    return handle_under(client, transaction_id(order_id))


def handle_under(client: Client, workflow_id: str) -> Handle:
    """Of any workflow that runs one saga: they all end with its log, and answer the same queries and updates."""
    return client.get_workflow_handle_for(OrderWorkflow.run, workflow_id)


async def find(client: Client, known_as: str) -> Described:
    """The workflow of the order of this id, or else of the transaction; `order/…` and `transaction/…` say which.

    Raises `CommandFailed` with UNKNOWN_ORDER.
    """
    whole = known_as.startswith(("order/", "transaction/"))
    for workflow_id in [known_as] if whole else [transaction_id(known_as), transaction_workflow_id(known_as)]:
        if (found := await handles.describe(client, workflow_id)) is not None:
            return found
    raise CommandFailed(Code.UNKNOWN_ORDER, f"there is no order or transaction {known_as[:80]}", Exit.INVALID)


async def require_not_paused(client: Client, workflow_id: str) -> None:
    """Raise `CommandFailed` with PAUSED if the workflow is: then it takes no update."""
    found = await handles.describe(client, workflow_id)
    if found is not None and found.is_paused:
        raise CommandFailed(Code.PAUSED, f"{workflow_id}: {silence.paused(found).message}", Exit.NOT_ENDED)


async def update(
    client: Client, handle: WorkflowHandle[Any, Any], name: str, arguments: list[Any], request_id: str | None = None
) -> None:
    """Ask a workflow to do something, once for each `request_id`.

    Without one, the same question is asked once for each state of the workflow: a command that is repeated before a
    worker has answered it joins its first call, one that is repeated later asks anew.
    Raises `CommandFailed` with ASKED if no worker takes it up: Temporal keeps the question for when one runs.
    """
    update_id = request_id or await _derived_id(client, handle, name, arguments)
    try:
        async with asyncio.timeout(_UPDATE_TIMEOUT_S):
            await handle.execute_update(name, args=arguments, id=update_id)
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
        message = f"{handle.id}: asked; no worker has answered within {_UPDATE_TIMEOUT_S} s, so it is decided when one"
        message += " runs: `starter.py status ID`"
        raise CommandFailed(Code.ASKED, message, Exit.NOT_ENDED) from error


async def _derived_id(client: Client, handle: WorkflowHandle[Any, Any], name: str, arguments: list[Any]) -> str:
    """The id of an update: what is asked, and how far the workflow's history has got when it is asked."""
    found = await handles.describe(client, handle.id)
    asked = json.dumps([name, arguments], default=vars, sort_keys=True)
    digest = hashlib.sha256(asked.encode()).hexdigest()
    return f"{found.run_id}-{found.history_length}-{digest[:32]}" if found else digest[:32]


async def placed_before(client: Client, workflow_id: str) -> Order | None:
    """The order that the newest run of this workflow was started with."""
    try:
        return Order.model_validate(next(iter(await handles.first_arguments(client, workflow_id)), None))
    except ValidationError:
        return None


async def wait(client: Client, order: Order) -> TransactionLog:
    """The order's end, or how it stands when it is parked, paused or overdue."""
    handle = handle_of(client, order.order_id)
    return await wait_for(client, handle, order.deadline_s + WAIT_BEYOND_DEADLINE_S)


async def wait_for(client: Client, handle: Handle, seconds: float) -> TransactionLog:
    """The end of a saga, or how it stands when it is parked or paused, or `seconds` are over."""
    result = asyncio.ensure_future(outcome_of(handle))
    loop = asyncio.get_running_loop()
    overdue = loop.time() + seconds
    try:
        while loop.time() < overdue:
            done, _ = await asyncio.wait([result], timeout=min(LOOK_EVERY_S, overdue - loop.time()))
            if done:
                return result.result()
            log = await look(client, handle.id)
            if log.state is State.PARKED or is_paused(log):
                return log
    finally:  # also when a look fails: an outage ends both, and is told once
        result.cancel()
        await asyncio.gather(result, return_exceptions=True)
    return (await status(client, handle.id)).log


def is_paused(log: TransactionLog) -> bool:
    return log.error is not None and log.error.code == Code.PAUSED


async def status(client: Client, order_id: str) -> Ended:
    """How an order or a transaction stands. Raises `CommandFailed` with UNKNOWN_ORDER."""
    found = await find(client, order_id)
    return Ended(await log_of(client, found), closed=not found.is_open)


def exit_code(log: TransactionLog) -> Exit:
    if log.state.is_confirmed:
        return Exit.OK
    return Exit.ROLLED_BACK if log.state.is_end else Exit.NOT_ENDED
