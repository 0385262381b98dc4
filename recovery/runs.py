"""What Temporal knows of a workflow: how its runs stand, and what they were started with."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import ValidationError
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from client import handles
from contracts.message import same
from contracts.order import Order, OrderOptions

Status = WorkflowExecutionStatus


async def started_with(client: Client, workflow_id: str, run_id: str | None = None) -> list[Any]:
    """What a run was started with, by default the newest; nothing if it is gone. Raises what decoding raises."""
    try:
        return await handles.first_arguments(client, workflow_id, run_id)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return []
        raise


class Asked(NamedTuple):
    """What an `OrderWorkflow` was asked for: the order, and in whose name."""

    order: Order
    coordinator: str | None


def asked(arguments: list[Any]) -> Asked | None:
    """The order that these are the arguments of; `None` if there is none in them."""
    document, options = [*arguments, None, None][:2]
    try:
        return Asked(Order.model_validate(document), OrderOptions.model_validate(options or {}).coordinator)
    except ValidationError:
        return None


async def newest_run_for(client: Client, workflow_id: str, wanted: Asked) -> Status | None:
    """How the newest run that was asked for just this stands; `None` if there is none.

    A run that was asked for another order, or in another's name, was refused by the order service before it did
    anything: it neither ends nor needs what is on record. One that runs is told in any case: none can begin beside it.
    """
    newest = await handles.status_of(client, workflow_id)
    if newest in (None, Status.RUNNING) or _is_for(await started_with(client, workflow_id), wanted):
        return newest
    runs = [run async for run in handles.listed(client, f"WorkflowId = '{workflow_id}'")]
    for run in sorted(runs, key=lambda run: run.started_at, reverse=True):
        if _is_for(await started_with(client, workflow_id, run.run_id), wanted):
            return await handles.status_of(client, workflow_id, run.run_id)
    return None


def _is_for(arguments: list[Any], wanted: Asked) -> bool:
    found = asked(arguments)
    return found is not None and found.coordinator == wanted.coordinator and same(found.order, wanted.order)
