"""A reset of a workflow, as an operator makes it."""

from typing import Any
from uuid import uuid4

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHandle


async def reset(client: Client, handle: WorkflowHandle[Any, Any], *, to_task: int = 0) -> None:
    """Start the workflow again from one of its tasks: 0 is the first, -1 the last."""
    history = await handle.fetch_history()
    done = [e for e in history.events if e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED]
    request = ResetWorkflowExecutionRequest(
        namespace=client.namespace,
        workflow_execution=WorkflowExecution(workflow_id=handle.id),
        reason="a test",
        request_id=str(uuid4()),
        workflow_task_finish_event_id=done[to_task].event_id,
    )
    await client.workflow_service.reset_workflow_execution(request)
