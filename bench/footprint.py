"""What a load left in Temporal, for each order: its workflows, their history events and their actions."""

import asyncio
from collections import defaultdict
from datetime import datetime

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.runtime import Runtime, TelemetryConfig

from bench.actions import actions
from bench.figures import Footprint
from bench.processes import BenchFailed

_HISTORIES = 20
"""Read of each type of workflow; the orders of a load differ little, and each history is a call or two."""
_LOOKS = 60
_PAUSE_S = 0.5
"""Visibility is written a moment after a workflow ends: half a minute is a hundred times what it takes."""
_HOUSEKEEPING = ("SweepWorkflow",)


async def footprint(address: str, since: datetime, orders: int) -> Footprint:
    """Of the workflows started after `since`, which together carried `orders` orders."""
    client = await Client.connect(address, runtime=Runtime(telemetry=TelemetryConfig(logging=None)))
    by_type = defaultdict(list)
    executions = await _settled(client, since)
    for execution in executions:
        by_type[execution.workflow_type].append(execution)
    billed_in_all = 0.0
    for alike in by_type.values():
        counted = [await _billed(client, execution) for execution in alike[:: max(1, len(alike) // _HISTORIES)]]
        billed_in_all += sum(counted) / len(counted) * len(alike)
    events = sum(execution.history_length for execution in executions)
    return Footprint(workflows=len(executions) / orders, events=events / orders, actions=billed_in_all / orders)


async def _settled(client: Client, since: datetime) -> list[WorkflowExecution]:
    """All executions of the load, once they are listed as closed and two looks agree. Raises `BenchFailed`."""
    kept_out = " AND ".join(f"WorkflowType != '{name}'" for name in _HOUSEKEEPING)
    query = f"StartTime >= '{since.isoformat()}' AND {kept_out}"
    before = -1
    for _ in range(_LOOKS):
        found = [execution async for execution in client.list_workflows(query, page_size=1000)]
        running = any(execution.status is WorkflowExecutionStatus.RUNNING for execution in found)
        if found and not running and len(found) == before:
            return found
        before = len(found)
        await asyncio.sleep(_PAUSE_S)
    raise BenchFailed(f"{before} workflows of the load are not all closed")


async def _billed(client: Client, execution: WorkflowExecution) -> int:
    """The actions of one run of a workflow."""
    handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
    return actions([event async for event in handle.fetch_history_events()])
