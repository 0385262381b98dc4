"""A workflow that is reset runs again under another run id: its calls have the same keys and take no second effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client

from ..orders import line
from .system import System

pytestmark = pytest.mark.xdist_group("another system")

Make = Callable[..., dict[str, Any]]


async def _reset_to_its_start(system: System, workflow_id: str) -> None:
    client = await Client.connect(f"127.0.0.1:{system.port}")
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    first = next(e for e in history.events if e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)
    request = ResetWorkflowExecutionRequest(
        namespace=client.namespace,
        workflow_execution=WorkflowExecution(workflow_id=workflow_id),
        reason="a test",
        request_id=str(uuid4()),
        workflow_task_finish_event_id=first.event_id,
    )
    await client.workflow_service.reset_workflow_execution(request)
    await client.get_workflow_handle(workflow_id).result()


async def test_an_order_that_is_reset_to_its_start_acts_no_second_time(system: System, order: Make) -> None:
    system.run("stock", "set", "RESET-1", "5")
    placed = order(lines=line("RESET-1", 2), notification="required")
    assert system.place(placed).code == 0
    await _reset_to_its_start(system, f"order/{placed['order_id']}")
    assert system.run("status", placed["order_id"], "--json").document["state"] == "CONFIRMED"
    stock = {level["sku"]: level for level in system.run("stock", "list", "--json").document}
    assert (stock["RESET-1"]["on_hand"], stock["RESET-1"]["reserved"]) == (3, 0)
    audit = system.run("audit", "--json")
    assert audit.code == 0, audit.out
