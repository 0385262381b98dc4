"""How a workflow ended, and how one that runs one saga did."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from pydantic import TypeAdapter
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from contracts.errors import Code
from saga import Failure, State, TransactionLog

_LOG = TypeAdapter(TransactionLog)
_NOT_CLOSED = "No completion event found"
"""The SDK's words for a workflow that is paused: the server ends a wait for its end at once, and it has none."""
_WHILE_PAUSED_S = 1
T = TypeVar("T")


async def result_of(handle: WorkflowHandle[Any, T]) -> T:
    """`handle.result()`, also of a workflow that is paused meanwhile. Raises as that does."""
    while True:
        try:
            return await handle.result()
        except RuntimeError as error:
            if str(error) != _NOT_CLOSED:
                raise
        await asyncio.sleep(_WHILE_PAUSED_S)


async def outcome_of(handle: WorkflowHandle[Any, TransactionLog]) -> TransactionLog:
    """The log of a workflow that runs one saga, when it ends."""
    try:
        return await result_of(handle)
    except WorkflowFailureError as error:
        return _log_in(error, handle)


def _log_in(error: WorkflowFailureError, handle: WorkflowHandle[Any, TransactionLog]) -> TransactionLog:
    """A rolled-back saga fails its workflow with its log as detail."""
    cause = error.cause
    if not isinstance(cause, ApplicationError):
        return TransactionLog(handle.id, State.RUNNING, closed_from_outside(handle.id))
    if not cause.details:  # it did not get as far as a step
        failure = Failure(cause.type or Code.SERVICE_UNAVAILABLE, cause.message)
        return TransactionLog(handle.id, State.ROLLED_BACK, failure)
    return _LOG.validate_python(cause.details[0])


def closed_from_outside(workflow_id: str) -> Failure:
    """Why a saga has no end though its workflow is closed, and what brings it to one."""
    remedy = "`starter.py sweep` brings it to its end"
    if workflow_id.startswith("transaction/"):
        remedy = "the same `starter.py transaction FILE` again brings it to its end"
    return Failure(Code.CLOSED_FROM_OUTSIDE, f"{workflow_id} was closed from outside; {remedy}")
