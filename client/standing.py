"""How an order stands: by its workflow's log, and by what Temporal knows where that cannot say."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowQueryFailedError
from temporalio.service import RPCError

from client import handles, silence
from client.handles import Described, Run, WorkflowPaused
from contracts.errors import Code
from contracts.order import transaction_id
from lanes.outcome import closed_from_outside, outcome_of
from saga import Entry, Failure, State, Status, TransactionLog
from saga.journal import SAGA_STATE

_ENDED_BY_ITSELF = (WorkflowExecutionStatus.COMPLETED, WorkflowExecutionStatus.FAILED)


class Closed(StrEnum):
    """Beside the states of a saga, that of one whose workflow was closed before its end."""

    CLOSED_FROM_OUTSIDE = "CLOSED_FROM_OUTSIDE"


Standing = State | Closed
STANDINGS: tuple[Standing, ...] = (*State, *Closed)


def standing_of(log: TransactionLog) -> Standing:
    if log.error is not None and log.error.code == Code.CLOSED_FROM_OUTSIDE:
        return Closed.CLOSED_FROM_OUTSIDE
    return log.state


def standing_in_list(run: Run) -> Standing:
    """By what visibility knows. Raises `ValueError` for a state that only a newer build knows."""
    if run.is_closed_from_outside:
        return Closed.CLOSED_FROM_OUTSIDE
    state = State(run.attributes.get(SAGA_STATE, State.RUNNING))
    refused_at_once = run.status is WorkflowExecutionStatus.FAILED and not state.is_end
    return State.ROLLED_BACK if refused_at_once else state


async def log_of(client: Client, found: Described) -> TransactionLog:
    """The log of a workflow that runs one saga; where it cannot tell it, what is known, and why it cannot."""
    if found.status in _ENDED_BY_ITSELF:
        return await outcome_of(client.get_workflow_handle(found.id, result_type=TransactionLog))
    log = await look(client, found.id)
    if found.is_closed_from_outside:
        return told_as_closed(log, found.id)
    return told_as_paused(log, found)


async def look(client: Client, workflow_id: str, *order_id: str) -> TransactionLog:
    """The log of a workflow that has not ended, by query; without an answer, how it stands in the list, and why.

    `order_id` says which of the orders of a batch is meant.
    """
    state = State.RUNNING
    try:
        log: TransactionLog = await handles.query(
            client, client.get_workflow_handle(workflow_id), "transaction_log", *order_id, result_type=TransactionLog
        )
        return log  # noqa: TRY300 — what follows is about failures
    except WorkflowPaused as paused:
        state, failure = State(paused.described.attributes.get(SAGA_STATE, state)), silence.paused(paused.described)
    except (WorkflowQueryFailedError, RPCError) as error:
        failure = await silence.why_silent(client, workflow_id, error)
    return TransactionLog(transaction_id(*order_id) if order_id else workflow_id, state, failure)


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
    steps = tuple(_noted(entry, calls.get(_operation_of(entry))) for entry in log.steps)
    return replace(log, steps=steps, error=log.error or next(iter(calls.values())))


def _operation_of(entry: Entry) -> str:
    """The journal numbers the steps of one operation: `payment.cancel`, `payment.cancel#2`."""
    return entry.step.partition("#")[0]


def _noted(entry: Entry, failure: Failure | None) -> Entry:
    waits = entry.ended_at is None and entry.status in (Status.RUNNING, Status.PARKED)
    return replace(entry, note=failure.message) if failure is not None and waits else entry
