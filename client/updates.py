"""Updates of workflows: cancellations and operators' decisions, each sent once."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable
from typing import Any, TypeVar

from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from client import silence
from client.errors import CancelRefused, NotAnswered, Paused
from client.handles import describe

T = TypeVar("T")
_UPDATE_TIMEOUT_S = 15
"""A worker takes an update up within a second, one that restarts within ten."""
_CANCEL_ORDER = "cancel_order"
_DECISION = "decision"
"""Updates of every workflow that coordinates an order."""
_ENDED_BEFORE_ITS_ANSWER = "AcceptedUpdateCompletedWorkflow"
"""The type of the failure of an update whose workflow has ended meanwhile."""


async def update(
    client: Client, workflow_id: str, name: Any, arguments: list[Any], request_id: str | None = None
) -> None:
    """Send an update to a workflow, once for each `request_id`, and wait until it is accepted and done.

    Without a `request_id` the update is sent once for each state of the workflow: a command that is repeated before a
    worker has answered joins its first call, and a command that is repeated later sends the update anew.
    Raises `NotAnswered` if no worker takes it up: Temporal keeps the update until one runs.
    """
    update_id = request_id or await _derived_id(client, workflow_id, name, arguments)
    try:
        async with asyncio.timeout(_UPDATE_TIMEOUT_S):
            await client.get_workflow_handle(workflow_id).execute_update(name, args=arguments, id=update_id)
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
        message = f"{workflow_id}: asked; no worker has answered within {_UPDATE_TIMEOUT_S} s, so it is decided when"
        message += " one runs: `starter.py status ID`"
        raise NotAnswered(message) from error


async def _derived_id(client: Client, workflow_id: str, name: Any, arguments: list[Any]) -> str:
    """The id of an update: what it asks for, and how long the workflow's history is when it is sent."""
    found = await describe(client, workflow_id)
    asked = json.dumps([getattr(name, "__name__", name), arguments], default=vars, sort_keys=True)
    digest = hashlib.sha256(asked.encode()).hexdigest()
    return f"{found.run_id}-{found.history_length}-{digest[:32]}" if found else digest[:32]


async def start_for_decision(client: Client, started: dict[str, Any], content: bytes, result_type: type[T]) -> T | None:
    """Start a workflow and return its decision as `decision` does, in one call. `started` are the arguments of
    `Client.start_workflow`. Raises `WorkflowAlreadyStartedError`."""
    start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(**started)
    return await _decided(
        client.execute_update_with_start_workflow(
            _DECISION, start_workflow_operation=start, id=_decision_id(content), result_type=result_type
        )
    )


async def decision(client: Client, workflow_id: str, content: bytes, result_type: type[T]) -> T | None:
    """The decision about the orders of this `content`, when it is there; `None` if the workflow has ended without an
    answer, or is not there."""
    handle = client.get_workflow_handle(workflow_id)
    return await _decided(handle.execute_update(_DECISION, id=_decision_id(content), result_type=result_type))


def _decision_id(content: bytes) -> str:
    """The id of the update, so that a client which asks again joins its first call.

    The content is part of it because Temporal answers a known id from a closed workflow, whatever that was started
    with.
    """
    return f"{_DECISION}-{hashlib.sha256(content).hexdigest()[:32]}"


async def _decided(asked: Awaitable[T]) -> T | None:
    try:
        return await asked
    except WorkflowUpdateFailedError as error:
        if isinstance(error.cause, ApplicationError) and error.cause.type == _ENDED_BEFORE_ITS_ANSWER:
            return None
        raise
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        raise (error.__cause__ or error) from None  # the SDK hides so an outage, and that this task was cancelled
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return None


async def request_cancel(client: Client, workflow_id: str, order_id: str, arguments: list[Any]) -> bool:
    """Send the update that cancels an order; false if its workflow has just ended. See `Engine.cancel`."""
    try:
        await update(client, workflow_id, _CANCEL_ORDER, arguments)
    except WorkflowUpdateFailedError as error:
        if isinstance(error.cause, ApplicationError):
            raise CancelRefused(f"{order_id}: {error.cause.message}") from error
        raise
    except RPCError as error:
        await require_not_paused(client, workflow_id)
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def require_not_paused(client: Client, workflow_id: str) -> None:
    """Raise `Paused` if the workflow is: then it takes no update."""
    found = await describe(client, workflow_id)
    if found is not None and found.is_paused:
        raise Paused(f"{workflow_id}: {silence.paused(found).message}")
