"""How a workflow that runs one saga ended."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from contracts.errors import Code
from saga import Failure, State, TransactionLog

_LOG = TypeAdapter(TransactionLog)


async def outcome_of(handle: WorkflowHandle[Any, TransactionLog]) -> TransactionLog:
    """The log of a workflow that runs one saga, when it ends."""
    try:
        return await handle.result()
    except WorkflowFailureError as error:
        return _log_in(error, handle)


def _log_in(error: WorkflowFailureError, handle: WorkflowHandle[Any, TransactionLog]) -> TransactionLog:
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
