"""What the histories of a lane prove: the transactions that it started, one at a time, and their order."""

from collections.abc import Sequence

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHistory


async def runs_of(client: Client, lane: str) -> list[WorkflowHistory]:
    """The histories of a lane's runs, in order."""
    runs: list[WorkflowHistory] = []
    run_id: str | None = None
    while run_id != "":
        run = await client.get_workflow_handle(lane, run_id=run_id).fetch_history()
        runs.insert(0, run)
        run_id = run.events[0].workflow_execution_started_event_attributes.continued_execution_run_id
    return runs


def started(runs: Sequence[WorkflowHistory]) -> list[str]:
    """The transactions that a lane has started, in order. Fails if it started one before another was closed."""
    order, held = [], False
    for run in runs:
        for event in run.events:
            kind = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_")
            if kind == "START_CHILD_WORKFLOW_EXECUTION_INITIATED":
                assert not held, "two at a time"
                held = True
                child = event.start_child_workflow_execution_initiated_event_attributes
                order.append(child.workflow_id.removeprefix("transaction/"))
            if kind.startswith("CHILD_WORKFLOW_EXECUTION_") and not kind.endswith("STARTED"):
                held = False
            if kind == "START_CHILD_WORKFLOW_EXECUTION_FAILED" or kind == "ACTIVITY_TASK_COMPLETED":  # noqa: PLR1714
                held = False  # it had run before, or an earlier run of the lane had started it
    return order
