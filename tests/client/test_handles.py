"""Statuses that the SDK does not know."""

from __future__ import annotations

import pytest
from temporalio.api.enums.v1 import WorkflowExecutionStatus as RawStatus
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse
from temporalio.client import WorkflowExecutionStatus

from client.handles import described_by

KNOWN = {status.value: status for status in WorkflowExecutionStatus}


@pytest.mark.parametrize("number", sorted({*RawStatus.values(), 99} - {0}))
def test_a_status_is_closed_only_if_it_is_known_to_be(number: int) -> None:
    info = WorkflowExecutionInfo(status=RawStatus.ValueType(number))
    found = described_by(DescribeWorkflowExecutionResponse(workflow_execution_info=info))
    closed = number in range(2, 8)
    assert found.is_open is not closed
    assert found.status is (KNOWN[number] if closed else WorkflowExecutionStatus.RUNNING)
    assert found.is_paused is (number == RawStatus.WORKFLOW_EXECUTION_STATUS_PAUSED)
