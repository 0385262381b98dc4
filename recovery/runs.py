"""What Temporal knows of a workflow: how its runs stand, and what they were started with."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import ValidationError
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from contracts.order import Order, OrderOptions

Status = WorkflowExecutionStatus


async def status_of(handle: WorkflowHandle[Any, Any]) -> Status | None:
    """How the newest run stands; `None` for one that is past its retention, or lost with its namespace.

    A status that the SDK does not know (a paused workflow) is open: its workflow may still go on.
    """
    try:
        return (await handle.describe()).status
    except ValueError:
        return Status.RUNNING
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise


async def started_with(client: Client, workflow_id: str, run_id: str | None = None) -> list[Any]:
    """What a run was started with, by default the newest; nothing if it is gone. Raises what decoding raises."""
    handle = client.get_workflow_handle(workflow_id, run_id=run_id)
    try:
        first = await anext(handle.fetch_history_events(page_size=1))
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return []
        raise
    return await client.data_converter.decode(first.workflow_execution_started_event_attributes.input.payloads)


class Asked(NamedTuple):
    """What an `OrderWorkflow` was asked for: the order, and in whose name."""

    order: Order
    carrier: str | None


def asked(arguments: list[Any]) -> Asked | None:
    """The order that these are the arguments of; `None` if there is none in them."""
    document, options = [*arguments, None, None][:2]
    try:
        return Asked(Order.model_validate(document), OrderOptions.model_validate(options or {}).carrier)
    except ValidationError:
        return None


async def newest_run_for(client: Client, workflow_id: str, wanted: Asked) -> Status | None:
    """How the newest run that was asked for just this stands; `None` if there is none.

    A run that was asked for another order, or in another's name, was refused by the order service before it did
    anything: it neither ends nor needs what is on record. One that runs is told in any case: none can begin beside it.
    """
    newest = await status_of(client.get_workflow_handle(workflow_id))
    if newest in (None, Status.RUNNING) or asked(await started_with(client, workflow_id)) == wanted:
        return newest
    runs = [run async for run in client.list_workflows(f"WorkflowId = '{workflow_id}'")]
    for run in sorted(runs, key=lambda run: run.start_time, reverse=True):
        if asked(await started_with(client, workflow_id, run.run_id)) == wanted:
            return await status_of(client.get_workflow_handle(workflow_id, run_id=run.run_id))
    return None
