"""How a saga stands and how it ended: by its workflow's log, and by what Temporal knows where the log is not told."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from client import handles, silence
from client.handles import Described, Run, WorkflowPaused
from contracts.errors import Code
from contracts.ids import Coordinator, Kind, order_workflow_id
from temporal_saga import Entry, Failure, SagaWorkflow, State, Status, TransactionLog
from temporal_saga.visibility import SAGA_STATE

LOOK_EVERY_S = 5
"""Between two looks at a saga that has not ended: one that is parked will not end soon."""
FIRST_LOOK_AFTER_S = 1
"""The first look at one comes sooner: a call that is refused is parked at once."""
_LOG = TypeAdapter(TransactionLog)
_ENDED_BY_ITSELF = (WorkflowExecutionStatus.COMPLETED, WorkflowExecutionStatus.FAILED)


class Closed(StrEnum):
    """Beside the states of a saga, that of one whose workflow was closed before its end."""

    CLOSED_FROM_OUTSIDE = "CLOSED_FROM_OUTSIDE"


class Untold(StrEnum):
    """How an order stands that nobody answered for: it may not have been started, or may have ended."""

    UNKNOWN = "UNKNOWN"


Standing = State | Closed
STANDINGS: tuple[Standing, ...] = (*State, *Closed)


def standing_of(log: TransactionLog) -> Standing:
    if log.error is not None and log.error.code == Code.CLOSED_FROM_OUTSIDE:
        return Closed.CLOSED_FROM_OUTSIDE
    return log.state


def standing_in_list(run: Run) -> Standing:
    """How a run stands by what visibility knows. Raises `ValueError` for a state that only a newer build knows."""
    if run.is_closed_from_outside:
        return Closed.CLOSED_FROM_OUTSIDE
    unwritten = State.CONFIRMED if run.status is WorkflowExecutionStatus.COMPLETED else State.RUNNING
    state = State(run.attributes.get(SAGA_STATE, unwritten))
    refused_at_once = run.status is WorkflowExecutionStatus.FAILED and not state.is_end
    return State.ROLLED_BACK if refused_at_once else state


async def outcome_of(handle: WorkflowHandle[Any, TransactionLog]) -> TransactionLog:
    """The log of a workflow that runs one saga, when it ends."""
    try:
        return await handles.result_of(handle)
    except WorkflowFailureError as error:
        return _log_in(error, handle.id)


def _log_in(error: WorkflowFailureError, workflow_id: str) -> TransactionLog:
    """The log in a workflow's failure: a saga that rolls back fails its workflow, with its log as detail."""
    cause = error.cause
    if not isinstance(cause, ApplicationError):
        return TransactionLog(workflow_id, State.RUNNING, closed_from_outside(workflow_id))
    if not cause.details:  # it did not get as far as a step
        failure = Failure(cause.type or Code.SERVICE_UNAVAILABLE, cause.message)
        return TransactionLog(workflow_id, State.ROLLED_BACK, failure)
    return _LOG.validate_python(cause.details[0])


def closed_from_outside(workflow_id: str) -> Failure:
    """Why a saga has no end though its workflow is closed, and what brings it to one."""
    remedy = "`starter.py sweep` brings it to its end"
    if Coordinator.parse(workflow_id).kind is Kind.TRANSACTION:
        remedy = "the same `starter.py transaction FILE` again brings it to its end"
    return Failure(Code.CLOSED_FROM_OUTSIDE, f"{workflow_id} was closed from outside; {remedy}")


async def wait_for_end(
    end: Coroutine[Any, Any, TransactionLog | None],
    look: Callable[[], Awaitable[TransactionLog | None]],
    seconds: float,
    goes_on: Callable[[], Awaitable[bool]],
) -> TransactionLog | None:
    """The log that `end` returns, or what `look` sees when the saga is parked or paused, or `seconds` are over.

    There is no look while the saga `goes_on`: that asks Temporal alone, and a look a worker too, which under load has
    enough to do. `None` if Temporal knows no workflow of it.
    """
    result = asyncio.ensure_future(end)
    loop = asyncio.get_running_loop()
    overdue = loop.time() + seconds
    pause = FIRST_LOOK_AFTER_S
    try:
        while True:
            done, _ = await asyncio.wait([result], timeout=min(pause, max(0.0, overdue - loop.time())))
            if done:
                return result.result()
            pause = LOOK_EVERY_S
            if loop.time() < overdue and await goes_on():
                continue
            log = await look()
            if log is None or log.state.is_end or is_stuck(log) or loop.time() >= overdue:
                return log
    finally:  # also when a look fails: an outage ends both, and is told once
        result.cancel()
        await asyncio.gather(result, return_exceptions=True)


def is_stuck(log: TransactionLog) -> bool:
    """Whether a saga will not go on soon, or not by itself."""
    return log.state is State.PARKED or is_paused(log)


def is_paused(log: TransactionLog) -> bool:
    return log.error is not None and log.error.code == Code.PAUSED


async def log_of(client: Client, found: Described) -> TransactionLog:
    """The log of a workflow that runs one saga; where it cannot tell it, what is known, and why it cannot."""
    if found.status in _ENDED_BY_ITSELF:
        return await outcome_of(client.get_workflow_handle(found.id, run_id=found.run_id, result_type=TransactionLog))
    log = await log_by_query(client, found.id)
    if found.is_closed_from_outside:
        return told_as_closed(log, found.id)
    return told_as_paused(log, found)


async def log_by_query(client: Client, workflow_id: str, *order_id: str) -> TransactionLog:
    """The log of a workflow that has not ended, by query; without an answer, how it stands in the list, and why.

    `order_id` says which of the orders of a batch is meant.
    """
    state = State.RUNNING
    try:
        log: TransactionLog = await handles.query(
            client,
            client.get_workflow_handle(workflow_id),
            SagaWorkflow.transaction_log.__name__,  # by name: a batch has a query of this name with an argument
            *order_id,
            result_type=TransactionLog,
        )
        return log  # noqa: TRY300 — what follows is about failures
    except WorkflowPaused as paused:
        state, failure = State(paused.described.attributes.get(SAGA_STATE, state)), silence.paused(paused.described)
    except (WorkflowQueryFailedError, RPCError) as error:
        failure = await silence.why_silent(client, workflow_id, error)
    return TransactionLog(order_workflow_id(*order_id) if order_id else workflow_id, state, failure)


def told_as_closed(log: TransactionLog, workflow_id: str) -> TransactionLog:
    """The log of a workflow that was closed from outside, with that as its error: the saga's own is in the words."""
    failure = closed_from_outside(workflow_id)
    if log.error is not None:
        failure = replace(failure, message=f"{failure.message} (it was {log.state}: {log.error.code})")
    return replace(log, error=failure)


def told_as_paused(log: TransactionLog, found: Described) -> TransactionLog:
    """`log` with a note at each step whose activity is paused; the first of them is the error, if there is no other."""
    calls = {each.operation: silence.paused_call(found, each) for each in found.paused_activities}
    if not calls:
        return log
    steps = tuple(_noted(entry, calls.get(entry.operation)) for entry in log.steps)
    return replace(log, steps=steps, error=log.error or next(iter(calls.values())))


def _noted(entry: Entry, failure: Failure | None) -> Entry:
    waits = entry.ended_at is None and entry.status in (Status.RUNNING, Status.PARKED)
    return replace(entry, note=failure.message) if failure is not None and waits else entry
